// Workloads that share what is scarce: places at a service by weight, rates that hold for all shards together, and overload
// that refuses those who ask for most. Clients are told apart by their source addresses.

import Glibc
import TestSupport
import Testing

/// Lets requests through one at a time.
private final class Turnstile: Sendable {
  private let open = Monitor(0)

  func admit(_ count: Int) { open.with { $0 += count } }

  /// False when nobody was admitted in time.
  func pass() -> Bool {
    for _ in 0..<1_000 {
      if !open.wait(seconds: 20, until: { $0 > 0 }) { return false }
      let mine = open.with { open in
        if open > 0 {
          open -= 1
          return true
        }
        return false
      }
      if mine { return true }
    }
    return false
  }
}

private let flood = "127.0.0.2"
private let polite = "127.0.0.3"

@Suite("Fairness", needsDaemon)
struct FairnessTests {
  /// Two workloads by source address.
  private func options(
    _ upstream: ScriptedUpstream, shards: Int = 1, flood floodKeys: String = "", polite politeKeys: String = "",
    limits: String? = nil
  ) -> FairleadOptions {
    var options = FairleadOptions(upstream)
    options.shards = shards
    if let limits { options.policy = ["limits": "{ \(limits) }"] }
    options.extra = """
      workloads:
        - { name: flood, match: { addresses: [\(flood)] }\(floodKeys) }
        - { name: polite, match: { addresses: [\(polite)] }\(politeKeys) }
      """
    return options
  }

  /// Sends one request on each of so many connections of its own.
  private func send(_ daemon: FairleadProcess, _ count: Int, from source: String, _ target: String) throws
    -> [RawClient]
  {
    try (0..<count).map { _ in
      let client = try daemon.connect(timeoutSeconds: 30, source: source)
      try client.send("GET \(target) HTTP/1.1\r\nHost: web\r\n\r\n")
      return client
    }
  }

  private func queued(_ daemon: FairleadProcess, _ workload: String) throws -> Double {
    try daemon.admin.metrics().sum("fairlead_workload_queued_requests", ["workload": workload])
  }

  @Test("who floods a service waits behind itself, and is refused when the queue is full; who does not is served")
  func flooding() throws {
    let turnstile = Turnstile()
    let upstream = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        guard turnstile.pass() else { return }
        try connection.respond(to: request, body: "ok")
      }
    }
    let options = options(upstream, limits: "connections: 8, requests: 2, pending: 8")
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let flooding = try send(daemon, 30, from: flood, "/flood")
      let settled = try eventually { try daemon.waitForError("FL2203", count: 20) && queued(daemon, "flood") == 8 }
      #expect(settled)
      #expect(upstream.requests.count == 2)
      // There is no room left: the newest of the flood go.
      let quiet = try send(daemon, 3, from: polite, "/polite")
      let isIn = try eventually { try queued(daemon, "polite") == 3 && queued(daemon, "flood") == 5 }
      #expect(isIn)
      #expect(try daemon.waitForError("FL2203", count: 23))
      let rows = try daemon.admin.json("/workloads")["workloads"].elements
      let shown = rows.filter { $0["name"].text == "polite" }.compactMap { $0["queued"].number }
      #expect(shown == [3])

      // Places come free one at a time: by turns they are the polite one's, whatever the flood has waiting.
      for count in 3...8 {
        turnstile.admit(1)
        #expect(upstream.wait { $0.reduce(0) { $0 + $1.requests.count } == count })
      }
      #expect(upstream.requests.count { $0.target == "/polite" } == 3)
      turnstile.admit(1_000)
      for client in quiet { #expect(try client.readResponse().status == 200) }
      let statuses = try flooding.map { try $0.readResponse().status }
      #expect(statuses.count { $0 == 200 } == 7 && statuses.count { $0 == 503 } == 23)
      let isEmpty = try eventually { try daemon.admin.metrics().sum("fairlead_pending_requests") == 0 }
      #expect(isEmpty)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("while all wait, places are given by weight")
  func weights() throws {
    let turnstile = Turnstile()
    let upstream = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        guard turnstile.pass() else { return }
        try connection.respond(to: request, body: "ok")
      }
    }
    let options = options(upstream, polite: ", weight: 3", limits: "connections: 8, requests: 1, pending: 100")
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let one = try send(daemon, 13, from: flood, "/one")
      let full = try eventually { try queued(daemon, "flood") == 12 }
      #expect(full)
      let three = try send(daemon, 12, from: polite, "/three")
      let waiting = try eventually { try queued(daemon, "polite") == 12 }
      #expect(waiting)
      for count in 2...13 {
        turnstile.admit(1)
        #expect(upstream.wait { $0.reduce(0) { $0 + $1.requests.count } == count })
      }
      // Of twelve served since, nine.
      let share = upstream.requests.count { $0.target == "/three" }
      #expect((8...10).contains(share), "\(share)")
      // Who goes away makes no gap.
      for client in one.suffix(3) { client.close() }
      turnstile.admit(1_000)
      for client in three + one.dropLast(3) { #expect(try client.readResponse().status == 200) }
    }
  }

  @Test("who waits while weights, and workloads, change is served all the same, by the new ones")
  func reweighting() throws {
    let turnstile = Turnstile()
    let upstream = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        guard turnstile.pass() else { return }
        try connection.respond(to: request, body: "ok")
      }
    }
    var options = options(upstream, limits: "connections: 8, requests: 1, pending: 100")
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let one = try send(daemon, 13, from: flood, "/one")
      let full = try eventually { try queued(daemon, "flood") == 12 }
      #expect(full)
      let three = try send(daemon, 12, from: polite, "/three")
      let waiting = try eventually { try queued(daemon, "polite") == 12 }
      #expect(waiting)
      options.extra = """
        workloads:
          - { name: new, match: { addresses: [127.0.0.7] } }
          - { name: polite, match: { addresses: [\(polite)] }, weight: 3 }
          - { name: flood, match: { addresses: [\(flood)] } }
        """
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try queued(daemon, "flood") == 12 && queued(daemon, "polite") == 12)
      for count in 2...13 {
        turnstile.admit(1)
        #expect(upstream.wait { $0.reduce(0) { $0 + $1.requests.count } == count })
      }
      let share = upstream.requests.count { $0.target == "/three" }
      #expect((8...10).contains(share), "\(share)")
      // Without workloads nobody waits for a turn any more, and those who do are not forgotten.
      options.extra = ""
      try reload(daemon, options.yaml(in: daemon.directory))
      turnstile.admit(1_000)
      for client in one + three { #expect(try client.readResponse().status == 200) }
      let isEmpty = try eventually { try daemon.admin.metrics().sum("fairlead_pending_requests") == 0 }
      #expect(isEmpty)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("on several shards nobody is left waiting, whichever shard the places come free on")
  func severalShards() throws {
    let upstream = try ScriptedUpstream(.answering)
    let options = options(upstream, shards: 4, limits: "connections: 4, requests: 2, pending: 400")
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<24).map { number in
        try daemon.connect(timeoutSeconds: 30, source: number.isMultiple(of: 8) ? polite : flood)
      }
      for _ in 0..<40 {
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients { #expect(try client.readResponse().status == 200) }
      }
      #expect(upstream.connections.count { !$0.requests.isEmpty } >= 1)
      let isEmpty = try eventually { try daemon.admin.metrics().sum("fairlead_pending_requests") == 0 }
      #expect(isEmpty)
      #expect(try daemon.admin.json("/status")["inFlightRequests"].number == 0)
    }
  }

  @Test("a rate limit admits exactly its burst, on however many shards", arguments: ["workload", "service"])
  func rateLimit(scope: String) throws {
    let upstream = try ScriptedUpstream(.answering)
    let limit = "rateLimit: { requests: 10, per: 1h, burst: 25 }"
    var options = options(upstream, shards: 2, flood: scope == "workload" ? ", \(limit)" : "")
    if scope == "service" { options.policy["rateLimit"] = "{ requests: 10, per: 1h, burst: 25 }" }
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<12).map { _ in try daemon.connect(source: flood) }
      var statuses: [Int: Int] = [:]
      for _ in 0..<10 {
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients {
          let response = try client.readResponse()
          statuses[response.status, default: 0] += 1
          guard response.status == 429 else { continue }
          #expect(response["fairlead-code"] == "FL2207")
          #expect(
            response.text.contains(scope == "workload" ? "from this workload" : "for the service"), "\(response.text)")
          let seconds = response["retry-after"].flatMap { Int($0) } ?? 0
          #expect((1...360).contains(seconds), "\(seconds)")
        }
      }
      #expect(statuses == [200: 25, 429: 95])
      #expect(upstream.requests.count == 25)
      let name = scope == "workload" ? "flood" : "web"
      #expect(
        try daemon.admin.metrics().sum("fairlead_rate_limited_total", ["scope": scope, "name": name]) == 95)
      // Both shards had a part in it.
      let used = try daemon.admin.json("/status")["shards"].elements.filter { $0["requests"].number ?? 0 > 0 }
      #expect(used.count == 2)
      let other = try daemon.connect(source: polite)
      #expect(try other.get().status == (scope == "workload" ? 200 : 429))
    }
  }

  @Test("a rule's rate admits exactly its burst on all shards, goes on over a reload, and begins anew when it changes")
  func ruleRate() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = options(upstream, shards: 2, flood: ", rateLimit: { requests: 1, per: 1h, burst: 60 }")
    let rule = { (burst: Int) in
      """

      routes:
        - match: { path: { prefix: /limited } }
          name: limited
          to: /svc/web
          rateLimit: { requests: 10, per: 1h, burst: \(burst) }
        - match: { path: { prefix: /free } }
          to: /svc/web
      """
    }
    let workloads = options.extra
    options.extra = workloads + rule(25)
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<12).map { _ in try daemon.connect(source: flood) }
      var statuses: [Int: Int] = [:]
      for _ in 0..<10 {
        for client in clients { try client.send("GET /limited HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients {
          let response = try client.readResponse()
          statuses[response.status, default: 0] += 1
          guard response.status == 429 else { continue }
          #expect(response["fairlead-code"] == "FL2207" && response.text.contains("for this rule"), "\(response.text)")
          let seconds = response["retry-after"].flatMap { Int($0) } ?? 0
          #expect((1...360).contains(seconds), "\(seconds)")
        }
      }
      #expect(statuses == [200: 25, 429: 95])
      #expect(upstream.requests.count == 25)
      let refused = ["scope": "route", "name": "limited"]
      #expect(try daemon.admin.metrics().sum("fairlead_rate_limited_total", refused) == 95)
      let used = try daemon.admin.json("/status")["shards"].elements.filter { $0["requests"].number ?? 0 > 0 }
      #expect(used.count == 2)
      let rows = try daemon.admin.json("/routes")["routes"].elements
      #expect(rows.first?["rateLimited"].number == 95 && rows.first?["requests"].number == 120)
      #expect(rows.first?["does"].text == "to /svc/web, limit 10 per 1h")
      // What the rule refused did not count against its workload: 35 of 60 are left.
      for number in 0..<36 {
        #expect(try clients[0].get("/free").status == (number < 35 ? 200 : 429))
      }
      #expect(try daemon.admin.metrics().sum("fairlead_rate_limited_total", ["scope": "workload"]) == 1)

      // Another rule before it, and the same rate: it is still used up. Another rate begins anew.
      let other = try daemon.connect(source: polite)
      options.extra = (workloads + rule(25)).replacing("routes:\n", with: "routes:\n  - { match: { hosts: [a] } }\n")
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try other.get("/limited").status == 429)
      options.extra = workloads + rule(2)
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try (0..<3).map { _ in try other.get("/limited").status } == [200, 200, 429])
    }
  }

  @Test("connections over a workload's rate are told so and end; those there are go on")
  func connectionRate() throws {
    let upstream = try ScriptedUpstream(.answering)
    let options = options(upstream, flood: ", connectionRate: { connections: 3, per: 1h }")
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<3).map { _ in try daemon.connect(source: flood) }
      for client in clients { #expect(try client.get().status == 200) }
      let fourth = try daemon.connect(source: flood)
      try fourth.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
      let response = try fourth.readResponse()
      #expect(response.status == 429 && response["fairlead-code"] == "FL2208")
      #expect(response["connection"] == "close" && response["retry-after"] != nil)
      try expectClosed(fourth)
      for client in clients { #expect(try client.get("/again").status == 200) }
      #expect(try daemon.connect(source: polite).get().status == 200)
      let metrics = try daemon.admin.metrics()
      #expect(metrics.sum("fairlead_rate_limited_total", ["scope": "connection", "name": "flood"]) == 1)
    }
  }

  @Test(
    "a flooded shard refuses of the flood, serves the others all along, and ceases when it is over, without flapping",
    .enabled(if: NginxProcess.isInstalled && findTool("h2load") != nil, "needs nginx and h2load (nghttp2-client)"))
  func overload() throws {
    let upstream = try NginxProcess(locations: "location / { return 200 \"ok\\n\"; }")
    var options = FairleadOptions(web: [upstream.address])
    options.limits = "overload: { loopLag: 1ms, memory: none }"
    options.policy = ["limits": "{ connections: 4000, requests: 4000 }"]
    options.extra = """
      workloads:
        - { name: polite, match: { addresses: [\(polite)] }, weight: 1000 }
      """
    try withFairlead(options) { daemon in
      let directory = try TemporaryDirectory()
      let load = try Child(
        ["h2load", "--h1", "-D", "8", "-c", "600", "-t", "1", "--connect-to=\(daemon.address)", "http://web/"],
        directory: directory,
        name: "h2load")
      defer { load.stop(seconds: 1) }
      let state = { () throws in try daemon.admin.metrics().sum("fairlead_overload_state") }
      let client = try daemon.connect(timeoutSeconds: 30, source: polite)
      var sheds = false
      while load.isRunning {
        for _ in 0..<20 {
          let response = try client.get()
          #expect(response.status == 200, "\(response["fairlead-code"] ?? "") \(response["l5d-err"] ?? "")")
          // Polite is who asks for little.
          usleep(2_000)
        }
        if try state() == 1 { sheds = true }
      }
      #expect(sheds)
      let metrics = try daemon.admin.metrics()
      #expect(metrics.sum("fairlead_shed_total", ["workload": "other", "reason": "loop_lag"]) > 0)
      #expect(metrics.sum("fairlead_shed_total", ["workload": "polite"]) == 0)
      #expect(metrics.errorsByCode["FL2209"] ?? 0 > 0)
      let ended = try eventually(seconds: 30) { try state() == 0 }
      #expect(ended)
      #expect(try daemon.admin.metrics().sum("fairlead_overload_changes_total") <= 4)
      #expect(try daemon.get().status == 200)
      upstream.stop()
    }
  }

  @Test("memory over its mark refuses most of what is new, never all, and is told")
  func memory() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.limits = "overload: { loopLag: none, memory: 1MiB }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let client = try daemon.connect()
      var statuses: [Int: Int] = [:]
      let isOver = try eventually(seconds: 20) {
        let response = try client.get()
        statuses[response.status, default: 0] += 1
        if response.status == 503 {
          #expect(response["fairlead-code"] == "FL2209" && response["retry-after"] == "1")
        }
        return (statuses[503] ?? 0) >= 200 && (statuses[200] ?? 0) >= 5
      }
      #expect(isOver, "\(statuses)")
      #expect(statuses.count == 2)
      #expect(try daemon.admin.json("/status")["shards"].elements.first?["overload"].text == "memory")
      let metrics = try daemon.admin.metrics()
      #expect(metrics.sum("fairlead_shed_total", ["workload": "other", "reason": "memory"]) >= 200)
    }
  }
}
