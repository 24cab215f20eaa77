// Who is calling, asked of the daemon with real clients: of other users, from other cgroups, from network namespaces, and
// captured on their way to somewhere else.

import Glibc
import TestSupport
import Testing

private let needsRoot = ConditionTrait.enabled(if: geteuid() == 0, "needs root, to become somebody else")

extension FairleadProcess {
  /// Waits until each of these workloads has so many answered requests.
  fileprivate func waitForWorkloads(_ expected: [String: Double]) throws -> Bool {
    try eventually(seconds: 5) {
      let metrics = try admin.metrics()
      return expected.allSatisfy { metrics.sum("fairlead_workload_requests_total", ["workload": $0.key]) == $0.value }
    }
  }

  fileprivate var workloadCounts: String {
    let samples = (try? admin.metrics())?.matching("fairlead_workload_requests_total") ?? []
    return samples.filter { $0.value > 0 }.map { "\($0.labels["workload"] ?? "?") \($0.value)" }.joined(separator: ", ")
  }
}

extension Family {
  /// What leads to the server over this family.
  fileprivate var name: String { self == .v4 ? "web" : "web6" }

  fileprivate func answer(from client: String) -> String { "200 \(client) \(name) /" }
}

@Suite("Workloads", needsDaemon)
struct WorkloadTests {
  /// Runs curl as a user against the daemon, each request on a connection of its own.
  private func curl(_ target: String, as user: String? = nil, times: Int = 1, before: [String] = []) throws {
    let become = user.map { ["setpriv", "--reuid", $0, "--clear-groups"] } ?? []
    for _ in 0..<times {
      let result = try Child.run(
        before + become + ["curl", "-sS", "-g", "-o", "/dev/null", "-H", "Host: web", "http://\(target)/"])
      guard result.status == .exited(0) else { throw HarnessError("curl: \(result.error)") }
    }
  }

  @Test(
    "clients are counted by their users, shown in tables, and named in the access log", needsRoot,
    .enabled(if: findTool("curl") != nil, "needs curl"))
  func users() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.shards = 2
    options.accessLog = true
    options.extra = """
      workloads:
        - { name: web, match: { users: [nobody] }, weight: 2 }
        - { name: operator, match: { users: [0] }, onFailure: refuse }
        - { name: elsewhere, match: { addresses: [192.0.2.0/24, "2001:db8::/32"] } }
        - { name: ghost, match: { users: [no-such-user-here] } }
      """
    try withFairlead(options, upstreams: [upstream]) { daemon in
      try curl("\(daemon.address)", as: "65534", times: 6)
      try curl("\(daemon.address)", as: "12345", times: 2)
      let client = try daemon.connect()
      for _ in 0..<4 { #expect(try client.get().status == 200) }
      let expected: [String: Double] = ["web": 6, "operator": 4, "elsewhere": 0, "other": 2]
      #expect(try daemon.waitForWorkloads(expected), "\(daemon.workloadCounts)")
      let metrics = try daemon.admin.metrics()
      #expect(metrics.sum("fairlead_workload_requests_total", ["workload": "web", "status_class": "2xx"]) == 6)
      #expect(metrics.sum("fairlead_workload_connections", ["workload": "operator"]) == 1)
      #expect(metrics.sum("fairlead_workload_connections") == 1)
      #expect(metrics.sum("fairlead_workload_bytes_total", ["workload": "web", "direction": "in"]) > 0)
      let perWorkload = metrics.sum("fairlead_workload_bytes_total")
      #expect(perWorkload == metrics.sum("fairlead_bytes_total"))
      #expect(metrics.sum("fairlead_attribution_lookups_total", ["outcome": "found"]) == 9)

      let rows = try daemon.admin.json("/workloads")["workloads"].elements
      #expect(rows.compactMap { $0["name"].text } == ["web", "operator", "elsewhere", "ghost", "other"])
      #expect(rows[0]["requests"].number == 6 && rows[0]["weight"].number == 2)
      #expect(rows[1]["onFailure"].text == "refuse" && rows[2]["match"]["addresses"].elements.count == 2)
      let connections = try daemon.admin.json("/connections")["connections"].elements
      #expect(connections.compactMap { $0["workload"].text } == ["operator"])
      let status = try daemon.admin.json("/status")
      #expect(status["degraded"].elements.contains { $0.text?.contains("no user 'no-such-user-here'") == true })

      let table = try Child.run([FairleadProcess.commandPath, "--socket", daemon.admin.path, "workloads"])
      let lines = table.output.split(separator: "\n")
      #expect(lines.first?.hasPrefix("WORKLOAD") == true && lines.count == 6, "\(table.output)\(table.error)")
      #expect(lines.contains { $0.hasPrefix("web ") && $0.contains("100.00%") && $0.hasSuffix("user nobody") })

      let logged = eventually { daemon.accessLog.count == 12 }
      #expect(logged)
      let named = daemon.accessLog.compactMap { $0["workload"].text }
      #expect(named.count { $0 == "web" } == 6 && named.count { $0 == "operator" } == 4 && named.count == 10)
    }
  }

  @Test(
    "clients are counted by their cgroups, from the first request of one that has just been made", needsRoot,
    .enabled(if: findTool("curl") != nil && findTool("unshare") != nil, "needs curl and unshare"))
  func cgroups() throws {
    let slice = "fairlead-test-\(getpid())"
    // The version 2 hierarchy where it belongs, whatever this machine has there.
    let mounted = ["unshare", "-m", "sh", "-c", "mount -t cgroup2 none /sys/fs/cgroup && exec \"$@\"", "sh"]
    let shell = { (script: String) throws in
      let result = try Child.run(mounted + ["sh", "-ec", script])
      guard result.status == .exited(0) else { throw HarnessError("\(script): \(result.error)") }
    }
    do {
      try shell("mkdir /sys/fs/cgroup/\(slice) /sys/fs/cgroup/\(slice)/web.service")
    } catch {
      try Test.cancel("cannot make a cgroup here: \(error)")
    }
    defer {
      try? shell(
        "cd /sys/fs/cgroup; rmdir \(slice)/*/* \(slice)/*.service \(slice) 2>/dev/null; test ! -e \(slice)")
    }
    let directory = try TemporaryDirectory()
    let upstream = try ScriptedUpstream(.answering)
    let file = try directory.write(
      "fairlead.yaml",
      """
      node: { name: test-node, shards: 2 }
      admin: { socket: \(directory.path("admin.sock")) }
      listeners: [{ name: outbound, address: ":0" }]
      discovery: [{ kind: static, prefix: static, services: { web: ["\(upstream.address)"] } }]
      delegations: /svc => /#/static ;
      workloads:
        - { name: slice, match: { cgroups: [/\(slice)] } }
        - { name: web, match: { cgroups: [/\(slice)/web.service] } }
        - { name: root, match: { users: [root] } }
      """)
    let daemon = try FairleadProcess(["--config", file], directory: directory, launcher: mounted)
    let curl = { (cgroup: String, times: Int, host: String) throws in
      for _ in 0..<times {
        try shell(
          "echo 0 > /sys/fs/cgroup/\(cgroup)/cgroup.procs; "
            + "curl -sS -g -o /dev/null -H 'Host: web' http://\(host):\(daemon.address.port)/")
      }
    }
    try curl("\(slice)/web.service", 3, "127.0.0.1")
    try curl("\(slice)/web.service", 2, "[::1]")
    // Made while the daemon runs: each is met for the first time, and the deepest configured one above it counts.
    for number in 0..<5 {
      try shell("mkdir -p /sys/fs/cgroup/\(slice)/job\(number).service /sys/fs/cgroup/\(slice)/web.service/w\(number)")
      try curl("\(slice)/job\(number).service", 1, "127.0.0.1")
      try curl("\(slice)/web.service/w\(number)", 1, "[::1]")
    }
    #expect(try daemon.get().status == 200)
    #expect(
      try daemon.waitForWorkloads(["web": 10, "slice": 5, "root": 1, "other": 0]), "\(daemon.workloadCounts)")
    #expect(try daemon.admin.metrics().sum("fairlead_attribution_lookups_total", ["outcome": "late"]) == 0)
    upstream.stop()
    try daemon.end()
  }

  @Test(
    "captured connections: local processes by user, namespaces by address, over both families", needsNetworks,
    .enabled(if: findTool("curl") != nil, "needs curl"))
  func captured() throws {
    let network = try TestNetwork()
    defer { network.remove() }
    try network.redirectLocal()
    try network.redirectForwarded()
    try network.startServer()
    let daemon = try network.startProxy(
      network.captureConfiguration(
        """
        workloads:
          - { name: local, match: { users: [nobody] } }
          - { name: namespace, match: { addresses: [10.8.0.2, "fd08::/64"] } }
          - { name: wide, match: { addresses: [10.0.0.0/8, "fd00::/8"] } }
        """, shards: 2))
    for family in Family.allCases {
      #expect(
        try network.client(.client, "get", family.server, "8080", family.name) == family.answer(from: family.node))
      for _ in 0..<2 {
        // Another user may not run what the client's script needs.
        let local = try network.run(
          .node,
          [
            "setpriv", "--reuid", "65534", "--clear-groups", "curl", "-sS", "-g", "-w", "%{stderr}%{http_code}", "-H",
            "Host: \(family.name)", "http://\(family == .v4 ? family.server : "[\(family.server)]"):8080/",
          ])
        #expect("\(local.errors) \(local.text)" == family.answer(from: family.node))
      }
      // A user without a workload is seen by the node's own address.
      #expect(try network.client(.node, "get", family.server, "8080", family.name) == family.answer(from: family.node))
      #expect(try network.client(.client, "echo", family.server, "7777", "opaque") == "opaque")
    }
    #expect(
      try daemon.waitForWorkloads(["local": 4, "namespace": 2, "wide": 2, "other": 0]), "\(daemon.workloadCounts)"
    )
    let metrics = try daemon.admin.metrics()
    #expect(metrics.sum("fairlead_attribution_lookups_total", ["outcome": "found"]) == 6)
    #expect(metrics.sum("fairlead_attribution_lookups_total") == 6, "the namespace's connections are nobody's here")
    network.stopPeers()
    try daemon.end()
  }

  @Test("clients of a transparent listener are told apart by their addresses", needsNetworks)
  func transparent() throws {
    let network = try TestNetwork()
    defer { network.remove() }
    try network.transparent()
    try network.startServer()
    let daemon = try network.startProxy(
      network.captureConfiguration(
        """
        workloads:
          - { name: four, match: { addresses: [10.8.0.0/24], users: [root] } }
          - { name: six, match: { addresses: ["fd08::2"] } }
        """))
    for family in Family.allCases {
      #expect(
        try network.client(.client, "get", family.server, "8080", family.name) == family.answer(from: family.client))
    }
    #expect(try daemon.waitForWorkloads(["four": 1, "six": 1, "other": 0]), "\(daemon.workloadCounts)")
    network.stopPeers()
    try daemon.end()
  }

  @Test("a reload takes over workloads: counts go on, open connections stay whose they are, the next are as configured")
  func reloading() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.shards = 2
    options.accessLog = true
    options.extra = """
      workloads:
        - { name: one, match: { addresses: [127.0.0.2] } }
        - { name: two, match: { addresses: [127.0.0.3] } }
      """
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let one = try (0..<4).map { _ in try daemon.connect(source: "127.0.0.2") }
      let two = try (0..<4).map { _ in try daemon.connect(source: "127.0.0.3") }
      for client in one + two { #expect(try client.get().status == 200) }
      #expect(try daemon.waitForWorkloads(["one": 4, "two": 4]))

      // One goes, one comes before the other, which gets a limit.
      options.extra = """
        workloads:
          - { name: three, match: { addresses: [127.0.0.2, 127.0.0.4] } }
          - { name: two, match: { addresses: [127.0.0.3] }, rateLimit: { requests: 1, per: 1h, burst: 6 } }
        routes:
          - { match: { workloads: [three] }, respond: { status: 299 } }
        """
      try reload(daemon, options.yaml(in: daemon.directory))
      for client in one { #expect(try client.get("/gone").status == 200) }
      #expect(try (0..<8).map { try two[$0 % 4].get().status } == [200, 200, 200, 200, 200, 200, 429, 429])
      for source in ["127.0.0.2", "127.0.0.4"] {
        #expect(try daemon.connect(source: source).get().status == 299)
      }
      #expect(try daemon.waitForWorkloads(["one": 8, "two": 12, "three": 2, "other": 0]), "\(daemon.workloadCounts)")
      let rows = try daemon.admin.json("/workloads")["workloads"].elements
      #expect(rows.compactMap { $0["name"].text } == ["three", "two", "other"], "\(rows)")
      #expect(rows.compactMap { $0["rateLimited"].number }.reduce(0, +) == 2)
      let logged = eventually {
        let lines = readFile(daemon.directory.path("access.log")).split(separator: "\n").filter { $0.contains("/gone") }
        return lines.count == 4 && lines.allSatisfy { $0.contains("\"workload\":\"one\"") }
      }
      #expect(logged)

      // Back again, and none at all.
      options.extra = "workloads: [{ name: one, match: { addresses: [127.0.0.0/8] } }]"
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try daemon.connect(source: "127.0.0.4").get().status == 200)
      #expect(try two[0].get().status == 200, "its limit went with it")
      #expect(try daemon.waitForWorkloads(["one": 9, "two": 13, "three": 2]), "\(daemon.workloadCounts)")
      options.extra = ""
      try reload(daemon, options.yaml(in: daemon.directory))
      #expect(try daemon.connect(source: "127.0.0.2").get().status == 200)
      #expect(try one[0].get().status == 200)
      #expect(try daemon.waitForWorkloads(["other": 1, "one": 10]), "\(daemon.workloadCounts)")
    }
  }

  @Test(
    "users that only a reload names are told apart from then on", needsRoot,
    .enabled(if: findTool("curl") != nil, "needs curl"))
  func usersByReload() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    try withFairlead(options, upstreams: [upstream]) { daemon in
      try curl("\(daemon.address)", as: "65534")
      options.extra = "workloads: [{ name: nobodys, match: { users: [nobody] } }]"
      try reload(daemon, options.yaml(in: daemon.directory))
      try curl("\(daemon.address)", as: "65534", times: 2)
      #expect(try daemon.waitForWorkloads(["nobodys": 2, "other": 1]), "\(daemon.workloadCounts)")
      // What it takes to ask the kernel is given back, too.
      options.extra = ""
      try reload(daemon, options.yaml(in: daemon.directory))
      try curl("\(daemon.address)", as: "65534")
      #expect(try daemon.waitForWorkloads(["nobodys": 2, "other": 2]), "\(daemon.workloadCounts)")
    }
  }
}
