// `fairlead check`: what it makes of what it finds. The host is made up; that the facts are gathered is tested with a real one.

import Base
import Capture
import Testing

@testable import AdminClient

@Suite struct CheckTests {
  private static func listener(
    _ mode: CaptureSettings.Listener.Mode
  ) throws -> CaptureSettings.Listener {
    CaptureSettings.Listener(
      name: "outbound", address: try SocketAddress(parsing: ":4140"), direction: .outbound, mode: mode)
  }

  /// A host where all is well.
  private static func facts(capturing mode: CaptureSettings.Listener.Mode? = nil) throws -> CheckFacts {
    var settings = CaptureSettings(listeners: try mode.map { [try listener($0)] } ?? [])
    settings.interfaces = ["br0"]
    var facts = CheckFacts(configuration: .ready(file: "f.yaml", settings))
    facts.kernelRelease = "6.1.0-18-amd64"
    facts.ringDisabled = "0"
    facts.probe = .works
    facts.descriptorLimit = 262_144
    facts.sysctls = [
      "net.core.somaxconn": 4096, "net.ipv4.ip_forward": 1, "net.ipv6.conf.all.forwarding": 1,
      "net.ipv4.conf.all.rp_filter": 2, "net.ipv4.conf.all.route_localnet": 0,
    ]
    facts.backend = "nf_tables"
    facts.capture = CaptureStatus(families: [family(.asConfigured)])
    facts.isClockSynchronised = true
    facts.ownVersion = "1.0"
    facts.daemonCapabilities = .netAdmin
    facts.status = StatusAnswer(
      node: "n", version: "1.0", commit: "c", swift: "6", libraries: [:], pid: 1, state: "ready", uptimeSeconds: 61,
      configuration: "f.yaml", snapshotGeneration: 1, logLevel: "info", residentBytes: 1, downstreamConnections: 0,
      upstreamConnections: 0, inFlightRequests: 0, shards: [shard(lag: 3)], listeners: [],
      discovery: [.init(prefix: "static", kind: "static", services: 2, ageSeconds: 61)], degraded: [])
    return facts
  }

  private static func family(_ rules: CaptureStatus.Rules, alive: Bool = true) -> CaptureStatus.Family {
    CaptureStatus.Family(family: .v4, rules: rules, ruleCount: 9, isAlive: alive)
  }

  private static func shard(lag: Double) -> StatusAnswer.Shard {
    .init(index: 0, cpu: nil, connections: 0, requests: 0, loopLagMilliseconds: lag)
  }

  @Test(
    "a host where all is well has nothing but ticks",
    arguments: [nil, .redirect, .tproxy] as [CaptureSettings.Listener.Mode?])
  func allWell(mode: CaptureSettings.Listener.Mode?) throws {
    let check = Check(try Self.facts(capturing: mode))
    #expect(check.findings.allSatisfy { $0.grade == .well && $0.remedy == nil }, "\(check.text)")
    #expect(!check.hasFailure)
    #expect(check.text.contains("\n  √ fairleadd 1.0 is ready, up 1m 1s\n"))
    #expect(check.findings.contains { $0.group == "capture" } == (mode != nil))
  }

  @Test("a family that nobody wants captured lacks nothing")
  func unwantedFamily() throws {
    var facts = try Self.facts(capturing: .redirect)
    let unwanted = CaptureStatus.Family(family: .v6, rules: .absent, isWanted: false, ruleCount: 0, isAlive: false)
    facts.capture = CaptureStatus(families: [Self.family(.asConfigured), unwanted])
    #expect(Check(facts).findings.allSatisfy { $0.grade == .well }, "\(Check(facts).text)")
  }

  struct Fault: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let grade: CheckFinding.Grade
    let remedy: String
    let cause: @Sendable (inout CheckFacts) throws -> Void

    init(
      _ words: String, _ grade: CheckFinding.Grade, _ remedy: String,
      _ cause: @escaping @Sendable (inout CheckFacts) throws -> Void
    ) {
      (testDescription, self.grade, self.remedy, self.cause) = (words, grade, remedy, cause)
    }
  }

  static let faults: [Fault] = [
    Fault("is older than 6.1", .failure, "newer kernel") { $0.kernelRelease = "5.10.0-28-amd64" },
    Fault("io_uring is switched off", .failure, "sysctl kernel.io_uring_disabled=0") { $0.ringDisabled = "2" },
    Fault("no multishot", .failure, "fairleadd --probe") { $0.probe = .refused("no multishot") },
    Fault("io_uring without X", .warning, "kernel") { $0.probe = .degraded(["io_uring without X"]) },
    Fault("may open 1024 descriptors", .warning, "LimitNOFILE=") { $0.descriptorLimit = 1024 },
    Fault("the accept queue holds 128", .warning, "somaxconn=4096") { $0.sysctls["net.core.somaxconn"] = 128 },
    Fault("f.yaml is refused", .failure, "fairlead validate f.yaml") { $0.configuration = .refused(file: "f.yaml") },
    Fault("there is no f.yaml", .failure, "--config FILE") { $0.configuration = .missing(file: "f.yaml") },
    Fault("'ipset' is not installed", .failure, "apt-get install ipset") { $0.missingTools = [("ipset", "ipset")] },
    Fault("iptables-legacy as well", .warning, "iptables-nft-restore") { $0.hasBothBackends = true },
    Fault("ip_forward is 0", .warning, "sysctl net.ipv4.ip_forward=1") { $0.sysctls["net.ipv4.ip_forward"] = 0 },
    Fault("rp_filter is 1", .warning, "rp_filter=2") { $0.sysctls["net.ipv4.conf.all.rp_filter"] = 1 },
    Fault("bridge-nf-call-iptables is 1: connections that come by the bridge br0", .failure, "call-iptables=0") {
      $0.filteredBridges = [FilteredBridge(name: "br0", settings: ["net.bridge.bridge-nf-call-iptables"])]
    },
    Fault("route_localnet is 1", .warning, "localnet=0") { $0.sysctls["net.ipv4.conf.all.route_localnet"] = 1 },
    Fault("lacks CAP_NET_ADMIN", .failure, "AmbientCapabilities=") { $0.daemonCapabilities = .netBindService },
    Fault("a note", .warning, "configuration") { $0.captureNotes = ["a note"] },
    Fault("an error", .failure, "fairlead capture apply") { $0.captureErrors = ["an error"] },
    Fault("were not looked at: why", .warning, "sudo fairlead check") {
      $0.capture = nil
      $0.captureFailure = "why"
    },
    Fault("no fairleadd refreshes them", .failure, "systemctl restart fairlead") {
      $0.capture = CaptureStatus(families: [family(.asConfigured, alive: false)])
    },
    Fault("port 4140 of listener 'outbound', where nobody listens", .failure, "systemctl restart fairlead") {
      $0.unheardListeners = [UnheardListener(name: "outbound", port: 4140)]
    },
    Fault("arrive at port 4140", .warning, "iptables -I INPUT -p tcp --dport 4140") {
      $0.capture = CaptureStatus(families: [
        CaptureStatus.Family(family: .v4, rules: .asConfigured, ruleCount: 9, isAlive: true, droppedPorts: [4140])
      ])
    },
    Fault("not what the configuration says", .failure, "fairlead capture apply") {
      $0.capture = CaptureStatus(families: [family(.different)])
    },
    Fault("no rules are applied", .warning, "fairlead-capture") {
      $0.capture = CaptureStatus(families: [family(.absent)])
    },
    Fault("rolled back in 9 s", .warning, "fairlead capture confirm") {
      $0.capture = CaptureStatus(families: [family(.asConfigured)], confirmWithinSeconds: 9)
    },
    Fault("the clock is not synchronised", .warning, "timedatectl") { $0.isClockSynchronised = false },
    Fault("no fairleadd answers on s", .failure, "systemctl start fairlead") {
      $0.status = nil
      $0.statusFailure = .notRunning(socket: "s")
    },
    Fault("did not answer on s within 5 s", .failure, "systemctl restart fairlead") {
      $0.status = nil
      $0.statusFailure = .silent(socket: "s", seconds: 5)
    },
    Fault("you may not connect to s", .failure, "sudo fairlead check") {
      $0.status = nil
      $0.statusFailure = .notAllowed(socket: "s")
    },
    Fault("fairleadd is draining", .failure, "restart") { $0.status?.state = "draining" },
    Fault("fairleadd is 1.0, this program 1.1", .warning, "restart") { $0.ownVersion = "1.1" },
    Fault("degraded: x", .warning, "restart") { $0.status?.degraded = ["x"] },
    Fault("took 150 ms", .warning, "fairlead connections") { $0.status?.shards = [shard(lag: 150)] },
    Fault("took 1500 ms", .failure, "fairlead connections") { $0.status?.shards = [shard(lag: 1500)] },
    Fault("static 'static': gone", .warning, "fairlead status") { $0.status?.discovery[0].failure = "gone" },
  ]

  @Test("each fault is told once, with its grade and its remedy", arguments: faults)
  func fault(fault: Fault) throws {
    var facts = try Self.facts(capturing: .tproxy)
    try fault.cause(&facts)
    let check = Check(facts)
    let wrong = check.findings.filter { $0.grade != .well }
    #expect(wrong.count == 1, "\(check.text)")
    #expect(wrong.first?.grade == fault.grade)
    #expect(wrong.first?.text.contains(fault.testDescription) == true, "\(check.text)")
    #expect(wrong.first?.remedy?.contains(fault.remedy) == true, "\(check.text)")
    #expect(check.hasFailure == (fault.grade == .failure))
  }

  @Test("a release is read whatever follows its numbers", arguments: [("6.18.44-fc", 6, 18), ("7", 0, 0), ("", 0, 0)])
  func release(text: String, major: Int, minor: Int) {
    var facts = CheckFacts(configuration: .refused(file: ""))
    facts.kernelRelease = text
    #expect(facts.kernelVersion == (major, minor))
  }
}
