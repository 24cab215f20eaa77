// Regressions in how connections end: in time, in order, and only when they may. Each test names the bug it was written
// for.

import Glibc
import TestSupport
import Testing

@Suite("Regressions: ends of connections", needsDaemon)
struct EndingRegressionTests {
  // Bug: a tunnel that both sides had finished was kept until its idle time was over.
  @Test("tunnels that both sides have finished are closed at once")
  func finishedTunnels() throws {
    let script = Script { connection in
      guard try connection.readHead() != nil else { return }
      try connection.send(TunnelTests.switching)
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, _ in
      let before = daemon.inspector.descriptors.count
      let clients = try (0..<50).map { _ in try daemon.connect(timeoutSeconds: 3) }
      for client in clients {
        #expect(try client.request(TunnelTests.upgrade).status == 101)
        try client.send("x")
        client.shutdownWrite()
        let (bytes, ending) = try client.readToEnd()
        #expect(bytes.isEmpty && ending == .endOfStream)
      }
      // The clients still hold their ends: it is for the proxy to close.
      let closed = eventually(seconds: 3) { daemon.inspector.descriptors.count <= before }
      #expect(closed, "\(daemon.inspector.descriptors.count) descriptors, \(before) before")
    }
  }

  // Bug: a reset right behind the first bytes of a head was noticed only when the time for the head was over, as the kernel
  // had taken two wake-ups for one. Not every one is lost, hence so many.
  @Test("clients that reset right behind a part of a head are forgotten at once")
  func resetBehindPart() throws {
    try withFairlead(.answering, limits: "headerTimeout: 1m") { daemon, _ in
      let before = daemon.inspector.descriptors.count
      for _ in 0..<3_000 {
        let client = try RawClient(daemon.address)
        try client.send("GET / HT")
        client.reset()
      }
      let closed = eventually(seconds: 5) { daemon.inspector.descriptors.count <= before }
      #expect(closed, "\(daemon.inspector.descriptors.count) descriptors, \(before) before")
    }
  }

  // Bug: the same with a response: who waited for the rest of it waited until the request's time was over.
  @Test("endpoints that reset right behind a part of a response end it at once")
  func resetBehindResponsePart() throws {
    let script = Script { connection in
      guard try connection.readHead() != nil else { return }
      try connection.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")
      connection.reset()
    }
    try withFairlead(script, policy: ["timeouts": "{ request: 1m, idle: 1m }"]) { daemon, _ in
      for _ in 0..<1_000 {
        let client = try RawClient(daemon.address, timeoutSeconds: 5)
        try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        let (_, ending) = try client.readToEnd()
        #expect(ending == .reset)
        client.close()
      }
    }
  }

  // Bug: a FIN that came right behind a request that is refused closed the connection before the answer was sent.
  @Test(
    "FIN right behind a bad request does not cost the answer",
    arguments: [
      "GET / HTTP/1.1\r\n\r\n", "nonsense\r\n\r\n", "POST / HTTP/1.1\r\nhost: web\r\ncontent-length: -1\r\n\r\n",
    ])
  func finBehindBadRequest(_ request: String) throws {
    try withFairlead(.answering) { daemon, _ in
      for number in 0..<20 {
        let client = try daemon.connect(timeoutSeconds: 3)
        try client.send(request)
        client.shutdownWrite()
        let (bytes, ending) = try client.readToEnd()
        #expect(String(decoding: bytes, as: UTF8.self).hasPrefix("HTTP/1.1 400 "), "client \(number): \(ending)")
        #expect(ending == .endOfStream)
      }
    }
  }

  // Bug: a FIN from the client while the last of a response was still queued cut that response. Which lengths leave just
  // that in the queue depends on the kernel's buffers: hence so many.
  @Test(
    "a half-close while a long HTTP/1.0 response is under way costs none of it",
    arguments: Array(stride(from: 2_600_000, through: 3_600_000, by: 50_000)))
  func halfCloseInResponse(_ size: Int) throws {
    let allSent = Gate()
    let script = Script { connection in
      guard try connection.readHead() != nil else { return }
      try connection.send("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
      try connection.send(Pattern.bytes(0, size))
      allSent.open()
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect(timeoutSeconds: 4, receiveBufferBytes: 4096)
      try client.send("GET / HTTP/1.0\r\nhost: web\r\n\r\n")
      // Either the proxy has the whole response queued, or it holds the upstream back.
      allSent.wait(seconds: 0.7)
      client.shutdownWrite()
      // The FIN must have been seen while the client does not read yet.
      _ = Gate().wait(seconds: 0.1)
      #expect(try client.stream.readHead()?.status == 200)
      var check = Pattern.Check()
      #expect(try client.stream.drain(size) { check.feed($0) } == size)
      #expect(check.isGood)
      let (rest, ending) = try client.readToEnd()
      #expect(rest.isEmpty && ending == .endOfStream)
    }
  }

  // Bug: a response whose head had been sent before the drain left its keep-alive connection open, and the drain waited
  // for it until its time was over; meanwhile the listener still took connections.
  @Test("a drain ends with the last response although its head was sent before")
  func drainAfterHead() throws {
    let mayFinish = Gate()
    let script = Script { connection in
      guard try connection.readHead() != nil else { return }
      try connection.send("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab")
      mayFinish.wait()
      try connection.send("cd")
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(try client.stream.take(through: "\r\n\r\nab").bytes != nil)
      daemon.child.signal(SIGTERM)
      #expect(eventually(seconds: 3) { (try? RawClient(daemon.address)) == nil }, "connections are still accepted")
      #expect(daemon.child.isRunning, "a response is under way")
      mayFinish.open()
      #expect(try client.stream.take(2).bytes == Array("cd".utf8))
      #expect(daemon.child.wait(seconds: 4) == Child.ExitStatus.exited(0), "it still drains")
      try expectClosed(client)
    }
  }

  // Bug: a body that only the connection's end delimits was ended with FIN when the proxy was made to end, as if it had
  // been complete.
  @Test("an HTTP/1.0 response cut by a forced end is a reset")
  func forcedEnd() throws {
    let upstream = try ScriptedUpstream(
      .sending("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"))
    let daemon = try FairleadProcess(FairleadOptions(upstream))
    let client = try daemon.connect(timeoutSeconds: 5)
    try client.send("GET / HTTP/1.0\r\nhost: web\r\n\r\n")
    let head = try #require(try client.stream.readHead())
    #expect(head.status == 200)
    #expect(head["transfer-encoding"] == nil && head["content-length"] == nil)
    #expect(try client.stream.take(5).bytes == Array("hello".utf8))
    daemon.child.signal(SIGTERM)
    #expect(eventually(seconds: 3) { (try? RawClient(daemon.address)) == nil })
    #expect(daemon.child.isRunning)
    daemon.child.signal(SIGTERM)
    let (bytes, ending) = try client.readToEnd()
    #expect(bytes.isEmpty)
    #expect(ending == .reset)
    #expect(daemon.child.wait(seconds: 5) != nil, "it still drains")
    daemon.child.stop(seconds: 0.1)
  }

  // Bug: a client that read slowly was cut as idle, because the kernel reports progress in large steps only.
  @Test("a client that reads slowly but steadily is not cut as idle", arguments: [100_000, 3_000_000])
  func slowReader(_ size: Int) throws {
    let script = Script { connection in
      while let request = try connection.readHead() {
        guard request.target == "/slow" else {
          try connection.respond(to: request, body: "ok")
          continue
        }
        try connection.send("HTTP/1.1 200 OK\r\ncontent-length: \(size)\r\n\r\n")
        _ = try connection.stream.sendUnlessStalled(Pattern.bytes(0, size), stallSeconds: 30)
      }
    }
    try withFairlead(script, policy: ["timeouts": "{ idle: 1s }"], limits: "idleTimeout: 1s") { daemon, _ in
      let client = try daemon.connect(timeoutSeconds: 2, receiveBufferBytes: 4096, segmentBytes: 500)
      try client.send("GET /slow HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(try client.stream.readHead()?.status == 200)
      var check = Pattern.Check()
      let deadline = monotonicSeconds() + 3
      while monotonicSeconds() < deadline {
        let count = try client.stream.drain(2000) { check.feed($0) }
        guard count == 2000 else { break }
        // Slowness is the matter here: some kilobytes a second.
        _ = Gate().wait(seconds: 0.25)
      }
      #expect(monotonicSeconds() >= deadline, "cut after \(check.count) bytes")
      // What the kernel holds would still come from a connection that was cut; more than that does not.
      let rest = size - check.count
      #expect(try client.stream.drain(rest) { check.feed($0) } == rest, "cut after \(check.count) of \(size) bytes")
      #expect(check.isGood)
      #expect(try daemon.get("/after").status == 200)
    }
  }

  // The other side of the same: progress must not be seen where there is none.
  @Test("a client that does not read at all is cut as idle")
  func stoppedReader() throws {
    let cut = Gate()
    let script = Script { connection in
      guard let request = try connection.readHead() else { return }
      if request.target == "/after" { return try connection.respond(to: request, body: "ok") }
      defer { cut.open() }
      try connection.send("HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
      _ = try connection.stream.sendUnlessStalled(Pattern.bytes(0, 20_000_000), stallSeconds: 6)
    }
    try withFairlead(script, policy: ["timeouts": "{ idle: 500ms }"], limits: "idleTimeout: 500ms") { daemon, _ in
      let client = try daemon.connect(receiveBufferBytes: 4096, segmentBytes: 500)
      try client.send("GET /stopped HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(cut.wait(seconds: 4), "the exchange goes on")
      #expect(try daemon.get("/after").status == 200)
    }
  }
}
