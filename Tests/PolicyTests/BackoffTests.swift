// Waits: their bounds, their spread, and that no number of failures overflows them.

import Base
import Policy
import Testing

@Suite struct BackoffTests {
  @Test(
    "the ceiling doubles up to the maximum, whatever the number of failures",
    arguments: [
      (0, 10), (1, 20), (2, 40), (3, 80), (4, 100), (5, 100), (59, 100), (60, 100), (63, 100), (64, 100), (65, 100),
      (.max, 100),
    ] as [(UInt32, UInt64)])
  func ceilings(failures: UInt32, expected: UInt64) {
    let backoff = Backoff(minimumNanoseconds: 10, maximumNanoseconds: 100)
    #expect(backoff.ceilingNanoseconds(afterFailures: failures) == expected)
  }

  @Test(
    "extreme settings neither overflow nor trap",
    arguments: [(0, 0), (0, .max), (1, .max), (.max, .max), (.max, 0), (1 << 63, .max), (3 << 61, .max)]
      as [(UInt64, UInt64)])
  func extremes(minimum: UInt64, maximum: UInt64) {
    var random = RandomSource(seed: 7)
    for isJittered in [true, false] {
      let backoff = Backoff(minimumNanoseconds: minimum, maximumNanoseconds: maximum, isJittered: isJittered)
      for failures in [0, 1, 2, 31, 32, 62, 63, 64, 65, UInt32.max] {
        let ceiling = backoff.ceilingNanoseconds(afterFailures: failures)
        #expect(ceiling >= minimum)
        #expect(ceiling <= max(minimum, maximum))
        #expect(backoff.fullJitter(afterFailures: failures, random: &random) <= ceiling)
        let equal = backoff.equalJitter(afterFailures: failures, random: &random)
        #expect(equal >= minimum)
        #expect(equal <= ceiling)
      }
    }
  }

  @Test("full jitter spreads evenly from nothing to the ceiling")
  func fullJitter() {
    let seed = UInt64.random(in: 0 ... .max)
    print("BackoffTests.fullJitter seed \(seed)")
    var random = RandomSource(seed: seed)
    let backoff = Backoff(minimumNanoseconds: 1_000, maximumNanoseconds: 1_000_000)
    var quarters = [0, 0, 0, 0]
    for _ in 0..<40_000 {
      let wait = backoff.fullJitter(afterFailures: 3, random: &random)
      #expect(wait <= 8_000)
      quarters[Int(min(wait, 7_999) / 2_000)] += 1
    }
    // Six deviations of a binomial with n = 40 000, p = 1/4.
    for count in quarters { #expect(abs(count - 10_000) < 520, "\(quarters)") }
  }

  @Test("equal jitter begins with the minimum itself, and never comes earlier than half of its ceiling")
  func equalJitter() {
    var random = RandomSource(seed: 1)
    let backoff = Backoff(minimumNanoseconds: 5_000, maximumNanoseconds: 300_000)
    var waits: Set<UInt64> = []
    for _ in 0..<200 {
      #expect(backoff.equalJitter(afterFailures: 0, random: &random) == 5_000)
      #expect((5_000...10_000).contains(backoff.equalJitter(afterFailures: 1, random: &random)))
      #expect((10_000...20_000).contains(backoff.equalJitter(afterFailures: 2, random: &random)))
      let last = backoff.equalJitter(afterFailures: 40, random: &random)
      #expect((150_000...300_000).contains(last))
      waits.insert(last)
    }
    #expect(waits.count > 150)
  }

  @Test("a constant wait is always the same")
  func constant() {
    var random = RandomSource(seed: 1)
    let backoff = Backoff(minimumNanoseconds: 5_000, maximumNanoseconds: 300_000, isJittered: false)
    for failures: UInt32 in [0, 1, 9, .max] {
      #expect(backoff.fullJitter(afterFailures: failures, random: &random) == 5_000)
      #expect(backoff.equalJitter(afterFailures: failures, random: &random) == 5_000)
    }
  }
}
