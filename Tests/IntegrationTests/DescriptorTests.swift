// Without descriptors, and without a capability: what the daemon says, and that it goes on by itself.

import Glibc
import TestSupport
import Testing

let needsPrlimit = ConditionTrait.enabled(if: findTool("prlimit") != nil, "prlimit is not installed")

@Suite("Exhausted descriptors", needsDaemon, needsPrlimit)
struct DescriptorTests {
  /// Room for one shard and some thirty connections.
  private let fewDescriptors = ["prlimit", "--nofile=48:48"]

  @Test("accept pauses, says so, and goes on when there are descriptors again")
  func plain() throws {
    let upstream = try ScriptedUpstream(.answering)
    let directory = try TemporaryDirectory()
    let file = try directory.write("fairlead.yaml", FairleadOptions(upstream).yaml(in: directory))
    let daemon = try FairleadProcess(["--config", file], directory: directory, launcher: fewDescriptors)
    for _ in 0..<2 {
      let clients = try (0..<60).map { _ in try daemon.connect() }
      #expect(eventually { daemon.inspector.descriptors.count == 48 })
      clients.forEach { $0.close() }
      #expect(eventually { (try? daemon.get().status) == 200 })
    }
    // The admin socket pauses, too, and longer.
    #expect(eventually { (try? daemon.admin.value("fairlead_accept_failures_total")) ?? 0 >= 2 })
    upstream.stop()
    try daemon.end()
  }

  // Bug: clients that kept their connections had every descriptor, and none was left for an endpoint: 503 for everybody.
  @Test("clients that rest on the last descriptors are let go, and the others are served")
  func restingClients() throws {
    let upstream = try ScriptedUpstream(.answering)
    let directory = try TemporaryDirectory()
    let file = try directory.write("fairlead.yaml", FairleadOptions(upstream).yaml(in: directory))
    let daemon = try FairleadProcess(["--config", file], directory: directory, launcher: fewDescriptors)
    let clients = try (0..<60).map { _ in try daemon.connect() }
    for client in clients { try client.send("GET / HTTP/1.1\r\nHost: web\r\n\r\n") }
    // One after the other: those in front have left, and rest no more than a second.
    #expect(try clients[59].readResponse().status > 0)
    #expect(eventually { (try? daemon.get().status) == 200 })
    clients.forEach { $0.close() }
    upstream.stop()
    try daemon.end()
  }

  @Test("captured streams past the last descriptor are turned away, and the next ones are carried", needsNetworks)
  func captured() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration(), under: fewDescriptors) { (proxy) throws in
      for _ in 0..<2 {
        #expect(try network.client(.node, "crowd", "10.9.0.2", "7777", "80") == "served True")
        #expect(eventually { (try? network.client(.node, "echo", "10.9.0.2", "7777", "\u{1}x")) == "\u{1}x" })
      }
      let failures = eventually {
        let accepts = (try? proxy.admin.value("fairlead_accept_failures_total")) ?? 0
        let connects = (try? proxy.admin.value("fairlead_descriptor_shortages_total")) ?? 0
        return accepts + connects >= 2
      }
      #expect(failures)
    }
  }

  // Bug: descriptors of idle connections to destinations were missing to all others for as long as those were kept.
  @Test("idle connections are given up when descriptors run out", needsNetworks)
  func idle() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.run(.server, ["ip", "route", "add", "local", "10.50.0.0/24", "dev", "lo"]).expectSuccess()
    try network.run(.node, ["ip", "route", "add", "10.50.0.0/24", "via", "10.9.0.2"]).expectSuccess()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration(), under: fewDescriptors) { (_) throws in
      for number in 1...60 {
        let isServed = eventually(seconds: 5) {
          (try? network.client(.node, "get", "10.50.0.\(number)", "8080", "other")) == "200 10.9.0.1 other /"
        }
        #expect(isServed, "destination \(number)")
      }
    }
  }
}

@Suite("Missing capabilities", needsDaemon)
struct CapabilityTests {
  @Test("without CAP_NET_ADMIN a capturing listener is degraded, with the remedy, and serves")
  func unmarked() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.write(
      "fairlead.yaml",
      """
      node: { name: test-node, shards: 1 }
      admin: { socket: \(directory.path("admin.sock")) }
      listeners: [{ name: outbound, address: "127.0.0.1:0", capture: redirect }]
      discovery: [{ kind: static, prefix: static, services: {} }]
      delegations: "/svc => /#/static ;"

      """)
    // An ordinary user has no capabilities to take away.
    // The kernel takes CAP_NET_RAW for a mark as well.
    let taken = "-net_admin,-net_raw"
    let launcher = geteuid() == 0 ? ["setpriv", "--bounding-set", taken, "--inh-caps", taken] : []
    let daemon = try FairleadProcess(["--config", file], directory: directory, launcher: launcher)
    #expect(daemon.child.standardError.contains("degraded: upstream connections cannot carry capture.mark"))
    let sentences = try daemon.admin.json("/status")["degraded"].elements.compactMap(\.text)
    #expect(sentences.contains { $0.contains("AmbientCapabilities=CAP_NET_ADMIN") }, "\(sentences)")
    try daemon.end()
  }
}
