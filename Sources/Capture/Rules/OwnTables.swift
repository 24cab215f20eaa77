// Our part of a family's firewall as text: what iptables-save shows of it, or what a rule set says it should be. Both
// are compared, and one is turned into the other, in this form.

/// Chains whose names are ours, and every rule elsewhere that leads to one.
struct OwnTables: Hashable, Sendable {
  struct Jump: Hashable, Sendable {
    let from: String
    /// The rule without its chain.
    let rule: String
    /// How many rules stand before it in that chain.
    let position: Int
  }

  struct Content: Hashable, Sendable {
    var chains: [String: [String]] = [:]
    var jumps: [Jump] = []

    var isEmpty: Bool { chains.isEmpty && jumps.isEmpty }
  }

  /// Only tables with something of ours.
  private(set) var tables: [String: Content] = [:]

  init() {}

  /// What a rule set says.
  init(_ rules: RuleSet) {
    for table in rules.tables {
      var content = Content()
      for chain in table.chains { content.chains[chain.name] = chain.rules.map { $0.text(rules.family) } }
      content.jumps = table.jumps.map { Jump(from: $0.from, rule: $0.rule.text(rules.family), position: 0) }
      tables[table.name.rawValue] = content
    }
    sortJumps()
  }

  /// What iptables-save printed.
  init(saved: SavedTables) {
    for table in saved.tables {
      var content = Content()
      for chain in table.chains where chain.isOurs { content.chains[chain.name] = chain.rules }
      for chain in table.chains where !chain.isOurs {
        for (position, rule) in chain.rules.enumerated() where leadsToUs(rule) {
          content.jumps.append(Jump(from: chain.name, rule: rule, position: position))
        }
      }
      if !content.isEmpty { tables[table.name] = content }
    }
    sortJumps()
  }

  var isEmpty: Bool { tables.isEmpty }

  /// The number of rules in our chains.
  var ruleCount: Int { tables.values.reduce(0) { $0 + $1.chains.values.reduce(0) { $0 + $1.count } } }

  /// The sets that rules ask.
  func uses(set: String) -> Bool {
    tables.values.contains { $0.chains.values.contains { $0.contains { $0.contains(" \(set) ") } } }
  }

  private mutating func sortJumps() {
    for table in tables.keys { tables[table]?.jumps.sort { ($0.from, $0.position) < ($1.from, $1.position) } }
  }
}

/// Whether a rule's target is a chain of ours. Quoted words, such as comments, may say anything.
private func leadsToUs(_ rule: String) -> Bool {
  var isQuoted = false
  var previous: Substring = ""
  for word in rule.split(separator: " ") {
    if !isQuoted, previous == "-j" || previous == "-g", word.hasPrefix(RuleSet.chainPrefix) { return true }
    // A quotation mark within a quotation has a backslash before it.
    var last: Character = " "
    for character in word {
      if character == "\"", last != "\\" { isQuoted.toggle() }
      last = character
    }
    previous = isQuoted ? "" : word
  }
  return false
}

extension OwnTables {
  /// The input of `iptables-restore --noflush` that turns `current` into this; nil when nothing needs to be done. Each table
  /// that differs is written whole: naming a chain empties it.
  func transaction(from current: OwnTables) -> String? {
    let names = Table.Name.allCases.map(\.rawValue)
    let others = Set(tables.keys).union(current.tables.keys).subtracting(names).sorted()
    let parts = (names + others).compactMap { name in
      part(of: name, from: current.tables[name] ?? Content(), to: tables[name] ?? Content())
    }
    return parts.isEmpty ? nil : parts.joined()
  }

  private func part(of table: String, from current: Content, to wanted: Content) -> String? {
    if current == wanted { return nil }
    var lines = ["*\(table)"]
    let gone = current.chains.keys.filter { wanted.chains[$0] == nil }.sorted()
    lines += (wanted.chains.keys.sorted() + gone).map { ":\($0) - [0:0]" }
    if current.jumps != wanted.jumps { lines += current.jumps.map { "-D \($0.from) \($0.rule)" } }
    for (chain, rules) in wanted.chains.sorted(by: { $0.key < $1.key }) {
      lines += rules.map { "-A \(chain) \($0)" }
    }
    // First in its chain: whoever translates or accepts before us would take what we are asked to capture.
    if current.jumps != wanted.jumps { lines += wanted.jumps.map { "-I \($0.from) \($0.position + 1) \($0.rule)" } }
    lines += gone.map { "-X \($0)" }
    return (lines + ["COMMIT"]).map { $0 + "\n" }.joined()
  }

  /// What differs, a line each, for people: `-` in the kernel and not wanted, `+` wanted and not in the kernel.
  func differences(from current: OwnTables) -> [String] {
    var lines: [String] = []
    for table in Set(tables.keys).union(current.tables.keys).sorted() {
      let (old, new) = (current.tables[table] ?? Content(), tables[table] ?? Content())
      for chain in Set(old.chains.keys).union(new.chains.keys).sorted() {
        let (before, after) = (old.chains[chain], new.chains[chain])
        if before == nil { lines.append("+ \(table): chain \(chain)") }
        if after == nil { lines.append("- \(table): chain \(chain)") }
        let changes = (after ?? []).difference(from: before ?? [])
        lines += changes.removals.map { "- \(table): \(text($0, chain))" }
        lines += changes.insertions.map { "+ \(table): \(text($0, chain))" }
        if before != nil, after != nil, before != after, changes.isEmpty {
          lines.append("  \(table): the order in \(chain)")
        }
      }
      lines += old.jumps.filter { !new.jumps.contains($0) }.map {
        "- \(table): -A \($0.from) \($0.rule) (rule \($0.position + 1))"
      }
      lines += new.jumps.filter { !old.jumps.contains($0) }.map {
        "+ \(table): -A \($0.from) \($0.rule) (rule \($0.position + 1))"
      }
    }
    return lines
  }

  private func text(_ change: CollectionDifference<String>.Change, _ chain: String) -> String {
    switch change {
    case .insert(_, let rule, _), .remove(_, let rule, _): "-A \(chain) \(rule)"
    }
  }
}
