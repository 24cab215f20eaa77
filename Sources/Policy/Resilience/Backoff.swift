// How long to wait before trying again: twice as long after each failure, up to a maximum, and jittered, so that those
// who failed together do not come back together.

public import Base

/// A growing wait. A plain value; every answer is defined for every number of failures.
@frozen public struct Backoff: Hashable, Sendable {
  /// The wait after the first failure, before jitter.
  public let minimumNanoseconds: UInt64
  /// What the wait grows to; at least the minimum.
  public let maximumNanoseconds: UInt64
  /// Whether it grows and is jittered; else it is always the minimum, to the nanosecond.
  public let isJittered: Bool

  /// A maximum below the minimum counts as the minimum.
  public init(minimumNanoseconds: UInt64, maximumNanoseconds: UInt64, isJittered: Bool = true) {
    self.minimumNanoseconds = minimumNanoseconds
    self.maximumNanoseconds = max(minimumNanoseconds, maximumNanoseconds)
    self.isJittered = isJittered
  }

  /// The minimum, doubled `failures` times, and at most the maximum.
  @inlinable public func ceilingNanoseconds(afterFailures failures: UInt32) -> UInt64 {
    if !isJittered { return minimumNanoseconds }
    // Shifted out of the word, it is more than any maximum.
    if minimumNanoseconds == 0 { return 0 }
    if failures >= UInt32(minimumNanoseconds.leadingZeroBitCount) { return maximumNanoseconds }
    return min(minimumNanoseconds << UInt64(failures), maximumNanoseconds)
  }

  /// Full jitter, for retries: anything from nothing to the ceiling. The spread matters more than the wait, for requests
  /// that failed at one moment must not meet again at the next endpoint.
  @inlinable public func fullJitter(afterFailures failures: UInt32, random: inout RandomSource) -> UInt64 {
    let ceiling = ceilingNanoseconds(afterFailures: failures)
    return isJittered ? Self.uniform(through: ceiling, &random) : ceiling
  }

  /// Equal jitter, for endpoints taken out: half of the ceiling is certain, the other half drawn. Never less than the
  /// minimum, so that the first wait is the minimum exactly.
  @inlinable public func equalJitter(afterFailures failures: UInt32, random: inout RandomSource) -> UInt64 {
    let ceiling = ceilingNanoseconds(afterFailures: failures)
    guard isJittered else { return ceiling }
    let half = ceiling / 2
    return max(minimumNanoseconds, half &+ Self.uniform(through: ceiling &- half, &random))
  }

  /// A number in `0 ... bound`.
  @usableFromInline static func uniform(through bound: UInt64, _ random: inout RandomSource) -> UInt64 {
    if bound == .max { return random.next() }
    return random.next().multipliedFullWidth(by: bound &+ 1).high
  }
}
