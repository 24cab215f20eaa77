// Regular expressions of routes: compiled once, when the configuration is read, by PCRE2. What a client sends is only ever
// matched, under limits that stop a pattern which backtracks without end: such a match is no match, and is counted.
//
// Bytes are compared, not characters: what comes over the wire need not be UTF-8. The compiled form is read-only and shared
// by all shards; what a match writes to is each shard's own (`PatternMatcher`).

import CPCRE2

/// A regular expression that compiles. A value; equal when text and scope are.
public struct Pattern: Hashable, Sendable {
  /// What of a subject it must match.
  public enum Scope: Hashable, Sendable {
    /// All of it.
    case whole
    /// Any part of it; the first is taken.
    case part
  }

  /// As it was written.
  public let text: String
  public let scope: Scope
  let code: PatternCode

  /// Compiles `text`, in Perl's language as PCRE2 has it.
  public init(parsing text: String, scope: Scope) throws(PatternError) {
    var text = text
    text.makeContiguousUTF8()
    let length = text.utf8.count
    guard length <= Pattern.maximumByteCount else {
      throw PatternError(
        byteOffset: Pattern.maximumByteCount, message: "it is longer than \(Pattern.maximumByteCount) bytes")
    }
    var options = PCRE2_NEVER_UTF | PCRE2_NEVER_UCP | PCRE2_DOLLAR_ENDONLY
    if scope == .whole { options |= PCRE2_ANCHORED | PCRE2_ENDANCHORED }
    var code: Int32 = 0
    var offset = 0
    let compiled = text.utf8.withContiguousStorageIfAvailable {
      pcre2_compile_8($0.baseAddress, length, options, &code, &offset, nil)
    }
    guard let compiled, let compiled else { throw PatternError(code: code, byteOffset: min(offset, length)) }
    self.text = text
    self.scope = scope
    self.code = PatternCode(compiled)
  }

  /// Its capturing groups.
  public var groupCount: Int { code.groupCount }

  public static func == (a: Pattern, b: Pattern) -> Bool { a.text == b.text && a.scope == b.scope }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(text)
    hasher.combine(scope)
  }

  /// The longest text of a pattern.
  public static let maximumByteCount = 1024

  /// The version of the library that is loaded, such as `10.42`.
  public static var engineVersion: String {
    var buffer = [UInt8](repeating: 0, count: 64)
    let count = pcre2_config_8(UInt32(PCRE2_CONFIG_VERSION), &buffer)
    guard count > 1, Int(count) <= buffer.count else { return "unknown" }
    let text = String(decoding: buffer[..<(Int(count) - 1)], as: UTF8.self)
    return text.split(separator: " ").first.map(String.init) ?? text
  }
}

/// Owns what PCRE2 compiled. Never changed once made, so all threads may match with it.
final class PatternCode: @unchecked Sendable {
  let pointer: OpaquePointer

  /// Takes ownership. Machine code is made where the host lets a program make some (a unit with
  /// MemoryDenyWriteExecute= does not); elsewhere the pattern is interpreted, with the same outcome.
  init(_ pointer: OpaquePointer) {
    self.pointer = pointer
    _ = pcre2_jit_compile_8(pointer, PCRE2_JIT_COMPLETE)
  }

  deinit { pcre2_code_free_8(pointer) }

  var groupCount: Int {
    var count: UInt32 = 0
    _ = pcre2_pattern_info_8(pointer, UInt32(PCRE2_INFO_CAPTURECOUNT), &count)
    return Int(count)
  }
}

/// Why a text is no regular expression, and where.
public struct PatternError: Error, Equatable, CustomStringConvertible {
  /// Where the reading stopped, in UTF-8 bytes from the start.
  public let byteOffset: Int
  public let message: String

  init(byteOffset: Int, message: String) {
    self.byteOffset = byteOffset
    self.message = message
  }

  init(code: Int32, byteOffset: Int) {
    var buffer = [UInt8](repeating: 0, count: 256)
    let count = pcre2_get_error_message_8(code, &buffer, buffer.count)
    let isKnown = count > 0 && Int(count) <= buffer.count
    self.init(
      byteOffset: byteOffset,
      message: isKnown ? String(decoding: buffer[..<Int(count)], as: UTF8.self) : "PCRE2 refuses it")
  }

  public var description: String { "\(message) (at byte \(byteOffset))" }
}
