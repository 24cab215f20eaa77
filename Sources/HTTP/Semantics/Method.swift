// Request methods (RFC 9110 section 9, RFC 5789). Methods are case-sensitive; one that is not listed keeps its
// bytes in the head and is `other` here.

/// A request method, as far as the proxy needs to know it.
public enum Method: UInt8, CaseIterable, Sendable {
  case get, head, post, put, delete, options, trace, patch, connect
  /// Any other valid token; its bytes are in `RequestHead.methodRange`.
  case other

  /// Asks for nothing to change (RFC 9110 9.2.1).
  @inlinable public var isSafe: Bool {
    switch self {
    case .get, .head, .options, .trace: true
    case .post, .put, .delete, .patch, .connect, .other: false
    }
  }

  /// May be sent twice with the effect of once (RFC 9110 9.2.2).
  @inlinable public var isIdempotent: Bool {
    switch self {
    case .get, .head, .options, .trace, .put, .delete: true
    case .post, .patch, .connect, .other: false
    }
  }

  /// The method's token, upper case; `-` for `other`.
  public var name: StaticString {
    switch self {
    case .get: "GET"
    case .head: "HEAD"
    case .post: "POST"
    case .put: "PUT"
    case .delete: "DELETE"
    case .options: "OPTIONS"
    case .trace: "TRACE"
    case .patch: "PATCH"
    case .connect: "CONNECT"
    case .other: "-"
    }
  }
}
