// Every command: name, one line about it, what it takes. Help, parsing and suggestions all come from here.

enum CommandCatalog {
  static let all: [CommandSpecification] = [
    CommandSpecification(name: "status", summary: "version, uptime, listeners, shards, what does not work here"),
    CommandSpecification(
      name: "services", summary: "per service: endpoints, requests by class, retries, since the daemon started"),
    CommandSpecification(
      name: "endpoints", summary: "endpoints with state, weight, load and latency", operands: "[SERVICE]",
      operandCount: 0...1, completions: [.services]),
    CommandSpecification(
      name: "workloads", summary: "who is calling: connections, requests, success, bytes, and what is matched"),
    CommandSpecification(
      name: "names", summary: "how a name is delegated, step by step; ends with 1 when it leads to no service",
      operands: "NAME", operandCount: 1...1,
      options: [.init(name: "--dtab", value: "ENTRIES", help: "delegate by these too, as l5d-dtab would")]),
    CommandSpecification(
      name: "routes", summary: "rules in their order: requests, what each matches and does, and where it is written"),
    CommandSpecification(
      name: "connections", summary: "open connections",
      options: [.init(name: "--limit", value: "N", help: "show at most N (1000)")]),
    CommandSpecification(
      name: "stat", summary: "per service: success rate, requests per second, latency quantiles, over a short window",
      operands: "[SERVICE ...]", operandCount: 0...1000,
      options: [.init(name: "--window", value: "DURATION", help: "how long to look, 100ms to 10m (1s)")],
      completions: [.services]),
    CommandSpecification(
      name: "metrics", summary: "everything the daemon measures, as Prometheus text (-o json: one flat object)",
      options: [.init(name: "--openmetrics", value: nil, help: "OpenMetrics instead")]),
    CommandSpecification(
      name: "config",
      summary: "the running configuration, as JSON; 'diff': what a reload, or another FILE, would change",
      operands: "[diff [FILE]]", operandCount: 0...2, completions: [.words(["diff"]), .files],
      details: "Without FILE the daemon reads its own files again, as it would for a reload, and does nothing."),
    CommandSpecification(
      name: "reload", summary: "read the configuration again; 'confirm': keep what was reloaded with --confirm",
      operands: "[confirm]", operandCount: 0...1,
      options: [
        .init(name: "--confirm", value: "DURATION", help: "take it back after this time unless it is confirmed")
      ], completions: [.words(["confirm"])],
      details: """
        A configuration that is refused changes nothing, says everything that is wrong with it, and ends with 78. One that is \
        taken is swapped in between two requests: none fails.
        """),
    CommandSpecification(
      name: "explain", summary: "what would happen to a request, and which line of the configuration decides it",
      operands: "URL", operandCount: 1...1,
      options: [
        .init(name: "-X", value: "METHOD", help: "the method (GET)", completion: .words(methods)),
        .init(name: "-H", value: "'NAME: VALUE'", help: "a header of the request", repeats: true),
        .init(name: "--workload", value: "NAME", help: "who is calling (nobody's)", completion: .workloads),
        .init(name: "--listener", value: "NAME", help: "where it comes in (the first that takes HTTP)"),
      ], details: "Nothing is sent."),
    CommandSpecification(
      name: "drain", summary: "finish what is in flight, then end the daemon; waits until it has ended",
      options: [.init(name: "--no-wait", value: nil, help: "return at once")]),
    CommandSpecification(
      name: "logging", summary: "show or set the log level: error, warning, info, debug, trace", operands: "[LEVEL]",
      operandCount: 0...1, completions: [.words(["error", "warning", "info", "debug", "trace"])]),
    CommandSpecification(
      name: "capture", summary: "lead this host's connections to the proxy: show how, do it, undo it",
      operands: "plan|apply|remove|status|confirm", operandCount: 1...1,
      options: [
        .init(
          name: "--config", value: "FILE", help: "the configuration (\(defaultConfiguration))", completion: .files),
        .init(
          name: "--confirm", value: "DURATION",
          help: "apply: roll back after this time unless 'capture confirm' is run"),
        .init(
          name: "--state", value: "DIRECTORY", help: "where to keep what was there before (/run/fairlead-capture)",
          completion: .files),
      ], completions: [.words(CommandLineTool.captureActions)]),
    CommandSpecification(
      name: "check", summary: "is this node set up well? ends with 1 when something fails",
      options: [
        .init(
          name: "--config", value: "FILE", help: "the configuration (\(defaultConfiguration))", completion: .files),
        .init(
          name: "--state", value: "DIRECTORY", help: "as of 'fairlead capture' (/run/fairlead-capture)",
          completion: .files),
      ]),
    CommandSpecification(
      name: "validate", summary: "check a configuration file without a daemon; ends with 78 when it is refused",
      operands: "FILE", operandCount: 1...1, completions: [.files]),
    CommandSpecification(
      name: "schema", summary: "what a configuration may hold, as JSON Schema, for editors",
      options: [.init(name: "--manual", value: nil, help: "as the list of keys in fairlead.yaml(5)")]),
    CommandSpecification(
      name: "completion", summary: "completion of this program's commands, for a shell", operands: "bash|zsh|fish",
      operandCount: 1...1, completions: [.words(Shell.allCases.map(\.rawValue))],
      details: "For this shell: eval \"$(fairlead completion bash)\". A package has put it in its place."),
    CommandSpecification(name: "version", summary: "this program's version and the daemon's"),
    CommandSpecification(
      name: "help", summary: "this text, or a command's", operands: "[COMMAND]", operandCount: 0...1,
      options: [.init(name: "--manual", value: nil, help: "all commands, as the list in fairlead(1)")],
      completions: [.commands]),
    later("top", "the busiest routes, live"),
    later("tap", "watch requests as they pass"),
  ]

  private static let methods = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]

  /// The text of `fairlead help`.
  static func help() -> String {
    let available = all.filter(\.isAvailable)
    let width = available.map(\.name.count).max() ?? 0
    let lines = available.map {
      "  \($0.name)\(String(repeating: " ", count: width - $0.name.count + 2))\($0.summary)\n"
    }
    return """
      usage: fairlead [--socket PATH] [-o table|json] COMMAND [ARGUMENT ...]

      Looks at and steers the fairleadd of this host.

      \(lines.joined())
        --socket PATH  the daemon's admin socket (\(defaultSocket))
        -o FORMAT      table, or json for scripts

      fairlead COMMAND --help says more about a command.

      """
  }

  /// The text of `fairlead COMMAND --help`.
  static func help(for command: CommandSpecification) -> String {
    var text = "\(command.usage("fairlead"))\n\n\(command.summary)\n"
    if !command.details.isEmpty { text += command.details + "\n" }
    if !command.isAvailable { text += "\nNot available in this version.\n" }
    if !command.options.isEmpty {
      let names = command.options.map { $0.name + ($0.value.map { " " + $0 } ?? "") }
      let width = names.map(\.count).max() ?? 0
      text += "\n"
      for (name, option) in zip(names, command.options) {
        text += "  \(name)\(String(repeating: " ", count: width - name.count + 2))\(option.help)\n"
      }
    }
    return text
  }

  private static func later(_ name: String, _ summary: String) -> CommandSpecification {
    CommandSpecification(name: name, summary: summary, operandCount: 0...1000, isAvailable: false)
  }
}
