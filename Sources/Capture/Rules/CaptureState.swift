// Everything that capture changes on a host, as one value: what is there, what the configuration asks for, what was there
// before. Applying, removing and rolling back are one thing: the commands that lead from one such value to another.

/// Rules, routing and sets of both families.
struct CaptureState: Hashable, Sendable {
  struct Family: Hashable, Sendable {
    var firewall = OwnTables()
    var routing: Set<Routing> = []
    /// The routing tables whose only route leads to this host.
    var routes: Set<UInt32> = []
    var hasSet = false

    var isEmpty: Bool { firewall.isEmpty && routing.isEmpty && routes.isEmpty && !hasSet }
  }

  var families: [AddressFamily: Family] = [:]

  /// Nothing of ours.
  static let nothing = CaptureState()

  subscript(family: AddressFamily) -> Family { families[family] ?? Family() }

  var isEmpty: Bool { families.values.allSatisfy(\.isEmpty) }
}

extension CaptureState {
  /// What settings ask for, in the families this host has.
  init(_ settings: CaptureSettings, families: [AddressFamily]) {
    for family in families {
      let rules = RuleSet(settings, family: family)
      if rules.tables.isEmpty { continue }
      self.families[family] = Family(
        firewall: OwnTables(rules),
        routing: rules.needsRouting ? [Routing(mark: settings.routingMark, table: settings.routingTable)] : [],
        routes: rules.needsRouting ? [settings.routingTable] : [],
        hasSet: true)
    }
  }

  /// The commands that lead from `current` to this, in the order in which they must run: a rule never names a set that is
  /// not there, and no packet is marked that no route awaits.
  func commands(from current: CaptureState) -> [Command] {
    let all = AddressFamily.allCases
    var commands: [Command] = []
    let newSets = all.filter { self[$0].hasSet && !current[$0].hasSet }
    if !newSets.isEmpty {
      let lines = newSets.map { "create \($0.aliveSet) hash:net family \($0.setFamily) timeout \(aliveSeconds)\n" }
      commands.append(Command("ipset", "restore", "-exist", input: lines.joined()))
    }
    for family in all {
      let (wanted, there) = (self[family], current[family])
      commands += wanted.routing.subtracting(there.routing).map { $0.adding(family) }
      commands += wanted.routes.subtracting(there.routes).map { Routing.addingRoute(table: $0, family) }
    }
    for family in all {
      guard let input = self[family].firewall.transaction(from: current[family].firewall) else { continue }
      commands.append(Command(family.restoreTool, "--noflush", "--wait=5", input: input))
    }
    for family in all {
      let (wanted, there) = (self[family], current[family])
      // A route is known as ours by the rule that leads to it: the rule goes last.
      commands += there.routes.subtracting(wanted.routes).map { Routing.removingRoute(table: $0, family) }
      commands += there.routing.subtracting(wanted.routing).map { $0.removing(family) }
    }
    for family in all where current[family].hasSet && !self[family].hasSet {
      commands.append(Command("ipset", "destroy", family.aliveSet))
    }
    return commands
  }
}

/// How long an entry of the alive sets lives unless it is refreshed.
let aliveSeconds: UInt32 = 2
