// Which answers are worth another try. An answer that came tells that the endpoint did something; whether doing it again
// can harm depends on the method, and how far to trust methods is the service owner's to say.

public import HTTP

/// What is repeated though an endpoint answered.
@frozen public enum ResponseClassifier: UInt8, CaseIterable, Hashable, Sendable {
  /// Nothing: every answer is passed on.
  case never
  /// A 5xx to GET, HEAD, OPTIONS or TRACE.
  case read5xx
  /// A 5xx to those, PUT or DELETE.
  case idempotent5xx
  /// A 5xx to anything: for services whose every request may be applied twice.
  case all5xx
  /// A gRPC call that ended with UNAVAILABLE: by gRPC's own rule the one that is safe to send again.
  case grpcDefault
  /// A gRPC call that failed by the endpoint's doing: for services whose every call may be applied twice.
  case grpcAlways

  /// Whether a request with this method whose answer has this status may be sent again.
  @inlinable public func isRetryable(_ method: Method, status: UInt16) -> Bool {
    guard status >= 500, status <= 599 else { return false }
    switch self {
    case .never: return false
    case .read5xx: return method.isSafe
    case .idempotent5xx: return method.isIdempotent
    case .all5xx: return method != .connect
    case .grpcDefault, .grpcAlways: return false
    }
  }

  /// Whether a gRPC call that ended with this status may be sent again.
  public func isRetryable(_ status: GRPCStatus) -> Bool {
    switch self {
    case .never, .read5xx, .idempotent5xx: false
    case .grpcDefault: status == .unavailable
    case .all5xx, .grpcAlways: status.httpStatus >= 500
    }
  }
}
