// How what is judged of an endpoint for the whole node (failure accrual, active health checks) reaches every balancer: one
// atomic word for each endpoint, and one counter for each service that says when to look again. The judges write, balancers
// read; what a verdict rests on is not known here.

public import Base
public import Synchronization

/// What came of asking to send a request through a gate.
@frozen public enum GateAdmission: Sendable {
  /// The endpoint is healthy.
  case ordinary
  /// The caller's request is the one that finds out.
  case probe
  /// Closed, or another request finds out just now: take another endpoint.
  case refused
}

/// A handle to the word of one endpoint: 0 when it is healthy, else the instant from which one request may be sent to find
/// out, `UInt64.max` for never. Whoever owns the word outlives the handle. Any thread may call.
@frozen public struct EndpointGate: @unchecked Sendable {
  @usableFromInline let word: UnsafeMutablePointer<Atomic<UInt64>>

  @inlinable public init(_ word: UnsafeMutablePointer<Atomic<UInt64>>) { self.word = word }

  /// Whether nothing is held against the endpoint. One that waits for its probe is not healthy.
  @inlinable public var isHealthy: Bool { word.pointee.load(ordering: .relaxed) == 0 }

  /// Whether a request may be sent: it is healthy, or a probe is due.
  @inlinable public func isOpen(now: MonotonicInstant) -> Bool {
    word.pointee.load(ordering: .relaxed) <= now.nanoseconds
  }

  /// The endpoint is healthy.
  public func open() { word.pointee.store(0, ordering: .releasing) }

  /// No request until then; after it, one.
  public func close(until instant: MonotonicInstant) {
    word.pointee.store(max(instant.nanoseconds, 1), ordering: .releasing)
  }

  /// No request until the gate is opened.
  public func shut() { word.pointee.store(.max, ordering: .releasing) }

  /// Asked when an attempt begins. Of all who ask while a probe is due, on whatever thread, one gets it; the others are
  /// refused until `probeUntil`, when the probe counts as lost and the next is due.
  public func admit(now: MonotonicInstant, probeUntil: MonotonicInstant) -> GateAdmission {
    let seen = word.pointee.load(ordering: .relaxed)
    if seen == 0 { return .ordinary }
    if seen > now.nanoseconds { return .refused }
    let (isOurs, original) = word.pointee.compareExchange(
      expected: seen, desired: max(probeUntil.nanoseconds, 1), ordering: .acquiringAndReleasing)
    if isOurs { return .probe }
    return original == 0 ? .ordinary : .refused
  }
}

/// A handle to a counter that one service's gates share: it moves when one of them becomes healthy or ceases to be. Any thread
/// may call.
@frozen public struct HealthEpoch: @unchecked Sendable {
  @usableFromInline let word: UnsafeMutablePointer<Atomic<UInt32>>

  @inlinable public init(_ word: UnsafeMutablePointer<Atomic<UInt32>>) { self.word = word }

  @inlinable public var value: UInt32 { word.pointee.load(ordering: .acquiring) }

  /// After a gate has changed: balancers count anew.
  public func bump() { word.pointee.wrappingAdd(1, ordering: .releasing) }
}
