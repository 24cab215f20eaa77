// Reads a delegation table: entries `prefix => destination ;`, with `#` comments. The same language stands in a
// configuration, in the header of a request and in what an administrator asks, so mistakes carry their place as an offset
// and who shows them says which line or column that is.
//
//     table       = *( entry ";" ) [ entry ]
//     entry       = prefix "=>" tree
//     tree        = union *( ( "|" | "|!" ) union )       first that exists; "|!" also passes one by that has no endpoints
//     union       = term *( "&" term )                    shares; "&" binds tighter than "|"
//     term        = [ weight "*" ] simple                 weight: 0 to 1000000, six decimals; 1 where none is written
//     simple      = path | "(" tree ")" | "!" | "~" | "$"
//     prefix      = 1*( "/" ( segment | "*" ) )
//     path        = 1*( "/" segment )                     in which {1} to {9} are what the prefix's "*" matched
//
// `a |! b | c` is `a |! (b | c)`. After a mistake the reading goes on behind the next `;`, so that one run finds all.

/// One reading of one text.
public struct DelegationParser {
  /// An entry and where its names stand, as offsets into the text's scalars.
  public struct Entry: Equatable, Sendable {
    public let value: DelegationEntry
    public let prefixRange: Range<Int>
    /// Of each of `value.destination.names`.
    public let nameRanges: [Range<Int>]
  }

  /// A mistake and where it stands, as offsets into the text's scalars; the range may be empty, at the text's end.
  public struct Flaw: Error, Equatable, Sendable {
    public let range: Range<Int>
    public let message: String

    public init(range: Range<Int>, message: String) {
      self.range = range
      self.message = message
    }
  }

  /// Those that could be read, in the order written.
  public private(set) var entries: [Entry] = []
  /// In the order found; a table is whole when there are none.
  public private(set) var flaws: [Flaw] = []

  let scalars: [Unicode.Scalar]
  var index = 0
  private let room: Int
  private let maximumEntryCount: Int
  /// Of the entry being read.
  private var nameRanges: [Range<Int>] = []
  private var wildcardCount = 0

  /// Reads all of `scalars`.
  /// - Parameters:
  ///   - maximumEntryCount: how many entries the whole table may have.
  ///   - room: how many of these are left for this text.
  public init(_ scalars: [Unicode.Scalar], maximumEntryCount: Int, room: Int? = nil) {
    self.scalars = scalars
    self.maximumEntryCount = maximumEntryCount
    self.room = room ?? maximumEntryCount
    readTable()
  }

  private mutating func readTable() {
    skipBlank()
    while let scalar = current {
      if scalar == ";" {
        index += 1
      } else if entries.count >= room {
        fail(index..<(index + 1), "the delegation table has more than \(maximumEntryCount) entries")
        return
      } else if let entry = entry() {
        entries.append(entry)
      } else {
        recover()
      }
      skipBlank()
    }
  }

  private mutating func entry() -> Entry? {
    nameRanges = []
    guard let prefix = path("an entry begins with a prefix such as /svc", isPrefix: true) else { return nil }
    wildcardCount = prefix.name.segments.count { $0 == "*" }
    skipBlank()
    guard let arrow = current, arrow == "=", peek(1) == ">" else {
      fail(wordRange, "'=>' is missing after the prefix \(prefix.name)")
      return nil
    }
    index += 2
    guard let destination = tree(after: "'=>'", depth: 0) else { return nil }
    if let scalar = current, scalar != ";" {
      if scalar == ")" {
        fail(index..<(index + 1), "this ')' has no '('")
        return nil
      }
      fail(wordRange, "';' is missing between two entries")
      guard scalar == "/" else { return nil }
    }
    return Entry(
      value: DelegationEntry(prefix: prefix.name, destination: destination), prefixRange: prefix.range,
      nameRanges: nameRanges)
  }

  // MARK: Trees

  /// Ends before what does not belong to the tree, blanks skipped.
  private mutating func tree(after word: String, depth: Int) -> DelegationTree? {
    guard var last = union(after: word, depth: depth) else { return nil }
    var before: [DelegationTree.Alternative] = []
    while current == "|" {
      let failsOver = peek(1) == "!"
      index += failsOver ? 2 : 1
      guard let next = union(after: failsOver ? "'|!'" : "'|'", depth: depth) else { return nil }
      before.append(DelegationTree.Alternative(last, failsOver: failsOver))
      last = next
    }
    return before.isEmpty ? last : .alternatives(before + [DelegationTree.Alternative(last)])
  }

  private mutating func union(after word: String, depth: Int) -> DelegationTree? {
    skipBlank()
    let start = index
    guard let first = term(after: word, depth: depth) else { return nil }
    var branches = [first]
    skipBlank()
    while current == "&" {
      index += 1
      guard let next = term(after: "'&'", depth: depth) else { return nil }
      branches.append(next)
      skipBlank()
    }
    guard branches.count > 1 else { return first.tree }
    guard branches.contains(where: { $0.weight.millionths > 0 }) else {
      fail(start..<(start + 1), "all weights of this union are 0, so no request has anywhere to go")
      return nil
    }
    return .union(branches)
  }

  private mutating func term(after word: String, depth: Int) -> DelegationTree.Branch? {
    skipBlank()
    var expected = word
    var weight = DelegationWeight.one
    if let scalar = current, scalar.value >= 0x30, scalar.value <= 0x39 {
      let range = numberRange
      let text = String(String.UnicodeScalarView(scalars[range]))
      guard let number = DelegationWeight(parsing: text) else {
        fail(range, "a weight is a number from 0 to 1000000 with at most six decimals, not \(quoted(text))")
        return nil
      }
      weight = number
      index = range.upperBound
      skipBlank()
      guard current == "*" else {
        fail(current == nil ? index..<index : wordRange, "'*' and a name must follow the weight \(text)")
        return nil
      }
      index += 1
      skipBlank()
      expected = "'*'"
    }
    return simple(after: expected, depth: depth).map { DelegationTree.Branch(weight: weight, $0) }
  }

  private mutating func simple(after word: String, depth: Int) -> DelegationTree? {
    if current == "(" { return group(depth: depth) }
    if let scalar = current, let leaf = Self.leaves[scalar], peek(1).map(endsWord) ?? true {
      index += 1
      return leaf
    }
    let hint = word == "'|!'" ? " (for a failure write '| !')" : ""
    guard let name = path("a name such as /#/static must follow \(word)\(hint)", isPrefix: false) else { return nil }
    guard nameRanges.count < Self.maximumNameCount else {
      fail(name.range, "an entry has more than \(Self.maximumNameCount) names")
      return nil
    }
    nameRanges.append(name.range)
    return .name(name.name)
  }

  private mutating func group(depth: Int) -> DelegationTree? {
    let start = index
    guard depth < Self.maximumNesting else {
      fail(start..<(start + 1), "parentheses are nested more than \(Self.maximumNesting) deep")
      return nil
    }
    index += 1
    guard let tree = tree(after: "'('", depth: depth + 1) else { return nil }
    guard current == ")" else {
      fail(start..<(start + 1), "this '(' has no ')'")
      return nil
    }
    index += 1
    return tree
  }

  private static let leaves: [Unicode.Scalar: DelegationTree] = ["!": .failure, "~": .negative, "$": .empty]

  // MARK: Names

  private mutating func path(_ expectation: String, isPrefix: Bool) -> (name: Path, range: Range<Int>)? {
    guard current == "/" else {
      fail(
        current == nil ? index..<index : wordRange, current == nil ? expectation : "\(expectation), not \(quoted(word))"
      )
      return nil
    }
    let start = index
    while let scalar = current, scalar == "/" || isSegment(scalar, isPrefix: isPrefix) { index += 1 }
    let range = start..<index
    if let scalar = current, !endsWord(scalar), !(scalar == "=" && peek(1) == ">") {
      let message =
        scalar == "*" && scalars[index - 1] == "/"
        ? "'*' stands for any one segment of a prefix; write {1} for what the first one matched"
        : "a name has letters, digits and any of -._~:#$%+=@[], not \(quoted(String(scalar)))"
      fail(index..<(index + 1), message)
      return nil
    }
    let written = String(String.UnicodeScalarView(scalars[range]))
    let name: Path
    do throws(PathError) {
      name = try Path(parsing: written, allowing: isPrefix ? .wildcards : .captures)
    } catch {
      let reason = error.reason == .emptySegment && written.hasSuffix("/") ? Self.strayEnd : error.message
      fail(range, "\(quoted(written)) is not a name: \(reason)")
      return nil
    }
    guard isPrefix ? isGoodPrefix(name, written, range) : isGoodName(name, written, range) else { return nil }
    return (HostIdentifier().normalized(name), range)
  }

  private mutating func isGoodPrefix(_ name: Path, _ written: String, _ range: Range<Int>) -> Bool {
    if name == .root { fail(range, "\(quoted(written)) is not a name: \(Self.strayEnd)") }
    if name.isBound {
      fail(range, "\(quoted(written)) is a bound name; only names that do not begin with /# are delegated")
    }
    return name != .root && !name.isBound
  }

  /// Every `{n}` must have its `*`.
  private mutating func isGoodName(_ name: Path, _ written: String, _ range: Range<Int>) -> Bool {
    if name == .root {
      fail(range, "\(quoted(written)) is not a name: \(Self.strayEnd)")
      return false
    }
    for offset in range where scalars[offset] == "{" {
      guard offset + 1 < range.upperBound else { break }
      let number = Int(scalars[offset + 1].value) - 0x30
      if number > wildcardCount {
        let has = wildcardCount == 0 ? "no '*'" : "only \(wildcardCount)"
        fail(offset..<(offset + 3), "{\(number)} is what the prefix's '*' number \(number) matched, and it has \(has)")
        return false
      }
    }
    return true
  }

  private func isSegment(_ scalar: Unicode.Scalar, isPrefix: Bool) -> Bool {
    if scalar == "*" { return isPrefix && scalars[index - 1] == "/" }
    if scalar == "{" || scalar == "}" { return !isPrefix }
    guard scalar.isASCII, Path.isSegmentByte(UInt8(truncatingIfNeeded: scalar.value)) else { return false }
    // `=` belongs to a segment, but not where it begins the arrow.
    return !(scalar == "=" && peek(1) == ">")
  }

  private static let strayEnd = "remove the '/' at its end"

  // MARK: Characters

  private var current: Unicode.Scalar? { peek(0) }

  private func peek(_ offset: Int) -> Unicode.Scalar? {
    index + offset < scalars.count ? scalars[index + offset] : nil
  }

  /// Whether a name or an operator may end before it.
  private func endsWord(_ scalar: Unicode.Scalar) -> Bool {
    Self.isBlank(scalar) || scalar == ";" || scalar == "|" || scalar == "&" || scalar == ")"
  }

  /// Up to the next blank or `;`.
  private var wordRange: Range<Int> {
    var end = index
    while end < scalars.count, !Self.isBlank(scalars[end]), scalars[end] != ";" { end += 1 }
    return index..<max(end, min(index + 1, scalars.count))
  }

  private var word: String { String(String.UnicodeScalarView(scalars[wordRange])) }

  private var numberRange: Range<Int> {
    var end = index
    while end < scalars.count, scalars[end] == "." || (scalars[end].value >= 0x30 && scalars[end].value <= 0x39) {
      end += 1
    }
    return index..<end
  }

  /// Blanks, and comments: a `#` where no name goes on.
  private mutating func skipBlank() {
    while let scalar = current {
      if Self.isBlank(scalar) {
        index += 1
      } else if scalar == "#" {
        skipComment()
      } else {
        return
      }
    }
  }

  private mutating func skipComment() {
    while let scalar = current, !Self.isBreak(scalar) { index += 1 }
  }

  private mutating func recover() {
    while let scalar = current, scalar != ";" {
      let startsWord = index == 0 || Self.isBlank(scalars[index - 1])
      if scalar == "#", startsWord { skipComment() } else { index += 1 }
    }
  }

  private mutating func fail(_ range: Range<Int>, _ message: String) {
    flaws.append(Flaw(range: range, message: message))
  }

  static func isBlank(_ scalar: Unicode.Scalar) -> Bool { scalar == " " || scalar == "\t" || isBreak(scalar) }

  /// The line ends of YAML, which are more than those of a header.
  private static func isBreak(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x0A, 0x0D, 0x85, 0x2028, 0x2029: true
    default: false
    }
  }

  /// How deep parentheses may be nested.
  public static let maximumNesting = 16
  /// How many names the right side of an entry may have.
  public static let maximumNameCount = 64
}

/// A word in a message: cut when it is long, without control characters.
private func quoted(_ word: String) -> String {
  var text = String.UnicodeScalarView()
  for scalar in word.unicodeScalars.prefix(60) {
    let isControl = scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
    text.append(isControl ? "\u{FFFD}" : scalar)
  }
  return "'\(String(text))\(word.unicodeScalars.count > 60 ? "…" : "")'"
}
