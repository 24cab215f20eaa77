// TPROXY's other half: packets with our mark are looked up in a table whose only route says "this host", so that they are
// delivered here although their destination is another host's address.

/// A routing rule of ours with the route it leads to.
struct Routing: Hashable, Sendable {
  let mark: UInt32
  let table: UInt32

  /// Where the rule stands among the host's: by this it is known as ours.
  static let preference = 4140

  /// Those that `ip -N rule show` lists at our preference.
  static func parse(rules text: String) -> [Routing] {
    text.split(separator: "\n").compactMap { line in
      // 4140:	from all fwmark 0xfa2 lookup 4140
      let words = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
      guard words.first == "\(preference):", let mark = value(after: "fwmark", in: words),
        let table = value(after: "lookup", in: words)
      else { return nil }
      return Routing(mark: mark, table: table)
    }
  }

  /// Is this the table's only route, as `ip route show table` lists it, or is the table in use by somebody else? Nil when
  /// the table is empty.
  static func isOurs(routes text: String) -> Bool? {
    let routes = text.split(separator: "\n").filter { !$0.allSatisfy { $0 == " " } }
    if routes.isEmpty { return nil }
    return routes.count == 1 && (routes[0].hasPrefix("local default dev lo ") || routes[0] == "local default dev lo")
  }

  func adding(_ family: AddressFamily) -> Command { rule("add", family) }
  func removing(_ family: AddressFamily) -> Command { rule("del", family) }

  static func addingRoute(table: UInt32, _ family: AddressFamily) -> Command { route("replace", table, family) }
  static func removingRoute(table: UInt32, _ family: AddressFamily) -> Command { route("del", table, family) }

  private func rule(_ action: String, _ family: AddressFamily) -> Command {
    Command(
      "ip", family.ipOption, "rule", action, "pref", "\(Self.preference)", "fwmark", markText, "lookup", "\(table)")
  }

  private static func route(_ action: String, _ table: UInt32, _ family: AddressFamily) -> Command {
    Command("ip", family.ipOption, "route", action, "local", "default", "dev", "lo", "table", "\(table)")
  }

  private var markText: String { "0x" + String(mark, radix: 16) }

  private static func value(after word: String, in words: [Substring]) -> UInt32? {
    guard let index = words.firstIndex(where: { $0 == word }), index + 1 < words.count else { return nil }
    let text = words[index + 1]
    return text.hasPrefix("0x") ? UInt32(text.dropFirst(2), radix: 16) : UInt32(text)
  }
}
