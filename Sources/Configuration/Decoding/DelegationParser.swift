// Reads the delegation table: entries `prefix => destination ;`, with `#` comments.
//
//     table       = *( entry ";" ) [ entry ]
//     entry       = path "=>" path
//     path        = 1*( "/" segment )
//
// Linkerd's language has more on the right side (`|`, `&`, weights, `!`, `~`, `$`) and `*` on the left. Those are
// recognised, so that they are refused by name and at their place. After a mistake the reading goes on behind the next
// `;`.

import Policy

struct DelegationParser {
  private let decoder: Decoder
  private let value: YAMLValue
  private let text: ScalarPositions
  private var index = 0
  /// False once an entry could not be read.
  private(set) var isWhole = true

  init(_ decoder: Decoder, _ value: YAMLValue) {
    self.decoder = decoder
    self.value = value
    if case .scalar(let scalar) = value.node.content {
      text = ScalarPositions(scalar, range: value.node.range)
    } else {
      text = ScalarPositions(YAMLScalar(text: "", style: .plain), range: value.node.range)
    }
  }

  /// - Parameter room: how many entries the table may have.
  mutating func parse(room: Int) -> [Draft.Delegation] {
    guard case .scalar = value.node.content else {
      let message = "'delegations' must be text (`delegations: |` and lines such as `/svc => /#/static ;`)"
      decoder.report(value.node.range, "\(message), not \(value.node.kind)")
      isWhole = false
      return []
    }
    var entries: [Draft.Delegation] = []
    skipBlank()
    while let scalar = current {
      if scalar == ";" {
        index += 1
      } else if entries.count >= room {
        fail(index..<(index + 1), "the delegation table has more than 1000 entries")
        break
      } else if let entry = entry() {
        entries.append(entry)
      } else {
        isWhole = false
        recover()
      }
      skipBlank()
    }
    return entries
  }

  private mutating func entry() -> Draft.Delegation? {
    guard let prefix = path("an entry begins with a prefix such as /svc", isPrefix: true) else { return nil }
    skipBlank()
    guard let arrow = current, arrow == "=", peek(1) == ">" else {
      fail(wordRange, "'=>' is missing after the prefix \(prefix.name)")
      return nil
    }
    index += 2
    skipBlank()
    guard let destination = path("a name such as /#/static must follow '=>'", isPrefix: false) else { return nil }
    skipBlank()
    if let scalar = current, scalar != ";" {
      if let meaning = Self.operators[scalar] {
        fail(index..<(index + 1), Self.notAvailable(String(scalar), meaning))
        return nil
      }
      fail(wordRange, "';' is missing between two entries")
      guard scalar == "/" else { return nil }
      isWhole = false
    }
    let range = text.range(prefix.indices)
    return Draft.Delegation(
      value: Configuration.Delegation(
        DelegationEntry(prefix: prefix.name, destination: destination.name), file: range.source.name,
        line: range.start.line, column: range.start.column),
      prefixRange: range, destinationRange: text.range(destination.indices))
  }

  private mutating func path(_ expectation: String, isPrefix: Bool) -> (name: Path, indices: Range<Int>)? {
    guard let first = current, first == "/" else {
      refuseStart(expectation, isPrefix: isPrefix)
      return nil
    }
    let start = index
    while let scalar = current, scalar == "/" || isSegment(scalar) { index += 1 }
    let indices = start..<index
    if let scalar = current, !ScalarPositions.isBlank(scalar), let meaning = Self.operators[scalar],
      scalar == "*" || text.scalars[index - 1] == "/"
    {
      fail(index..<(index + 1), Self.notAvailable(String(scalar), meaning))
      return nil
    }
    if let scalar = current, !ScalarPositions.isBlank(scalar), Self.operators[scalar] == nil,
      !";=".contains(Character(scalar))
    {
      fail(index..<(index + 1), "a name has letters, digits and any of -._~:#$%+=@[], not \(quoted(String(scalar)))")
      return nil
    }
    let written = String(String.UnicodeScalarView(text.scalars[indices]))
    let name: Path
    do throws(PathError) {
      name = try Path(parsing: written)
    } catch {
      let reason = error.reason == .emptySegment && written.hasSuffix("/") ? Self.strayEnd : error.message
      fail(indices, "\(quoted(written)) is not a name: \(reason)")
      return nil
    }
    guard name != .root else {
      fail(indices, "\(quoted(written)) is not a name: \(Self.strayEnd)")
      return nil
    }
    if isPrefix, name.isBound {
      fail(indices, "\(quoted(written)) is a bound name; only names that do not begin with /# are delegated")
      return nil
    }
    return (HostIdentifier().normalized(name), indices)
  }

  /// Reports what stands where a path should begin.
  private mutating func refuseStart(_ expectation: String, isPrefix: Bool) {
    guard let scalar = current else {
      fail(index..<index, expectation)
      return
    }
    if !isPrefix, scalar.value >= 0x30, scalar.value <= 0x39 {
      fail(wordRange, Self.notAvailable(word, "a weight"))
    } else if let meaning = Self.operators[scalar] {
      fail(index..<(index + 1), Self.notAvailable(String(scalar), meaning))
    } else {
      fail(wordRange, "\(expectation), not \(quoted(word))")
    }
  }

  // MARK: Characters

  private var current: Unicode.Scalar? { peek(0) }

  private func peek(_ offset: Int) -> Unicode.Scalar? {
    index + offset < text.scalars.count ? text.scalars[index + offset] : nil
  }

  /// Up to the next blank or `;`.
  private var wordRange: Range<Int> {
    var end = index
    while end < text.scalars.count, !ScalarPositions.isBlank(text.scalars[end]), text.scalars[end] != ";" { end += 1 }
    return index..<max(end, min(index + 1, text.scalars.count))
  }

  private var word: String { String(String.UnicodeScalarView(text.scalars[wordRange])) }

  /// `=` belongs to a segment, but not where it begins the arrow.
  private func isSegment(_ scalar: Unicode.Scalar) -> Bool {
    guard scalar.isASCII, Path.isSegmentByte(UInt8(truncatingIfNeeded: scalar.value)) else { return false }
    return !(scalar == "=" && peek(1) == ">")
  }

  /// Blanks, and comments: a `#` where no name goes on.
  private mutating func skipBlank() {
    while let scalar = current {
      if ScalarPositions.isBlank(scalar) {
        index += 1
      } else if scalar == "#" {
        skipComment()
      } else {
        return
      }
    }
  }

  private mutating func skipComment() {
    while let scalar = current, !SourceText.isBreak(scalar) { index += 1 }
  }

  private mutating func recover() {
    while let scalar = current, scalar != ";" {
      let startsWord = index == 0 || ScalarPositions.isBlank(text.scalars[index - 1])
      if scalar == "#", startsWord { skipComment() } else { index += 1 }
    }
  }

  private mutating func fail(_ indices: Range<Int>, _ message: String) {
    isWhole = false
    decoder.report(text.range(indices), message)
  }

  private static let strayEnd = "remove the '/' at its end"

  private static func notAvailable(_ word: String, _ meaning: String) -> String {
    "\(quoted(word)) (\(meaning)) is not available in this version of Fairlead"
  }

  private static let operators: [Unicode.Scalar: String] = [
    "|": "fallback", "&": "weighted union", "*": "any one segment", "!": "failure", "~": "no such name", "$": "nothing",
    "(": "grouping",
  ]
}
