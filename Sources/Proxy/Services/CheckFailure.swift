// Why an active check failed, in the words that `fairlead endpoints` has for it.

import Policy

/// Why an endpoint did not pass its check.
enum CheckFailure: Error, Equatable {
  /// It does not accept connections.
  case refused
  /// It took longer than `healthCheck.timeout`.
  case late
  /// It ended the connection, or the call, before it had answered.
  case closed
  /// What it said is no answer.
  case garbage
  case status(UInt16)
  case grpcStatus(GRPCStatus)
  /// What gRPC's health service says, when it is not SERVING.
  case notServing(UInt64)

  /// A few words.
  var text: String {
    switch self {
    case .refused: "no connection"
    case .late: "no answer in time"
    case .closed: "closed without an answer"
    case .garbage: "no answer that makes sense"
    case .status(let status): "HTTP status \(status)"
    case .grpcStatus(let status): "gRPC status \(status.code) \(status.name)"
    case .notServing(0): "UNKNOWN"
    case .notServing(2): "NOT_SERVING"
    case .notServing(3): "SERVICE_UNKNOWN"
    case .notServing(let status): "serving status \(status)"
    }
  }
}
