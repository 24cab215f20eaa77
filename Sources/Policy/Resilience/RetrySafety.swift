// May a request whose attempt broke be sent again? Only safety is judged here: whether doing it twice can harm.
// Whether it is worth it (budget, limit, backoff, deadline) is for others.
//
// RFC 9110 section 9.2.2: a client may repeat by itself a request with an idempotent method, and another only if it
// knows that the first one was never applied. RFC 9112 section 9.3.1 adds the idle connection that closes just as it
// is taken, the everyday case.

/// How much of a request had been handed to the connection when it broke.
@frozen public enum RequestProgress: Sendable, Equatable {
  /// Not one byte: the connect failed, or the send was refused outright.
  case nothingSent
  /// Some bytes; a server may act on a head alone.
  case partlySent
  /// All of it.
  case whollySent
}

/// An attempt that ended without a response to pass on.
@frozen public struct BrokenAttempt: Sendable, Equatable {
  /// GET, HEAD, OPTIONS, TRACE, PUT or DELETE.
  public var isMethodIdempotent: Bool
  /// The connection had served a request before.
  public var isConnectionReused: Bool
  public var progress: RequestProgress
  /// Any byte of a response, an interim one included.
  public var sawResponseByte: Bool
  /// The whole body can be sent again: there is none, or all that was read of it is still held.
  public var isBodyReplayable: Bool

  public init(
    isMethodIdempotent: Bool, isConnectionReused: Bool, progress: RequestProgress, sawResponseByte: Bool,
    isBodyReplayable: Bool
  ) {
    self.isMethodIdempotent = isMethodIdempotent
    self.isConnectionReused = isConnectionReused
    self.progress = progress
    self.sawResponseByte = sawResponseByte
    self.isBodyReplayable = isBodyReplayable
  }
}

/// The judgement, with its reason.
@frozen public enum RetryVerdict: Sendable, Equatable {
  case safe(SafeReason)
  case unsafe(UnsafeReason)

  @frozen public enum SafeReason: Sendable, Equatable {
    /// Nothing ever reached the endpoint.
    case neverSent
    /// A pooled connection turned out dead: the endpoint's idle time-out, not a failure of the endpoint.
    case staleConnection
    /// It may have been applied; applying it again changes nothing.
    case idempotent
  }

  @frozen public enum UnsafeReason: Sendable, Equatable {
    /// The endpoint had begun to answer.
    case responseBegun
    /// Part of the body is gone.
    case bodyConsumed
    /// It may have been applied, and may not be applied twice.
    case mayHaveBeenApplied
  }

  /// Whether repeating it draws on the retry budget. A stale connection does not: it says nothing of the load,
  /// and a pool full of them would eat the budget at once.
  @inlinable public var chargesBudget: Bool { self != .safe(.staleConnection) }

  /// Judges a broken attempt.
  public init(of attempt: BrokenAttempt) {
    if attempt.sawResponseByte {
      self = .unsafe(.responseBegun)
    } else if !attempt.isBodyReplayable {
      self = .unsafe(.bodyConsumed)
    } else {
      switch (attempt.progress, attempt.isConnectionReused, attempt.isMethodIdempotent) {
      case (.nothingSent, true, _): self = .safe(.staleConnection)
      case (.nothingSent, false, _): self = .safe(.neverSent)
      case (.partlySent, true, true), (.whollySent, true, true): self = .safe(.staleConnection)
      case (.partlySent, false, true), (.whollySent, false, true): self = .safe(.idempotent)
      case (.partlySent, _, false), (.whollySent, _, false): self = .unsafe(.mayHaveBeenApplied)
      }
    }
  }
}
