// What a hedge waits for: the percentile of recent answers, against sorted samples, in virtual time.

import Base
import Policy
import Testing

@Suite struct RecentLatenciesTests {
  private final class Answers {
    let latencies: RecentLatencies
    var now = MonotonicInstant(nanoseconds: 1_000_000_000_000)

    init() { latencies = RecentLatencies(now: now) }
    deinit { latencies.destroy() }

    func record(_ microseconds: UInt64, count: Int = 1) {
      for _ in 0..<count { latencies.record(nanoseconds: microseconds * 1_000, now: now) }
    }

    func delay(_ percentile: UInt32 = 95, min: UInt64 = 0, samples: UInt32 = 1) -> UInt64? {
      latencies.delay(
        HedgingPolicy(percentile: percentile, minimumNanoseconds: min, minimumSamples: samples), now: now)
    }
  }

  @Test(
    "a percentile is that of the sorted answers, an eighth late at most", arguments: [50, 75, 90, 95, 99], [1, 2, 3])
  func percentiles(percentile: UInt32, seed: UInt64) throws {
    let answers = Answers()
    var random = RandomSource(seed: seed)
    var samples: [UInt64] = []
    for _ in 0..<2_000 {
      // From some microseconds to some seconds.
      let sample = UInt64(1) << (random.next() % 20) + random.next() % 1_000
      samples.append(sample * 1_000)
      answers.record(sample)
    }
    samples.sort()
    let exact = samples[(samples.count * Int(percentile) + 99) / 100 - 1]
    let delay = try #require(answers.delay(percentile))
    #expect(delay > exact && delay <= exact + exact / 8 + 1, "\(delay) for \(exact), seed \(seed)")
  }

  @Test("times of any length are counted, down to nothing and up to all there is")
  func extremes() {
    for sample in [0, 1, 1_023, 1_024, 1 << 36, 1 << 37, UInt64.max / 2, .max] as [UInt64] {
      let answers = Answers()
      answers.latencies.record(nanoseconds: sample, now: answers.now)
      #expect(answers.delay().map { $0 >= min(sample, 1 << 37) } == true, "\(sample)")
    }
  }

  @Test("too few answers tell nothing, and no hedge goes out sooner than it may")
  func floors() {
    let answers = Answers()
    #expect(answers.delay() == nil)
    answers.record(100, count: 99)
    #expect(answers.delay(samples: 100) == nil)
    answers.record(100)
    #expect(answers.delay(samples: 100) != nil)
    #expect(answers.delay(min: 1_000_000, samples: 100) == 1_000_000)
  }

  @Test("a service that grew slower, or faster, is known for that after some thousand answers")
  func adapts() throws {
    let answers = Answers()
    answers.record(1_000, count: 20_000)
    #expect(try #require(answers.delay()) < 1_200_000)
    answers.record(50_000, count: 3_000)
    #expect(try #require(answers.delay()) > 50_000_000)
    answers.record(1_000, count: 40_000)
    #expect(try #require(answers.delay()) < 1_200_000)
  }

  @Test("what was long ago is forgotten, whatever the clock does")
  func forgets() {
    let answers = Answers()
    answers.record(1_000, count: 400)
    answers.now = answers.now.advanced(byNanoseconds: 30_000_000_000)
    #expect(answers.delay(samples: 200) != nil && answers.delay(samples: 201) == nil)
    answers.now = answers.now.advanced(byNanoseconds: 1 << 62)
    #expect(answers.delay() == nil)
    // A thread's clock does not run backwards, and if it did nothing would come of it.
    answers.now = MonotonicInstant(nanoseconds: 5)
    answers.record(1_000)
    #expect(answers.delay() != nil)
  }

  @Test("attempts that were given up count with the time they had, so that hedging does not talk itself into haste")
  func censored() throws {
    let answers = Answers()
    var random = RandomSource(seed: 5)
    // One in ten takes 100 ms, the others 10 ms; each slow one is cut short when its hedge has answered.
    for _ in 0..<20_000 {
      let isSlow = random.next() % 10 == 0
      let delay = answers.delay(samples: 100) ?? .max
      let taken: UInt64 = isSlow ? 100_000_000 : 10_000_000
      answers.latencies.record(nanoseconds: min(taken, delay == .max ? taken : delay + 10_000_000), now: answers.now)
    }
    let delay = try #require(answers.delay(samples: 100))
    #expect(delay > 11_000_000, "\(delay)")
  }
}
