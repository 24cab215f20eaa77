// What is in place on this host, and whether it is what the configuration would apply.

/// One look at the host.
public struct CaptureStatus: Sendable {
  public enum Rules: String, Sendable {
    case absent, asConfigured = "as configured", different
    /// Rules, and no configuration to compare them with.
    case present
  }

  public struct Family: Sendable {
    public let family: AddressFamily
    public let rules: Rules
    /// Does the configuration ask for rules of this family?
    public let isWanted: Bool
    public let ruleCount: Int
    /// Is there the set that the rules ask?
    public let hasSet: Bool
    /// Does the set have its entry: is the proxy there?
    public let isAlive: Bool
    /// Packets marked for TPROXY find their way: a routing rule and its route.
    public let hasRouting: Bool
    /// Where the rules lead and the host's own filter drops what comes.
    public let droppedPorts: [UInt16]
    /// What differs, a line each.
    public let differences: [String]

    public init(
      family: AddressFamily, rules: Rules, isWanted: Bool = true, ruleCount: Int, hasSet: Bool = true, isAlive: Bool,
      hasRouting: Bool = false, droppedPorts: [UInt16] = [], differences: [String] = []
    ) {
      self.family = family
      self.rules = rules
      self.isWanted = isWanted
      self.ruleCount = ruleCount
      self.hasSet = hasSet
      self.isAlive = isAlive
      self.hasRouting = hasRouting
      self.droppedPorts = droppedPorts
      self.differences = differences
    }
  }

  public let families: [Family]
  /// Until when somebody must confirm; nil when nobody need.
  public let confirmWithinSeconds: Int?
  /// What became of an apply that nobody confirmed.
  public let lastRollback: String?

  public init(families: [Family], confirmWithinSeconds: Int? = nil, lastRollback: String? = nil) {
    self.families = families
    self.confirmWithinSeconds = confirmWithinSeconds
    self.lastRollback = lastRollback
  }

  public var isApplied: Bool { families.contains { $0.rules != .absent } }
}

extension CaptureHost {
  /// - Parameter settings: what the configuration asks for; nil when there is none to compare with.
  public func status(_ settings: CaptureSettings?) throws(CaptureError) -> CaptureStatus {
    try checkTools()
    let survey: Survey
    if let settings { survey = try self.survey(settings) } else { survey = try Survey(runner) }
    let now = survey.state
    let wanted = settings.map { CaptureState($0, families: Self.families) }
    let families = survey.families.map { family in
      CaptureStatus.Family(
        family: family, rules: rules(now[family], wanted?[family]),
        isWanted: wanted.map { !$0[family].isEmpty } ?? true, ruleCount: now[family].firewall.ruleCount,
        hasSet: now[family].hasSet, isAlive: now[family].hasSet && isAlive(family),
        hasRouting: !now[family].routing.isEmpty && !now[family].routes.isEmpty,
        droppedPorts: settings?.droppedPorts(survey.saved(family), family) ?? [],
        differences: wanted.map { differences(now[family], $0[family]) } ?? [])
    }
    return CaptureStatus(
      families: families, confirmWithinSeconds: pending?.secondsLeft, lastRollback: files.read(.rolledBack))
  }

  private func rules(_ now: CaptureState.Family, _ wanted: CaptureState.Family?) -> CaptureStatus.Rules {
    guard let wanted else { return now.isEmpty ? .absent : .present }
    if now == wanted { return wanted.isEmpty ? .absent : .asConfigured }
    return now.isEmpty ? .absent : .different
  }

  private func differences(_ now: CaptureState.Family, _ wanted: CaptureState.Family) -> [String] {
    if now.isEmpty || now == wanted { return [] }
    var lines = wanted.firewall.differences(from: now.firewall)
    if now.hasSet != wanted.hasSet { lines.append(wanted.hasSet ? "+ the alive set" : "- the alive set") }
    lines += wanted.routing.subtracting(now.routing).map { "+ routing rule for table \($0.table)" }
    lines += now.routing.subtracting(wanted.routing).map { "- routing rule for table \($0.table)" }
    lines += wanted.routes.subtracting(now.routes).map { "+ the route of table \($0)" }
    return lines
  }
}
