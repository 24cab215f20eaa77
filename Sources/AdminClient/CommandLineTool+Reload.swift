// `fairlead config [diff]` and `fairlead reload [confirm]`: the configuration that runs, what another one would change, and
// taking it.

import Base

/// One difference between two configurations; `old` is nil for what is new, `new` for what is gone.
public struct ConfigurationChange: Decodable, Equatable, Sendable {
  public var path: String
  public var old: String?
  public var new: String?
  /// Whether it takes effect only when the daemon starts again; nil where the daemon was not asked.
  public var needsRestart: Bool?

  public init(path: String, old: String?, new: String?, needsRestart: Bool? = nil) {
    self.path = path
    self.old = old
    self.new = new
    self.needsRestart = needsRestart
  }
}

private struct ChangesAnswer: Decodable {
  var source: String
  var changes: [ConfigurationChange]
}

private struct ReloadAnswer: Decodable {
  var source: String
  var generation: UInt64
  var changes: [ConfigurationChange]
  var confirmWithinSeconds: Double?
}

extension CommandLineTool {
  // MARK: config

  func config(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    guard let action = invocation.operands.first else {
      try pass(daemon, "/config")
      return ExitCode.success
    }
    guard action == "diff" else { return wrongAction("config", action, "diff") }
    guard let file = invocation.operands.dropFirst().first else { return try ownDifferences(invocation, daemon) }
    switch configuration.compare(try daemon.get("/config").body, file) {
    case .failure(let refused):
      console.errors(refused.findings)
      return ExitCode.configuration
    case .success(let changes):
      if invocation.isJSON {
        printJSON { write(changes, source: file, to: &$0) }
      } else {
        console.output(changes.isEmpty ? "no difference to \(printable(file))\n" : table(changes))
      }
      return ExitCode.success
    }
  }

  /// What the daemon's own files would change.
  private func ownDifferences(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    try unlessRefused { () throws(AdminClientError) in
      if invocation.isJSON { return try pass(daemon, "/config/diff") }
      let answer = try daemon.decoded(ChangesAnswer.self, "/config/diff")
      console.output(
        answer.changes.isEmpty
          ? "a reload would change nothing: \(printable(answer.source)) is what runs\n" : table(answer.changes))
    }
  }

  // MARK: reload

  func reload(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    if let action = invocation.operands.first {
      guard action == "confirm" else { return wrongAction("reload", action, "confirm") }
      guard !invocation.has("--confirm") else {
        console.errors("fairlead: --confirm goes with reloading, not with confirming it\n")
        return ExitCode.usage
      }
      _ = try daemon.post("/reload/confirm")
      if invocation.isJSON { printJSON { $0.member("confirmed", true) } } else { console.output("confirmed\n") }
      return ExitCode.success
    }
    var target = "/reload"
    if let text = invocation.options["--confirm"] {
      guard let limit = confirmation(text) else { return ExitCode.usage }
      target += "?confirm=\(limit.shortText)"
    }
    return try unlessRefused { () throws(AdminClientError) in
      let answer = try daemon.post(target)
      if invocation.isJSON { return console.output(answer.text + "\n") }
      show(try daemon.decoded(ReloadAnswer.self, answer, of: target))
    }
  }

  private func show(_ answer: ReloadAnswer) {
    if answer.changes.isEmpty {
      console.output("reloaded \(printable(answer.source)): no change\n")
    } else {
      let count = answer.changes.count
      console.output(
        "reloaded \(printable(answer.source)): \(count) change\(count == 1 ? "" : "s"), generation \(answer.generation)\n"
          + table(answer.changes))
    }
    guard let seconds = answer.confirmWithinSeconds else { return }
    console.output("taken back in \(Display.age(seconds: seconds)) unless you run: fairlead reload confirm\n")
  }

  // MARK: Both

  /// Everything that is wrong with a configuration goes out as it is; other refusals are errors like any.
  private func unlessRefused(_ body: () throws(AdminClientError) -> Void) throws(AdminClientError) -> Int32 {
    do throws(AdminClientError) {
      try body()
      return ExitCode.success
    } catch {
      guard case .refused(status: 422, let findings) = error else { throw error }
      let lines = findings.split(separator: "\n", omittingEmptySubsequences: false).map { printable(String($0)) }
      console.errors("\(lines.joined(separator: "\n"))\nfairlead: the configuration is refused; nothing has changed\n")
      return ExitCode.configuration
    }
  }

  private func table(_ changes: [ConfigurationChange]) -> String {
    var table = Table([("CHANGE", .left), ("FROM", .left), ("TO", .left)])
    for one in changes {
      table.add([
        one.path + (one.needsRestart == true ? " (restart)" : ""), shortened(one.old), shortened(one.new),
      ])
    }
    let waiting = changes.contains { $0.needsRestart == true }
    return table.text + (waiting ? "what is marked (restart) takes effect when the daemon starts again\n" : "")
  }

  private func shortened(_ text: String?) -> String {
    guard let text else { return "-" }
    return text.count <= 60 ? text : text.prefix(59) + "…"
  }

  private func write(_ changes: [ConfigurationChange], source: String, to json: inout JSONWriter) {
    json.member("source", source)
    json.array("changes") {
      for one in changes {
        $0.object {
          $0.member("path", one.path)
          $0.member("old", one.old)
          $0.member("new", one.new)
        }
      }
    }
  }

  private func wrongAction(_ command: String, _ action: String, _ known: String) -> Int32 {
    console.errors("fairlead: \(command) takes '\(known)' or nothing, not '\(printable(action))'\n")
    return ExitCode.usage
  }
}
