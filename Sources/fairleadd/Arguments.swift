// The daemon's command line.

import Base
import Configuration
import Policy

/// What the daemon was asked to do.
enum Invocation {
  case run(file: String)
  case straight(listen: SocketAddress, to: [Endpoint], adminSocket: String?, shards: Configuration.Shards)
  case validate(file: String)
  case probe
  case version
  case help
}

/// Wrong usage: one line.
struct UsageError: Error {
  let message: String
}

enum Arguments {
  static let usage = """
    usage: fairleadd --config FILE
           fairleadd --listen ADDRESS --to ADDRESS[,ADDRESS ...] [--admin-socket PATH|none] [--shards N]
           fairleadd --validate FILE
           fairleadd --probe | --version | --help

      --config FILE         run with this configuration (see fairlead.yaml; /etc/fairlead/fairlead.yaml by custom)
      --listen ADDRESS      run without a file: listen here (127.0.0.1:4140, [::1]:4140, :4140, unix:/path) ...
      --to ADDRESS,...      ... and send every request, whatever its Host, to these endpoints ("ADDRESS * WEIGHT" too)
      --admin-socket PATH   where 'fairlead' finds this daemon (default /run/fairlead/admin.sock; none for no socket)
      --shards N            event-loop threads (default: one for each core)
      --validate FILE       check a configuration and print everything that is wrong with it
      --probe               try what this kernel's io_uring can do, and print what is missing

    exit codes: 0 well, 1 failure, 2 wrong usage, 78 a configuration that is refused
    """

  static func parse(_ arguments: [String]) throws(UsageError) -> Invocation {
    var values: [String: String] = [:]
    var rest = arguments[...]
    while let argument = rest.popFirst() {
      switch argument {
      case "--version": return .version
      case "--probe": return .probe
      case "--help", "-h": return .help
      default: break
      }
      var (name, value) = (argument, String?.none)
      if let equals = argument.firstIndex(of: "="), argument.hasPrefix("--") {
        name = String(argument[..<equals])
        value = String(argument[argument.index(after: equals)...])
      }
      guard known.contains(name) else {
        throw UsageError(message: "unknown argument '\(argument)'; see fairleadd --help")
      }
      guard let text = value ?? rest.popFirst() else { throw UsageError(message: "\(name) wants a value") }
      if values.updateValue(text, forKey: name) != nil { throw UsageError(message: "\(name) is given twice") }
    }
    return try invocation(values)
  }

  private static let known: Set<String> = ["--config", "--listen", "--to", "--admin-socket", "--shards", "--validate"]

  private static func invocation(_ values: [String: String]) throws(UsageError) -> Invocation {
    if let file = values["--validate"] {
      try only(["--validate"], values)
      return .validate(file: file)
    }
    if let file = values["--config"] {
      try only(["--config"], values)
      return .run(file: file)
    }
    guard let listen = values["--listen"], let to = values["--to"] else {
      throw UsageError(
        message: values["--listen"] != nil || values["--to"] != nil
          ? "--listen and --to go together"
          : "nothing to do: give --config FILE, or --listen and --to; see fairleadd --help")
    }
    var socket = values["--admin-socket"] ?? Configuration.Admin.defaultSocket as String?
    if socket == "none" { socket = nil }
    var shards = Configuration.Shards.auto
    if let text = values["--shards"], text != "auto" {
      guard let count = Int(text) else { throw UsageError(message: "--shards wants a number, not '\(text)'") }
      shards = .count(count)
    }
    return .straight(
      listen: try address(listen, of: "--listen"), to: try endpoints(to), adminSocket: socket, shards: shards)
  }

  private static func only(_ names: Set<String>, _ values: [String: String]) throws(UsageError) {
    if let other = values.keys.filter({ !names.contains($0) }).min() {
      throw UsageError(message: "\(other) does not go with \(names.sorted().joined(separator: ", "))")
    }
  }

  private static func address(_ text: String, of name: String) throws(UsageError) -> SocketAddress {
    do throws(TextError) {
      return try SocketAddress(parsing: text)
    } catch {
      throw UsageError(message: "\(name) '\(text)': \(error)")
    }
  }

  private static func endpoints(_ text: String) throws(UsageError) -> [Endpoint] {
    var endpoints: [Endpoint] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      do throws(TextError) {
        endpoints.append(try Endpoint(parsing: String(part)))
      } catch {
        throw UsageError(message: "--to '\(part)': \(error)")
      }
    }
    return endpoints
  }
}
