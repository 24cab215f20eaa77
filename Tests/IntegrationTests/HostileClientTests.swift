// Clients that take their time, never end, or promise what they do not send: refused or timed out, memory flat.

import TestSupport
import Testing

@Suite("Hostile clients", needsDaemon)
struct HostileClientTests {
  @Test("slow heads get 408 within the header timeout, and memory stays flat")
  func slowloris() throws {
    try withFairlead(.answering, limits: "headerTimeout: 700ms") { daemon, upstream in
      #expect(try daemon.get().status == 200)
      let before = daemon.inspector.residentBytes
      let clients = try (0..<300).map { _ in try daemon.connect() }
      for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\nX-Slow: ") }
      // Every client goes on with a byte now and then, as slow ones do: that must not buy them time.
      let deadline = monotonicSeconds() + 10
      var waiting = clients
      while !waiting.isEmpty, monotonicSeconds() < deadline {
        waiting.removeAll { client in
          if (try? client.stream.fill(seconds: 0.001)) != .timedOut { return true }
          client.sendRegardless([0x61])
          return false
        }
      }
      #expect(waiting.isEmpty, "\(waiting.count) of 300 were not timed out")
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < 4 << 20, "grew by \(grown / 1024) KiB")
      for client in clients.prefix(20) {
        let response = try client.readResponse()
        #expect(response.status == 408)
        #expect(response["fairlead-code"] != nil)
        try expectClosed(client)
      }
      #expect(upstream.requests.count == 1)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("a connection that never says anything is closed in time")
  func silent() throws {
    try withFairlead(.answering, policy: [:], limits: "headerTimeout: 500ms") { daemon, upstream in
      let client = try daemon.connect()
      let (_, ending) = try client.readToEnd(seconds: 8)
      #expect(ending != .timedOut)
      #expect(upstream.connections.isEmpty)
    }
  }

  @Test("a head that never ends is refused with 431", arguments: ["X-Long: ", ""])
  func endlessHead(_ start: String) throws {
    try withFairlead(.answering) { daemon, upstream in
      #expect(try daemon.get("/before").status == 200)
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n" + start)
      let piece = Array((start.isEmpty ? "X-Field: value\r\n" : "aaaaaaaaaaaaaaaa").utf8)
      let block = Array(repeatElement(piece, count: 256).joined())
      var sent = 0
      // Sending ends when the proxy has closed; 64 MiB would mean that it never does.
      while sent < 64 << 20, let count = try? client.stream.sendUnlessStalled(block, stallSeconds: 1), count > 0 {
        sent += count
      }
      #expect(sent < 64 << 20)
      #expect(daemon.inspector.residentBytes - before < 4 << 20)
      #expect(try daemon.get("/after").status == 200)
      #expect(upstream.requests.map(\.target) == ["/before", "/after"])
      #expect(try daemon.admin.metrics().errorsByCode.values.reduce(0, +) == 1)
    }
  }

  @Test("10,000 fields are refused with 431")
  func manyFields() throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let fields = (0..<10_000).map { "X-\($0): value\r\n" }.joined()
      client.sendRegardless(Array("GET / HTTP/1.1\r\nHost: web\r\n\(fields)\r\n".utf8))
      try expectProxyMade(try client.readResponse(), [431], by: daemon)
      #expect(upstream.connections.isEmpty)
    }
  }

  @Test("2 GiB promised and none sent: the request times out and memory is flat")
  func promisedBody() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.truncated != nil { return }
        try connection.respond(to: request, body: "ok")
      }
    }
    try withFairlead(script, policy: ["timeouts": "{ request: 700ms }"]) { daemon, _ in
      #expect(try daemon.get().status == 200)
      let before = daemon.inspector.residentBytes
      let clients = try (0..<20).map { _ in try daemon.connect() }
      for client in clients { try client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2147483648\r\n\r\n") }
      for client in clients {
        let response = try client.readResponse()
        #expect([408, 413, 504].contains(response.status), "\(response.head)")
        #expect(response["fairlead-code"] != nil)
        try expectClosed(client)
      }
      #expect(daemon.inspector.residentBytes - before < 4 << 20)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("a client that goes away in the middle leaves nothing behind", arguments: ["head", "body", "response"])
  func goesAway(_ place: String) throws {
    let script = Script { connection in
      while let request = try connection.readHead() {
        if request.target == "/after" {
          try connection.respond(to: request, body: "ok")
          continue
        }
        var whole = request
        try connection.stream.readBody(of: &whole, closeDelimited: false)
        if whole.truncated != nil { return }
        try connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\nstart")
        connection.waitForEnd()
        return
      }
    }
    // A client that only sent FIN may still be reading: that exchange lasts until the request's time is up.
    try withFairlead(script, policy: ["timeouts": "{ request: 1s, idle: 1s }"]) { daemon, upstream in
      for reset in [false, true] {
        for _ in 0..<20 {
          let client = try daemon.connect()
          switch place {
          case "head": try client.send("GET / HTTP/1.1\r\nHo")
          case "body":
            try client.send("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 1000\r\n\r\npart")
            #expect(upstream.wait { $0.contains { $0.receivedText.hasSuffix("part") } })
          default:
            try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
            #expect(try client.stream.take(through: "start").bytes != nil)
          }
          if reset { client.reset() } else { client.close() }
        }
      }
      #expect(try daemon.get("/after").status == 200)
      let gone = try eventually {
        try daemon.admin.metrics().sum("fairlead_connections", ["direction": "downstream"]) <= 0
      }
      #expect(gone, "downstream connections are left")
    }
  }

  @Test("random bytes never end the process", arguments: [1, 2, 3, 4] as [UInt64])
  func randomBytes(_ seed: UInt64) throws {
    var state = seed &* 0x9e37_79b9_7f4a_7c15
    func next(_ bound: Int) -> Int {
      state ^= state << 13
      state ^= state >> 7
      state ^= state << 17
      return Int(state % UInt64(bound))
    }
    let parts = [
      "GET / HTTP/1.1\r\n", "Host: web\r\n", "\r\n", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "5\r\n",
      "hello", "0\r\n\r\n", "\r", "\n", "\0", ":", " ", "Connection: upgrade\r\n", "POST /x HTTP/1.1\r\n", "ffff",
      "Expect: 100-continue\r\n", "\u{ff}\u{fe}", "HTTP/1.0", "Upgrade: a\r\n",
    ]
    try withFairlead(.answering, limits: "headerTimeout: 300ms") { daemon, _ in
      for round in 0..<60 {
        var bytes: [UInt8] = []
        for _ in 0..<next(12) + 1 {
          if next(4) == 0 { bytes += (0..<next(20) + 1).map { _ in UInt8(truncatingIfNeeded: next(256)) } }
          bytes += Array(parts[next(parts.count)].utf8)
        }
        let client = try daemon.connect()
        client.sendRegardless(bytes)
        if next(2) == 0 { client.shutdownWrite() } else if next(3) == 0 { client.reset() } else { client.close() }
        #expect(
          daemon.child.isRunning, "seed \(seed), round \(round): \(printable(String(decoding: bytes, as: UTF8.self)))")
      }
      #expect(try daemon.get().status == 200, "seed \(seed)")
    }
  }
}
