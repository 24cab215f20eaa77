// `fairlead check` as values: what was found, how good that is, and what to do about it. Pure: what is looked at comes in
// as `CheckFacts`, so every finding can be tested without a host that has the fault.

import Base
import Capture

/// One line of the result.
struct CheckFinding: Equatable {
  enum Grade: String {
    case well = "√", warning = "‼", failure = "×"

    var word: String {
      switch self {
      case .well: "ok"
      case .warning: "warning"
      case .failure: "failure"
      }
    }
  }

  let group: String
  let grade: Grade
  let text: String
  /// The command or the unit's setting that cures it; always there when something is not well.
  let remedy: String?
}

/// All lines, group by group.
struct Check {
  private(set) var findings: [CheckFinding] = []
  private var group = ""

  init(_ facts: CheckFacts) {
    kernel(facts)
    limits(facts)
    configuration(facts)
    if facts.configuration.captures { capture(facts) }
    clock(facts)
    daemon(facts)
  }

  var hasFailure: Bool { findings.contains { $0.grade == .failure } }

  // MARK: Saying it

  private mutating func well(_ text: String) { add(.well, text, nil) }
  private mutating func warn(_ text: String, _ remedy: String) { add(.warning, text, remedy) }
  private mutating func fail(_ text: String, _ remedy: String) { add(.failure, text, remedy) }

  private mutating func add(_ grade: CheckFinding.Grade, _ text: String, _ remedy: String?) {
    findings.append(CheckFinding(group: group, grade: grade, text: text, remedy: remedy))
  }

  // MARK: Groups

  private mutating func kernel(_ facts: CheckFacts) {
    group = "kernel"
    if facts.kernelVersion >= (6, 1) {
      well("Linux \(facts.kernelRelease)")
    } else {
      fail("Linux \(facts.kernelRelease) is older than 6.1", "install a newer kernel (Debian 12 has 6.1)")
    }
    switch facts.ringDisabled {
    case "0", "": break
    default:
      fail(
        "io_uring is switched off (kernel.io_uring_disabled=\(facts.ringDisabled))", "sysctl kernel.io_uring_disabled=0"
      )
    }
    switch facts.probe {
    case .works: well("io_uring has everything that is needed")
    case .degraded(let lines): for line in lines { warn(line, "update the kernel") }
    case .refused(let line): fail(line, "see the line above; 'fairleadd --probe' tries again")
    case .unknown: warn("io_uring was not tried: no fairleadd was found", "install fairleadd beside fairlead")
    }
  }

  private mutating func limits(_ facts: CheckFacts) {
    group = "limits"
    let owner = facts.daemonProcess == nil ? "this shell" : "fairleadd"
    if facts.descriptorLimit >= 65_536 {
      well("\(owner) may open \(facts.descriptorLimit) descriptors")
    } else {
      warn(
        "\(owner) may open \(facts.descriptorLimit) descriptors: two are needed for each request under way",
        "LimitNOFILE=262144 in fairlead.service, or ulimit -n 262144")
    }
    if let backlog = facts.sysctl("net.core.somaxconn"), backlog < 4096 {
      warn("the accept queue holds \(backlog) connections", "sysctl net.core.somaxconn=4096")
    }
  }

  private mutating func configuration(_ facts: CheckFacts) {
    group = "configuration"
    switch facts.configuration {
    case .refused(let file):
      fail("\(file) is refused", "fairlead validate \(file)")
    case .missing(let file):
      fail("there is no \(file)", "write it, or name the daemon's own: fairlead check --config FILE")
    case .ready(let file, let settings):
      well("\(file)")
      if settings.listeners.isEmpty { well("captures nothing: no listener has 'capture: redirect' or 'tproxy'") }
    }
  }

  private mutating func clock(_ facts: CheckFacts) {
    group = "clock"
    if facts.isClockSynchronised {
      well("the clock is synchronised")
    } else {
      warn(
        "the clock is not synchronised: logs and certificates of several hosts will not agree",
        "timedatectl set-ntp true, or install chrony")
    }
  }

  private mutating func daemon(_ facts: CheckFacts) {
    group = "daemon"
    guard let status = facts.status else {
      fail(
        facts.statusFailure.map { "\($0)" } ?? "no fairleadd answers", remedy(for: facts.statusFailure))
      return
    }
    switch status.state {
    case "ready": well("fairleadd \(status.version) is ready, up \(Display.age(seconds: status.uptimeSeconds))")
    case "degraded": well("fairleadd \(status.version) serves, with some features missing")
    default:
      fail(
        "fairleadd is \(status.state)" + (status.reason.map { ": \($0)" } ?? ""), "systemctl restart fairlead")
    }
    if status.version != facts.ownVersion {
      warn("fairleadd is \(status.version), this program \(facts.ownVersion)", "systemctl restart fairlead")
    }
    // What the probe of this run found is told above.
    for line in status.degraded where facts.probe != .degraded([line]) {
      warn("degraded: \(line)", "what to change stands in the line; then systemctl restart fairlead")
    }
    shards(status)
    discovery(status)
  }

  private func remedy(for failure: AdminClientError?) -> String {
    switch failure {
    case .notAllowed: "run it as root: sudo fairlead check"
    case .silent, .failed, .badAnswer, .refused:
      "systemctl restart fairlead; journalctl -u fairlead says what it did last"
    case .notRunning, nil: "systemctl start fairlead; systemctl status fairlead says why not"
    }
  }

  private mutating func shards(_ status: StatusAnswer) {
    group = "shards"
    let slow = status.shards.filter { $0.loopLagMilliseconds >= 100 }
    for shard in slow {
      let text = "shard \(shard.index) took \(Display.fixed(shard.loopLagMilliseconds, 0)) ms for one turn"
      let remedy = "fairlead connections shows its load; give the host more CPU, or fewer node.shards"
      if shard.loopLagMilliseconds >= 1000 { fail(text, remedy) } else { warn(text, remedy) }
    }
    let count = status.shards.count
    if slow.isEmpty { well("\(count) shard\(count == 1 ? "" : "s") turn\(count == 1 ? "s" : "") within 100 ms") }
  }

  private mutating func discovery(_ status: StatusAnswer) {
    group = "discovery"
    for source in status.discovery {
      let name = "\(source.kind) '\(source.prefix)'"
      if let failure = source.failure {
        let used =
          source.state == "failing"
          ? "nothing is known yet" : "the answer of \(Display.age(seconds: source.ageSeconds)) ago is used"
        warn("\(name): \(failure); \(used)", "fairlead status shows when it works again")
      } else if let bad = source.badLines, bad > 0 {
        let first = source.problems?.first.map { ": \($0)" } ?? ""
        warn("\(name): \(bad) line\(bad == 1 ? "" : "s") or records are not used\(first)", "fairlead status lists them")
      } else {
        well("\(name): \(source.services) service\(source.services == 1 ? "" : "s")")
      }
    }
    if status.discovery.isEmpty { well("no source is configured") }
  }

  // MARK: Capture

  private mutating func capture(_ facts: CheckFacts) {
    group = "capture tools"
    for (tool, package) in facts.missingTools {
      fail("'\(tool)' is not installed", "apt-get install \(package)")
    }
    if facts.missingTools.isEmpty {
      well("iptables (\(facts.backend)), ipset and ip are installed")
    }
    if facts.hasBothBackends {
      warn(
        "rules stand in iptables-legacy as well: the kernel asks both, in an order that is hard to see",
        "iptables-legacy-save shows them; move them with iptables-legacy-save | iptables-nft-restore")
    }
    sysctls(facts)
    capabilities(facts)
    rules(facts)
  }

  private mutating func sysctls(_ facts: CheckFacts) {
    group = "sysctls"
    let before = findings.count
    guard let settings = facts.configuration.settings else { return }
    if !settings.interfaces.isEmpty {
      for name in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] where facts.sysctl(name) == 0 {
        warn(
          "\(name) is 0: what comes by \(settings.interfaces.joined(separator: ", ")) goes nowhere without the proxy",
          "sysctl \(name)=1")
      }
    }
    if settings.usesTPROXY, facts.sysctl("net.ipv4.conf.all.rp_filter") == 1 {
      warn(
        "net.ipv4.conf.all.rp_filter is 1: answers that come in by another interface than they would leave by are dropped",
        "sysctl net.ipv4.conf.all.rp_filter=2")
    }
    for bridge in facts.filteredBridges {
      fail(
        "\(bridge.cause): connections that come by the bridge \(bridge.name) are lost on their way to a tproxy listener",
        "\(bridge.remedy), or a listener with 'capture: redirect' for them")
    }
    if facts.sysctl("net.ipv4.conf.all.route_localnet") == 1 {
      warn(
        "net.ipv4.conf.all.route_localnet is 1: neighbours reach what listens on 127.0.0.1 only; Fairlead does not need it",
        "sysctl net.ipv4.conf.all.route_localnet=0")
    }
    if findings.count == before { well("as they should be") }
  }

  private mutating func capabilities(_ facts: CheckFacts) {
    guard let has = facts.daemonCapabilities else { return }
    group = "capabilities"
    if has.contains(.netAdmin) {
      well("fairleadd has CAP_NET_ADMIN")
    } else {
      fail(
        "fairleadd lacks CAP_NET_ADMIN: it cannot tell the kernel that it lives, and nothing is captured",
        "AmbientCapabilities=CAP_NET_ADMIN CAP_NET_BIND_SERVICE in fairlead.service")
    }
  }

  private mutating func rules(_ facts: CheckFacts) {
    group = "capture"
    for error in facts.captureErrors { fail(error, "change the configuration, then fairlead capture apply") }
    for note in facts.captureNotes { warn(note, "change the configuration if that is not meant") }
    guard let status = facts.capture else {
      warn(
        "the rules were not looked at" + (facts.captureFailure.map { ": \($0)" } ?? ""),
        "run it as root: sudo fairlead check")
      return
    }
    for one in status.families {
      let family = one.family.title
      switch one.rules {
      case .asConfigured where one.isAlive && !facts.unheardListeners.isEmpty:
        for listener in facts.unheardListeners {
          fail(
            "\(family): the rules lead to port \(listener.port) of listener '\(listener.name)', where nobody listens: the "
              + "fairleadd that is alive runs with another configuration", "systemctl restart fairlead")
        }
      case .asConfigured where one.isAlive: well("\(family): \(one.ruleCount) rules, alive")
      case .asConfigured:
        fail("\(family): the rules are there, and no fairleadd refreshes them", "systemctl restart fairlead")
      case .different: fail("\(family): the rules are not what the configuration says", "fairlead capture apply")
      // Why is told by a note.
      case .absent where !one.isWanted: break
      case .absent, .present:
        warn("\(family): no rules are applied", "systemctl enable --now fairlead-capture, or fairlead capture apply")
      }
    }
    for one in status.families {
      for port in one.droppedPorts {
        warn(
          "\(one.family.title): INPUT of the filter table drops what no rule accepts, and redirected connections arrive at "
            + "port \(port), whatever port they were sent to",
          "\(one.family == .v4 ? "iptables" : "ip6tables") -I INPUT -p tcp --dport \(port) "
            + "-m conntrack --ctstate DNAT -j ACCEPT")
      }
    }
    if let seconds = status.confirmWithinSeconds {
      warn("the rules are rolled back in \(seconds) s", "fairlead capture confirm")
    }
  }
}
