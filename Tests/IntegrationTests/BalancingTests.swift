// Which endpoint gets a request, over real sockets: every kind of balancer, keys, weights, zones, and what is shown of it.

import Glibc
import TestSupport
import Testing

@Suite("Balancing", needsDaemon)
struct BalancingTests {
  /// Endpoints that answer with their number.
  private func upstreams(_ count: Int) throws -> [ScriptedUpstream] {
    try (0..<count).map { try ScriptedUpstream(.answering(with: "\($0)")) }
  }

  private func options(
    _ upstreams: [ScriptedUpstream], balancer: String, suffixes: [String] = []
  ) -> FairleadOptions {
    var options = FairleadOptions()
    options.services["web"] = upstreams.enumerated().map { number, upstream in
      "\(upstream.address)\(suffixes.indices.contains(number) ? " " + suffixes[number] : "")"
    }
    options.policy["balancer"] = balancer
    // Several daemons use the same endpoints one after the other: none may keep connections to them.
    options.policy["timeouts"] = "{ idle: 100ms }"
    return options
  }

  /// Which endpoint answers a request.
  private func answer(_ client: RawClient, _ fields: String = "") throws -> String {
    try client.request("GET / HTTP/1.1\r\nHost: web\r\n\(fields)\r\n").text
  }

  @Test(
    "a key leads to one endpoint, on every shard and in every process, and keys spread",
    arguments: ["ring-hash", "maglev"])
  func byHeader(kind: String) throws {
    let upstreams = try upstreams(5)
    defer { upstreams.forEach { $0.stop() } }
    var owners: [[String]] = []
    for shards in [1, 2] {
      var options = options(upstreams, balancer: "{ kind: \(kind), hash: { header: x-user } }")
      options.shards = shards
      try withFairlead(options) { daemon in
        let clients = try (0..<4).map { _ in try daemon.connect() }
        owners.append(
          try (0..<100).map { user in
            let answers = Set(try clients.map { try answer($0, "X-User: user-\(user)\r\n") })
            #expect(answers.count == 1, "user-\(user): \(answers)")
            return answers.first ?? ""
          })
        // Nobody's: by load, which on a busy machine may speak against some of them.
        let keyless = try (0..<100).map { _ in try answer(clients[0]) }
        #expect(Set(keyless).count > 1)
      }
    }
    #expect(owners[0] == owners[1])
    #expect(Set(owners[0]).count == 5)
  }

  @Test("nodes with an aperture share the endpoints between them, and a slice that dies is stood in for by the others")
  func aperture() throws {
    let upstreams = try upstreams(12)
    defer { upstreams.forEach { $0.stop() } }
    var slices: [Set<String>] = []
    for position in 0..<3 {
      let balancer = "{ kind: aperture, aperture: { size: 4, peers: 3, position: \(position) }, panic: 0 }"
      try withFairlead(options(upstreams, balancer: balancer)) { daemon in
        let client = try daemon.connect()
        slices.append(Set(try (0..<200).map { _ in try answer(client) }))
        #expect(try daemon.admin.value("fairlead_balancer_aperture_endpoints{service=\"web\"}") == 4)
        guard position == 2, let slice = slices.last else { return }
        for number in slice.compactMap({ Int($0) }) { upstreams[number].stop() }
        #expect(try (0..<20).allSatisfy { _ in !slice.contains(try answer(client)) })
      }
    }
    #expect(slices.map(\.count) == [4, 4, 4], "\(slices)")
    #expect(slices.reduce(into: Set<String>()) { $0.formUnion($1) }.count == 12)
  }

  @Test("a cookie is a key, and so is the client's address")
  func byCookieAndSource() throws {
    let upstreams = try upstreams(4)
    defer { upstreams.forEach { $0.stop() } }
    try withFairlead(options(upstreams, balancer: "{ kind: maglev, hash: { cookie: session } }")) { daemon in
      let client = try daemon.connect()
      let plain = try (0..<40).map { try answer(client, "Cookie: session=s\($0)\r\n") }
      let among = try (0..<40).map { try answer(client, "Cookie: a=b; session=s\($0); c=d\r\n") }
      #expect(plain == among)
      #expect(Set(plain).count == 4)
    }
    try withFairlead(options(upstreams, balancer: "{ kind: maglev, hash: { source: true } }")) { daemon in
      let answers = try (0..<20).map { _ in try answer(try daemon.connect()) }
      #expect(Set(answers).count == 1)
    }
  }

  @Test("when the endpoint of a key dies another serves it, and no other key moves")
  func failover() throws {
    let upstreams = try upstreams(4)
    defer { upstreams.forEach { $0.stop() } }
    try withFairlead(options(upstreams, balancer: "{ kind: ring-hash, hash: { header: x-user } }")) { daemon in
      let client = try daemon.connect()
      let before = try (0..<60).map { try answer(client, "X-User: \($0)\r\n") }
      upstreams[2].stop()
      let after = try (0..<60).map { try answer(client, "X-User: \($0)\r\n") }
      #expect(before.contains("2") && !after.contains("2"))
      for (first, second) in zip(before, after) where first != "2" { #expect(first == second) }
    }
  }

  @Test(
    "weights are honoured by every kind",
    arguments: [
      "least-loaded, load: in-flight", "round-robin", "random", "ring-hash, hash: { header: x-user }",
      "maglev, hash: { header: x-user }",
    ])
  func weights(kind: String) throws {
    let upstreams = try upstreams(2)
    try withFairlead(
      options(upstreams, balancer: "{ kind: \(kind) }", suffixes: ["", "* 4"]), upstreams: upstreams
    ) { daemon in
      let client = try daemon.connect()
      for number in 0..<500 { _ = try answer(client, "X-User: \(number)\r\n") }
      // 100 of 500 with a standard deviation of nine, and the ring's arcs vary by some 6 %.
      let light = upstreams[0].requests.count
      #expect((45...165).contains(light), "\(light) of 500")
    }
  }

  @Test("round robin takes turns")
  func turns() throws {
    let upstreams = try upstreams(3)
    try withFairlead(options(upstreams, balancer: "{ kind: round-robin }"), upstreams: upstreams) { daemon in
      let client = try daemon.connect()
      let answers = try (0..<30).map { _ in try answer(client) }
      for place in 0..<27 { #expect(answers[place] == answers[place + 3]) }
      #expect(Set(answers).count == 3)
    }
  }

  @Test("requests stay near: an endpoint that is elsewhere gets none, whatever its turn")
  func near() throws {
    let upstreams = try upstreams(2)
    var options = options(
      upstreams, balancer: "{ kind: round-robin, locality: { prefer: zone } }", suffixes: ["@ b", "@ b"])
    // A documentation address, where nobody answers; the others are this host's own, and so nearer than any zone.
    options.services["web", default: []].append("203.0.113.7:80 * 5 @ c")
    options.node = "zone: a"
    try withFairlead(options, upstreams: upstreams) { daemon in
      let client = try daemon.connect()
      for _ in 0..<40 { #expect(["0", "1"].contains(try answer(client))) }
      let endpoints = try daemon.admin.json("/endpoints")["endpoints"].elements
      #expect(endpoints.map { $0["zone"].text } == ["b", "b", "c"])
      #expect(endpoints.last?["requests"].number == 0)
      #expect(try daemon.admin.value("fairlead_balancer_panic{service=\"web\"}") == 0)
    }
  }

  @Test("an endpoint that is new to its service starts slowly, and what its share follows is shown")
  func slowStart() throws {
    let upstreams = try upstreams(3)
    var options = options(
      Array(upstreams[..<2]), balancer: "{ kind: random, slowStart: 1h }", suffixes: ["", "* 2"])
    try withFairlead(options, upstreams: upstreams) { daemon in
      #expect(try effectiveWeights(daemon) == [1, 2])
      options.services["web", default: []].append("\(upstreams[2].address) * 4")
      _ = try daemon.directory.write("fairlead.yaml", options.yaml(in: daemon.directory))
      daemon.child.signal(SIGHUP)
      #expect(try eventually { try effectiveWeights(daemon).count == 3 })
      let weights = try effectiveWeights(daemon)
      #expect(weights[..<2] == [1, 2] && weights[2] >= 0.4 && weights[2] < 0.6, "\(weights)")
      let client = try daemon.connect()
      let newcomers = try (0..<300).count { _ in try answer(client) == "2" }
      // 0.4 of 3.4 instead of 4 of 7.
      #expect((5...75).contains(newcomers), "\(newcomers) of 300")
    }
  }

  private func effectiveWeights(_ daemon: FairleadProcess) throws -> [Double] {
    try daemon.admin.json("/endpoints")["endpoints"].elements.compactMap { $0["effectiveWeight"].number }
  }

  @Test("one endpoint of four that is much slower gets few requests", arguments: ["p2c", "least-loaded"])
  func slowEndpoint(kind: String) throws {
    let upstreams = try (0..<4).map { number in
      try ScriptedUpstream { connection in
        while let request = try connection.readRequest() {
          // What the balancer measures is the time itself.
          _ = Gate().wait(seconds: number == 3 ? 0.2 : 0.002)
          try connection.respond(to: request, body: "\(number)")
        }
      }
    }
    try withFairlead(options(upstreams, balancer: "{ kind: \(kind), load: ewma }"), upstreams: upstreams) { daemon in
      let clients = try (0..<8).map { _ in try daemon.connect() }
      for _ in 0..<25 {
        for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
        for client in clients { #expect(try client.readResponse().status == 200) }
      }
      // Less than half of its even share, which would be fifty.
      #expect(upstreams[3].requests.count < 25, "\(upstreams.map { $0.requests.count })")
    }
  }

  @Test(
    "no kind allocates for a request",
    arguments: [
      "p2c, locality: { prefer: zone }", "least-loaded", "round-robin", "random, slowStart: 1h",
      "ring-hash, hash: { header: x-user }", "maglev, hash: { cookie: session }",
    ])
  func allocations(kind: String) throws {
    let directory = try TemporaryDirectory()
    guard let counter = try AllocationCounter(source: ResourceTests.counterSource, directory: directory) else {
      try Test.cancel("needs a C compiler")
    }
    let upstreams = try (0..<3).map { _ in try ScriptedUpstream(ResourceTests.quick) }
    var options = options(upstreams, balancer: "{ kind: \(kind) }", suffixes: ["", "* 3", "@ b"])
    options.policy["timeouts"] = nil
    options.environment = counter.environment
    try withFairlead(options, upstreams: upstreams) { daemon in
      let client = try daemon.connect()
      let exchange = { (count: Int) in
        for number in 0..<count {
          try client.send("GET / HTTP/1.1\r\nHost: web\r\nX-User: \(number)\r\nCookie: session=\(number)\r\n\r\n")
          guard try client.stream.take(through: "\r\n\r\nok").bytes != nil else { throw HarnessError("no answer") }
        }
      }
      try exchange(500)
      let before = counter.byThread["fl-shard-0"] ?? 0
      try exchange(1_000)
      #expect(before > 0, "the counter sees nothing")
      // A request would count a thousand times; a message that comes meanwhile, or a connection that is opened late, may.
      let count = (counter.byThread["fl-shard-0"] ?? 0) - before
      #expect(count < 20, "\(count) allocations in 1,000 requests")
    }
  }
}
