// What a line of the delegation table says: a prefix of whole segments, and a tree of names that takes its place. The text
// it is written in is `DelegationParser`'s business, what becomes of a name `Delegation`'s.

/// One line of the table, `prefix => destination`.
public struct DelegationEntry: Hashable, Sendable, CustomStringConvertible {
  /// Names that begin so are rewritten; a `*` segment stands for any one.
  public let prefix: Path
  /// What takes the prefix's place; what is left of the name is appended to each of its names.
  public let destination: DelegationTree

  public init(prefix: Path, destination: DelegationTree) {
    self.prefix = prefix
    self.destination = destination
  }

  public init(prefix: Path, destination: Path) { self.init(prefix: prefix, destination: .name(destination)) }

  public var description: String { "\(prefix) => \(destination)" }

  /// The name that `path`, which has the prefix, becomes by way of `name`, which is one of the destination's: `{1}` in it
  /// is what the prefix's first `*` matched. Nil when that makes a segment too long to be one.
  public func rewrite(_ path: Path, to name: Path) -> Path? {
    let rest = path.segments.dropFirst(prefix.segments.count)
    guard name.segments.contains(where: { $0.utf8.contains(UInt8(ascii: "{")) }) else {
      return Path(unchecked: name.segments + rest)
    }
    let captures = zip(prefix.segments, path.segments).filter { $0.0 == "*" }.map(\.1)
    var segments: [String] = []
    segments.reserveCapacity(name.segments.count + rest.count)
    for segment in name.segments {
      let filled = Self.fill(segment, captures)
      guard filled.utf8.count <= Path.maximumSegmentByteCount else { return nil }
      segments.append(filled)
    }
    return Path(unchecked: segments + rest)
  }

  /// `{1}` is what the first `*` matched; the parser has seen to it that there is one.
  private static func fill(_ segment: String, _ captures: [String]) -> String {
    guard segment.utf8.contains(UInt8(ascii: "{")) else { return segment }
    var filled = ""
    var rest = segment.unicodeScalars[...]
    while let scalar = rest.popFirst() {
      guard scalar == "{", let digit = rest.popFirst() else {
        filled.unicodeScalars.append(scalar)
        continue
      }
      rest = rest.dropFirst()
      let index = Int(digit.value) - 0x31
      if captures.indices.contains(index) { filled += captures[index] }
    }
    return filled
  }
}

/// The right side of an entry.
public indirect enum DelegationTree: Hashable, Sendable, CustomStringConvertible {
  /// A name, in whose segments `{1}` to `{9}` may stand for what the prefix's `*` matched.
  case name(Path)
  /// `a | b |! c`: the first of them that exists. At least two.
  case alternatives([Alternative])
  /// `0.9 * a & 0.1 * b`: each for its share of the requests. At least two, of which one has a weight over 0.
  case union([Branch])
  /// `!`: nothing, and what would come after it is not tried either.
  case failure
  /// `~`: there is no such name.
  case negative
  /// `$`: there is such a name, and it has no endpoints.
  case empty

  public struct Alternative: Hashable, Sendable {
    public let tree: DelegationTree
    /// `|!` follows: what comes next also serves when this exists and has no endpoint that would. Of the last, false.
    public let failsOver: Bool

    public init(_ tree: DelegationTree, failsOver: Bool = false) {
      self.tree = tree
      self.failsOver = failsOver
    }
  }

  public struct Branch: Hashable, Sendable {
    public let weight: DelegationWeight
    public let tree: DelegationTree

    public init(weight: DelegationWeight = .one, _ tree: DelegationTree) {
      self.weight = weight
      self.tree = tree
    }
  }

  /// Every name in it, in the order written.
  public var names: [Path] {
    switch self {
    case .name(let path): [path]
    case .alternatives(let alternatives): alternatives.flatMap(\.tree.names)
    case .union(let branches): branches.flatMap(\.tree.names)
    case .failure, .negative, .empty: []
    }
  }

  /// As it is written: what is read from it is the same tree.
  public var description: String {
    switch self {
    case .name(let path): return path.description
    case .failure: return "!"
    case .negative: return "~"
    case .empty: return "$"
    case .union(let branches):
      return branches.map { branch in
        let text = branch.tree.isOneTerm ? branch.tree.description : "(\(branch.tree))"
        return branch.weight == .one ? text : "\(branch.weight) * \(text)"
      }.joined(separator: " & ")
    case .alternatives(let alternatives):
      var text = ""
      for (index, alternative) in alternatives.enumerated() {
        if case .alternatives = alternative.tree {
          text += "(\(alternative.tree))"
        } else {
          text += "\(alternative.tree)"
        }
        if index < alternatives.count - 1 { text += alternative.failsOver ? " |! " : " | " }
      }
      return text
    }
  }

  private var isOneTerm: Bool {
    switch self {
    case .union, .alternatives: false
    case .name, .failure, .negative, .empty: true
    }
  }
}

/// A share of a weighted union, against the other shares: 0 to 1,000,000 in millionths, so that it is written as it was read.
public struct DelegationWeight: Hashable, Sendable, CustomStringConvertible {
  public let millionths: UInt64

  public static let one = DelegationWeight(unchecked: 1_000_000)

  /// Nil when it is over a million.
  public init?(millionths: UInt64) {
    guard millionths <= Self.most.millionths else { return nil }
    self.init(unchecked: millionths)
  }

  private init(unchecked millionths: UInt64) { self.millionths = millionths }

  private static let most = DelegationWeight(unchecked: 1_000_000_000_000)

  /// Reads `2` or `0.95`; nil for anything else, more than six decimals, or more than 1,000,000.
  public init?(parsing text: some StringProtocol) {
    let parts = text.split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
    guard let whole = parts.first, Self.isNumber(whole, atMost: 7), let units = UInt64(whole) else { return nil }
    var fraction: UInt64 = 0
    if parts.count == 2 {
      guard Self.isNumber(parts[1], atMost: 6) else { return nil }
      fraction = UInt64(parts[1] + String(repeating: "0", count: 6 - parts[1].utf8.count)) ?? 0
    }
    self.init(millionths: units * 1_000_000 + fraction)
  }

  private static func isNumber(_ text: some StringProtocol, atMost count: Int) -> Bool {
    !text.isEmpty && text.utf8.count <= count && text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
  }

  /// `2`, `0.95`: no more digits than it takes.
  public var description: String {
    let (units, fraction) = millionths.quotientAndRemainder(dividingBy: 1_000_000)
    guard fraction > 0 else { return String(units) }
    var digits = String(fraction + 1_000_000).dropFirst()
    while digits.last == "0" { digits.removeLast() }
    return "\(units).\(digits)"
  }
}
