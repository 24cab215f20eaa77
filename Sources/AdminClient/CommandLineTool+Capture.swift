// `fairlead capture`: plans, applies, removes and shows this host's capture. It works on the kernel, not on the daemon,
// which may not be running: that is when a person needs it most.

import Base
public import Capture

/// A configuration file read for its capture.
public enum CapturePreparation: Sendable {
  case ready(CaptureSettings)
  /// What is wrong with it, every line ended, and the exit code.
  case refused(String, code: Int32)
}

extension CommandLineTool {
  /// The operands of `capture`.
  static let captureActions = ["plan", "apply", "remove", "status", "confirm"]

  func capture(_ invocation: Invocation) -> Int32 {
    let action = invocation.operands.first ?? ""
    let host = CaptureHost(stateDirectory: invocation.options["--state"] ?? CaptureHost.defaultStateDirectory)
    do throws(CaptureError) {
      switch action {
      case "plan": return try plan(invocation, host)
      case "apply": return try apply(invocation, host)
      case "remove": return try remove(invocation, host)
      case "status": return try captureStatus(invocation, host)
      case "confirm": return try confirm(invocation, host)
      case RollbackWatch.operand:
        RollbackWatch(stateDirectory: host.stateDirectory).run()
        return ExitCode.success
      default:
        let near = Suggestion.nearest(to: action, among: Self.captureActions).map { "; did you mean '\($0)'?" } ?? ""
        console.errors(
          "fairlead: capture takes \(Self.captureActions.joined(separator: ", ")), not '\(printable(action))'\(near)\n")
        return ExitCode.usage
      }
    } catch {
      console.errors("fairlead: \(error)\n")
      return ExitCode.failure
    }
  }

  // MARK: Actions

  private func plan(_ invocation: Invocation, _ host: CaptureHost) throws(CaptureError) -> Int32 {
    guard let settings = settings(invocation) else { return ExitCode.configuration }
    let commands = try host.plan(settings)
    if invocation.isJSON {
      report(commands, settings, isApplied: false)
    } else if commands.isEmpty {
      console.output("nothing to do: all is in place\n")
    } else {
      console.output(commands.map(\.text).joined())
    }
    return ExitCode.success
  }

  private func apply(_ invocation: Invocation, _ host: CaptureHost) throws(CaptureError) -> Int32 {
    guard let settings = settings(invocation) else { return ExitCode.configuration }
    var limit: Duration?
    if let text = invocation.options["--confirm"] {
      guard let duration = confirmation(text) else { return ExitCode.usage }
      limit = duration
    }
    let commands = try host.apply(settings, confirmWithin: limit)
    let status = try host.status(settings)
    if invocation.isJSON {
      report(commands, settings, isApplied: true)
      return ExitCode.success
    }
    let families = status.families.filter { $0.rules == .asConfigured }.map(\.family.title).joined(separator: " and ")
    console.output(commands.isEmpty ? "all was in place: \(families)\n" : "capture is in place: \(families)\n")
    if !host.awaitLife() {
      console.output(
        "no fairleadd refreshes the alive sets: new connections "
          + (settings.onFailure == .bypass ? "go direct" : "are refused") + " until one does\n")
    }
    if let limit {
      console.output("rolled back in \(limit.shortText) unless you run: fairlead capture confirm\n")
    }
    return ExitCode.success
  }

  private func remove(_ invocation: Invocation, _ host: CaptureHost) throws(CaptureError) -> Int32 {
    let removal = try host.remove()
    let kept = removal.keptTables.sorted()
    if invocation.isJSON {
      printJSON { json in
        json.member("removed", !removal.commands.isEmpty)
        json.array("keptTables") { for table in kept { $0.string(table) } }
      }
      return ExitCode.success
    }
    console.output(removal.commands.isEmpty ? "nothing to remove\n" : "capture is removed\n")
    if !kept.isEmpty {
      console.output("empty tables that iptables-legacy keeps until the next boot: \(kept.joined(separator: ", "))\n")
    }
    return ExitCode.success
  }

  private func confirm(_ invocation: Invocation, _ host: CaptureHost) throws(CaptureError) -> Int32 {
    try host.confirm()
    if invocation.isJSON {
      printJSON { $0.member("confirmed", true) }
    } else {
      console.output("confirmed: capture stays\n")
    }
    return ExitCode.success
  }

  /// What is in place is shown also where the configuration is refused: that is when somebody wants to know.
  private func captureStatus(_ invocation: Invocation, _ host: CaptureHost) throws(CaptureError) -> Int32 {
    let settings = settings(invocation)
    let status = try host.status(settings)
    if invocation.isJSON { printJSON { write(status, to: &$0) } } else { show(status) }
    if settings == nil { return ExitCode.configuration }
    let isWell = status.isApplied && status.families.allSatisfy { $0.rules == .asConfigured || $0.rules == .absent }
    return isWell && !status.families.contains { !$0.differences.isEmpty } ? ExitCode.success : ExitCode.failure
  }

  // MARK: Input

  /// Nil when the configuration does not allow capture; what is wrong has been said then.
  private func settings(_ invocation: Invocation) -> CaptureSettings? {
    let file = invocation.options["--config"] ?? defaultConfiguration
    switch configuration.prepareCapture(file) {
    case .refused(let text, _):
      console.errors(text)
      return nil
    case .ready(let settings):
      let findings = settings.findings(families: CaptureHost.families)
      for error in findings.errors { console.errors("fairlead: \(printable(file)): \(error)\n") }
      if !findings.errors.isEmpty { return nil }
      if !invocation.isJSON { for note in findings.notes { console.errors("note: \(note)\n") } }
      return settings
    }
  }

  func confirmation(_ text: String) -> Duration? {
    do throws(TextError) {
      let duration = try Duration(parsing: text)
      if duration >= .seconds(1) && duration <= .seconds(3600) { return duration }
      console.errors("fairlead: --confirm is 1s to 1h, not \(printable(text))\n")
    } catch {
      console.errors("fairlead: --confirm '\(printable(text))': \(error)\n")
    }
    return nil
  }

  // MARK: Output

  private func report(_ commands: [Capture.Command], _ settings: CaptureSettings, isApplied: Bool) {
    printJSON { json in
      json.member("applied", isApplied)
      json.array("notes") {
        for note in settings.findings(families: CaptureHost.families).notes { $0.string(note) }
      }
      json.array("commands") {
        for command in commands {
          $0.object {
            $0.array("arguments") { for argument in command.arguments { $0.string(argument) } }
            $0.member("input", command.input)
          }
        }
      }
    }
  }

  private func write(_ status: CaptureStatus, to json: inout JSONWriter) {
    json.array("families") {
      for one in status.families {
        $0.object {
          $0.member("family", one.family.rawValue)
          $0.member("rules", one.rules.rawValue)
          $0.member("ruleCount", one.ruleCount)
          $0.member("set", one.hasSet)
          $0.member("alive", one.isAlive)
          $0.member("routing", one.hasRouting)
          $0.array("differences") { for line in one.differences { $0.string(line) } }
        }
      }
    }
    json.key("confirmWithinSeconds")
    if let seconds = status.confirmWithinSeconds { json.integer(seconds) } else { json.null() }
    json.member("lastRollback", status.lastRollback)
  }

  private func show(_ status: CaptureStatus) {
    var table = Table([("FAMILY", .left), ("RULES", .left), ("COUNT", .right), ("ALIVE", .left), ("ROUTING", .left)])
    for one in status.families {
      table.add([
        one.family.title, one.rules.rawValue, "\(one.ruleCount)",
        one.hasSet ? (one.isAlive ? "yes" : "no: no fairleadd refreshes it") : "-", one.hasRouting ? "yes" : "-",
      ])
    }
    console.output(table.text)
    for one in status.families where !one.differences.isEmpty {
      console.output("\n\(one.family.title): 'fairlead capture apply' would change\n")
      for line in one.differences { console.output("  \(printable(line))\n") }
    }
    if let seconds = status.confirmWithinSeconds {
      console.output("\nrolled back in \(seconds) s unless you run: fairlead capture confirm\n")
    }
    if let text = status.lastRollback { console.output("\n\(printable(text))\n") }
  }
}

/// What a package installs.
let defaultConfiguration = "/etc/fairlead/fairlead.yaml"
