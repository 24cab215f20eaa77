// What is different between two configurations, place by place, in the words of the file.
//
// Both are taken as they are printed (with every default filled in), so that whatever can be written can be compared. Entries of
// lists are matched by their name or prefix where they have one, and else by what stands around them.

/// One difference: at `path`, `old` became `new`.
public struct ConfigurationChange: Hashable, Sendable {
  /// Such as `services[/svc/web].timeouts.request`.
  public let path: String
  /// Nil for what is new.
  public let old: String?
  /// Nil for what is gone.
  public let new: String?

  public init(path: String, old: String?, new: String?) {
    self.path = path
    self.old = old
    self.new = new
  }
}

extension Configuration {
  /// What would be different with `new` in this one's place, in the order of the document. Empty when they are equal.
  public func changes(to new: Configuration) -> [ConfigurationChange] {
    if self == new { return [] }
    guard let before = PrintedValue(of: self), let after = PrintedValue(of: new) else { return [] }
    var comparison = Comparison()
    comparison.compare(before, after, at: "")
    return comparison.changes
  }
}

private struct Comparison {
  var changes: [ConfigurationChange] = []

  mutating func compare(_ old: PrintedValue, _ new: PrintedValue, at path: String) {
    if old == new { return }
    switch (old, new) {
    case (.mapping(let before), .mapping(let after)): compareMappings(before, after, path)
    case (.list(let before), .list(let after)): compareLists(before, after, path)
    case (.text(let before), .text(let after)) where path == "delegations":
      compareUnnamed(Self.lines(before), Self.lines(after), path)
    case (.text, _), (.word, _), (.list, _), (.mapping, _): add(path, old, new)
    }
  }

  private mutating func add(_ path: String, _ old: PrintedValue?, _ new: PrintedValue?) {
    changes.append(ConfigurationChange(path: path, old: old?.shown, new: new?.shown))
  }

  private mutating func compareMappings(
    _ before: [PrintedValue.Member], _ after: [PrintedValue.Member], _ path: String
  ) {
    let old = Dictionary(before.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    let new = Dictionary(after.map { ($0.name, $0.value) }, uniquingKeysWith: { first, _ in first })
    for member in before {
      let place = path.isEmpty ? member.name : "\(path).\(member.name)"
      if let value = new[member.name] { compare(member.value, value, at: place) } else { add(place, member.value, nil) }
    }
    for member in after where old[member.name] == nil {
      add(path.isEmpty ? member.name : "\(path).\(member.name)", nil, member.value)
    }
  }

  private mutating func compareLists(_ before: [PrintedValue], _ after: [PrintedValue], _ path: String) {
    guard let old = Self.names(before), let new = Self.names(after) else {
      return compareUnnamed(before, after, path)
    }
    let places = Dictionary(new.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    var kept: [String] = []
    for (index, name) in old.enumerated() {
      if let place = places[name] {
        kept.append(name)
        compare(before[index], after[place], at: "\(path)[\(name)]")
      } else {
        add("\(path)[\(name)]", before[index], nil)
      }
    }
    let known = Set(old)
    for (index, name) in new.enumerated() where !known.contains(name) { add("\(path)[\(name)]", nil, after[index]) }
    let order = new.filter(known.contains)
    if order != kept {
      changes.append(
        ConfigurationChange(
          path: "\(path) (order)", old: kept.joined(separator: ", "), new: order.joined(separator: ", ")))
    }
  }

  /// What both begin and end with is the same; between that, items that are in the other list too have only moved.
  private mutating func compareUnnamed(_ before: [PrintedValue], _ after: [PrintedValue], _ path: String) {
    var first = 0
    while first < min(before.count, after.count), before[first] == after[first] { first += 1 }
    var last = 0
    while last < min(before.count, after.count) - first,
      before[before.count - 1 - last] == after[after.count - 1 - last]
    { last += 1 }
    let old = before[first..<(before.count - last)]
    let new = after[first..<(after.count - last)]
    let isSingle = old.allSatisfy(\.isSingle) && new.allSatisfy(\.isSingle)
    if !isSingle, old.count == new.count {
      for (index, pair) in zip(old, new).enumerated() { compare(pair.0, pair.1, at: "\(path)[\(first + index)]") }
      return
    }
    var onlyNew = Dictionary(new.map { ($0, 1) }, uniquingKeysWith: +)
    var onlyOld: [(index: Int, value: PrintedValue)] = []
    for (index, value) in zip(old.indices, old) {
      if let count = onlyNew[value], count > 0 { onlyNew[value] = count - 1 } else { onlyOld.append((index, value)) }
    }
    for (index, value) in onlyOld { add(isSingle ? path : "\(path)[\(index)]", value, nil) }
    var added = false
    for (index, value) in zip(new.indices, new) {
      guard let count = onlyNew[value], count > 0 else { continue }
      onlyNew[value] = count - 1
      added = true
      add(isSingle ? path : "\(path)[\(index)]", nil, value)
    }
    if onlyOld.isEmpty, !added {
      func words(_ values: ArraySlice<PrintedValue>) -> String { values.map(\.shown).joined(separator: ", ") }
      changes.append(ConfigurationChange(path: "\(path) (order)", old: words(old), new: words(new)))
    }
  }

  /// What each entry is called, and which of that name it is from the second on; nil for lists of anything else.
  private static func names(_ items: [PrintedValue]) -> [String]? {
    var counts: [String: Int] = [:]
    var names: [String] = []
    for item in items {
      guard case .mapping(let members) = item,
        case .text(let name) = members.first(where: { $0.name == "name" || $0.name == "prefix" })?.value
      else { return nil }
      let count = counts[name, default: 0] + 1
      counts[name] = count
      names.append(count == 1 ? name : "\(name)#\(count)")
    }
    return names
  }

  private static func lines(_ text: String) -> [PrintedValue] {
    text.split(separator: "\n").map { line in
      .text(String(line.hasSuffix(" ;") ? line.dropLast(2) : line))
    }
  }
}
