// Upstreams that break off, talk nonsense, talk too much or not at all. The client gets a truncated close or a 502 or 504
// with its code, never a clean end of a body that was cut, and never bytes that were meant for another client.

import TestSupport
import Testing

@Suite("Hostile upstreams", needsDaemon)
struct HostileUpstreamTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var response: String
    init(_ name: String, _ response: String) {
      testDescription = name
      self.response = response
    }
  }

  /// Serves `/after` well, and everything else with `response`, then closes.
  static func breaking(_ response: String, reset: Bool = false) -> Script {
    Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/after" {
          try connection.respond(to: request, body: "after")
          continue
        }
        try connection.send(Array(response.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) }))
        if reset { connection.reset() }
        return
      }
    }
  }

  @Test(
    "what is not a response is answered with 502 and a code",
    arguments: [
      Case("an empty close", ""),
      Case("garbage", "\u{0}\u{1}\u{2}garbage\r\n\r\n"),
      Case("text", "hello, I am not HTTP\r\n\r\n"),
      Case("half a status line", "HTTP/1.1 20"),
      Case("half a head", "HTTP/1.1 200 OK\r\nContent-Le"),
      Case("a status of two digits", "HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok"),
      Case("a status of letters", "HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok"),
      Case("a status over 999", "HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok"),
      Case("a version we do not speak", "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"),
      Case("two lengths that differ", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
      Case("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
      Case("a length past 64 bits", "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nok"),
      Case(
        "length and chunked", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
      Case("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: squash\r\n\r\nok"),
      Case("a space before a colon", "HTTP/1.1 200 OK\r\nX-A : b\r\nContent-Length: 2\r\n\r\nok"),
      Case("NUL in a value", "HTTP/1.1 200 OK\r\nX-A: \u{0}\r\nContent-Length: 2\r\n\r\nok"),
      Case("a head of 100 KiB", "HTTP/1.1 200 OK\r\nX-A: \(String(repeating: "a", count: 100 * 1024))\r\n\r\n"),
      Case("1,000 fields", "HTTP/1.1 200 OK\r\n\((0..<1000).map { "X-\($0): a\r\n" }.joined())\r\n"),
    ])
  func garbage(_ test: Case) throws {
    try withFairlead(HostileUpstreamTests.breaking(test.response)) { daemon, _ in
      let client = try daemon.connect()
      // POST: a request that must not be sent a second time.
      try client.send("POST /bad HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nab")
      let response = try client.readResponse()
      try expectProxyMade(response, [502], by: daemon)
      #expect(!response.text.contains("garbage"))
      #expect(try daemon.get("/after").text == "after")
    }
  }

  @Test(
    "what is wrong with an endpoint's response is said",
    arguments: [
      Case(
        "there is more than one Content-Length field",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
      Case(
        "longer than limits.headerBytes", "HTTP/1.1 200 OK\r\nX: \(String(repeating: "a", count: 100 * 1024))\r\n\r\n"),
      Case(
        "101 came for a request that asked for no upgrade", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n"),
    ])
  func refusalIsTold(_ test: Case) throws {
    try withFairlead(HostileUpstreamTests.breaking(test.response)) { daemon, _ in
      let client = try daemon.connect()
      try client.send("POST /bad HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nab")
      let response = try client.readResponse()
      #expect(response.text.contains(test.testDescription) && response.text.contains("FL2104"), "\(response.text)")
    }
  }

  @Test("endless interim responses are bounded")
  func endlessInterim() throws {
    let script = Script { connection in
      guard let request = try connection.readRequest() else { return }
      if request.target == "/after" { return try connection.respond(to: request, body: "after") }
      let many = String(repeating: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", count: 100)
      while (try? connection.send(many)) != nil {}
    }
    try withFairlead(script, policy: ["timeouts": "{ request: 1s }"]) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET /bad HTTP/1.1\r\nHost: web\r\n\r\n")
      var final: Message?
      while let head = try? client.stream.readHead() {
        if head.status >= 200 {
          final = head
          break
        }
      }
      if let final { #expect([502, 504].contains(final.status)) }
      #expect(try daemon.get("/after").text == "after")
    }
  }

  @Test(
    "a body that is cut off never ends cleanly",
    arguments: [
      Case("within its length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
      Case("within a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\npart"),
      Case("between two chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"),
      Case("before the last chunk's end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n"),
      Case("by a chunk size that is none", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\nzz\r\n"),
      Case(
        "by a chunk size of 2^64",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n10000000000000000\r\n"),
    ], [false, true])
  func truncated(_ test: Case, _ reset: Bool) throws {
    // The reset waits until the proxy has read what came before, or the kernel would throw that away.
    let arrived = Gate()
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/after" {
          try connection.respond(to: request, body: "after")
          continue
        }
        try connection.send(test.response)
        if reset {
          arrived.wait(seconds: 2)
          connection.reset()
        }
        return
      }
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET /bad HTTP/1.1\r\nHost: web\r\n\r\n")
      // Whatever the endpoint did next: what had come of its answer is the client's.
      let head = try #require(try client.stream.readHead(), "ended without a byte")
      #expect(head.status == 200)
      _ = try client.stream.take(through: "part")
      arrived.open()
      let (rest, ending) = try client.readToEnd()
      #expect(ending != .timedOut, "the client still waits")
      #expect(!String(decoding: rest, as: UTF8.self).contains("0\r\n\r\n"), "a cut body was given a clean end")
      #expect(try daemon.admin.metrics().errorsByCode.values.reduce(0, +) >= 1)
      #expect(try daemon.get("/after").text == "after")
    }
  }

  @Test("a second response that nobody asked for reaches no client")
  func twoResponses() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/after" {
          try connection.respond(to: request, body: "after")
        } else {
          try connection.send(
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst" + "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        }
      }
    }
    try withFairlead(script) { daemon, _ in
      for _ in 0..<20 {
        let first = try daemon.get("/two")
        #expect(first.text == "first")
        let second = try daemon.get("/after")
        #expect(second.text == "after")
      }
    }
  }

  @Test("bytes after a complete response make the upstream connection unfit")
  func trailingBytes() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/after" {
          try connection.respond(to: request, body: "after")
        } else {
          try connection.send("HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        }
      }
    }
    try withFairlead(script) { daemon, _ in
      let client = try daemon.connect()
      for _ in 0..<20 {
        #expect(try client.get("/extra").status == 204)
        #expect(try client.get("/after").text == "after")
      }
    }
  }

  @Test("an upstream that never answers gets 504 within the request timeout")
  func neverAnswers() throws {
    try withFairlead(.silent, policy: ["timeouts": "{ request: 500ms }"]) { daemon, upstream in
      let client = try daemon.connect()
      let began = monotonicSeconds()
      let response = try client.get("/slow")
      try expectProxyMade(response, [504], by: daemon)
      // A bound on hanging, not on speed.
      #expect(monotonicSeconds() - began > 0.4)
      // The connection that is still owed an answer is not used again.
      #expect(try daemon.get("/slow").status == 504)
      #expect(upstream.connections.count == 2)
      #expect(upstream.wait { $0.allSatisfy { $0.requests.count == 1 } })
    }
  }

  @Test("a response that stops in the middle is cut in time")
  func stopsInTheMiddle() throws {
    try withFairlead(
      .sending("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart"),
      policy: ["timeouts": "{ request: 500ms, idle: 500ms }"]
    ) { daemon, _ in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      let response = try client.readResponse()
      #expect(response.status == 200 || response.status == 504)
      #expect(response.status == 504 || response.truncated != nil)
      #expect(response.truncated != .timedOut)
    }
  }

  @Test("a reset before any byte of the answer is 502 for a request that may not be repeated")
  func resetBeforeAnswer() throws {
    let script = Script { connection in
      _ = try connection.readRequest()
      connection.reset()
    }
    try withFairlead(script) { daemon, upstream in
      let response = try daemon.request(
        "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab")
      try expectProxyMade(response, [502], by: daemon)
      #expect(upstream.requests.count == 1)
    }
  }

  @Test("an answer of Connection: close ends the upstream connection only")
  func upstreamCloses() throws {
    let script = Script { connection in
      while let request = try connection.readRequest() {
        try connection.respond(to: request, fields: "Connection: close\r\n", body: "one")
        return
      }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for number in 1...10 {
        #expect(try client.get().text == "one")
        #expect(upstream.connections.count == number)
      }
    }
  }
}
