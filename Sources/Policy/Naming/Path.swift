// A name of the mesh: `/svc/web`, `/#/file/web`. The grammar is the part of Linkerd 1's that needs no escapes,
// and it is narrow on purpose: a segment can become a file name or a host name further down, so what could
// mean something to a file system, a header or the delegation grammar is not a segment.
//
//     path    = "/" | 1*( "/" segment )
//     segment = 1*255( ALPHA | DIGIT | "-" | "." | "_" | "~" | ":" | "#" | "$" | "%" | "+" | "=" | "@" | "[" | "]" )
//               but not "." or ".."

/// An absolute name of whole segments; a value, safe to share between threads.
public struct Path: Hashable, Sendable, CustomStringConvertible {
  /// The segments without their slashes; none for `/`.
  public let segments: [String]

  /// `/`, the empty path.
  public static let root = Path(unchecked: [])

  /// For segments that are known to be well formed.
  package init(unchecked segments: [String]) { self.segments = segments }

  /// Reads a path, all of `text`. With `allowingWildcards`, a segment may also be `*`, which in the prefix of a
  /// delegation stands for any one segment.
  public init(parsing text: String, allowingWildcards: Bool = false) throws(PathError) {
    try self.init(parsing: text, allowing: allowingWildcards ? .wildcards : .nothing)
  }

  /// What a delegation has in its names beyond what names are made of.
  enum Placeholders {
    case nothing
    /// A segment may be `*`.
    case wildcards
    /// `{1}` to `{9}` may stand anywhere in a segment.
    case captures
  }

  init(parsing text: String, allowing placeholders: Placeholders) throws(PathError) {
    var text = text
    text.makeContiguousUTF8()
    let bytes = Array(text.utf8)
    guard bytes.first == UInt8(ascii: "/") else {
      throw PathError(text: text, byteOffset: 0, reason: .noLeadingSlash)
    }
    guard bytes.count <= Path.maximumByteCount else {
      throw PathError(text: text, byteOffset: Path.maximumByteCount, reason: .tooLong)
    }
    var segments: [String] = []
    var start = 1
    while start < bytes.count {
      let end = bytes[start...].firstIndex(of: UInt8(ascii: "/")) ?? bytes.count
      if let (offset, reason) = Path.flaw(in: bytes[start..<end], allowing: placeholders) {
        throw PathError(text: text, byteOffset: offset, reason: reason)
      }
      segments.append(String(decoding: bytes[start..<end], as: UTF8.self))
      if end == bytes.count - 1 {
        throw PathError(text: text, byteOffset: bytes.count, reason: .emptySegment)
      }
      start = end + 1
    }
    self.segments = segments
  }

  /// A path of these segments, each of which must be well formed: for names that were read elsewhere.
  public init(segments: [String], allowingWildcards: Bool = false) throws(PathError) {
    guard !segments.isEmpty else {
      self = .root
      return
    }
    let path = try Path(parsing: Path(unchecked: segments).description, allowingWildcards: allowingWildcards)
    // A slash inside a segment would have parted it.
    guard path.segments == segments else {
      let text = Path(unchecked: segments).description
      throw PathError(text: text, byteOffset: 0, reason: .badByte(UInt8(ascii: "/")))
    }
    self = path
  }

  /// What keeps these bytes from being a segment, and where; nil when nothing does.
  private static func flaw(
    in segment: ArraySlice<UInt8>, allowing placeholders: Placeholders
  ) -> (Int, PathError.Reason)? {
    let start = segment.startIndex
    guard let first = segment.first else { return (start, .emptySegment) }
    if segment.count > maximumSegmentByteCount { return (start + maximumSegmentByteCount, .segmentTooLong) }
    if segment.elementsEqual([UInt8(ascii: ".")]) || segment.elementsEqual([UInt8(ascii: "."), UInt8(ascii: ".")]) {
      return (start, .dotSegment)
    }
    if first == UInt8(ascii: "*"), segment.count == 1 {
      return placeholders == .wildcards ? nil : (start, .wildcardNotAllowed)
    }
    var index = start
    while index < segment.endIndex {
      if isSegmentByte(segment[index]) {
        index += 1
      } else if placeholders == .captures, isCapture(segment[index...]) {
        index += 3
      } else {
        return (index, .badByte(segment[index]))
      }
    }
    return nil
  }

  /// `{1}` to `{9}`
  private static func isCapture(_ bytes: ArraySlice<UInt8>) -> Bool {
    let word = Array(bytes.prefix(3))
    return word.count == 3 && word[0] == UInt8(ascii: "{") && word[2] == UInt8(ascii: "}")
      && word[1] >= UInt8(ascii: "1") && word[1] <= UInt8(ascii: "9")
  }

  /// Whether `text` is a segment, for names that stand alone and are put into paths later.
  public static func isSegment(_ text: String) -> Bool {
    flaw(in: Array(text.utf8)[...], allowing: .nothing) == nil
  }

  /// Whether a segment may hold this byte.
  public static func isSegmentByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    case UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: ":"),
      UInt8(ascii: "#"), UInt8(ascii: "$"), UInt8(ascii: "%"), UInt8(ascii: "+"), UInt8(ascii: "="), UInt8(ascii: "@"),
      UInt8(ascii: "["), UInt8(ascii: "]"):
      true
    default: false
    }
  }

  /// Whether this path's segments begin with those of `prefix`, a `*` in `prefix` matching any one.
  public func hasPrefix(_ prefix: Path) -> Bool {
    guard prefix.segments.count <= segments.count else { return false }
    for index in prefix.segments.indices where prefix.segments[index] != segments[index] {
      if prefix.segments[index] != "*" { return false }
    }
    return true
  }

  /// Whether this is the name of a discovery source, `/#/...`: nothing is delegated any further.
  public var isBound: Bool { segments.first == "#" }

  /// `/a/b`, as it is parsed.
  public var description: String {
    segments.isEmpty ? "/" : segments.reduce(into: "") { $0 += "/" + $1 }
  }

  /// A name can be no longer than this, all in all: the bound on what a table line or a host can make us keep.
  public static let maximumByteCount = 1024
  /// The longest file name and the longest host name, both 255.
  public static let maximumSegmentByteCount = 255
}

/// Why a text is not a path, and where.
public struct PathError: Error, Equatable, CustomStringConvertible {
  public enum Reason: Equatable, Sendable {
    case noLeadingSlash
    case emptySegment
    case dotSegment
    case wildcardNotAllowed
    case badByte(UInt8)
    case segmentTooLong
    case tooLong
  }

  /// The text that was to be a path.
  public let text: String
  /// Where it stops being one, in UTF-8 bytes from its start.
  public let byteOffset: Int
  public let reason: Reason

  public init(text: String, byteOffset: Int, reason: Reason) {
    self.text = text
    self.byteOffset = byteOffset
    self.reason = reason
  }

  /// What is wrong, without the text itself, for a caller who shows text and place in his own way.
  public var message: String {
    switch reason {
    case .noLeadingSlash: "a path starts with '/'"
    case .emptySegment: "a path segment is empty"
    case .dotSegment: "'.' and '..' cannot be path segments"
    case .wildcardNotAllowed: "'*' is only allowed in the prefix of a delegation"
    case .badByte(let byte):
      byte > 0x20 && byte < 0x7F
        ? "'\(Character(Unicode.Scalar(byte)))' cannot be part of a path"
        : "byte 0x\(String(byte, radix: 16)) cannot be part of a path"
    case .segmentTooLong: "a path segment is longer than \(Path.maximumSegmentByteCount) bytes"
    case .tooLong: "a path is longer than \(Path.maximumByteCount) bytes"
    }
  }

  public var description: String { "\(message) (at byte \(byteOffset))" }
}
