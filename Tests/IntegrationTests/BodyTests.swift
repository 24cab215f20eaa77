// Bodies of any size in bounded memory: 64 MiB both ways, and a reader who does not read makes the sender stall instead of
// making the proxy grow. Memory is what the kernel says is resident.

import TestSupport
import Testing

@Suite("Large bodies", needsDaemon)
struct BodyTests {
  static let size = 64 << 20
  /// Far above what the two 64 KiB windows and their pools need, far below the body.
  static let memoryBound = 8 << 20

  @Test("64 MiB down, with a length", arguments: ["Content-Length: \(size)", "close"])
  func download(_ framing: String) throws {
    let script = Script { connection in
      _ = try connection.readRequest()
      let fields = framing == "close" ? "Connection: close" : framing
      try connection.send("HTTP/1.1 200 OK\r\n\(fields)\r\n\r\n")
      for offset in stride(from: 0, to: BodyTests.size, by: 1 << 20) {
        try connection.send(Pattern.bytes(offset, 1 << 20))
      }
    }
    try withFairlead(script) { daemon, _ in
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect()
      // HTTP/1.0, so that a body without length arrives as it is, without chunks.
      try client.send("GET / HTTP/1.0\r\nHost: web\r\n\r\n")
      #expect(try client.stream.readHead()?.status == 200)
      var check = Pattern.Check()
      #expect(try client.stream.drain(BodyTests.size) { check.feed($0) } == BodyTests.size)
      #expect(check.isGood, "wrong near byte \(check.wrongAt ?? 0)")
      try expectClosed(client)
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < BodyTests.memoryBound, "grew by \(grown / 1024) KiB")
    }
  }

  @Test("64 MiB up, with a length and in chunks", arguments: [false, true])
  func upload(_ chunked: Bool) throws {
    let script = Script { connection in
      while let request = try connection.readHead() {
        var check = Pattern.Check()
        var count = 0
        if chunked {
          while true {
            let line = try connection.stream.take(through: "\r\n").bytes ?? []
            guard let size = Int(String(decoding: line.dropLast(2), as: UTF8.self), radix: 16), size > 0 else { break }
            count += try connection.stream.drain(size) { check.feed($0) }
            _ = try connection.stream.take(2)
          }
          _ = try connection.stream.take(2)
        } else {
          count = try connection.stream.drain(BodyTests.size) { check.feed($0) }
        }
        try connection.respond(to: request, body: "\(count) \(check.isGood)")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect()
      let framing = chunked ? "Transfer-Encoding: chunked" : "Content-Length: \(BodyTests.size)"
      try client.send("PUT / HTTP/1.1\r\nHost: web\r\n\(framing)\r\n\r\n")
      for offset in stride(from: 0, to: BodyTests.size, by: 1 << 20) {
        if chunked { try client.send("100000\r\n") }
        try client.send(Pattern.bytes(offset, 1 << 20))
        if chunked { try client.send("\r\n") }
      }
      if chunked { try client.send("0\r\n\r\n") }
      #expect(try client.readResponse().text == "\(BodyTests.size) true", "\(upstream.failures)")
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < BodyTests.memoryBound, "grew by \(grown / 1024) KiB")
    }
  }

  @Test("a client that does not read makes the upstream stall, and gets every byte once it reads")
  func slowClient() throws {
    let stalledAt = Monitor<Int?>(nil)
    let script = Script { connection in
      _ = try connection.readRequest()
      try connection.send("HTTP/1.1 200 OK\r\nContent-Length: \(BodyTests.size)\r\n\r\n")
      let body = Pattern.bytes(0, BodyTests.size)
      let sent = try connection.stream.sendUnlessStalled(body, stallSeconds: 1)
      stalledAt.with { $0 = sent }
      try connection.send(body[sent...])
    }
    try withFairlead(script) { daemon, upstream in
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect(receiveBufferBytes: 16 * 1024)
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(stalledAt.wait(seconds: 20) { $0 != nil }, "\(upstream.failures)")
      let sent = try #require(stalledAt.with { $0 })
      #expect(sent < BodyTests.size * 3 / 4, "the upstream could send \(sent) bytes to a client that read none")
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < BodyTests.memoryBound / 2, "grew by \(grown / 1024) KiB")

      #expect(try client.stream.readHead()?.status == 200)
      var check = Pattern.Check()
      #expect(try client.stream.drain(BodyTests.size) { check.feed($0) } == BodyTests.size)
      #expect(check.isGood, "wrong near byte \(check.wrongAt ?? 0)")
    }
  }

  @Test("an upstream that does not read makes the client stall, and gets every byte once it reads")
  func slowUpstream() throws {
    let mayRead = Gate()
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      mayRead.wait(seconds: 30)
      var check = Pattern.Check()
      let count = try connection.stream.drain(BodyTests.size) { check.feed($0) }
      try connection.respond(to: request, body: "\(count) \(check.isGood)")
    }
    try withFairlead(script) { daemon, upstream in
      let before = daemon.inspector.residentBytes
      let client = try daemon.connect()
      try client.send("PUT / HTTP/1.1\r\nHost: web\r\nContent-Length: \(BodyTests.size)\r\n\r\n")
      let body = Pattern.bytes(0, BodyTests.size)
      let sent = try client.stream.sendUnlessStalled(body, stallSeconds: 1)
      #expect(sent < BodyTests.size * 3 / 4, "the client could send \(sent) bytes to an upstream that read none")
      let grown = daemon.inspector.residentBytes - before
      #expect(grown < BodyTests.memoryBound / 2, "grew by \(grown / 1024) KiB")
      mayRead.open()
      try client.send(body[sent...])
      #expect(try client.readResponse().text == "\(BodyTests.size) true", "\(upstream.failures)")
    }
  }

  @Test("many small chunks cost neither memory nor correctness")
  func manyChunks() throws {
    let script = Script { connection in
      while try connection.readRequest() != nil {
        try connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        let thousand = String(repeating: "1\r\nx\r\n", count: 1000)
        for _ in 0..<50 { try connection.send(thousand) }
        try connection.send("0\r\n\r\n")
      }
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      #expect(try client.get().body.count == 50_000)
      let before = daemon.inspector.residentBytes
      for _ in 0..<5 { #expect(try client.get().body.count == 50_000) }
      #expect(daemon.inspector.residentBytes - before < 2 << 20)
    }
  }

  @Test("real files of a real nginx through a real curl", .enabled(if: NginxProcess.isInstalled, "needs nginx"))
  func nginxAndCurl() throws {
    guard findTool("curl") != nil else { try Test.cancel("needs curl") }
    let sizes = [0, 1, 16 * 1024, 65_535, 65_536, 65_537, 5_000_001]
    let nginx = try NginxProcess(locations: "location / { chunked_transfer_encoding on; }") { directory in
      for size in sizes { try directory.write("file-\(size)", String(repeating: "f", count: size)) }
    }
    try withFairlead(FairleadOptions(web: [nginx.address])) { daemon in
      for size in sizes {
        let arguments = ["-sS", "-o", "/dev/null", "-w", "%{http_code} %{size_download}", "-H", "Host: web"]
        let result = try Child.run(["curl"] + arguments + ["http://\(daemon.address)/file-\(size)"])
        #expect(result.output == "200 \(size)", "\(result.error)")
      }
      // Two on one connection, the second a range.
      let ranged = try Child.run([
        "curl", "-sS", "-H", "Host: web", "-r", "10-19", "http://\(daemon.address)/file-16384",
      ])
      #expect(ranged.output == "ffffffffff")
      nginx.stop()
    }
  }
}
