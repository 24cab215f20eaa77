// The rule set of one family: which chains of our own there are, what stands in them, and where the kernel's chains jump
// to them. The order within each chain: the proxy's own mark, its own user, loopback, what is excluded, then capture.
//
//     nat OUTPUT ──────▶ FAIRLEAD_OUTPUT        the host's own processes            → REDIRECT 4140
//     nat PREROUTING ──▶ FAIRLEAD_PREROUTING    containers and namespaces           → REDIRECT 4140
//                                               from outside to inboundPorts        → REDIRECT 4143
//     mangle PREROUTING▶ FAIRLEAD_TPROXY        open sockets of ours                → FAIRLEAD_DIVERT
//                                               containers and namespaces           → TPROXY 4140
//                        FAIRLEAD_DIVERT        mark, accept: the routing table of that mark keeps the packet here
//
// Every capturing rule asks for the entry of the alive set (see Escape/): without it a new connection goes on as if the
// rule were not there, or meets a rule that leads it to a closed port, whose reset the kernel sends at once.

import Base

/// A chain of ours.
struct Chain: Hashable, Sendable {
  let name: String
  var rules: [Rule] = []
}

/// One of the kernel's tables, with our part of it.
struct Table: Hashable, Sendable {
  enum Name: String, CaseIterable, Hashable, Sendable { case nat, mangle }

  /// Where one of the kernel's own chains leads to one of ours.
  struct Jump: Hashable, Sendable {
    let from: String
    let rule: Rule
  }

  let name: Name
  var chains: [Chain]
  var jumps: [Jump]
}

/// All rules of one family.
struct RuleSet: Hashable, Sendable {
  let family: AddressFamily
  private(set) var tables: [Table]

  init(_ settings: CaptureSettings, family: AddressFamily) {
    self.family = family
    let builder = RuleBuilder(settings: settings, family: family)
    tables = [builder.nat(), builder.mangle()].filter { !$0.chains.isEmpty }
  }

  /// Whether packets are led to this host by their mark, which needs a routing rule.
  var needsRouting: Bool { tables.contains { $0.name == .mangle } }

  /// Every chain of ours begins so, and no other does.
  static let chainPrefix = "FAIRLEAD_"
  static let output = "FAIRLEAD_OUTPUT"
  static let prerouting = "FAIRLEAD_PREROUTING"
  static let tproxy = "FAIRLEAD_TPROXY"
  static let divert = "FAIRLEAD_DIVERT"
  /// Where refused connections are led. Only root could listen on tcpmux's port, and nobody does.
  static let closedPort: UInt16 = 1
}

/// Makes the tables of one family.
private struct RuleBuilder {
  let settings: CaptureSettings
  let family: AddressFamily

  // MARK: Tables

  func nat() -> Table {
    var table = Table(name: .nat, chains: [], jumps: [])
    let opening = { (chain: String) in Rule(isTCP: true, when: [.opening], then: .chain(chain)) }
    if settings.processes, let destination = settings.processDestination(family) {
      let rules =
        ownTraffic() + [Rule(destination: family.loopbackNetwork, then: .return)] + exclusions() + excludedUsers()
        + capture(.redirect(port: destination.port)) + failure(users: true)
      table.chains.append(Chain(name: RuleSet.output, rules: rules))
      table.jumps.append(Table.Jump(from: "OUTPUT", rule: opening(RuleSet.output)))
    }
    let rules = interfacesInNAT() + inboundInNAT()
    if !rules.isEmpty {
      table.chains.append(Chain(name: RuleSet.prerouting, rules: preamble(tproxied: true) + rules))
      table.jumps.append(Table.Jump(from: "PREROUTING", rule: opening(RuleSet.prerouting)))
    }
    return table
  }

  func mangle() -> Table {
    var table = Table(name: .mangle, chains: [], jumps: [])
    let mark = settings.routingMark
    var rules: [Rule] = []
    if let destination = interfaceDestination, destination.listener.mode == .tproxy {
      rules += settings.interfaces.map(notThisHost)
      for interface in settings.interfaces {
        rules += capture(.tproxy(port: destination.port, mark: mark), interface: interface, [.opening])
      }
    }
    if rules.isEmpty { return table }
    let divert = Rule(isTCP: true, when: [.transparentSocket], then: .chain(RuleSet.divert))
    table.chains = [
      Chain(name: RuleSet.divert, rules: [Rule(then: .setMark(mark)), Rule(then: .accept)]),
      Chain(name: RuleSet.tproxy, rules: [divert] + preamble(tproxied: false) + rules),
    ]
    table.jumps = [Table.Jump(from: "PREROUTING", rule: Rule(isTCP: true, then: .chain(RuleSet.tproxy)))]
    return table
  }

  // MARK: What is let through

  private func ownTraffic() -> [Rule] {
    [Rule(when: [.mark(settings.mark)], then: .return)]
      + (settings.user.map { [Rule(when: [.user($0)], then: .return)] } ?? [])
  }

  /// The start of the chains in PREROUTING, where no packet has a user.
  private func preamble(tproxied: Bool) -> [Rule] {
    var rules = [Rule(when: [.mark(settings.mark)], then: .return)]
    // What TPROXY took already must not be translated by whoever comes after us.
    if tproxied, usesTPROXY { rules.append(Rule(when: [.mark(settings.routingMark)], then: .accept)) }
    rules += [Rule(interface: "lo", then: .return), Rule(destination: family.loopbackNetwork, then: .return)]
    if let port = settings.adminPort.flatMap({ PortRange($0) }) {
      rules.append(Rule(isTCP: true, when: [.toThisHost, .ports([port])], then: .return))
    }
    return rules + exclusions()
  }

  /// A process of this host would answer a client's address itself, past the proxy that speaks from it: what TPROXY would take
  /// there goes direct.
  private func notThisHost(_ interface: String) -> Rule {
    Rule(interface: interface, when: [.toThisHost], then: .return)
  }

  private func exclusions() -> [Rule] {
    var rules: [Rule] = []
    // The original destination does not tell by which interface a link-local address is reached.
    if family == .v6 { rules.append(Rule(destination: "fe80::/10", then: .return)) }
    for ports in settings.excludePorts.chunks where !ports.isEmpty {
      rules.append(Rule(isTCP: true, when: [.ports(ports)], then: .return))
    }
    for network in settings.excludeAddresses where network.family == family {
      rules.append(Rule(destination: network.cidr, then: .return))
    }
    return rules
  }

  private func excludedUsers() -> [Rule] { settings.excludeUsers.map { Rule(when: [.user($0)], then: .return) } }

  // MARK: What is captured

  private func interfacesInNAT() -> [Rule] {
    guard let destination = interfaceDestination else { return [] }
    if destination.listener.mode == .tproxy {
      let failures = settings.interfaces.flatMap { failure(interface: $0) }
      return failures.isEmpty ? [] : settings.interfaces.map(notThisHost) + failures
    }
    return settings.interfaces.flatMap { interface in
      capture(.redirect(port: destination.port), interface: interface) + failure(interface: interface)
    }
  }

  private func inboundInNAT() -> [Rule] {
    guard let destination = inboundDestination else { return [] }
    var rules = settings.inboundPorts.chunks.map {
      Rule(isTCP: true, when: [.toThisHost, .ports($0), .alive], then: .redirect(port: destination.port))
    }
    if settings.onFailure == .refuse {
      rules += settings.inboundPorts.chunks.map {
        Rule(isTCP: true, when: [.toThisHost, .ports($0), .notAlive], then: .redirect(port: RuleSet.closedPort))
      }
    }
    // What the interfaces bring is outbound, wherever it goes.
    return settings.interfaces.map { Rule(interface: $0, then: .return) } + rules
  }

  private func capture(
    _ target: Rule.Target, interface: String? = nil, _ conditions: [Rule.Condition] = []
  ) -> [Rule] {
    settings.ports.chunks.map { ports in
      Rule(interface: interface, isTCP: true, when: conditions + ports.condition + [.alive], then: target)
    }
  }

  /// What new connections meet while the proxy does not turn: nothing, unless somebody is to be refused.
  private func failure(interface: String? = nil, users: Bool = false) -> [Rule] {
    var rules: [Rule] = []
    for exception in settings.exceptions {
      var rule = Rule(interface: interface, isTCP: true, then: .return)
      switch exception.source {
      case .network(let network):
        if network.family != family { continue }
        rule.source = network
      case .user(let user):
        if !users { continue }
        rule.conditions = [.user(user)]
      }
      rules += withFailure(rule, exception.onFailure)
    }
    // With bypass for all and nothing refused before it, there is nothing to say.
    if settings.onFailure == .refuse {
      rules += withFailure(Rule(interface: interface, isTCP: true, then: .return), .refuse)
    }
    return rules.contains { $0.target != .return } ? rules : []
  }

  private func withFailure(_ rule: Rule, _ onFailure: CaptureSettings.OnFailure) -> [Rule] {
    settings.ports.chunks.map { ports in
      var rule = rule
      rule.conditions += ports.condition + [.notAlive]
      if onFailure == .refuse { rule.target = .redirect(port: RuleSet.closedPort) }
      return rule
    }
  }

  private var interfaceDestination: CaptureSettings.Destination? {
    settings.interfaces.isEmpty ? nil : settings.interfaceDestination(family)
  }

  private var inboundDestination: CaptureSettings.Destination? {
    settings.inboundPorts.isEmpty ? nil : settings.inboundDestination(family)
  }

  private var usesTPROXY: Bool { interfaceDestination?.listener.mode == .tproxy }
}

extension [PortRange] {
  fileprivate var condition: [Rule.Condition] { isEmpty ? [] : [.ports(self)] }
}
