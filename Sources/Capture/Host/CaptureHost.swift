// Capture on this host: planned, applied, removed, looked at. Every change is the way from one `CaptureState` to another,
// and a change that fails on its way is followed by the way back.

import Base
import Glibc

/// Works on the network namespace it runs in. Needs CAP_NET_ADMIN for everything but a plan's text.
public struct CaptureHost: Sendable {
  let runner = CommandRunner()
  let files: StateFiles
  /// Where it keeps what outlives a command.
  public let stateDirectory: String

  /// - Parameter stateDirectory: where what outlives a command is kept; only root may be able to write there.
  public init(stateDirectory: String = CaptureHost.defaultStateDirectory) {
    self.stateDirectory = stateDirectory
    files = StateFiles(base: stateDirectory)
  }

  /// Not the daemon's own directory: that belongs to the daemon's user, and goes when it stops.
  public static let defaultStateDirectory = "/run/fairlead-capture"

  /// The families this host uses.
  public static var families: [AddressFamily] { Survey.usedFamilies }

  // MARK: Plan and apply

  /// What `apply` would run now; empty when all is in place.
  public func plan(_ settings: CaptureSettings) throws(CaptureError) -> [Command] {
    try checkTools()
    try checkBridges(settings)
    let survey = try survey(settings)
    return CaptureState(settings, families: Self.families).commands(from: survey.state)
  }

  /// Puts everything in place, or leaves everything as it is.
  ///
  /// - Parameter confirmWithin: takes it back after this time unless `confirm` is called before.
  /// - Returns: the commands that were run.
  public func apply(_ settings: CaptureSettings, confirmWithin: Duration? = nil) throws(CaptureError) -> [Command] {
    try checkTools()
    return try files.withLock { () throws(CaptureError) in
      try rollBackOverdue()
      if let pending { throw .waitsForConfirmation(seconds: pending.secondsLeft) }
      try checkBridges(settings)
      let before = try survey(settings)
      try checkListeners(settings)
      if before.state.isEmpty || files.read(.before) == nil {
        try files.write(.before, TablesBefore(before).text)
      }
      let wanted = CaptureState(settings, families: Self.families)
      let commands = wanted.commands(from: before.state)
      files.remove(.rolledBack)
      do throws(CaptureError) {
        // Before the rules: whatever ends this process from now on, what it did is taken back.
        if let confirmWithin {
          try write(PendingConfirmation(within: confirmWithin, before: before))
          try RollbackWatch.start(stateDirectory: stateDirectory)
        }
        try run(commands, for: settings)
        // Who is to confirm has all of that time.
        if let confirmWithin { try write(PendingConfirmation(within: confirmWithin, before: before)) }
      } catch {
        let failure = restored(before.state, after: error)
        files.remove(.pending)
        throw failure
      }
      return commands
    }
  }

  /// What `remove` did.
  public struct Removal: Sendable {
    /// None when there was nothing.
    public let commands: [Command]
    /// Empty tables that were not there before the first apply and that the kernel keeps.
    public let keptTables: Set<String>
  }

  /// Takes away everything of ours.
  public func remove() throws(CaptureError) -> Removal {
    try checkTools()
    return try files.withLock { () throws(CaptureError) in
      let now = try Survey(runner).state
      let commands = CaptureState.nothing.commands(from: now)
      try run(commands)
      let kept = tidy()
      files.removeAll()
      return Removal(commands: commands, keptTables: kept)
    }
  }

  /// Keeps what `apply` with a time limit has put in place.
  public func confirm() throws(CaptureError) {
    try checkCapability()
    try files.withLock { () throws(CaptureError) in
      guard pending != nil else { throw .nothingToConfirm(lastRollback: files.read(.rolledBack)) }
      files.remove(.pending)
    }
  }

  // MARK: Steps

  var pending: PendingConfirmation? { files.read(.pending).flatMap { PendingConfirmation(parsing: $0) } }

  private func write(_ pending: PendingConfirmation) throws(CaptureError) { try files.write(.pending, pending.text) }

  /// Takes an apply back whose time is over: its watch does that, and where somebody ended the watch, the next apply. With
  /// the lock held.
  func rollBackOverdue() throws(CaptureError) {
    guard let pending, pending.deadline <= .now() else { return }
    var isRestored = restore(pending.before.state)
    var attempts = 1
    // Another program at the same tables, or no memory: it may work a second later, and nobody else will try.
    while !isRestored, attempts < 5 {
      poll(nil, 0, 1000)
      attempts += 1
      isRestored = restore(pending.before.state)
    }
    // Not earlier: a watch that is ended on its way leaves the rest to the next apply.
    files.remove(.pending)
    try files.write(
      .rolledBack,
      isRestored
        ? "the last apply was not confirmed and was rolled back"
        : "the last apply was not confirmed; rolling it back failed: run 'fairlead capture remove'")
  }

  /// While a proxy is alive its rules hold: they must not lead to a port of which it knows nothing. There everybody would be
  /// refused, or answered by whichever local user listens.
  private func checkListeners(_ settings: CaptureSettings) throws(CaptureError) {
    guard let first = settings.unheardListeners.first else { return }
    if AddressFamily.allCases.contains(where: { isAlive($0) }) { throw .nobodyListens(first) }
  }

  /// All connections from such a bridge would be lost, and for as long as the proxy is alive.
  private func checkBridges(_ settings: CaptureSettings) throws(CaptureError) {
    if let first = settings.filteredBridges.first { throw .filteredBridge(first) }
  }

  func survey(_ settings: CaptureSettings) throws(CaptureError) -> Survey {
    let survey = try Survey(runner, table: settings.routingTable)
    for family in Self.families where RuleSet(settings, family: family).needsRouting {
      if survey.routesAreOurs(family, table: settings.routingTable) == false {
        throw .tableInUse(settings.routingTable, family: family)
      }
    }
    return survey
  }

  /// Leads from what is there to `state`; for the way back, which has to go on whatever fails.
  func restore(_ state: CaptureState) -> Bool {
    guard let now = try? Survey(runner).state else { return false }
    for command in state.commands(from: now) { try? run([command]) }
    if state.isEmpty { tidy() }
    return (try? Survey(runner).state) == state
  }

  private func restored(_ before: CaptureState, after error: CaptureError) -> CaptureError {
    let isRestored = restore(before)
    if isRestored && before.isEmpty { files.remove(.before) }
    guard case .refusedRules(let tool, let reason, let line, let text, _) = error else { return error }
    return .refusedRules(tool: tool, reason: reason, line: line, text: text, isRestored: isRestored)
  }

  /// - Parameter settings: what is applied; nil when something is taken away.
  private func run(_ commands: [Command], for settings: CaptureSettings? = nil) throws(CaptureError) {
    for command in commands {
      var result = try runner.run(command)
      // The kernel frees a rule's hold on a set some time after the rule is gone.
      var attempts = 0
      while !result.isSuccess, command.isDestroyingSet, attempts < 60 {
        poll(nil, 0, 50)
        attempts += 1
        result = try runner.run(command)
      }
      if result.isSuccess || command.isForgiven(result) {
        if let settings, command.tool == "ipset" { try awaitListeners(settings) }
        continue
      }
      let reason = command.reason(result)
      guard command.tool.hasSuffix("-restore") else {
        throw .failed(command: command.arguments.joined(separator: " "), reason: reason)
      }
      let line = refusedLine(result.errors)
      throw .refusedRules(
        tool: command.tool, reason: reason, line: line, text: line.flatMap { command.line($0) }, isRestored: false)
    }
  }

  /// The sets are new, the rules are not there yet. Where somebody is refused without the proxy, its first beat is waited
  /// for; and where nobody listens, it must not come.
  private func awaitListeners(_ settings: CaptureSettings) throws(CaptureError) {
    guard settings.refusesAnybody || !settings.unheardListeners.isEmpty, awaitLife() else { return }
    try checkListeners(settings)
  }

  /// Gives a running proxy the time for its next beat.
  ///
  /// - Returns: whether one is there.
  public func awaitLife() -> Bool {
    for _ in 0..<8 {
      if AddressFamily.allCases.contains(where: { isAlive($0) }) { return true }
      poll(nil, 0, 100)
    }
    return false
  }

  /// Whether the set holds an entry now.
  func isAlive(_ family: AddressFamily) -> Bool {
    guard let result = try? runner.run(Command("ipset", "save", family.aliveSet)) else { return false }
    return result.output.split(separator: "\n").contains { $0.hasPrefix("add ") }
  }

  /// Takes away the empty tables that our first apply brought into being.
  ///
  /// - Returns: those that stay. The kernel does not give up tables of iptables-legacy.
  @discardableResult
  private func tidy() -> Set<String> {
    guard let text = files.read(.before) else { return [] }
    let before = TablesBefore(parsing: text)
    let canDelete = Self.backend == "nf_tables"
    var kept: Set<String> = []
    for family in Survey.hostFamilies {
      guard let now = try? runner.run(Command(family.saveTool)), now.isSuccess else { continue }
      let empty = EmptyTables(family, now: SavedTables(parsing: now.output), before: before.names[family] ?? [])
      if canDelete { empty.delete() } else { kept.formUnion(empty.tables.map(\.name)) }
    }
    return kept
  }

  // MARK: Needs

  func checkTools() throws(CaptureError) {
    for tool in Self.missingTools { throw .missingTool(tool) }
    try checkCapability()
  }

  /// Those that capture needs and this host does not have.
  public static var missingTools: [String] {
    (hostTools + ["ipset", "ip"]).filter { CommandRunner.path(of: $0) == nil }
  }

  private static var hostTools: [String] { Survey.hostFamilies.flatMap { [$0.saveTool, $0.restoreTool] } }

  private func checkCapability() throws(CaptureError) {
    if !Capabilities.current.contains(.netAdmin) { throw .missingCapability }
  }
}

extension CaptureSettings {
  var refusesAnybody: Bool { onFailure == .refuse || exceptions.contains { $0.onFailure == .refuse } }
}

extension Command {
  fileprivate var isDestroyingSet: Bool { arguments.starts(with: ["ipset", "destroy"]) }

  /// What was done already: routes and rules that are as they should be.
  fileprivate func isForgiven(_ result: CommandResult) -> Bool {
    guard tool == "ip" else { return false }
    return arguments.contains("add")
      ? result.errors.contains("File exists")
      : arguments.contains("del")
        && ["No such process", "No such file", "does not exist"].contains { result.errors.contains($0) }
  }

  fileprivate func reason(_ result: CommandResult) -> String {
    let text = result.errors.isEmpty ? result.output : result.errors
    // iptables-restore prints its own name and version first, and breaks the line there.
    let lines = text.split(separator: "\n").map(String.init).filter {
      !$0.hasPrefix("Try `") && !$0.hasPrefix("# Warning") && !$0.allSatisfy { $0 == " " }
    }
    let words = lines.prefix(2).joined(separator: " ").trimmingToolName(tool)
    return words.isEmpty ? "it ended with \(result.status)" : words
  }

  fileprivate func line(_ number: Int) -> String? {
    let lines = (input ?? "").split(separator: "\n", omittingEmptySubsequences: false)
    return number >= 1 && number <= lines.count ? String(lines[number - 1]) : nil
  }
}

/// `line 12: RULE_APPEND failed …`, `Error occurred at line: 12`, `line 12 failed`.
func refusedLine(_ text: String) -> Int? {
  for line in text.split(separator: "\n") {
    let words = line.split(whereSeparator: { " :.".contains($0) })
    for (index, word) in words.enumerated() where word == "line" && index + 1 < words.count {
      if let number = Int(words[index + 1]) { return number }
    }
  }
  return nil
}

extension String {
  /// Without `iptables-restore v1.8.9 (nf_tables): ` at its start.
  fileprivate func trimmingToolName(_ tool: String) -> String {
    guard hasPrefix(tool), let colon = firstIndex(of: ":") else { return self }
    return String(self[index(after: colon)...].drop { $0 == " " })
  }
}
