// Slow start: an endpoint that has just come gets a part of its share, growing to all of it, so that cold caches and pools
// warm up before the full load arrives.

public import Base

/// How long a new endpoint takes to come up to its weight.
@frozen public struct SlowStart: Sendable {
  /// 0: at once.
  public let durationNanoseconds: UInt64
  @usableFromInline let inverse: Double

  public init(durationNanoseconds: UInt64 = 0) {
    self.durationNanoseconds = durationNanoseconds
    inverse = durationNanoseconds == 0 ? 0 : 1 / Double(durationNanoseconds)
  }

  /// What part of its weight an endpoint has: a tenth at first, then growing evenly with time. All of it for one that was
  /// always there (`addedAt` 0).
  @inlinable public func factor(addedAt: MonotonicInstant, now: MonotonicInstant) -> Double {
    if durationNanoseconds == 0 || addedAt.nanoseconds == 0 { return 1 }
    return min(max(Double(now.nanoseconds(since: addedAt)) * inverse, Self.least), 1)
  }

  /// Less, and a service with few requests would never try it.
  public static var least: Double { @inlinable get { 0.1 } }
}
