// What iptables-save prints, taken apart as far as we need it: tables, chains, and the text of their rules.

/// The firewall of one family as its tool shows it.
struct SavedTables: Hashable, Sendable {
  struct Chain: Hashable, Sendable {
    let name: String
    /// `ACCEPT`, `DROP`, or `-` for a chain that is not the kernel's own.
    let policy: String
    /// Without `-A` and the chain's name.
    var rules: [String] = []

    var isOurs: Bool { name.hasPrefix(RuleSet.chainPrefix) }
    var isBuiltIn: Bool { policy != "-" }
  }

  struct Table: Hashable, Sendable {
    let name: String
    var chains: [Chain] = []
  }

  private(set) var tables: [Table] = []

  /// Takes any text: lines it does not know (comments, counters) are passed over.
  init(parsing text: String) {
    for line in text.split(separator: "\n") {
      switch line.first {
      case "*": tables.append(Table(name: String(line.dropFirst())))
      case ":":
        let words = line.dropFirst().split(separator: " ")
        guard words.count >= 2 else { continue }
        withLastTable { $0.chains.append(Chain(name: String(words[0]), policy: String(words[1]))) }
      case "-":
        // -A chain rest
        let words = line.split(separator: " ", maxSplits: 2)
        guard words.count >= 2, words[0] == "-A" else { continue }
        withLastTable { table in
          guard let index = table.chains.firstIndex(where: { $0.name == words[1] }) else { return }
          table.chains[index].rules.append(words.count > 2 ? String(words[2]) : "")
        }
      default: continue
      }
    }
  }

  private mutating func withLastTable(_ change: (inout Table) -> Void) {
    if !tables.isEmpty { change(&tables[tables.count - 1]) }
  }
}
