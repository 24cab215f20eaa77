// A configuration file's text: its lines, and the places in it.
//
// Positions are those of libyaml, so that its marks can be used as they are: lines end at LF, CR, CRLF, NEL, LS and PS,
// columns count Unicode scalars, a byte-order mark at the start counts nothing.

/// A place in a file. Both count from 1.
struct SourcePosition: Hashable, Comparable, Sendable {
  var line: Int
  var column: Int

  static func < (a: SourcePosition, b: SourcePosition) -> Bool {
    a.line != b.line ? a.line < b.line : a.column < b.column
  }
}

/// What stands between two places of one file; the end is not part of it.
struct SourceRange: Sendable {
  let source: SourceText
  let start: SourcePosition
  let end: SourcePosition

  /// One character.
  init(_ source: SourceText, at start: SourcePosition) {
    self.init(source, start, SourcePosition(line: start.line, column: start.column + 1))
  }

  init(_ source: SourceText, _ start: SourcePosition, _ end: SourcePosition) {
    self.source = source
    self.start = start
    self.end = end
  }

  /// `file:line:column`, to name a second place in a message.
  var place: String { "\(source.name):\(start.line):\(start.column)" }
}

/// One file, checked to be text that YAML allows. Immutable.
final class SourceText: Sendable {
  let name: String
  /// The text without a byte-order mark.
  let bytes: [UInt8]
  /// Where each line lies in `bytes`, without its break.
  private let lines: [Range<Int>]

  /// - Parameter name: as messages show it.
  init(name: String, bytes: [UInt8]) {
    self.name = name
    let text = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? Array(bytes.dropFirst(3)) : bytes
    self.bytes = text
    lines = Self.lines(of: text)
  }

  var lineCount: Int { lines.count }

  /// The scalars of a line, from 1; empty past the end. Invalid UTF-8 shows as U+FFFD.
  func line(_ number: Int) -> [Unicode.Scalar] {
    guard number >= 1, number <= lines.count else { return [] }
    return Array(String(decoding: bytes[lines[number - 1]], as: UTF8.self).unicodeScalars)
  }

  func excerpt(of range: SourceRange) -> Excerpt {
    let characters = line(range.start.line)
    let first = range.start.column - 1
    let end = range.end.line == range.start.line ? range.end.column - 1 : characters.count
    return Excerpt(line: characters, columns: first..<max(first, end))
  }

  /// The first thing in the text that YAML forbids everywhere (section 5.1 of its specification), or nil.
  /// Checked before libyaml sees it, which would tell no place.
  func firstForbiddenCharacter() -> Diagnostic? {
    var position = SourcePosition(line: 1, column: 1)
    var decoder = UTF8()
    var iterator = bytes.makeIterator()
    var afterCarriageReturn = false
    while true {
      switch decoder.decode(&iterator) {
      case .emptyInput:
        return nil
      case .error:
        return Diagnostic(at: SourceRange(self, at: position), "this is not UTF-8 text")
      case .scalarValue(let scalar):
        guard Self.isAllowed(scalar) else {
          let code = String(scalar.value, radix: 16, uppercase: true)
          let padded = String(repeating: "0", count: max(0, 4 - code.count)) + code
          return Diagnostic(at: SourceRange(self, at: position), "the character U+\(padded) is not allowed in YAML")
        }
        if scalar == "\n", afterCarriageReturn {
          // The second half of a CRLF.
        } else if Self.isBreak(scalar) {
          position = SourcePosition(line: position.line + 1, column: 1)
        } else {
          position.column += 1
        }
        afterCarriageReturn = scalar == "\r"
      }
    }
  }

  static func isBreak(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x0A, 0x0D, 0x85, 0x2028, 0x2029: true
    default: false
    }
  }

  private static func isAllowed(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x09, 0x0A, 0x0D, 0x20...0x7E, 0x85, 0xA0...0xD7FF, 0xE000...0xFEFE, 0xFF00...0xFFFD, 0x10000...0x10FFFF: true
    default: false
    }
  }

  private static func lines(of bytes: [UInt8]) -> [Range<Int>] {
    var lines: [Range<Int>] = []
    var start = 0
    var index = 0
    while index < bytes.count {
      let length = breakLength(bytes, at: index)
      if length > 0 {
        lines.append(start..<index)
        start = index + length
      }
      index += max(1, length)
    }
    lines.append(start..<bytes.count)
    return lines
  }

  /// The bytes of the line break that begins at `index`; 0 where none does.
  private static func breakLength(_ bytes: [UInt8], at index: Int) -> Int {
    func byte(_ offset: Int) -> UInt8 { index + offset < bytes.count ? bytes[index + offset] : 0 }
    switch byte(0) {
    case 0x0A: return 1
    case 0x0D: return byte(1) == 0x0A ? 2 : 1
    case 0xC2: return byte(1) == 0x85 ? 2 : 0
    case 0xE2: return byte(1) == 0x80 && (byte(2) == 0xA8 || byte(2) == 0xA9) ? 3 : 0
    default: return 0
    }
  }
}
