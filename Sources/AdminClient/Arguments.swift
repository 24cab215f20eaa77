// The command line taken apart: `fairlead [--socket P] [-o table|json] COMMAND …`, options before or after the command.
// Wrong usage is told in one line, with what was probably meant.

import Base

/// What a command takes. The list of them is `CommandCatalog`.
struct CommandSpecification: Sendable {
  struct Option: Sendable {
    let name: String
    /// What stands for its value in the usage line; nil for a switch.
    var value: String?
    let help: String
    /// May stand there several times.
    var repeats = false
    /// What its value is completed to.
    var completion = Completion.nothing
  }

  /// What a shell offers for a word.
  enum Completion: Equatable, Sendable {
    case nothing, files, services, workloads, commands
    case words([String])
  }

  let name: String
  let summary: String
  /// Operands in the usage line, such as "[SERVICE ...]".
  var operands = ""
  var operandCount: ClosedRange<Int> = 0...0
  var options: [Option] = []
  /// What its operands are completed to, one after the other; the last stands for all that follow.
  var completions: [Completion] = []
  /// More about it, for the manual.
  var details = ""
  /// False for commands of later versions.
  var isAvailable = true

  func usage(_ program: String) -> String {
    let options = options.map { option in
      " [\(option.name)" + (option.value.map { " " + $0 } ?? "") + (option.repeats ? " ...]" : "]")
    }
    return "usage: \(program) \(name)\(options.joined())\(operands.isEmpty ? "" : " " + operands)"
  }
}

/// A command line that makes sense.
struct Invocation: Equatable, Sendable {
  var command: String
  var operands: [String] = []
  /// The last value of each option, empty for a switch.
  var options: [String: String] = [:]
  /// The values of options that may stand there several times.
  var lists: [String: [String]] = [:]
  var socket = defaultSocket
  var isJSON = false

  func has(_ option: String) -> Bool { options[option] != nil }
}

/// What the arguments ask for.
enum ParsedArguments: Equatable {
  case run(Invocation)
  /// Help for a command, or for all.
  case help(String?)
  case wrong(String)
}

/// Takes the arguments (without the program's name) apart.
func parseArguments(_ arguments: [String], catalog: [CommandSpecification] = CommandCatalog.all) -> ParsedArguments {
  var reader = ArgumentReader(catalog: catalog, rest: arguments[...])
  do throws(WrongUsage) {
    return try reader.read()
  } catch {
    return .wrong(error.message)
  }
}

private struct WrongUsage: Error {
  let message: String
  init(_ message: String) { self.message = message }
}

private struct ArgumentReader {
  let catalog: [CommandSpecification]
  var rest: ArraySlice<String>
  var command: CommandSpecification?
  var invocation = Invocation(command: "")
  var pending: [(name: String, value: String?)] = []
  var wantsHelp = false

  mutating func read() throws(WrongUsage) -> ParsedArguments {
    var onlyOperands = false
    while let argument = rest.popFirst() {
      if argument == "--" && !onlyOperands {
        onlyOperands = true
      } else if onlyOperands || !argument.hasPrefix("-") || argument == "-" {
        try word(argument)
      } else {
        try option(argument)
      }
    }
    if wantsHelp { return .help(command?.name) }
    guard let command else { return .help(nil) }
    invocation.command = command.name
    // A command of a later version is refused as such, whatever stands behind it.
    guard command.isAvailable else { return .run(Invocation(command: command.name)) }
    try takeOptions(of: command)
    try countOperands(of: command)
    return .run(invocation)
  }

  private mutating func word(_ argument: String) throws(WrongUsage) {
    guard command == nil else { return invocation.operands.append(argument) }
    command = catalog.first { $0.name == argument }
    guard command != nil else {
      let known = catalog.filter(\.isAvailable).map(\.name)
      throw WrongUsage(unknown("command", argument, known, "fairlead help lists them"))
    }
  }

  private mutating func option(_ argument: String) throws(WrongUsage) {
    let (name, attached) = split(argument)
    switch name {
    case "--help", "-h": wantsHelp = true
    case "--version": command = command ?? catalog.first { $0.name == "version" }
    case "--socket": invocation.socket = try value(name, attached)
    case "-o", "--output":
      let format = try value(name, attached)
      guard format == "json" || format == "table" else {
        throw WrongUsage("\(name) is 'table' or 'json', not '\(printable(format))'")
      }
      invocation.isJSON = format == "json"
    default:
      if let command, !command.isAvailable { return }
      // Before the command, which decides, any command's option is taken; whether it is this one's shows at the end.
      let known = (command.map { [$0] } ?? catalog).flatMap(\.options)
      guard let option = known.first(where: { $0.name == name }) else { throw unknownOption(name, known) }
      pending.append((name, option.value == nil ? attached : try value(name, attached)))
    }
  }

  private mutating func value(_ name: String, _ attached: String?) throws(WrongUsage) -> String {
    guard let value = attached ?? rest.popFirst() else { throw WrongUsage("\(name) needs a value") }
    return value
  }

  private mutating func takeOptions(of command: CommandSpecification) throws(WrongUsage) {
    for (name, value) in pending {
      guard let option = command.options.first(where: { $0.name == name }) else {
        throw unknownOption(name, command.options)
      }
      if option.value == nil && value != nil { throw WrongUsage("\(name) takes no value") }
      if option.repeats { invocation.lists[name, default: []].append(value ?? "") }
      invocation.options[name] = value ?? ""
    }
  }

  private func countOperands(of command: CommandSpecification) throws(WrongUsage) {
    let count = invocation.operands.count
    if count < command.operandCount.lowerBound { throw WrongUsage(command.usage("fairlead")) }
    if count > command.operandCount.upperBound {
      let extra = printable(invocation.operands[command.operandCount.upperBound])
      throw WrongUsage("'\(extra)' is one too many; \(command.usage("fairlead"))")
    }
  }

  private func unknownOption(_ name: String, _ known: [CommandSpecification.Option]) -> WrongUsage {
    let list = command.map { "fairlead \($0.name) --help" } ?? "fairlead help"
    return WrongUsage(unknown("option", name, known.map(\.name) + commonOptions, list))
  }
}

/// `--name=value`, `-ojson` and `-XPOST`.
private func split(_ argument: String) -> (name: String, value: String?) {
  if argument.hasPrefix("--"), let equals = argument.firstIndex(of: "=") {
    return (String(argument[..<equals]), String(argument[argument.index(after: equals)...]))
  }
  let short = String(argument.prefix(2))
  if ["-o", "-H", "-X"].contains(short), argument.utf8.count > 2 { return (short, String(argument.dropFirst(2))) }
  return (argument, nil)
}

private func unknown(_ kind: String, _ word: String, _ known: [String], _ list: String) -> String {
  let near = Suggestion.nearest(to: word, among: known).map { "; did you mean '\($0)'?" } ?? ""
  return "unknown \(kind) '\(printable(String(word.prefix(80))))'\(near) (\(list))"
}

/// Those every command takes.
private let commonOptions = ["--socket", "--output", "-o", "--help", "--version"]

/// Where the daemon listens unless told otherwise.
public let defaultSocket = "/run/fairlead/admin.sock"
