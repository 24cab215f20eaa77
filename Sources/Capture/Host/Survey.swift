// What is on this host now: the words of its own tools, kept as they were printed, so that a state can be put into a file
// and come back from it.

import Base
import Glibc

/// The tools' answers. Listing changes nothing: no table comes into being by it.
struct Survey: Sendable {
  /// By name: `save-v4`, `rules-v4`, `routes-v4-4140`, `sets`.
  private(set) var answers: [String: String] = [:]
  /// The families this host has.
  private(set) var families: [AddressFamily] = []

  /// Asks the host.
  ///
  /// - Parameter table: a routing table to look into besides those that rules of ours name.
  init(_ runner: CommandRunner, table: UInt32? = nil) throws(CaptureError) {
    families = Self.hostFamilies
    for family in families {
      answers["save-\(family)"] = try Self.ask(runner, Command(family.saveTool))
      let rules = try Self.ask(
        runner, Command("ip", family.ipOption, "-N", "rule", "show", "pref", "\(Routing.preference)"))
      answers["rules-\(family)"] = rules
      for table in Set(Routing.parse(rules: rules).map(\.table) + [table].compactMap { $0 }) {
        // A table without routes does not exist for `ip`, which then ends with an error.
        let result = try runner.run(Command("ip", family.ipOption, "route", "show", "table", "\(table)"))
        answers["routes-\(family)-\(table)"] = result.isSuccess ? result.output : ""
      }
    }
    answers["sets"] = try Self.ask(runner, Command("ipset", "list", "-name"))
  }

  private static func ask(_ runner: CommandRunner, _ command: Command) throws(CaptureError) -> String {
    let result = try runner.run(command)
    guard result.isSuccess else {
      throw .failed(command: command.arguments.joined(separator: " "), reason: firstLine(result.errors))
    }
    return result.output
  }

  /// IPv6 may be switched off when the kernel starts; then its tools fail.
  static var hostFamilies: [AddressFamily] { access("/proc/net/if_inet6", F_OK) == 0 ? [.v4, .v6] : [.v4] }

  /// Those that are in use: IPv6 may be switched off later as well, and rules of before are still there then.
  static var usedFamilies: [AddressFamily] {
    textOfFile("/proc/sys/net/ipv6/conf/all/disable_ipv6").hasPrefix("1") ? [.v4] : hostFamilies
  }

  // MARK: Reading

  func saved(_ family: AddressFamily) -> SavedTables { SavedTables(parsing: answers["save-\(family)"] ?? "") }

  /// Nil when the table is empty.
  func routesAreOurs(_ family: AddressFamily, table: UInt32) -> Bool? {
    Routing.isOurs(routes: answers["routes-\(family)-\(table)"] ?? "")
  }

  var state: CaptureState {
    var state = CaptureState()
    let sets = Set((answers["sets"] ?? "").split(separator: "\n").map(String.init))
    for family in AddressFamily.allCases {
      var part = CaptureState.Family()
      part.firewall = OwnTables(saved: saved(family))
      part.routing = Set(Routing.parse(rules: answers["rules-\(family)"] ?? ""))
      part.routes = Set(part.routing.map(\.table)).filter { routesAreOurs(family, table: $0) == true }
      part.hasSet = sets.contains(family.aliveSet)
      if !part.isEmpty { state.families[family] = part }
    }
    return state
  }

  // MARK: Text

  /// `@name` on a line of its own before each answer.
  var text: String {
    answers.sorted { $0.key < $1.key }.map { "@\($0.key)\n\($0.value)" }.joined()
  }

  init(parsing text: String) {
    var name = ""
    for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
      if line.hasPrefix("@") {
        name = String(line.dropFirst())
        answers[name] = ""
      } else if !line.isEmpty, answers[name] != nil {
        answers[name]? += line + "\n"
      }
    }
    families = AddressFamily.allCases.filter { answers["save-\($0)"] != nil }
  }
}

/// The first line with something in it.
func firstLine(_ text: String) -> String {
  text.split(separator: "\n").first { !$0.allSatisfy { $0 == " " } }.map(String.init) ?? "no reason given"
}
