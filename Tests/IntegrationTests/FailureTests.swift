// What the proxy makes of failures that are nobody's bad manners: refused ports, unknown names, stale pooled connections,
// endpoints that die under load.

import TestSupport
import Testing

@Suite("Failures and retries", needsDaemon)
struct FailureTests {
  @Test("a refused port is 502 or 503 with l5d-err and a code")
  func refused() throws {
    let refusing = try RefusingAddress()
    try withFairlead(FairleadOptions(web: [refusing.address])) { daemon in
      let client = try daemon.connect()
      for _ in 0..<3 {
        let response = try client.get()
        try expectProxyMade(response, [502, 503], by: daemon)
        // An error of ours on a well-framed request leaves the client's connection good.
        #expect(response["connection"]?.lowercased() != "close")
      }
      // Every attempt that a request may have was made.
      let exhausted = try daemon.admin.value("fairlead_retry_budget_exhausted_total{service=\"web\"}") ?? 0
      #expect(exhausted >= 1)
    }
  }

  @Test("an endpoint that refuses is passed over for one that serves")
  func refusedAmongGood() throws {
    let refusing = try RefusingAddress()
    let upstream = try ScriptedUpstream(.answering)
    try withFairlead(FairleadOptions(web: [refusing.address, upstream.address]), upstreams: [upstream]) { daemon in
      let client = try daemon.connect()
      for number in 0..<100 {
        let response = try client.get("/\(number)")
        #expect(response.status == 200)
      }
      #expect(upstream.requests.count == 100)
    }
  }

  @Test("an unknown name is 404 and says what to do", arguments: ["nobody", "nobody:80", "web.example", "10.0.0.1"])
  func unknownName(_ host: String) throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.get("/", host: host)
      try expectProxyMade(response, [404], by: daemon)
      #expect(!response.text.isEmpty)
      #expect(try client.get("/").status == 200)
      #expect(upstream.requests.count == 1)
    }
  }

  @Test("a Host that would walk through the names is no name", arguments: ["..", ".", "a/../web", "#", "$", "%2e%2e"])
  func oddName(_ host: String) throws {
    try withFairlead(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.get("/", host: host)
      #expect([400, 404].contains(response.status), "\(response.head)")
      #expect(upstream.requests.isEmpty)
    }
  }

  @Test("a service without an endpoint is 503")
  func noEndpoint() throws {
    try withFairlead(FairleadOptions(web: [])) { daemon in
      try expectProxyMade(try daemon.get(), [503], by: daemon)
    }
  }

  @Test("an idle pooled connection that died is replaced without the client's knowing", arguments: ["GET", "POST"])
  func stalePooled(_ method: String) throws {
    // Every connection serves one request, says nothing of closing, and closes when told to.
    let mayClose = Monitor(0)
    let script = Script { connection in
      guard let request = try connection.readRequest() else { return }
      try connection.respond(to: request, body: "ok")
      mayClose.wait { $0 > connection.index }
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for number in 0..<10 {
        let response = try client.request("\(method) / HTTP/1.1\r\nHost: web\r\nContent-Length: 0\r\n\r\n")
        #expect(response.status == 200, "request \(number): \(response.head)")
        mayClose.with { $0 += 1 }
        // For a GET the close may race with the next request: both must go well. A POST that had begun may not be
        // sent again, so there the proxy is given the time to see the close.
        if method == "POST" {
          let seen = try eventually {
            try daemon.admin.metrics().sum("fairlead_connections", ["direction": "upstream"]) == 0
          }
          #expect(seen, "a closed upstream connection stays in the pool")
        }
      }
      mayClose.with { $0 = 1000 }
      #expect(upstream.connections.count == 10)
      #expect(upstream.requests.count == 10)
    }
  }

  @Test("a pooled connection that dies with the request in it is retried on another one")
  func diesAsItIsTaken() throws {
    // The second request on a connection is met with a close and no answer, as by a server whose idle time was just over.
    let script = Script { connection in
      guard let request = try connection.readRequest() else { return }
      try connection.respond(to: request, body: "ok")
      _ = try connection.readHead()
    }
    try withFairlead(script) { daemon, upstream in
      let client = try daemon.connect()
      for number in 0..<10 {
        let response = try client.get("/\(number)")
        #expect(response.status == 200, "request \(number): \(response.head)")
      }
      #expect(try daemon.admin.metrics().errorsByCode.isEmpty)
      #expect(upstream.connections.count == 10)
    }
  }

  @Test("weights are honoured")
  func weights() throws {
    let light = try ScriptedUpstream(.answering)
    let heavy = try ScriptedUpstream(.answering)
    var options = FairleadOptions()
    options.services["web"] = ["\(light.address)", "\(heavy.address) * 4.0"]
    options.policy["balancer"] = "{ kind: p2c, load: in-flight }"
    try withFairlead(options, upstreams: [light, heavy]) { daemon in
      let client = try daemon.connect()
      for _ in 0..<600 { _ = try client.get() }
      #expect(light.requests.count + heavy.requests.count == 600)
      #expect(heavy.requests.count > light.requests.count * 2, "\(light.requests.count) : \(heavy.requests.count)")
      #expect(light.requests.count > 20)
    }
  }

  @Test("a slow endpoint gets less than its share")
  func slowEndpoint() throws {
    let slow = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        // Slow means slow here: the time itself is what the balancer measures.
        _ = Gate().wait(seconds: 0.02)
        try connection.respond(to: request, body: "slow")
      }
    }
    let fast = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [slow.address, fast.address])
    options.policy["balancer"] = "{ kind: p2c, load: ewma, decay: 10s }"
    try withFairlead(options, upstreams: [slow, fast]) { daemon in
      let clients = try (0..<4).map { _ in try daemon.connect() }
      for _ in 0..<50 {
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients { #expect(try client.readResponse().status == 200) }
      }
      #expect(fast.requests.count > slow.requests.count, "\(fast.requests.count) : \(slow.requests.count)")
    }
  }

  enum Death: String, Sendable, CaseIterable { case stopped, killed }

  @Test(
    "an endpoint that dies under load costs no request while two others serve",
    .enabled(if: NginxProcess.isInstalled, "needs nginx"),
    arguments: Death.allCases)
  func endpointDies(_ death: Death) throws {
    guard findTool("h2load") != nil else { try Test.cancel("needs h2load (nghttp2-client)") }
    let backends = try (0..<3).map { number in
      try NginxProcess(locations: "location / { return 200 \"backend \(number)\\n\"; }")
    }
    let directory = try TemporaryDirectory()
    let daemon = try FairleadProcess(
      [
        "--listen", "127.0.0.1:0", "--to", backends.map { "\($0.address)" }.joined(separator: ","), "--admin-socket",
        directory.path("admin.sock"), "--shards", "1",
      ], directory: directory)
    let load = try Child(
      ["h2load", "--h1", "-n", "40000", "-c", "32", "-t", "1", "http://\(daemon.address)/"],
      directory: directory, name: "h2load")
    let under = try eventually(seconds: 20) { try daemon.admin.metrics().sum("fairlead_requests_total") > 8000 }
    #expect(under)
    switch death {
    case .stopped: backends[1].stop()
    case .killed: backends[1].kill()
    }
    let status = try #require(load.wait(seconds: 60), "h2load hangs")
    #expect(status == Child.ExitStatus.exited(0))
    #expect(
      load.standardOutput.contains("40000 succeeded, 0 failed, 0 errored, 0 timeout"), "\(load.standardOutput)")
    #expect(load.standardOutput.contains("40000 2xx, 0 3xx, 0 4xx, 0 5xx"), "\(load.standardOutput)")
    let ended = daemon.child.stop()
    #expect(ended == Child.ExitStatus.exited(0), "\(daemon.child.standardError.suffix(4000))")
  }

  @Test("a service's requests past its limit get 503 at once")
  func requestLimit() throws {
    let mayAnswer = Gate()
    let script = Script { connection in
      while let request = try connection.readRequest() {
        mayAnswer.wait()
        try connection.respond(to: request, body: "ok")
      }
    }
    try withFairlead(script, policy: ["limits": "{ connections: 4, pending: 4, requests: 4 }"]) { daemon, upstream in
      let waiting = try (0..<4).map { _ in try daemon.connect() }
      for client in waiting { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
      #expect(upstream.wait { $0.flatMap(\.requests).count == 4 })
      try expectProxyMade(try daemon.get("/over"), [503], by: daemon)
      mayAnswer.open()
      for client in waiting { #expect(try client.readResponse().status == 200) }
      #expect(try daemon.get("/again").status == 200)
      #expect(!upstream.requests.contains { $0.target == "/over" })
    }
  }
}
