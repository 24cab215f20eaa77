// So many in a time, as a configuration says it. Of routes, services and workloads.

import Base
public import Policy

extension Configuration {
  /// `{ requests: 100, per: 1s, burst: 20 }`, and the same of connections.
  public struct RateLimit: Hashable, Sendable {
    /// Within `RateLimit.counts`.
    public let count: Int
    /// Within `RateLimit.periods`.
    public let period: Duration
    /// How many may come at once after a rest; within `RateLimit.counts`.
    public let burst: Int

    public static let counts = 1...1_000_000
    public static let periods: ClosedRange<Duration> = .milliseconds(1) ... .seconds(3600)

    /// - Parameter burst: nil for as many as come in one period.
    public init(count: Int, period: Duration = .seconds(1), burst: Int? = nil) {
      self.count = count
      self.period = period
      self.burst = burst ?? count
    }

    /// In the units a cell counts in.
    public var compiled: Policy.RateLimit {
      Policy.RateLimit(
        count: UInt64(clamping: count), periodNanoseconds: period.wholeNanoseconds, burst: UInt64(clamping: burst))
    }
  }
}
