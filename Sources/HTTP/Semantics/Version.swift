// The HTTP/1 versions a head can carry. Anything else is refused while parsing, so no third value exists.

/// The version a message was sent with. RFC 9110 2.5.
public enum Version: UInt8, CaseIterable, Sendable {
  case http10 = 0
  case http11 = 1

  /// The minor number.
  @inlinable public var minor: UInt8 { rawValue }
}
