// After 101 a connection is a tunnel: bytes go both ways as they are, those glued to the heads included, and each side's
// half-close is carried to the other.

import TestSupport
import Testing

@Suite("Upgrades", needsDaemon)
struct TunnelTests {
  static let upgrade = "GET /chat HTTP/1.1\r\nHost: web\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
  static let switching = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"

  /// Switches to a protocol that sends everything back, and says goodbye when the client has shut down.
  static let echoing = Script { connection in
    guard let request = try connection.readHead() else { return }
    guard request["upgrade"] == "echo" else {
      try connection.respond(to: request, body: "no upgrade")
      while let next = try connection.readRequest() { try connection.respond(to: next, body: "no upgrade") }
      return
    }
    try connection.send(TunnelTests.switching + "glued-by-server;")
    while true {
      let waiting = connection.stream.buffered.count
      if waiting > 0 {
        try connection.send(try connection.stream.take(waiting).bytes)
      } else if try connection.stream.fill() != nil {
        break
      }
    }
    try connection.send("goodbye")
  }

  @Test("bytes glued to the heads, both ways, and a long conversation")
  func echo() throws {
    try withFairlead(TunnelTests.echoing) { daemon, upstream in
      let client = try daemon.connect()
      try client.send(TunnelTests.upgrade + "glued-by-client;")
      let response = try #require(try client.stream.readHead())
      #expect(response.status == 101)
      #expect(response["upgrade"] == "echo")
      #expect(response["connection"]?.lowercased().contains("upgrade") == true)
      let glued = "glued-by-server;glued-by-client;"
      #expect(try client.stream.take(glued.utf8.count).bytes == Array(glued.utf8))
      for number in 0..<200 {
        let line = "line \(number);GET / HTTP/1.1\r\n\r\n"
        try client.send(line)
        #expect(try client.stream.take(line.utf8.count).bytes == Array(line.utf8))
      }
      client.shutdownWrite()
      let (rest, ending) = try client.readToEnd()
      #expect(String(decoding: rest, as: UTF8.self) == "goodbye")
      #expect(ending == .endOfStream)
      #expect(upstream.failures.isEmpty)
    }
  }

  @Test("a tunnel carries much in both directions at once")
  func bulk() throws {
    let size = 8 << 20
    try withFairlead(TunnelTests.echoing) { daemon, _ in
      let client = try daemon.connect()
      try client.send(TunnelTests.upgrade)
      #expect(try client.stream.readHead()?.status == 101)
      _ = try client.stream.take("glued-by-server;".utf8.count)
      let sender = BackgroundThread {
        for offset in stride(from: 0, to: size, by: 1 << 20) { try? client.send(Pattern.bytes(offset, 1 << 20)) }
        client.shutdownWrite()
      }
      var check = Pattern.Check()
      #expect(try client.stream.drain(size) { check.feed($0) } == size)
      #expect(check.isGood)
      #expect(sender.join())
      #expect(String(decoding: try client.readToEnd().bytes, as: UTF8.self) == "goodbye")
    }
  }

  @Test("an upstream that closes first ends the tunnel for the client")
  func upstreamCloses() throws {
    let script = Script { connection in
      _ = try connection.readHead()
      try connection.send(TunnelTests.switching + "bye")
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send(TunnelTests.upgrade)
      #expect(try client.stream.readHead()?.status == 101)
      let (bytes, ending) = try client.readToEnd()
      #expect(String(decoding: bytes, as: UTF8.self) == "bye")
      #expect(ending == .endOfStream)
    }
  }

  @Test("a silent tunnel is closed when its own time is over")
  func silent() throws {
    let upstream = try ScriptedUpstream(TunnelTests.echoing)
    var options = FairleadOptions(upstream)
    options.policy["timeouts"] = "{ tunnel: 200ms }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let client = try daemon.connect()
      try client.send(TunnelTests.upgrade)
      #expect(try client.stream.readHead()?.status == 101)
      let (bytes, ending) = try client.readToEnd()
      #expect(String(decoding: bytes, as: UTF8.self) == "glued-by-server;")
      #expect(ending == .endOfStream)
      let isClosed = try eventually {
        try daemon.admin.metrics().sum("fairlead_connections", ["direction": "upstream"]) == 0
      }
      #expect(isClosed)
    }
  }

  @Test("a tunnel that is silent for longer than a connection may idle goes on")
  func idleIsNotSilence() throws {
    let upstream = try ScriptedUpstream(TunnelTests.echoing)
    var options = FairleadOptions(upstream)
    options.policy["timeouts"] = "{ idle: 50ms }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let client = try daemon.connect()
      try client.send(TunnelTests.upgrade)
      #expect(try client.stream.readHead()?.status == 101)
      _ = try client.stream.take("glued-by-server;".utf8.count)
      // Connections that begin to idle after the tunnel fell silent are closed: its time, too, would be over.
      for _ in 0..<2 {
        #expect(try daemon.get("/other").status == 200)
        let isClosed = try eventually {
          try daemon.admin.metrics().sum("fairlead_connections", ["direction": "upstream"]) == 1
        }
        #expect(isClosed)
      }
      try client.send("still here")
      #expect(try client.stream.take("still here".utf8.count).bytes == Array("still here".utf8))
    }
  }

  @Test("an upgrade that the upstream declines is an ordinary exchange")
  func declined() throws {
    try withFairlead(.answering) { daemon, _ in
      let client = try daemon.connect()
      #expect(try client.request(TunnelTests.upgrade).text == "GET /chat")
      #expect(try client.get("/after").text == "GET /after")
    }
  }

  @Test("101 that nobody asked for is not believed")
  func unasked() throws {
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      if request.target == "/after" { return try connection.respond(to: request, body: "ok") }
      try connection.send(TunnelTests.switching + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      try expectProxyMade(try client.readResponse(), [502], by: daemon)
      #expect(try daemon.get("/after").text == "ok")
    }
  }
}
