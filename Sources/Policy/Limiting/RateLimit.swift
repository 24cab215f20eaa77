// So many in a time, node-wide: the generic cell rate algorithm (GCRA, ITU-T I.371) in one atomic word. The word is the
// "theoretical arrival time": when the cell will be as good as new if nobody comes any more. Whoever is admitted moves it one
// interval on; who comes while it is further ahead than the burst allows is refused, and is told how long that will last.
//
//   burst 3:   |---T---|---T---|                     admitted: the word is at most two intervals ahead of now
//             now                       word
//
// Exact with any number of threads: an admission is one successful compare-and-swap. It is the same as a bucket of
// `burst` tokens that fills evenly, with no timer and no remainder to carry.

public import Base
import Synchronization

/// The configured rate in the units the cell counts in. Trivial: keep it beside the policy.
@frozen public struct RateLimit: Hashable, Sendable {
  /// From one admission to the next, in 1/256 ns: rounded up, so that the rate is never exceeded. At least 1.
  @usableFromInline let interval: UInt64
  /// How far ahead of now the cell may be for another admission.
  @usableFromInline let tolerance: UInt64

  /// - Parameters:
  ///   - count: how many in `periodNanoseconds`; 0 counts as 1, and so does a period of 0.
  ///   - burst: how many at once after a rest; 0 counts as 1.
  ///
  /// What is too slow to be counted in 64 bits (a burst that takes longer than 104 days to come back) saturates there.
  public init(count: UInt64, periodNanoseconds: UInt64, burst: UInt64) {
    let (count, period) = (max(count, 1), max(periodNanoseconds, 1))
    let ticks = period.multipliedReportingOverflow(by: Self.ticksPerNanosecond)
    let total = ticks.overflow ? UInt64.max : ticks.partialValue
    let quotient = total / count + (total % count == 0 ? 0 : 1)
    interval = min(max(quotient, 1), Self.longest)
    let ahead = interval.multipliedReportingOverflow(by: max(burst, 1) &- 1)
    tolerance = ahead.overflow ? Self.longest : min(ahead.partialValue, Self.longest)
  }

  @usableFromInline static var ticksPerNanosecond: UInt64 { @inlinable get { 256 } }
  /// A quarter of the circle that the clock's ticks go round: what is further ahead than this was behind.
  @usableFromInline static var longest: UInt64 { @inlinable get { 1 << 61 } }
}

/// What came of asking.
@frozen public enum RateDecision: Hashable, Sendable {
  case admitted
  /// None before this time has passed. Others may come first then.
  case refused(waitNanoseconds: UInt64)
}

/// The state of one limit, shared by all who are limited together. Any thread.
public struct RateCell: ~Copyable, Sendable {
  private let arrival = Atomic<UInt64>(unused)

  /// As good as new: a whole burst may come.
  public init() {}

  /// Takes one, if there is one. Never waits. Threads may have read the clock at different moments, up to a minute apart.
  public func take(_ limit: RateLimit, now: MonotonicInstant) -> RateDecision {
    let now = now.nanoseconds &* RateLimit.ticksPerNanosecond
    var seen = arrival.load(ordering: .relaxed)
    var tries = 0
    while tries < Self.mostTries {
      let ahead = Self.ahead(seen, now, limit)
      if ahead > limit.tolerance {
        return .refused(waitNanoseconds: Self.nanoseconds(ahead &- limit.tolerance))
      }
      let moved = now &+ ahead &+ limit.interval
      let (exchanged, original) = arrival.compareExchange(
        expected: seen, desired: moved == Self.unused ? 1 : moved, ordering: .relaxed)
      if exchanged { return .admitted }
      seen = original
      tries &+= 1
    }
    // Each failed try was somebody else's admission: for so many in a moment the limit is the answer.
    return .refused(waitNanoseconds: Self.nanoseconds(limit.interval))
  }

  /// Gives back what `take` admitted and nothing came of: another limit refused it.
  public func giveBack(_ limit: RateLimit) {
    arrival.wrappingSubtract(limit.interval, ordering: .relaxed)
  }

  /// How far ahead of now the cell is. It never is further than a burst, an interval and what threads' clocks differ: what seems
  /// to be was behind. The ticks go round in 2.3 years, so they are compared going round, too.
  private static func ahead(_ arrival: UInt64, _ now: UInt64, _ limit: RateLimit) -> UInt64 {
    if arrival == unused { return 0 }
    let ahead = arrival &- now
    return ahead <= limit.tolerance &+ limit.interval &+ slack ? ahead : 0
  }

  /// Rounded up: who waits this long finds the time over.
  private static func nanoseconds(_ ticks: UInt64) -> UInt64 {
    ticks / RateLimit.ticksPerNanosecond &+ (ticks % RateLimit.ticksPerNanosecond == 0 ? 0 : 1)
  }

  private static let unused: UInt64 = 0
  private static let mostTries = 256
  /// A minute.
  private static let slack: UInt64 = 60_000_000_000 * 256
}

extension RateDecision {
  /// The whole seconds for a Retry-After field (RFC 9110 section 10.2.3): rounded up, at least 1; 0 for what was admitted.
  public var retryAfterSeconds: UInt64 {
    switch self {
    case .admitted: 0
    case .refused(let wait): max(wait / 1_000_000_000 &+ (wait % 1_000_000_000 == 0 ? 0 : 1), 1)
    }
  }
}
