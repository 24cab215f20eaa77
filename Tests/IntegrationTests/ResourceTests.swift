// What the proxy uses: allocations for a request, memory for an idle connection, descriptors, and both of its shards.

import Glibc
import TestSupport
import Testing

@Suite("Resources", needsDaemon)
struct ResourceTests {
  static let counterSource =
    String(#filePath.prefix(upTo: #filePath.ranges(of: "/").last?.lowerBound ?? #filePath.endIndex))
    + "/Preload/count-allocations.c"

  /// Answers at once, whatever comes, without parsing more than it must: the load's other half.
  static let quick = Script { connection in
    let response = Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".utf8)
    while try connection.stream.take(through: "\r\n\r\n").bytes != nil { try connection.send(response) }
  }

  struct Load: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var request: String
    var routes = ""
    /// Whether a second endpoint answers late, and its requests are hedged.
    var isHedged = false
  }

  /// The same after some milliseconds; its connection may be ended meanwhile.
  static let late = Script { connection in
    let response = Array("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".utf8)
    while try connection.stream.take(through: "\r\n\r\n").bytes != nil {
      usleep(4_000)
      do { try connection.send(response) } catch { return }
    }
  }

  /// Rules that ask for everything a rule can ask for, and change what they can change.
  static let rules =
    """
    routes:
      - { match: { hosts: [other.local], path: { prefix: / } }, respond: { status: 404 } }
      - match: { path: { regex: "/v[0-9]+/.*" }, methods: [GET], headers: [ { name: accept, regex: ".*" } ],
                 query: [ { name: q, exact: "1" } ], workloads: [other] }
        split: [ { to: /svc/web, weight: 1 }, { to: "/#/static/web", weight: 1 } ]
        rewrite: { path: { regex: "^/v([0-9]+)", replacement: "/api/$1" }, host: b.local }
        headers: { request: { set: { x-a: b }, remove: [user-agent] }, response: { set: { x-b: c } } }
        mirror: { to: /svc/web, percent: 100 }
        timeout: 5s
    """

  @Test(
    "after warm-up a keep-alive request allocates nothing",
    arguments: [
      Load(
        testDescription: "GET",
        request: "GET /path?query HTTP/1.1\r\nHost: web\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n"),
      Load(
        testDescription: "a long head",
        request: "GET / HTTP/1.1\r\nHost: web\r\nCookie: \(String(repeating: "c", count: 4000))\r\n\r\n"),
      Load(
        testDescription: "by a rule that changes and mirrors it",
        request: "GET /v2/x?q=1 HTTP/1.1\r\nHost: web\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n", routes: rules),
      Load(
        testDescription: "hedged",
        request: "GET /path?query HTTP/1.1\r\nHost: web\r\nUser-Agent: test\r\nAccept: */*\r\n\r\n", isHedged: true),
    ])
  func allocations(_ load: Load) throws {
    let directory = try TemporaryDirectory()
    guard let counter = try AllocationCounter(source: ResourceTests.counterSource, directory: directory) else {
      try Test.cancel("needs a C compiler")
    }
    let upstream = try ScriptedUpstream(ResourceTests.quick)
    var options = FairleadOptions(upstream)
    options.environment = counter.environment
    options.extra = load.routes
    var upstreams = [upstream]
    if load.isHedged {
      upstreams.append(try ScriptedUpstream(ResourceTests.late))
      options.services["web"] = upstreams.map(\.address.description)
      options.policy = [
        "hedging": "{ percentile: 50, samples: 10 }", "balancer": "{ kind: round-robin }",
        "retries": "{ budget: { percent: 1000 } }",
      ]
    }
    try withFairlead(options, upstreams: upstreams) { daemon in
      let clients = try (0..<8).map { _ in try daemon.connect() }
      let exchange = { (count: Int) in
        for number in 0..<count {
          let client = clients[number % clients.count]
          try client.send(load.request)
          guard try client.stream.take(through: "\r\n\r\nok").bytes != nil else { throw HarnessError("no answer") }
        }
      }
      try exchange(800)
      // Pools grow, by many pieces at a time, when more is in flight than ever before, as on a busy machine that lets copies
      // pile up. What allocated for each request would do it in every round.
      // A round that takes longer than the heartbeat's second sees what a beat allocates.
      let round = load.isHedged ? 100 : 2_000
      var counts: [Int] = []
      repeat {
        let before = counter.byThread
        try exchange(round)
        let after = counter.byThread
        #expect((before["fl-shard-0"] ?? 0) > 0, "the counter sees nothing: \(before)")
        counts.append((after["fl-shard-0"] ?? 0) - (before["fl-shard-0"] ?? 0))
      } while counts.last != 0 && counts.count < 4
      #expect(counts.last == 0, "\(counts) allocations in \(round) requests each")
      if load.isHedged {
        // How many depends on the machine: half of the requests go to the late one, where it is not busy.
        #expect(try daemon.admin.metrics().sum("fairlead_hedges_total", ["outcome": "won"]) > 20)
      }
    }
  }

  @Test("an idle keep-alive connection costs little, and 5,000 of them are served")
  func idleConnections() throws {
    raiseDescriptorLimit()
    let upstream = try ScriptedUpstream(ResourceTests.quick)
    try withFairlead(FairleadOptions(upstream), upstreams: [upstream]) { daemon in
      let request = "GET / HTTP/1.1\r\nHost: web\r\n\r\n"
      let ask = { (client: RawClient) in
        try client.send(request)
        guard try client.stream.take(through: "\r\n\r\nok").bytes != nil else { throw HarnessError("no answer") }
      }
      for _ in 0..<100 { try ask(try daemon.connect()) }
      let before = daemon.inspector.residentBytes
      let clients = try (0..<5_000).map { _ in
        let client = try daemon.connect()
        try ask(client)
        return client
      }
      let each = Double(daemon.inspector.residentBytes - before) / Double(clients.count)
      print("idle keep-alive connection: \(each.rounded()) bytes of resident memory, start-up \(before / 1024) KiB")
      #expect(each <= 1024, "\(each) bytes each")
      #expect(before < 20 << 20, "start-up and 100 connections take \(before / 1024) KiB")
      for client in clients { try ask(client) }
    }
  }

  @Test("200 keep-alive connections on two shards: neither has more than 60 %", arguments: 0..<3)
  func spread(_ round: Int) throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.shards = 2
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<200).map { _ in try daemon.connect() }
      for client in clients { #expect(try client.get().status == 200) }
      let shares = try ResourceTests.downstreamByShard(daemon)
      #expect(shares.values.reduce(0, +) == 200, "\(shares)")
      #expect(shares.count == 2, "\(shares)")
      #expect(shares.values.allSatisfy { $0 <= 120 }, "\(shares)")
      for client in clients { #expect(try client.get().status == 200) }
    }
  }

  /// Downstream connections by shard, from `/connections`.
  static func downstreamByShard(_ daemon: FairleadProcess) throws -> [Int: Int] {
    let table = try daemon.admin.json("/connections")
    let rows = table["connections"].elements.isEmpty ? table.elements : table["connections"].elements
    return rows.reduce(into: [:]) { result, row in
      guard row["direction"].text != "upstream", let shard = row["shard"].number else { return }
      result[Int(shard), default: 0] += 1
    }
  }

  @Test("2,000 connections leave no descriptor behind")
  func descriptors() throws {
    try withFairlead(.answering) { daemon, upstream in
      for number in 0..<2_000 {
        let client = try RawClient(daemon.address)
        switch number % 5 {
        case 0: client.close()
        case 1: client.reset()
        case 2:
          try client.send("GET / HT")
          client.reset()
        case 3:
          try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n")
          client.close()
        default:
          #expect(try client.get().status == 200)
          client.close()
        }
      }
      #expect(try daemon.get().status == 200)
      upstream.stop()
      // `withFairlead` goes on to compare the descriptors with those at the start.
    }
  }

  @Test("connections past the limit are turned away, and there is room again when others end")
  func connectionLimit() throws {
    try withFairlead(.answering, limits: "connections: 50") { daemon, _ in
      let clients = try (0..<50).map { _ in try daemon.connect() }
      for client in clients { #expect(try client.get().status == 200) }
      let over = try (0..<20).map { _ in try RawClient(daemon.address, timeoutSeconds: 3) }
      for client in over {
        client.sendRegardless(Array("GET / HTTP/1.1\r\nHost: web\r\n\r\n".utf8))
        // Closed, refused with 503, or left waiting: but not served.
        let (bytes, _) = try client.readToEnd(seconds: 0.2)
        #expect(!String(decoding: bytes, as: UTF8.self).hasPrefix("HTTP/1.1 200"))
        client.close()
      }
      for client in clients { #expect(try client.get().status == 200) }
      clients.prefix(25).forEach { $0.close() }
      let roomAgain = eventually { (try? daemon.get().status) == 200 }
      #expect(roomAgain)
    }
  }

  @Test(
    "a real load generator on many connections sees no error", .enabled(if: findTool("h2load") != nil, "needs h2load"),
    arguments: [1, 2])
  func load(_ shards: Int) throws {
    guard NginxProcess.isInstalled else { try Test.cancel("needs nginx") }
    let nginx = try NginxProcess(locations: "location / { return 200 \"0123456789\"; }")
    var options = FairleadOptions()
    options.shards = shards
    options.services["127.0.0.1"] = ["\(nginx.address)"]
    try withFairlead(options) { daemon in
      let result = try Child.run(
        ["h2load", "--h1", "-n", "30000", "-c", "300", "-t", "1", "http://\(daemon.address)/"], seconds: 60)
      #expect(result.output.contains("30000 succeeded, 0 failed, 0 errored, 0 timeout"), "\(result.output)")
      #expect(result.output.contains("30000 2xx"))
      nginx.stop()
    }
  }

  private func raiseDescriptorLimit() {
    var limit = rlimit()
    getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
