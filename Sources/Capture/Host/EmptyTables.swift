// iptables over nf_tables makes the kernel's tables when they are first needed, and has no command that takes one away
// again. We made them, so we remove them: those that were not there before and hold nothing of anybody's.

import Glibc

/// The tables that came into being with our first apply.
struct EmptyTables: Sendable {
  let family: AddressFamily
  /// Those that nobody uses; each with the kernel's own chains in it.
  private(set) var tables: [SavedTables.Table]

  /// - Parameter before: the names of the tables that were there then.
  init(_ family: AddressFamily, now: SavedTables, before: Set<String>) {
    self.family = family
    tables = now.tables.filter { table in
      !before.contains(table.name)
        && table.chains.allSatisfy { $0.isBuiltIn && $0.policy == "ACCEPT" && $0.rules.isEmpty }
    }
  }

  /// Asks the kernel to delete them. It refuses what holds a rule by now: another program was quicker, and it stays.
  func delete() {
    guard let socket = try? NetfilterSocket() else { return }
    for table in tables {
      // One batch each: iptables-save lists every chain that could be there, and some of these never were.
      for chain in table.chains { _ = try? socket.exchange(batch(deleting: chain.name, of: table.name)) }
      _ = try? socket.exchange(batch(deleting: table.name))
    }
  }

  /// linux/netfilter/nf_tables.h: NFT_MSG_DELCHAIN with NFTA_CHAIN_TABLE and NFTA_CHAIN_NAME.
  func batch(deleting chain: String, of table: String) -> [NetfilterMessage] {
    batch(5, [NetlinkAttribute(1, table), NetlinkAttribute(3, chain)])
  }

  /// NFT_MSG_DELTABLE with NFTA_TABLE_NAME.
  func batch(deleting table: String) -> [NetfilterMessage] { batch(2, [NetlinkAttribute(1, table)]) }

  private func batch(_ command: UInt16, _ attributes: [NetlinkAttribute]) -> [NetfilterMessage] {
    let subsystem: UInt16 = 10
    let (begin, end): (UInt16, UInt16) = (0x10, 0x11)
    let mark = { (type: UInt16) in
      NetfilterMessage(type: type, flags: NetfilterMessage.request, family: 0, resource: subsystem)
    }
    let flags = NetfilterMessage.request | NetfilterMessage.acknowledge | NetfilterMessage.notRecursive
    return [
      mark(begin),
      NetfilterMessage(
        type: subsystem << 8 | command, flags: flags, family: family.number, attributes: attributes),
      mark(end),
    ]
  }
}

/// The names of the tables of both families, in a file.
struct TablesBefore: Sendable {
  private(set) var names: [AddressFamily: Set<String>] = [:]

  init(_ survey: Survey) {
    for family in survey.families { names[family] = Set(survey.saved(family).tables.map(\.name)) }
  }

  init(parsing text: String) {
    for line in text.split(separator: "\n") {
      let words = line.split(separator: " ")
      guard words.count == 2, let family = AddressFamily(rawValue: String(words[0])) else { continue }
      names[family, default: []].insert(String(words[1]))
    }
  }

  var text: String {
    names.sorted { $0.key.rawValue < $1.key.rawValue }
      .flatMap { family, names in names.sorted().map { "\(family) \($0)\n" } }.joined()
  }
}
