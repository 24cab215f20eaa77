// A second attempt while the first is slow: which requests get one, whose answer the client has, what becomes of the other
// attempt, and who pays.

import TestSupport
import Testing

@Suite("Hedging", needsDaemon)
struct HedgingTests {
  /// What an endpoint does with a request.
  enum Act: Sendable {
    case answers(String)
    /// Holds it until its connection is ended.
    case stalls
    /// The same, until the other attempt has come.
    case answersAfterOther(String)
    /// Breaks its connection off then.
    case breaksAfterOther
    /// Holds it until the test lets go.
    case answersWhenLet
  }

  /// Two endpoints. What is called `/warm` is answered at once; of everything else the first attempt and the second one have
  /// their acts, whichever endpoint they meet.
  final class Stage: Sendable {
    /// Attempts by target, in their order: which endpoint.
    let attempts = Monitor<[String: [Int]]>([:])
    /// Attempts whose connections were ended under them.
    let cut = Monitor<[Int]>([])
    let letGo = Gate()
    let endpoints: [ScriptedUpstream]

    init(_ first: Act, _ second: Act) throws {
      let (attempts, cut, letGo) = (attempts, cut, letGo)
      endpoints = try (0..<2).map { endpoint in
        try ScriptedUpstream { connection in
          while let request = try connection.readRequest() {
            let body = "\(endpoint) \(request.method) \(String(decoding: request.body, as: UTF8.self))"
            if request.target == "/warm" {
              try connection.respond(to: request, body: body)
              continue
            }
            let count = attempts.with { seen -> Int in
              seen[request.target, default: []].append(endpoint)
              return seen[request.target]?.count ?? 0
            }
            switch count == 1 ? first : second {
            case .answers(let status): try connection.respond(to: request, status: status, body: body)
            case .answersAfterOther(let status):
              attempts.wait { ($0[request.target]?.count ?? 0) > 1 }
              try connection.respond(to: request, status: status, body: body)
            case .breaksAfterOther:
              attempts.wait { ($0[request.target]?.count ?? 0) > 1 }
              connection.reset()
              return
            case .answersWhenLet:
              letGo.wait()
              try connection.respond(to: request, body: body)
            case .stalls:
              connection.waitForEnd()
              cut.with { $0.append(count) }
              return
            }
          }
        }
      }
    }

    func endpoints(of target: String) -> [Int] { attempts.with { $0[target] ?? [] } }
  }

  /// A daemon in front of the stage that knows how fast its endpoints are.
  private func withStage(
    _ first: Act, _ second: Act, policy: [String: String] = [:], warm: Int = 40,
    _ body: (FairleadProcess, Stage, RawClient) throws -> Void
  ) throws {
    let stage = try Stage(first, second)
    var options = FairleadOptions(web: stage.endpoints.map(\.address))
    options.policy = policy.merging([
      "hedging": "{ percentile: 90, min: 100ms, samples: 20 }", "balancer": "{ kind: round-robin }",
      "retries": "{ classifier: read-5xx, limit: 1 }",
    ]) { given, _ in given }
    options.accessLog = true
    try withFairlead(options, upstreams: stage.endpoints) { daemon in
      defer { stage.letGo.open() }
      let client = try daemon.connect()
      for _ in 0..<warm { #expect(try client.get("/warm").status == 200) }
      try body(daemon, stage, client)
      stage.letGo.open()
      // Nothing is left of either attempt.
      #expect(
        eventually {
          (try? daemon.admin.metrics().sum("fairlead_endpoint_in_flight_requests", ["service": "web"])) == 0
        })
    }
  }

  private func hedges(_ daemon: FairleadProcess, _ outcome: String) throws -> Double {
    try daemon.admin.metrics().sum("fairlead_hedges_total", ["service": "web", "outcome": outcome])
  }

  @Test(
    "an idempotent request whose answer is late is sent to the other endpoint, and the first attempt is cut off",
    arguments: ["GET", "HEAD", "PUT", "DELETE"])
  func won(method: String) throws {
    try withStage(.stalls, .answers("200 OK")) { daemon, stage, client in
      let body = method == "PUT" ? "hello" : ""
      let length = body.isEmpty ? "" : "Content-Length: \(body.utf8.count)\r\n"
      try client.send("\(method) /slow HTTP/1.1\r\nHost: web\r\n\(length)\r\n\(body)")
      let response = try client.readResponse(to: method)
      let endpoints = stage.endpoints(of: "/slow")
      #expect(response.status == 200 && Set(endpoints) == [0, 1] && endpoints.count == 2, "\(endpoints)")
      if method != "HEAD" { #expect(response.text == "\(endpoints.last ?? 9) \(method) \(body)") }
      #expect(stage.cut.wait { $0 == [1] })
      #expect(try hedges(daemon, "won") == 1)
      #expect(try daemon.admin.metrics().sum("fairlead_retries_total", ["service": "web"]) == 0)
      // The client's connection serves on, and so does the endpoint that was slow.
      for _ in 0..<4 { #expect(try client.get("/warm").status == 200) }
      #expect(
        try daemon.admin.metrics().sum("fairlead_requests_total", ["service": "web", "status_class": "2xx"]) == 45)
      #expect(eventually { daemon.accessLog.contains { $0["hedge"].text == "won" } })
    }
  }

  @Test("the first attempt that answers after all, before its hedge, has the client, and the hedge is cut off")
  func lost() throws {
    try withStage(.answersAfterOther("200 OK"), .stalls) { daemon, stage, client in
      let response = try client.get("/slow")
      #expect(response.status == 200 && response.text.hasPrefix("\(stage.endpoints(of: "/slow").first ?? 9) "))
      #expect(stage.cut.wait { $0 == [2] })
      #expect(try hedges(daemon, "lost") == 1)
      #expect(try hedges(daemon, "won") == 0)
      #expect(eventually { daemon.accessLog.contains { $0["hedge"].text == "lost" } })
    }
  }

  @Test("an answer that is a failure is not taken while the other attempt may do better", arguments: [true, false])
  func failures(hedgeFails: Bool) throws {
    let bad = "503 Service Unavailable"
    try withStage(
      hedgeFails ? .answersWhenLet : .answersAfterOther(bad), hedgeFails ? .answers(bad) : .answersWhenLet
    ) { daemon, stage, client in
      try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(stage.attempts.wait { ($0["/slow"]?.count ?? 0) == 2 })
      // The failure has been seen: the node counts it against its endpoint.
      #expect(
        eventually {
          (try? daemon.admin.metrics().sum(
            "fairlead_endpoint_attempts_total", ["service": "web", "outcome": "failure"])) == 1
        })
      stage.letGo.open()
      #expect(try client.readResponse().status == 200)
      #expect(stage.endpoints(of: "/slow").count == 2)
      #expect(try hedges(daemon, hedgeFails ? "failed" : "won") == 1)
      #expect(try daemon.admin.metrics().sum("fairlead_retries_total", ["service": "web"]) == 0)
    }
  }

  @Test("a first attempt that breaks while its hedge is under way is no failure of the request")
  func broken() throws {
    try withStage(.breaksAfterOther, .answersWhenLet) { daemon, stage, client in
      try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(eventually { (try? hedges(daemon, "won")) == 1 })
      stage.letGo.open()
      #expect(try client.readResponse().status == 200)
      #expect(stage.endpoints(of: "/slow").count == 2)
    }
  }

  @Test("both attempts fail: the answer is the last one's, or another attempt's where the retries allow it")
  func bothFail() throws {
    let bad = "503 Service Unavailable"
    for (retries, status, attempts) in [("{ limit: 0 }", 503, 2), ("{ classifier: read-5xx, limit: 1 }", 503, 3)] {
      try withStage(.answersAfterOther(bad), .answers(bad), policy: ["retries": retries]) { _, stage, client in
        let response = try client.get("/slow")
        #expect(response.status == UInt16(status), "\(response)")
        #expect(stage.endpoints(of: "/slow").count == attempts)
      }
    }
  }

  @Test("the client leaves: both attempts are cut off")
  func clientLeaves() throws {
    try withStage(.stalls, .stalls) { daemon, stage, _ in
      let client = try daemon.connect()
      try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(stage.attempts.wait { ($0["/slow"]?.count ?? 0) == 2 })
      client.reset()
      #expect(stage.cut.wait { Set($0) == [1, 2] })
    }
  }

  @Test("a request that takes too long with both attempts is answered once, in its time")
  func bothSlow() throws {
    try withStage(.stalls, .stalls, policy: ["timeouts": "{ request: 500ms }"]) {
      (_, stage, client) throws in
      #expect(try client.get("/slow").status == 504)
      #expect(stage.cut.wait { Set($0) == [1, 2] })
    }
  }

  @Test("an attempt whose time is over leaves the request to its hedge")
  func attemptTimeout() throws {
    try withStage(.stalls, .answersWhenLet, policy: ["timeouts": "{ request: 15s, attempt: 300ms }"]) {
      daemon, stage, client in
      try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(stage.cut.wait { $0 == [1] })
      stage.letGo.open()
      #expect(try client.readResponse().status == 200)
      #expect(stage.endpoints(of: "/slow").count == 2)
      #expect(try hedges(daemon, "won") == 1)
    }
  }

  @Test(
    "what may not go out twice does not",
    arguments: [
      "POST /once HTTP/1.1\r\nHost: web\r\nContent-Length: 2\r\n\r\nhi",
      "PUT /once HTTP/1.1\r\nHost: web\r\nContent-Length: 100000\r\n\r\n" + String(repeating: "x", count: 100_000),
      "GET /once HTTP/1.1\r\nHost: web\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n",
    ])
  func never(request: String) throws {
    try withStage(.answersWhenLet, .answers("200 OK")) { daemon, stage, client in
      try client.send(request)
      #expect(stage.attempts.wait { ($0["/once"]?.count ?? 0) == 1 })
      // Another request that began later has had its hedge sent meanwhile.
      let other = try daemon.connect()
      #expect(try other.get("/slow").status == 200)
      #expect(stage.endpoints(of: "/slow").count == 2)
      #expect(stage.endpoints(of: "/once").count == 1)
      stage.letGo.open()
      #expect(try client.readResponse().status == 200)
    }
  }

  @Test("nothing is hedged before enough answers are known, and without the key nothing at all")
  func unarmed() throws {
    for policy in [["hedging": "{ samples: 1000 }"], ["hedging": "none"]] {
      try withStage(.answersWhenLet, .answers("200 OK"), policy: policy) { daemon, stage, client in
        try client.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
        #expect(stage.attempts.wait { ($0["/slow"]?.count ?? 0) == 1 })
        let other = try daemon.connect()
        for _ in 0..<50 { #expect(try other.get("/warm").status == 200) }
        #expect(stage.endpoints(of: "/slow").count == 1)
        stage.letGo.open()
        #expect(try client.readResponse().status == 200)
      }
    }
  }

  @Test("hedges are paid for by the retry budget, and refused when that is used up")
  func budget() throws {
    let policy = ["retries": "{ budget: { percent: 0, minPerSecond: 1, window: 10s } }"]
    try withStage(.answersWhenLet, .answers("200 OK"), policy: policy) { daemon, stage, _ in
      let clients = try (0..<10).map { _ in try daemon.connect() }
      for (number, client) in clients.enumerated() {
        try client.send("GET /slow\(number) HTTP/1.1\r\nHost: web\r\n\r\n")
      }
      #expect(eventually { ((try? hedges(daemon, "refused")) ?? 0) >= 1 })
      stage.letGo.open()
      for client in clients { #expect(try client.readResponse().status == 200) }
      let (won, refused) = (try hedges(daemon, "won"), try hedges(daemon, "refused"))
      #expect(won >= 1 && won + refused <= 10, "\(won) won, \(refused) refused")
      let attempts = stage.attempts.with { $0.values.reduce(0) { $0 + $1.count } }
      let lost = try hedges(daemon, "lost")
      #expect(Double(attempts) == 10 + won + lost)
    }
  }
}
