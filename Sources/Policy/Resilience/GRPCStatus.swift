// How a gRPC call ended: the status in its trailers, which HTTP's own (200) says nothing about. From gRPC's "Status codes and
// their use" and "HTTP to gRPC status code mapping".

/// A gRPC status code.
@frozen public struct GRPCStatus: Equatable, Sendable {
  /// 0 to 16.
  public let code: UInt8

  @inlinable public init(code: UInt8) { self.code = code }

  public static let ok = GRPCStatus(code: 0)
  public static let cancelled = GRPCStatus(code: 1)
  public static let unknown = GRPCStatus(code: 2)
  public static let deadlineExceeded = GRPCStatus(code: 4)
  public static let permissionDenied = GRPCStatus(code: 7)
  public static let resourceExhausted = GRPCStatus(code: 8)
  public static let unimplemented = GRPCStatus(code: 12)
  public static let `internal` = GRPCStatus(code: 13)
  public static let unavailable = GRPCStatus(code: 14)
  public static let dataLoss = GRPCStatus(code: 15)
  public static let unauthenticated = GRPCStatus(code: 16)

  /// How many codes there are.
  public static let count = 17

  /// Reads the value of a `grpc-status` field; what is no known code is UNKNOWN, as gRPC has it.
  public init(parsing value: UnsafeRawBufferPointer) {
    var code = 0
    for byte in value {
      guard byte >= 0x30, byte <= 0x39, code < 100 else {
        self = .unknown
        return
      }
      code = code * 10 + Int(byte &- 0x30)
    }
    self = value.isEmpty || code >= GRPCStatus.count ? .unknown : GRPCStatus(code: UInt8(truncatingIfNeeded: code))
  }

  /// What a client makes of an answer that is none of gRPC's.
  public init(httpStatus: UInt16) {
    switch httpStatus {
    case 400, 431: self = .internal
    case 401: self = .unauthenticated
    case 403: self = .permissionDenied
    case 404: self = .unimplemented
    case 429, 502, 503, 504: self = .unavailable
    default: self = .unknown
    }
  }

  /// The HTTP status that says the same to counters and breakers: failures of the endpoint are 5xx, mistakes of the caller 4xx.
  public var httpStatus: UInt16 {
    switch self {
    case .ok: 200
    case .cancelled: 499
    case .resourceExhausted: 429
    case .deadlineExceeded: 504
    case .unavailable: 503
    case .unimplemented: 501
    case .unknown, .internal, .dataLoss: 500
    case .permissionDenied: 403
    case .unauthenticated: 401
    default: 400
    }
  }

  /// As gRPC writes it.
  public var name: String {
    code < GRPCStatus.names.count ? GRPCStatus.names[Int(code)] : "UNKNOWN"
  }

  private static let names = [
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
  ]
}
