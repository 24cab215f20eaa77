// Regressions in what one peer can make the proxy hold, and in whom that starves. Each test names the bug it was
// written for.

import Glibc
import TestSupport
import Testing

@Suite("Regressions: memory and fairness", needsDaemon)
struct MemoryRegressionTests {
  /// What the proxy may grow by for a peer that does its worst: its pools' first use included.
  static let growthMaximum = 8 << 20

  static let upgrade = "GET /tunnel HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"

  // Bug: the bytes of a tunnel from client to upstream were kept as if they could be sent again, until no receive
  // buffer was left for anybody.
  @Test("a tunnel's upload leaves memory flat and others served", arguments: [1100, 65536])
  func tunnelUpload(_ pieceSize: Int) throws {
    let total = pieceSize < 2000 ? 12 << 20 : 64 << 20
    let arrived = Monitor(Pattern.Check())
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      guard request["upgrade"] != nil else { return try connection.respond(to: request, body: "ok") }
      try connection.send(TunnelTests.switching)
      while try connection.stream.drain(64 * 1024, inspect: { bytes in arrived.with { $0.feed(bytes) } }) == 64 * 1024 {
      }
    }
    try withFairlead(script) { daemon, _ in
      #expect(try daemon.get().status == 200)
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect()
      #expect(try client.request(MemoryRegressionTests.upgrade).status == 101)
      let piece = max(pieceSize, 1)
      var offset = 0
      while offset < total {
        let count = min(piece, total - offset)
        let sent = try client.stream.sendUnlessStalled(Pattern.bytes(offset, count), stallSeconds: 3)
        offset += sent
        if sent < count { break }
      }
      #expect(offset == total, "the tunnel stalled after \(offset) bytes")
      #expect(arrived.wait(seconds: 5) { $0.count >= offset - 64 * 1024 }, "\(arrived.with { $0.count }) arrived")
      #expect(arrived.with { $0.isGood })
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < MemoryRegressionTests.growthMaximum, "grew by \(grown / 1024) KiB")
      let other = try daemon.connect(timeoutSeconds: 3)
      #expect(try other.get().status == 200)
    }
  }

  // Bug: every small piece of an upload that was kept for another attempt pinned a whole receive buffer; some sixty
  // uploads took them all and nobody else was read.
  @Test("many uploads in small pieces do not starve others")
  func smallPieces() throws {
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      if request.target == "/small" { return try connection.respond(to: request, body: "ok") }
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, upstream in
      let before = daemon.inspector.residentBytes
      let clients = try (0..<64).map { _ in try daemon.connect() }
      for client in clients { try client.send("POST /large HTTP/1.1\r\nhost: web\r\ncontent-length: 64000\r\n\r\n") }
      let piece = Array(repeating: UInt8(ascii: "p"), count: 1100)
      for round in 1...56 {
        for client in clients { try client.send(piece) }
        // Each piece must have been taken by itself before the next one comes.
        let taken = upstream.wait(seconds: 3) { $0.reduce(0) { $0 + $1.received.count } >= round * 64 * 1100 }
        guard taken else { throw HarnessError("the uploads stall in round \(round)") }
        guard round % 8 == 0 else { continue }
        let other = try daemon.connect(timeoutSeconds: 3)
        #expect(try other.get("/small").status == 200, "round \(round)")
        other.close()
      }
      let grown = daemon.inspector.residentBytes - before
      // 64 uploads may each hold the 64 KiB that are kept for another attempt, and what reads them.
      #expect(grown < 64 * 128 * 1024 + MemoryRegressionTests.growthMaximum, "grew by \(grown / 1024) KiB")
    }
  }

  // Bug: the same from the other side: small pieces of responses, waiting for clients that do not read, pinned a whole
  // receive buffer each.
  @Test("many stalled readers of a response in small pieces do not starve others")
  func stalledReaders() throws {
    let readerCount = 60
    let pieceCount = 400
    let pieceSize = 1100
    let ended = Monitor(0)
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      if request.target == "/small" {
        return try connection.respond(to: request, fields: "connection: close\r\n", body: "ok")
      }
      defer { ended.with { $0 += 1 } }
      try connection.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n")
      for number in 0..<pieceCount {
        let piece = Pattern.bytes(number * pieceSize, pieceSize)
        if try connection.stream.sendUnlessStalled(piece, stallSeconds: 0.5) < pieceSize { break }
        // A piece now and then, so that each is received by itself.
        _ = Gate().wait(seconds: 0.005)
      }
    }
    try withFairlead(script) { daemon, _ in
      let before = daemon.inspector.residentBytes
      let readers = try (0..<readerCount).map { _ in
        try daemon.connect(receiveBufferBytes: 2048, segmentBytes: 500)
      }
      for reader in readers { try reader.send("GET /large HTTP/1.1\r\nhost: web\r\n\r\n") }
      var served = 0
      let deadline = monotonicSeconds() + 10
      while ended.with({ $0 }) < readerCount, monotonicSeconds() < deadline {
        let other = try daemon.connect(timeoutSeconds: 3)
        #expect(try other.get("/small").status == 200, "after \(served) others")
        other.close()
        served += 1
        _ = ended.wait(seconds: 0.1) { $0 == readerCount }
      }
      #expect(try daemon.get("/small").status == 200)
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < readerCount * 128 * 1024 + MemoryRegressionTests.growthMaximum, "grew by \(grown / 1024) KiB")
      let reader = try #require(readers.first)
      _ = try reader.stream.readHead()
      #expect(try reader.stream.take(20_000).bytes == Pattern.bytes(0, 20_000))
    }
  }

  // Bug: answers of the proxy's own to a client that pipelines and never reads were queued without a bound.
  @Test(
    "a client that pipelines and does not read is held back, and served on when it reads",
    arguments: ["CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n", "GET / HTTP/1.1\r\nhost: nobody\r\n\r\n"])
  func pipelinesUnread(_ request: String) throws {
    let count = 30_000
    try withFairlead(.answering) { daemon, _ in
      #expect(try daemon.get().status == 200)
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect(receiveBufferBytes: 16 * 1024)
      let bytes = Array(repeatElement(Array(request.utf8), count: count).joined())
      let sent = try client.stream.sendUnlessStalled(bytes, stallSeconds: 0.5)
      let other = try daemon.connect(timeoutSeconds: 3)
      #expect(try other.get().status == 200)
      var most = 0
      // The requests that the kernel took are still being read: memory is watched until it settles.
      let grew = eventually(seconds: 0.7) {
        most = max(most, daemon.inspector.residentBytes - before)
        return most >= MemoryRegressionTests.growthMaximum
      }
      #expect(!grew, "grew by \(most / 1024) KiB")
      let sender = BackgroundThread {
        client.sendRegardless(bytes[sent...])
        client.shutdownWrite()
      }
      // What is read is given back at once: 30,000 answers are many.
      var answers = 0
      var tail: [UInt8] = []
      while true {
        let ending = try client.stream.fill(seconds: 5)
        let (taken, _) = try client.stream.take(client.stream.buffered.count)
        let part = tail + taken
        answers += statusLines(in: part)
        tail = Array(part.suffix(8))
        if let ending {
          #expect(ending == .endOfStream)
          break
        }
      }
      #expect(sender.join(seconds: 5))
      #expect(answers == count)
    }
  }

  /// How many status lines there are: answers of the proxy's own quote none.
  private func statusLines(in bytes: [UInt8]) -> Int {
    let start = Array("HTTP/1.1 ".utf8)
    var found = 0
    bytes.withUnsafeBytes { space in
      guard let base = space.baseAddress else { return }
      var position = 0
      while position + start.count <= space.count,
        let hit = memchr(base + position, Int32(start[0]), space.count - start.count + 1 - position)
      {
        if memcmp(hit, start, start.count) == 0 { found += 1 }
        position = UnsafeRawPointer(hit) - base + 1
      }
    }
    return found
  }

  // Bug: interim responses for a client that does not read were queued without a bound.
  @Test("a flood of interim responses to a client that does not read is bounded")
  func interimFlood() throws {
    let flood = Monitor<(sent: Int, over: Bool)>((0, false))
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      if request.target == "/after" { return try connection.respond(to: request, body: "after") }
      let early = Array("HTTP/1.1 103 Early Hints\r\nlink: \(String(repeating: "a", count: 60))\r\n\r\n".utf8)
      let many = Array(repeatElement(early, count: 1000).joined())
      defer { flood.with { $0.over = true } }
      while flood.with({ $0.sent }) < 128 << 20 {
        let count = try connection.stream.sendUnlessStalled(many, stallSeconds: 0.5)
        flood.with { $0.sent += count }
        if count < many.count { break }
      }
    }
    try withFairlead(script) { daemon, _ in
      #expect(try daemon.get("/after").status == 200)
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect(receiveBufferBytes: 4096)
      try client.send("GET /flood HTTP/1.1\r\nhost: web\r\n\r\n")
      var most = 0
      _ = eventually(seconds: 8) {
        most = max(most, daemon.inspector.residentBytes - before)
        return flood.with { $0.over }
      }
      #expect(most < MemoryRegressionTests.growthMaximum, "grew by \(most / 1024) KiB")
      #expect(flood.with { $0.over && $0.sent < 128 << 20 }, "\(flood.with { $0.sent }) bytes were taken")
      let other = try daemon.connect(timeoutSeconds: 3)
      #expect(try other.get("/after").status == 200)
    }
  }
}
