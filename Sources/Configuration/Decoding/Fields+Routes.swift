// Values that only routes have: patterns, paths, shares, names and values of header fields. What a rule writes into a head
// is checked here, once: nothing that comes out can end a line or change how a message is framed.

import Base
import Policy

extension Fields {
  /// The one of `keys` that is there; reports none and more than one.
  func oneOf(_ keys: [String], example: String) -> String? {
    let written = keys.filter(has)
    if written.count > 1 {
      reportValue(written[1], "'\(path)' has '\(written[0])' and '\(written[1])'; one of the two must go")
      return nil
    }
    if written.isEmpty {
      decoder.report(SourceRange(range.source, at: range.start), "'\(path)' says nothing; write \(example)")
    }
    return written.first
  }

  /// The items of a list that are right; reports the others.
  func list<Value>(
    _ key: String, most: Int, _ expectation: String, _ noun: String, _ parse: (String) throws(TextError) -> Value
  ) -> [(value: Value, range: SourceRange)] {
    let items = items(key)
    if items.count > most {
      decoder.report(items[most].node.range, "'\(path).\(key)' has more than \(most) entries")
    }
    var values: [(value: Value, range: SourceRange)] = []
    for item in items.prefix(most) {
      guard let scalar = decoder.scalar(of: item, expectation) else { continue }
      do throws(TextError) {
        values.append((try parse(scalar.text), item.node.range))
      } catch {
        decoder.report(item.node.range, "\(quoted(scalar.text)) is not \(noun): \(error.reason)")
      }
    }
    return values
  }

  /// A value that a parser of its own reads; an empty text is for that to judge.
  func parsed<Value>(
    _ key: String, _ expectation: String, _ noun: String, _ parse: (String) throws(TextError) -> Value
  ) -> Value? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    do throws(TextError) {
      return try parse(scalar.text)
    } catch {
      decoder.report(value.node.range, "\(quoted(scalar.text)) is not \(noun): \(error.reason)")
      return nil
    }
  }

  func percent(_ key: String) -> Percent? {
    parsed(key, "a number between 0 and 100", "a percentage") { text throws(TextError) in try Percent(parsing: text) }
  }

  /// A path, or what one begins with.
  func pathText(_ key: String) -> String? {
    guard let text = text(key) else { return nil }
    guard let flaw = RoutePath.flaw(in: text) else { return text }
    reportValue(key, "\(quoted(text)) is not a path: \(flaw)")
    return nil
  }

  /// A regular expression; a mistake in it is reported at its place.
  func pattern(_ key: String, _ scope: Pattern.Scope) -> Pattern? {
    guard let value = self[key], let scalar = decoder.scalar(of: value, "a regular expression") else { return nil }
    guard !scalar.text.isEmpty else {
      decoder.report(value.node.range, "'\(value.path)' must not be empty")
      return nil
    }
    do throws(PatternError) {
      return try Pattern(parsing: scalar.text, scope: scope)
    } catch {
      let before = String(decoding: scalar.text.utf8.prefix(error.byteOffset), as: UTF8.self).unicodeScalars.count
      let positions = ScalarPositions(scalar, range: value.node.range)
      decoder.report(
        positions.range(before..<(before + 1)),
        "\(quoted(scalar.text)) is not a regular expression: \(error.message) (at character \(before + 1))")
      return nil
    }
  }

  /// `host[:port]`, as Host has it.
  func authority(_ key: String) -> String? {
    parsed(key, "a host such as cart.internal", "a host") { text throws(TextError) in
      var name = text[...]
      var port = ""
      if let colon = text.lastIndex(of: ":"), text.last != "]" {
        port = String(text[colon...])
        name = text[..<colon]
        guard let number = UInt16(port.dropFirst()), number > 0, "\(number)" == port.dropFirst() else {
          throw TextError("its port is no number between 1 and 65535")
        }
      }
      let host = try HostPattern(parsing: String(name))
      if host.isWildcard { throw TextError("a wildcard names no single host") }
      return host.description + port
    }
  }
}

// MARK: Header fields

extension Fields {
  static func isToken(_ text: String) -> Bool {
    !text.isEmpty
      && text.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: tokenMarks.contains(byte)
        }
      }
  }

  /// RFC 9110 5.6.2.
  private static let tokenMarks = Array("!#$%&'*+-.^_`|~".utf8)

  /// A field's name in lower case.
  func fieldName(_ text: String, _ range: SourceRange) -> String? {
    guard Self.isToken(text), text.utf8.count <= 128 else {
      decoder.report(
        range, "\(quoted(text)) is not the name of a header field: it has up to 128 letters, digits and any of -_.")
      return nil
    }
    return text.lowercased()
  }

  /// A field's value, possibly empty.
  func fieldValue(_ key: String) -> String? {
    guard let value = self[key] else { return nil }
    return fieldValue(of: value)
  }

  private func fieldValue(of value: YAMLValue) -> String? {
    guard let scalar = decoder.scalar(of: value, "text") else { return nil }
    let bytes = scalar.text.utf8
    if !bytes.allSatisfy({ ($0 >= 0x20 && $0 < 0x7F) || $0 == 0x09 }) {
      decoder.report(
        value.node.range,
        "'\(value.path)' must hold printable ASCII characters only: no line breaks, no control characters")
      return nil
    }
    if bytes.count > 4096 {
      decoder.report(value.node.range, "'\(value.path)' is longer than 4096 characters")
      return nil
    }
    if let first = bytes.first, let last = bytes.last, [first, last].contains(where: { $0 == 0x20 || $0 == 0x09 }) {
      decoder.report(value.node.range, "'\(value.path)' must not begin or end with a blank")
      return nil
    }
    return scalar.text
  }

  /// A mapping from names of fields to their values, in the order written.
  func headerFields(_ key: String, refusing reason: (String) -> String?) -> [RouteAction.Field] {
    guard let value = self[key] else { return [] }
    guard case .mapping(let mapping) = value.node.content else {
      decoder.report(value.node.range, "'\(value.path)' must be a mapping (name: value), not \(value.node.kind)")
      return []
    }
    if mapping.members.count > Self.mostEdits {
      decoder.report(
        mapping.members[Self.mostEdits].keyRange, "'\(value.path)' has more than \(Self.mostEdits) entries")
    }
    var fields: [RouteAction.Field] = []
    for member in mapping.members.prefix(Self.mostEdits) {
      guard let name = fieldName(member.key, member.keyRange) else { continue }
      if let reason = reason(name) {
        decoder.report(member.keyRange, "\(quoted(member.key)) cannot be changed here: \(reason)")
      } else if fields.contains(where: { $0.name == name }) {
        decoder.report(member.keyRange, "\(quoted(member.key)) is there twice; case does not tell fields apart")
      } else if member.value.isNull {
        decoder.report(member.keyRange, "\(quoted(member.key)) has no value; write \"\" for an empty one")
      } else if let text = fieldValue(of: YAMLValue(node: member.value, path: "\(value.path).\(unquoted(member.key))"))
      {
        fields.append(RouteAction.Field(name: name, value: text))
      }
    }
    return fields
  }

  static let mostEdits = 64
}
