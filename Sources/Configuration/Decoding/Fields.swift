// The keys of one mapping, read by name and type. Creating it reports every key that should not be there; each reader
// reports its own value.

import Base

struct Fields {
  let decoder: Decoder
  let mapping: YAMLMapping
  /// The mapping's own place, for what is missing in it.
  let range: SourceRange
  let path: String
  /// Known keys that an unknown one was probably meant as: they are not reported as missing too.
  private var meant: Set<String> = []

  /// - Parameters:
  ///   - known: the keys this version reads here.
  ///   - later: keys that are documented, and that this version does not have yet.
  /// - Returns: nil when the value is no mapping, which is reported. Nothing written is a mapping without keys.
  init?(_ decoder: Decoder, _ value: YAMLValue, known: [String], later: [String] = []) {
    self.decoder = decoder
    path = value.path
    range = value.node.range
    decoder.onMapping?(path, known)
    if value.node.isNull {
      mapping = YAMLMapping()
      return
    }
    guard case .mapping(let mapping) = value.node.content else {
      let subject = path.isEmpty ? "a configuration" : "'\(path)'"
      decoder.report(value.node.range, "\(subject) must be a mapping (key: value), not \(value.node.kind)")
      return nil
    }
    self.mapping = mapping
    for member in mapping.members where !known.contains(member.key) {
      if later.contains(member.key) {
        decoder.report(member.keyRange, notAvailable(member.key))
      } else {
        let near = decoder.nearest(to: member.key, among: known + later)
        let clause = near.map { "; did you mean '\($0)'?" } ?? ""
        decoder.report(member.keyRange, "unknown key \(quoted(member.key))\(path.asPlace)\(clause)")
        if let near { meant.insert(near) }
      }
    }
  }

  /// The value of a key, unless there is none or nothing is written.
  subscript(key: String) -> YAMLValue? {
    guard let member = mapping[key], !member.value.isNull else { return nil }
    return YAMLValue(node: member.value, path: path.isEmpty ? key : "\(path).\(key)")
  }

  func has(_ key: String) -> Bool { self[key] != nil }

  /// Reports that a key must be there.
  func require(_ key: String, _ example: String) {
    guard !has(key), !meant.contains(key) else { return }
    let at = SourceRange(range.source, at: range.start)
    decoder.report(at, "'\(key)' is missing\(path.asPlace); write \(example)")
  }

  /// The keys of a mapping below; nil when there is none or it is wrong.
  func fields(_ key: String, known: [String], later: [String] = []) -> Fields? {
    self[key].flatMap { Fields(decoder, $0, known: known, later: later) }
  }

  func items(_ key: String) -> [YAMLValue] { self[key].map(decoder.items) ?? [] }
}

/// What is said about words that stand in the documentation for later versions.
func notAvailable(_ word: String) -> String { "\(quoted(word)) is not available in this version of Fairlead" }

// MARK: Values

extension Fields {
  /// Text, however it is quoted; a number is text too where text is wanted.
  func text(_ key: String) -> String? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "text") else { return nil }
    guard !scalar.text.isEmpty else {
      decoder.report(value.node.range, "'\(value.path)' must not be empty")
      return nil
    }
    guard scalar.text.unicodeScalars.allSatisfy({ $0.properties.generalCategory != .control }) else {
      decoder.report(value.node.range, "'\(value.path)' must not hold control characters")
      return nil
    }
    return scalar.text
  }

  func bool(_ key: String) -> Bool? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "true or false") else { return nil }
    switch scalar.text {
    case "true" where scalar.style == .plain: return true
    case "false" where scalar.style == .plain: return false
    default:
      decoder.report(value.node.range, "'\(value.path)' must be true or false, not \(shown(scalar))")
      return nil
    }
  }

  func integer(_ key: String, in allowed: ClosedRange<Int>) -> Int? {
    let expectation = "a whole number between \(allowed.lowerBound) and \(allowed.upperBound)"
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    return integer(scalar, value, in: allowed, expectation)
  }

  /// `word` or a number, such as `auto`.
  func integer(_ key: String, in allowed: ClosedRange<Int>, orWord word: String) -> (number: Int?, isWord: Bool)? {
    let expectation = "'\(word)' or a whole number between \(allowed.lowerBound) and \(allowed.upperBound)"
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    if scalar.text == word { return (nil, true) }
    return integer(scalar, value, in: allowed, expectation).map { ($0, false) }
  }

  private func integer(
    _ scalar: YAMLScalar, _ value: YAMLValue, in allowed: ClosedRange<Int>, _ expectation: String
  ) -> Int? {
    let digits = scalar.text.utf8.drop { $0 == 0x2D }
    let isNumber = !digits.isEmpty && digits.allSatisfy { $0 >= 0x30 && $0 <= 0x39 }
    guard scalar.style == .plain, isNumber, scalar.text.utf8.count - digits.count <= 1 else {
      decoder.report(value.node.range, "'\(value.path)' must be \(expectation), not \(shown(scalar))")
      return nil
    }
    guard let number = Int(scalar.text), allowed.contains(number) else {
      let bounds = "between \(allowed.lowerBound) and \(allowed.upperBound)"
      decoder.report(value.node.range, "'\(value.path)' must be \(bounds), not \(unquoted(scalar.text))")
      return nil
    }
    return number
  }

  func duration(_ key: String, in allowed: ClosedRange<Duration>) -> Duration? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "a duration such as 250ms or 2s") else {
      return nil
    }
    return duration(scalar, value, in: allowed)
  }

  /// A duration or `none`: nil when absent or wrong, `.some(nil)` for `none`.
  func optionalDuration(_ key: String, in allowed: ClosedRange<Duration>) -> Duration?? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "a duration such as 250ms or 2s, or 'none'")
    else { return nil }
    if scalar.text == "none" { return .some(nil) }
    return duration(scalar, value, in: allowed).map { .some($0) }
  }

  private func duration(_ scalar: YAMLScalar, _ value: YAMLValue, in allowed: ClosedRange<Duration>) -> Duration? {
    quantity(scalar, value, in: allowed, noun: "duration", show: \.shortText) { text throws(TextError) in
      try Duration(parsing: text)
    }
  }

  func size(_ key: String, in allowed: ClosedRange<ByteCount>) -> ByteCount? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "a size such as 64KiB") else { return nil }
    return quantity(scalar, value, in: allowed, noun: "size", show: \.description) { text throws(TextError) in
      try ByteCount(parsing: text)
    }
  }

  /// A number with a unit, within bounds.
  private func quantity<Quantity: Comparable>(
    _ scalar: YAMLScalar, _ value: YAMLValue, in allowed: ClosedRange<Quantity>, noun: String,
    show: (Quantity) -> String, parse: (String) throws(TextError) -> Quantity
  ) -> Quantity? {
    do throws(TextError) {
      let quantity = try parse(scalar.text)
      guard allowed.contains(quantity) else {
        let bounds = "between \(show(allowed.lowerBound)) and \(show(allowed.upperBound))"
        decoder.report(value.node.range, "'\(value.path)' must be \(bounds), not \(unquoted(scalar.text))")
        return nil
      }
      return quantity
    } catch {
      decoder.report(value.node.range, "\(quoted(scalar.text)) is not a \(noun): \(error.reason)")
      return nil
    }
  }

  func address(_ key: String) -> SocketAddress? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "an address such as 127.0.0.1:4140") else {
      return nil
    }
    do throws(TextError) {
      return try SocketAddress(parsing: scalar.text)
    } catch {
      decoder.report(value.node.range, "\(quoted(scalar.text)) is not an address: \(error.reason)")
      return nil
    }
  }

  /// One of an enumeration's words; `later` are words for what this version does not have yet.
  func choice<T: RawRepresentable<String> & CaseIterable>(_ key: String, later: [String] = []) -> T? {
    choice(key, T.allCases.map(\.rawValue), later: later).flatMap { T(rawValue: $0) }
  }

  func choice(_ key: String, _ words: [String], later: [String] = []) -> String? {
    let expectation = Self.list(words)
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    if words.contains(scalar.text) { return scalar.text }
    if later.contains(scalar.text) {
      decoder.report(value.node.range, "\(notAvailable(scalar.text)); '\(value.path)' can be \(expectation)")
    } else {
      let clause = decoder.suggestion(for: scalar.text, among: words + later)
      decoder.report(value.node.range, "'\(value.path)' must be \(expectation), not \(quoted(scalar.text))\(clause)")
    }
    return nil
  }

  /// "'a'", "'a' or 'b'", "'a', 'b' or 'c'".
  private static func list(_ words: [String]) -> String {
    let quotedWords = words.map { "'\($0)'" }
    guard let last = quotedWords.last, words.count > 1 else { return quotedWords.joined() }
    return quotedWords.dropLast().joined(separator: ", ") + " or " + last
  }

  /// A value as it is written, so that a quoted number shows why it is none.
  private func shown(_ scalar: YAMLScalar) -> String {
    scalar.style == .plain ? quoted(scalar.text) : "the text \"\(unquoted(scalar.text))\" (leave out the quotes)"
  }
}
