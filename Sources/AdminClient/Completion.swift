// Completion of `fairlead`'s commands, options and values in the three shells people use, made from the catalog. Services
// and workloads are asked of the daemon at that moment, over the socket that stands on the line; one that does not answer
// has none.

import Base

/// A shell that `fairlead completion` speaks to.
enum Shell: String, CaseIterable, Sendable { case bash, zsh, fish }

extension CommandLineTool {
  func completion(_ invocation: Invocation) -> Int32 {
    let name = invocation.operands.first ?? ""
    guard let shell = Shell(rawValue: name) else {
      let near = Suggestion.nearest(to: name, among: Shell.allCases.map(\.rawValue)).map { "; did you mean '\($0)'?" }
      console.errors("fairlead: completion is for bash, zsh or fish, not '\(printable(name))'\(near ?? "")\n")
      return ExitCode.usage
    }
    console.output(Completions(CommandCatalog.all.filter(\.isAvailable)).script(for: shell))
    return ExitCode.success
  }
}

struct Completions {
  typealias Option = CommandSpecification.Option
  typealias Completion = CommandSpecification.Completion

  let commands: [CommandSpecification]

  init(_ commands: [CommandSpecification]) { self.commands = commands }

  func script(for shell: Shell) -> String {
    switch shell {
    case .bash: bash
    case .zsh: zsh
    case .fish: fish
    }
  }

  /// Options that every command takes.
  static let common: [Option] = [
    Option(name: "--socket", value: "PATH", help: "the daemon's admin socket", completion: .files),
    Option(name: "-o", value: "FORMAT", help: "table, or json for scripts", completion: .words(["table", "json"])),
    Option(name: "--output", value: "FORMAT", help: "as -o", completion: .words(["table", "json"])),
    Option(name: "--help", value: nil, help: "about a command"),
  ]

  var names: [String] { commands.map(\.name) }

  /// Every option that takes a value, wherever it stands: the word behind it is no operand.
  var valued: [String] {
    Set((Self.common + commands.flatMap(\.options)).filter { $0.value != nil }.map(\.name)).sorted()
  }

  /// What a shell runs to hear the names of the first column of a table.
  static func listing(_ completion: Completion) -> String? {
    switch completion {
    case .services: "services"
    case .workloads: "workloads"
    case .nothing, .files, .commands, .words: nil
    }
  }
}

/// In single quotes, for any of the shells.
func shellQuoted(_ text: String) -> String {
  "'" + text.reduce(into: "") { $0 += $1 == "'" ? "'\\''" : String($1) } + "'"
}
