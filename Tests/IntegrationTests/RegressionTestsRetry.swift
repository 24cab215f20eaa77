// Regressions in trying again: what may be sent twice, what of it is kept for that, and what a failed attempt leaves
// the client's connection in. Each test names the bug it was written for.

import TestSupport
import Testing

@Suite("Regressions: trying again", needsDaemon)
struct RetryRegressionTests {
  enum Repeated: String, Sendable, CaseIterable {
    case post = "POST"
    case put = "PUT"
  }

  // Bug: a send cut short by a reset was taken for one of which nothing went out: a POST was repeated, and a PUT was
  // repeated without the bytes that had gone out.
  @Test("a request cut short by a reset is repeated whole, or not at all", arguments: Repeated.allCases)
  func cutShort(_ method: Repeated) throws {
    let mayReset = Monitor(false)
    let script = Script { connection in
      let resets = mayReset.with { armed in
        defer { armed = false }
        return armed
      }
      if resets {
        // The window opens a little and closes again, so that the proxy's send comes back short.
        _ = Gate().wait(seconds: 0.1)
        _ = try connection.stream.drain(3000)
        _ = Gate().wait(seconds: 0.1)
        return connection.reset()
      }
      guard let request = try connection.readRequest() else { return }
      try connection.respond(to: request, fields: "connection: close\r\n", body: "ok")
    }
    let upstreams = try (0..<2).map { _ in
      try ScriptedUpstream(script, receiveBufferBytes: 2048, segmentBytes: 500)
    }
    let body = Pattern.bytes(0, 58_000)
    try withFairlead(FairleadOptions(web: upstreams.map(\.address)), upstreams: upstreams) { daemon in
      for round in 0..<4 {
        mayReset.with { $0 = true }
        let client = try daemon.connect()
        client.sendRegardless(
          Array("\(method.rawValue) /\(round) HTTP/1.1\r\nhost: web\r\ncontent-length: \(body.count)\r\n\r\n".utf8)
            + body)
        let response = try client.readResponse()
        #expect(!mayReset.with { $0 }, "no attempt was made")
        let seen = upstreams.flatMap(\.requests).filter { $0.target == "/\(round)" }
        switch method {
        case .post:
          try expectProxyMade(response, [502], by: daemon)
          #expect(seen.isEmpty, "repeated: \(seen)")
        case .put:
          #expect(response.status == 200, "\(response.head)")
          #expect(seen.count == 1)
          #expect(seen.first?.truncated == nil)
          #expect(seen.first?.body == body, "not the whole body: \(seen)")
        }
        client.close()
      }
    }
  }

  // Bug: a request whose body was larger than what is kept for another attempt failed when the first endpoint it was
  // given refused the connection, although no byte of it had been sent.
  @Test("a large POST never fails for one refused endpoint among two", arguments: [120_000, 1_000_000])
  func largePost(_ size: Int) throws {
    let refusing = try RefusingAddress()
    let upstream = try ScriptedUpstream(.answering)
    try withFairlead(FairleadOptions(web: [refusing.address, upstream.address]), upstreams: [upstream]) { daemon in
      let body = Pattern.bytes(0, size)
      for number in 0..<20 {
        let client = try daemon.connect(timeoutSeconds: 5)
        client.sendRegardless(
          Array("POST /\(number) HTTP/1.1\r\nhost: web\r\nconnection: close\r\ncontent-length: \(size)\r\n\r\n".utf8)
            + body)
        let response = try client.readResponse()
        #expect(response.status == 200, "request \(number): \(response.head)")
        client.close()
      }
      #expect(upstream.requests.count == 20)
      #expect(upstream.requests.allSatisfy { $0.body == body })
    }
  }

  // Bug: reading stayed paused after a large request had been answered with 502, so that the next request on that
  // connection was never read.
  @Test(
    "after a 502 for a large POST the connection serves on, or is closed as announced",
    arguments: [10_000, 300_000, 1_000_000])
  func afterRefusedPost(_ size: Int) throws {
    let refusing = try RefusingAddress()
    try withFairlead(FairleadOptions(web: [refusing.address])) { daemon in
      for _ in 0..<5 {
        let client = try daemon.connect(timeoutSeconds: 4)
        client.sendRegardless(
          Array("POST / HTTP/1.1\r\nhost: web\r\ncontent-length: \(size)\r\n\r\n".utf8) + Pattern.bytes(0, size))
        let response = try client.readResponse()
        try expectProxyMade(response, [502, 503], by: daemon)
        if response["connection"]?.lowercased() == "close" {
          try expectClosed(client)
        } else {
          try expectProxyMade(try client.get(), [502, 503], by: daemon)
        }
        client.close()
      }
    }
  }

  // Bug: 101 was believed while the request's body was still under way, and the rest of that body went into the tunnel.
  @Test("101 before the request's body has ended is 502, and nothing goes into a tunnel")
  func earlySwitch() throws {
    let script = Script { connection in
      guard try connection.readHead() != nil else { return }
      try connection.send(TunnelTests.switching)
      connection.waitForEnd()
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect(timeoutSeconds: 4)
      try client.send(
        "POST / HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: echo\r\ntransfer-encoding: chunked\r\n\r\n"
          + "a\r\nhello")
      try expectProxyMade(try client.readResponse(), [502], by: daemon)
      client.sendRegardless(Array("world\r\n0\r\n\r\nTUNNEL".utf8))
      _ = try client.readToEnd()
      #expect(upstream.wait(seconds: 4) { $0.allSatisfy { $0.stream.descriptor < 0 } }, "the upstream is still open")
      #expect(!upstream.connections.contains { $0.receivedText.contains("TUNNEL") })
    }
  }

  // Bug: with one connection allowed to a service, the shard that held it idle kept the other shard's requests waiting
  // until they failed.
  @Test("one connection allowed and two shards: requests one after another are all served", arguments: [false, true])
  func oneConnection(_ closing: Bool) throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.shards = 2
    options.policy["limits"] = "{ connections: 1 }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      for number in 0..<40 {
        let client = try daemon.connect(timeoutSeconds: 3)
        let response = try client.request(
          "GET /\(number) HTTP/1.1\r\nhost: web\r\n\(closing ? "connection: close\r\n" : "")\r\n")
        #expect(response.status == 200, "request \(number): \(response.head)")
        client.close()
      }
      #expect(upstream.requests.count == 40)
    }
  }
}
