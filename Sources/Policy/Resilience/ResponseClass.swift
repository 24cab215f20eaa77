// How a response counts: for the balancer, for failure accrual, for the success rate an operator sees.

/// The class of an attempt's outcome by its status code (RFC 9110 section 15).
@frozen public enum ResponseClass: Sendable, Equatable {
  /// The endpoint did its work; that includes telling the client it is wrong (4xx).
  case success
  /// The endpoint is well and asks for less (429): no failure, but not to be taken for a fast answer.
  case throttled
  /// The endpoint failed (5xx), or what it sent is no status.
  case failure

  /// Classifies a final status.
  @inlinable public init(status: UInt16) {
    switch status {
    case 429: self = .throttled
    case 100..<500: self = .success
    default: self = .failure
    }
  }

  /// Whether the balancer must take it as a slow answer (`PeakEWMA.observeFailure`).
  @inlinable public var countsAsSlow: Bool { self != .success }
}
