// How a message's body is delimited (RFC 9112 section 6.3), decided once, when its head is parsed.

/// Where the body of a message ends.
public enum BodyFraming: Equatable, Sendable {
  /// There is none: the message ends with its head.
  case none
  /// Exactly this many bytes, possibly zero.
  case length(UInt64)
  /// Chunks, a last chunk and a trailer section (RFC 9112 section 7.1).
  case chunked
  /// Everything up to the end of the connection; responses only.
  case untilClose

  /// Whether any body byte can follow the head.
  @inlinable public var hasBody: Bool {
    switch self {
    case .none: false
    case .length(let count): count != 0
    case .chunked, .untilClose: true
    }
  }
}
