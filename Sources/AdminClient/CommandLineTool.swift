// `fairlead`, as a value that tests can run: arguments in, text and an exit code out.

import Base
import Glibc
import Telemetry

/// Where a command's text goes.
public struct Console: Sendable {
  /// Whether standard output is a terminal, where a line may be written over.
  public var isTerminal: Bool
  public var output: @Sendable (String) -> Void
  public var errors: @Sendable (String) -> Void

  public init(
    isTerminal: Bool, output: @escaping @Sendable (String) -> Void, errors: @escaping @Sendable (String) -> Void
  ) {
    self.isTerminal = isTerminal
    self.output = output
    self.errors = errors
  }

  /// The process's own streams.
  public static func standard() -> Console {
    Console(
      isTerminal: isatty(STDOUT_FILENO) == 1, output: { writeAll(STDOUT_FILENO, $0) },
      errors: { writeAll(STDERR_FILENO, $0) })
  }

  private static func writeAll(_ descriptor: Int32, _ text: String) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { return }
      rest = rest.dropFirst(count)
    }
  }
}

/// How a program ends.
public enum ExitCode {
  public static let success: Int32 = 0
  public static let failure: Int32 = 1
  public static let usage: Int32 = 2
  /// EX_CONFIG of sysexits.h: a configuration that is refused.
  public static let configuration: Int32 = 78
}

/// What is done with configuration files, by those who know what stands in them: this module does not.
public struct ConfigurationTools: Sendable {
  /// Reads a file for what it says about capture.
  public var prepareCapture: @Sendable (_ file: String) -> CapturePreparation
  /// Checks a file, prints what is wrong, and returns the exit code.
  public var validate: @Sendable (_ file: String, Console) -> Int32
  /// What a file would change in a running configuration, which is JSON; or what is wrong with the file, every line ended.
  public var compare: @Sendable (_ running: [UInt8], _ file: String) -> Result<[ConfigurationChange], RefusedFile>
  /// The schema as JSON, or the list of keys for the manual.
  public var schema: @Sendable (_ forManual: Bool) -> String

  public init(
    prepareCapture: @escaping @Sendable (_ file: String) -> CapturePreparation,
    validate: @escaping @Sendable (_ file: String, Console) -> Int32,
    compare: @escaping @Sendable (_ running: [UInt8], _ file: String) -> Result<[ConfigurationChange], RefusedFile>,
    schema: @escaping @Sendable (_ forManual: Bool) -> String
  ) {
    self.prepareCapture = prepareCapture
    self.validate = validate
    self.compare = compare
    self.schema = schema
  }

  /// Everything that is wrong with a file, every line ended.
  public struct RefusedFile: Error {
    public let findings: String
    public init(findings: String) { self.findings = findings }
  }
}

/// The command line program.
public struct CommandLineTool: Sendable {
  let console: Console
  let build: BuildInformation
  let configuration: ConfigurationTools

  public init(console: Console, build: BuildInformation = BuildInformation(), configuration: ConfigurationTools) {
    self.console = console
    self.build = build
    self.configuration = configuration
  }

  /// Runs one command line, without the program's name, and returns the exit code.
  public func run(_ arguments: [String]) -> Int32 {
    switch parseArguments(arguments) {
    case .wrong(let message):
      console.errors("fairlead: \(message)\n")
      return ExitCode.usage
    case .help(let name):
      return help(name, asked: !arguments.isEmpty)
    case .run(let invocation):
      do throws(AdminClientError) {
        return try run(invocation)
      } catch {
        console.errors("fairlead: \(error)\n")
        return ExitCode.failure
      }
    }
  }

  private func run(_ invocation: Invocation) throws(AdminClientError) -> Int32 {
    let daemon = AdminConnection(socket: invocation.socket)
    switch invocation.command {
    case "status": try status(invocation, daemon)
    case "services": try services(invocation, daemon)
    case "endpoints": return try endpoints(invocation, daemon)
    case "workloads": try workloads(invocation, daemon)
    case "names": return try names(invocation, daemon)
    case "routes": try routes(invocation, daemon)
    case "connections": return try connections(invocation, daemon)
    case "stat": return try stat(invocation, daemon)
    case "metrics": try metrics(invocation, daemon)
    case "config": return try config(invocation, daemon)
    case "reload": return try reload(invocation, daemon)
    case "explain": return try explain(invocation, daemon)
    case "schema": console.output(configuration.schema(invocation.has("--manual")))
    case "completion": return completion(invocation)
    case "drain": return try drain(invocation, daemon)
    case "logging": try logging(invocation, daemon)
    case "capture": return capture(invocation)
    case "check": return check(invocation, daemon)
    case "validate": return configuration.validate(invocation.operands.first ?? "", console)
    case "version": try version(invocation, daemon)
    case "help" where invocation.has("--manual"): console.output(CommandCatalog.manual())
    case "help": return help(invocation.operands.first, asked: true)
    default:
      console.errors("fairlead: '\(invocation.command)' is not available in this version (\(build.version))\n")
      return ExitCode.usage
    }
    return ExitCode.success
  }

  private func help(_ name: String?, asked: Bool) -> Int32 {
    guard let name else {
      // Without any argument the text answers a mistake.
      (asked ? console.output : console.errors)(CommandCatalog.help())
      return asked ? ExitCode.success : ExitCode.usage
    }
    guard let command = CommandCatalog.all.first(where: { $0.name == name }) else {
      let near =
        Suggestion.nearest(to: name, among: CommandCatalog.all.map(\.name)).map { "; did you mean '\($0)'?" } ?? ""
      console.errors("fairlead: unknown command '\(printable(name))'\(near)\n")
      return ExitCode.usage
    }
    console.output(CommandCatalog.help(for: command))
    return ExitCode.success
  }

  /// Says which of the services that were asked for do not exist.
  func report(missing: [String], of services: ServicesAnswer) -> Int32 {
    for name in missing {
      let near =
        Suggestion.nearest(to: name, among: services.services.map(\.name)).map { "; did you mean '\(printable($0))'?" }
        ?? ""
      console.errors("fairlead: no service '\(printable(name))'\(near)\n")
    }
    return missing.isEmpty ? ExitCode.success : ExitCode.failure
  }

  /// Prints what the daemon sent, for `-o json`.
  func pass(_ daemon: AdminConnection, _ target: String) throws(AdminClientError) {
    console.output(try daemon.get(target).text + "\n")
  }
}
