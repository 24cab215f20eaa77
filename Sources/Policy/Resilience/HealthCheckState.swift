// When an endpoint is checked next, and what the checks' results so far make of it. Sending a check and reading its answer
// is for others.

public import Base

/// How often, and how many results in a row it takes.
public struct HealthCheckTerms: Hashable, Sendable {
  public let intervalNanoseconds: UInt64
  /// Failures in a row that make a healthy endpoint unhealthy; at least one.
  public let unhealthyAfter: UInt32
  /// Successes in a row that make an unhealthy one healthy; at least one.
  public let healthyAfter: UInt32

  public init(intervalNanoseconds: UInt64, unhealthyAfter: UInt32, healthyAfter: UInt32) {
    self.intervalNanoseconds = max(intervalNanoseconds, 1)
    self.unhealthyAfter = max(unhealthyAfter, 1)
    self.healthyAfter = max(healthyAfter, 1)
  }
}

/// The checks of one endpoint. The control thread's; a plain value.
///
/// An endpoint is healthy until a check says otherwise, for a daemon that starts must serve at once. But nothing good is
/// known of it either, so its very first result decides alone.
public struct HealthCheckState: Hashable, Sendable {
  public private(set) var isHealthy = true
  /// When to check next. A check that is under way is the caller's to remember.
  public private(set) var nextCheck: MonotonicInstant
  /// Results in a row that speak against `isHealthy`.
  private var contrary: UInt32 = 0
  private var isFirst = true

  /// The first check comes within one interval, at random: endpoints that come together are not all checked together.
  public init(_ terms: HealthCheckTerms, now: MonotonicInstant, random: inout RandomSource) {
    // Most want to know soon, so within a second where the interval is longer.
    let spread = min(terms.intervalNanoseconds, 1_000_000_000)
    nextCheck = now.advanced(byNanoseconds: Backoff.uniform(through: spread, &random))
  }

  /// A check ended. Returns whether that turned `isHealthy`; sets the next one, an interval from now and a tenth of it
  /// more or less.
  public mutating func record(
    succeeded: Bool, _ terms: HealthCheckTerms, now: MonotonicInstant, random: inout RandomSource
  ) -> Bool {
    let tenth = terms.intervalNanoseconds / 10
    let jitter = Backoff.uniform(through: tenth &* 2, &random)
    nextCheck = now.advanced(byNanoseconds: (terms.intervalNanoseconds &- tenth) &+ jitter)
    defer { isFirst = false }
    if succeeded == isHealthy {
      contrary = 0
      return false
    }
    contrary &+= 1
    let needed = isFirst ? 1 : isHealthy ? terms.unhealthyAfter : terms.healthyAfter
    guard contrary >= needed else { return false }
    isHealthy = succeeded
    contrary = 0
    return true
  }
}
