// What a rewriting pattern puts in the place of what it matched: text, and `$1` to `$9` for its groups. Read once, when the
// configuration is.

public import Base

/// A replacement whose text can stand in a path. A value; equal when written equally.
public struct Replacement: Hashable, Sendable {
  enum Part: Hashable, Sendable {
    case text([UInt8])
    /// 0 is the whole match.
    case group(Int)
  }

  /// As it was written.
  public let text: String
  let parts: [Part]

  /// Reads `/v2/$1`; `$0` is the whole match, `$$` a dollar.
  /// - Parameter groupCount: how many groups the pattern has.
  public init(parsing text: String, groupCount: Int) throws(TextError) {
    guard text.utf8.count <= Self.maximumByteCount else {
      throw TextError("it is longer than \(Self.maximumByteCount) bytes")
    }
    var parts: [Part] = []
    var literal: [UInt8] = []
    var groups = 0
    var bytes = Array(text.utf8)[...]
    while let byte = bytes.popFirst() {
      if byte == UInt8(ascii: "$") {
        guard let next = bytes.popFirst() else { throw TextError("a '$' stands at its end; write $$ for a dollar") }
        if next == UInt8(ascii: "$") {
          literal.append(next)
          continue
        }
        guard next >= UInt8(ascii: "0"), next <= UInt8(ascii: "9") else {
          throw TextError("'$' is followed by a digit from 0 to 9, or by '$' for a dollar")
        }
        let group = Int(next - UInt8(ascii: "0"))
        guard group <= groupCount else { throw TextError("the pattern has no group \(group)") }
        groups += 1
        guard groups <= Self.maximumGroupCount else {
          throw TextError("it names more than \(Self.maximumGroupCount) groups")
        }
        if !literal.isEmpty { parts.append(.text(literal)) }
        literal = []
        parts.append(.group(group))
      } else if RoutePath.isPathByte(byte) {
        literal.append(byte)
      } else {
        throw TextError("a path holds no blanks, control characters, '?' or '#', and other letters only as %XX")
      }
    }
    if !literal.isEmpty { parts.append(.text(literal)) }
    self.text = text
    self.parts = parts
  }

  static let maximumByteCount = 1024
  static let maximumGroupCount = 16
}

/// Paths as rules write them.
public enum RoutePath {
  /// Nil for a text that can be the path of a request target or the beginning of one; otherwise what is wrong with it.
  public static func flaw(in text: String) -> String? {
    if text.utf8.first != UInt8(ascii: "/") { return "a path begins with '/'" }
    if text.utf8.count > maximumByteCount { return "a path has at most \(maximumByteCount) bytes" }
    if text.utf8.contains(UInt8(ascii: "?")) { return "a path ends before '?'; the query is matched by 'query'" }
    if !text.utf8.allSatisfy(isPathByte) {
      return "a path holds no blanks, control characters or '#', and other letters only as %XX"
    }
    return nil
  }

  /// What the request parser takes in a path.
  static func isPathByte(_ byte: UInt8) -> Bool {
    byte > 0x20 && byte < 0x7F && byte != UInt8(ascii: "?") && byte != UInt8(ascii: "#")
  }

  public static let maximumByteCount = 1024
}
