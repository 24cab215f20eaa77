// Requests that are sent again: which, how often, how many, and what the client and the endpoint see of it.

import TestSupport
import Testing

@Suite("Retries", needsDaemon)
struct RetryTests {
  /// Answers the first `count` requests of all its connections with `status`, the others with 200.
  private static func failing(
    _ count: Int, _ status: String = "503 Service Unavailable", fields: String = "", body: String = "no"
  ) -> Script {
    let seen = Monitor(0)
    return Script { connection in
      while let request = try connection.readRequest() {
        let number = seen.with { value -> Int in
          value += 1
          return value
        }
        if number <= count {
          try connection.respond(to: request, status: status, fields: fields, body: body)
        } else {
          try connection.respond(to: request, body: "ok \(String(decoding: request.body, as: UTF8.self))")
        }
      }
    }
  }

  private static func retries(_ daemon: FairleadProcess, _ reason: String) throws -> Double {
    try daemon.admin.metrics().sum("fairlead_retries_total", ["service": "web", "reason": reason])
  }

  @Test("an answer with 5xx to a read is not passed on but asked for again, on the same connection")
  func statusRetried() throws {
    try withFairlead(Self.failing(2)) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.get("/a")
      #expect(response.status == 200 && response.text == "ok ")
      #expect(upstream.requests.map(\.target) == ["/a", "/a", "/a"])
      // What was thrown away was read to its end.
      #expect(upstream.connections.count == 1)
      #expect(try Self.retries(daemon, "status") == 2)
      #expect(try client.get("/b").status == 200)
    }
  }

  struct Answer: Sendable, CustomStringConvertible {
    let bytes: String
    let keepsConnection: Bool
    let description: String
  }

  @Test(
    "however the answer that is thrown away is framed, its connection serves on only where its end is known",
    arguments: [
      Answer(bytes: "content-length: 0\r\n\r\n", keepsConnection: true, description: "empty"),
      Answer(
        bytes: "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", keepsConnection: true, description: "chunked"),
      Answer(
        bytes: "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nx: y\r\n\r\n", keepsConnection: false,
        description: "chunked with trailers"),
      Answer(
        bytes: "content-length: 3\r\nconnection: close\r\n\r\nabc", keepsConnection: false, description: "last one"),
      Answer(bytes: "content-length: 100000\r\n\r\n", keepsConnection: false, description: "long and missing"),
      Answer(
        bytes: "content-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n", keepsConnection: false, description: "more follows"),
    ])
  func discarded(_ answer: Answer) throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if connection.index == 0, connection.requests.count == 1 {
          try connection.send("HTTP/1.1 500 Oops\r\n" + answer.bytes)
        } else {
          try connection.respond(to: request, body: "ok")
        }
      }
    }
    try withFairlead(script) { daemon, upstream in
      let response = try daemon.get("/a")
      #expect(response.status == 200 && response.text == "ok", "\(response.head)")
      #expect(upstream.requests.count == 2)
      #expect(upstream.connections.count == (answer.keepsConnection ? 1 : 2))
    }
  }

  @Test(
    "the classifier says what is asked for again",
    arguments: [
      ("never", "GET", 1), ("read-5xx", "GET", 4), ("read-5xx", "HEAD", 4), ("read-5xx", "PUT", 1),
      ("read-5xx", "POST", 1), ("idempotent-5xx", "DELETE", 4), ("idempotent-5xx", "POST", 1), ("all-5xx", "POST", 4),
    ])
  func classifiers(_ classifier: String, _ method: String, _ attempts: Int) throws {
    let policy = ["retries": "{ classifier: \(classifier) }", "circuitBreaker": "{ kind: none }"]
    try withFairlead(Self.failing(100), policy: policy) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request("\(method) / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n")
      // In the end it is the endpoint's own answer that counts.
      #expect(response.status == 503 && response["fairlead-code"] == nil, "\(response.head)")
      #expect(upstream.requests.count == attempts)
    }
  }

  @Test("a request has as many attempts as its limit says", arguments: [0, 1, 5])
  func limits(_ limit: Int) throws {
    let policy = [
      "retries": "{ limit: \(limit), backoff: { kind: constant, min: 1ms } }", "circuitBreaker": "{ kind: none }",
    ]
    try withFairlead(Self.failing(100), policy: policy) { daemon, upstream in
      let response = try daemon.get()
      #expect(response.status == 503)
      #expect(upstream.requests.count == limit + 1)
    }
  }

  @Test(
    "a body is sent again while it fits what is kept of it, byte for byte, and not past that",
    arguments: [(0, true), (1, true), (60_000, true), (65_536, true), (65_537, false), (200_000, false)])
  func bodies(_ count: Int, _ isRepeated: Bool) throws {
    let policy = ["retries": "{ classifier: all-5xx }"]
    try withFairlead(Self.failing(1), policy: policy) { daemon, upstream in
      let body = String(repeating: "abcdefghij", count: count / 10 + 1).prefix(count)
      let client = try daemon.connect()
      let response = try client.request("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: \(count)\r\n\r\n\(body)")
      #expect(response.status == (isRepeated ? 200 : 503), "\(response.head)")
      #expect(upstream.requests.count == (isRepeated ? 2 : 1))
      #expect(upstream.requests.allSatisfy { $0.body == Array(body.utf8) })
      // The client's connection is as good as before.
      #expect(try client.get().status == 200)
    }
  }

  @Test("a chunked body is sent again with its framing")
  func chunkedBody() throws {
    try withFairlead(Self.failing(1), policy: ["retries": "{ classifier: all-5xx }"]) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request(
        "POST / HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
      #expect(response.status == 200 && response.text == "ok hello world")
      #expect(upstream.requests.map(\.text) == ["hello world", "hello world"])
    }
  }

  @Test("nothing is asked for again once an interim answer was passed on")
  func interim() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        try connection.send("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n")
        try connection.respond(to: request, status: "503 Service Unavailable", body: "no")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(try client.readAllResponses().final.status == 503)
      #expect(upstream.requests.count == 1)
    }
  }

  @Test("requests that follow on the same connection are answered in their order")
  func pipelined() throws {
    try withFairlead(Self.failing(2)) { daemon, upstream in
      let client = try daemon.connect()
      try client.send((0..<5).map { "GET /\($0) HTTP/1.1\r\nHost: web\r\n\r\n" }.joined())
      for _ in 0..<5 { #expect(try client.readResponse().status == 200) }
      #expect(upstream.requests.map(\.target) == ["/0", "/0", "/0", "/1", "/2", "/3", "/4"])
    }
  }

  @Test("a client that leaves while its request waits for the next attempt leaves nothing behind")
  func clientGone() throws {
    let policy = [
      "retries": "{ backoff: { kind: constant, min: 5s, max: 5s } }", "timeouts": "{ request: 60s }",
    ]
    try withFairlead(Self.failing(1), policy: policy) { daemon, upstream in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      let retried = try eventually { try Self.retries(daemon, "status") == 1 }
      #expect(retried)
      client.reset()
      #expect(try daemon.waitForError("FL1103"))
      #expect(upstream.requests.count == 1)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("an attempt that takes too long is given up for another endpoint's")
  func attemptTimeout() throws {
    let silent = try ScriptedUpstream(.silent)
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [silent.address, upstream.address])
    options.policy["timeouts"] = "{ attempt: 100ms, request: 20s }"
    try withFairlead(options, upstreams: [silent, upstream]) { daemon in
      let client = try daemon.connect()
      for number in 0..<20 {
        let response = try client.get("/\(number)")
        #expect(response.status == 200, "\(response.head)")
      }
      #expect(upstream.requests.count == 20)
      #expect(silent.requests.count >= 1)
      #expect(try Self.retries(daemon, "timeout") == Double(silent.requests.count))
      // What may not be applied twice is not sent again.
      var statuses: Set<Int> = []
      for _ in 0..<50 where !statuses.contains(504) {
        statuses.insert(try client.request("POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n").status)
      }
      #expect(statuses.isSubset(of: [200, 504]))
    }
  }

  @Test("when no attempt is answered in time, the client is told so")
  func allTimeOut() throws {
    let policy = ["timeouts": "{ attempt: 50ms, request: 20s }", "retries": "{ limit: 2 }"]
    try withFairlead(.silent, policy: policy) { daemon, upstream in
      let response = try daemon.get()
      try expectProxyMade(response, [504], by: daemon)
      #expect(response["fairlead-code"] == "FL2107")
      #expect(upstream.requests.count == 3)
    }
  }

  @Test("the request's own time ends its attempts, however many it might still have")
  func requestTimeout() throws {
    let policy = [
      "timeouts": "{ request: 300ms }", "retries": "{ limit: 10, backoff: { kind: constant, min: 100ms } }",
    ]
    let script = Script { connection in
      while let request = try connection.readRequest() {
        _ = Gate().wait(seconds: 0.1)
        try connection.respond(to: request, status: "503 Busy", body: "")
      }
    }
    try withFairlead(script, policy: policy) { daemon, upstream in
      let response = try daemon.get()
      #expect(response["fairlead-code"] == "FL2106", "\(response.head)")
      #expect(upstream.requests.count < 5)
    }
  }

  @Test("an endpoint that resets what it is sent costs a read nothing where another serves")
  func resetting() throws {
    let resetting = try ScriptedUpstream { connection in
      _ = try connection.readHead()
      connection.reset()
    }
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [resetting.address, upstream.address])
    options.policy["circuitBreaker"] = "{ kind: none }"
    try withFairlead(options, upstreams: [resetting, upstream]) { daemon in
      let client = try daemon.connect()
      for _ in 0..<100 { #expect(try client.get().status == 200) }
      #expect(try Self.retries(daemon, "closed") >= 1)
    }
  }

  @Test("a service that fails everything sees its requests, a fifth more, and ten a second", arguments: [1, 2])
  func storm(_ shards: Int) throws {
    let upstream = try ScriptedUpstream(Self.failing(.max, body: String(repeating: "x", count: 100)))
    var options = FairleadOptions(upstream)
    options.shards = shards
    options.policy["retries"] = "{ classifier: read-5xx, limit: 3, backoff: { kind: constant, min: 1ms } }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let began = monotonicSeconds()
      let clients = try (0..<8).map { _ in try daemon.connect() }
      let rounds = 250
      for _ in 0..<rounds {
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients { #expect(try client.readResponse().status == 503) }
      }
      let seconds = monotonicSeconds() - began
      let offered = Double(rounds * clients.count)
      let seen = Double(upstream.requests.count)
      #expect(seen <= 1.2 * offered + 10 * (seconds + 1), "\(seen) of \(offered) in \(seconds) s")
      #expect(seen >= 1.15 * offered, "\(seen) of \(offered)")
      let exhausted = try daemon.admin.value("fairlead_retry_budget_exhausted_total{service=\"web\"}") ?? 0
      #expect(exhausted > 0)
    }
  }
}
