// The latency that hedging waits for.

import Base
import Policy
import Testing

@Suite struct LatencyEstimateTests {
  private static func within(_ value: UInt64?, _ expected: UInt64) -> Bool {
    guard let value else { return false }
    return value >= expected && value <= expected + expected / 4 + 1
  }

  @Test("nothing is said before there are enough answers")
  func few() {
    var estimate = LatencyEstimate(percentile: 95)
    for _ in 0..<127 { estimate.add(nanoseconds: millisecond) }
    #expect(estimate.nanoseconds == nil)
    estimate.add(nanoseconds: millisecond)
    #expect(Self.within(estimate.nanoseconds, millisecond))
  }

  @Test(
    "the percentile is found to within a quarter, upwards",
    arguments: [(50, 500), (90, 900), (95, 950), (99, 990), (99.9, 999)] as [(Double, UInt64)])
  func percentiles(percentile: Double, expected: UInt64) {
    var random = RandomSource(seed: 11)
    var estimate = LatencyEstimate(percentile: percentile)
    for _ in 0..<4_000 { estimate.add(nanoseconds: (1 + UInt64(random.next(below: 1_000))) * millisecond) }
    let value = estimate.nanoseconds ?? 0
    #expect(value >= expected * millisecond * 98 / 100)
    #expect(value <= expected * millisecond * 13 / 10)
  }

  @Test("it follows a service that becomes slower, or faster")
  func follows() {
    var estimate = LatencyEstimate(percentile: 95)
    for _ in 0..<10_000 { estimate.add(nanoseconds: millisecond) }
    for _ in 0..<500 { estimate.add(nanoseconds: 100 * millisecond) }
    #expect(Self.within(estimate.nanoseconds, 100 * millisecond))
    for _ in 0..<40_000 { estimate.add(nanoseconds: 2 * millisecond) }
    #expect(Self.within(estimate.nanoseconds, 2 * millisecond))
  }

  @Test("any latency has a bucket", arguments: [0, 1, 65_535, 65_536, 68_719_476_736, .max - 1, .max] as [UInt64])
  func extremes(nanoseconds: UInt64) {
    var estimate = LatencyEstimate(percentile: 95)
    for _ in 0..<256 { estimate.add(nanoseconds: nanoseconds) }
    #expect(estimate.nanoseconds != nil)
    if nanoseconds <= 68_719_476_736 { #expect((estimate.nanoseconds ?? 0) >= nanoseconds) }
  }

  @Test(
    "a percentile out of bounds is the nearest within", arguments: [-1, 0, .nan, .infinity, 100, 1e300] as [Double])
  func bounds(percentile: Double) {
    var estimate = LatencyEstimate(percentile: percentile)
    for _ in 0..<256 { estimate.add(nanoseconds: millisecond) }
    #expect(Self.within(estimate.nanoseconds, millisecond))
  }
}
