// Active checks: what results make of an endpoint, and when the next is due.

import Base
import Policy
import Testing

private let terms = HealthCheckTerms(intervalNanoseconds: 5 * second, unhealthyAfter: 3, healthyAfter: 2)

@Suite struct HealthCheckTests {
  private static func state(after results: [Bool]) -> (isHealthy: Bool, turns: Int) {
    var random = RandomSource(seed: 3)
    let now = MonotonicInstant(nanoseconds: second)
    var state = HealthCheckState(terms, now: now, random: &random)
    var turns = 0
    for result in results where state.record(succeeded: result, terms, now: now, random: &random) { turns += 1 }
    return (state.isHealthy, turns)
  }

  @Test(
    "results in a row turn an endpoint; the first decides alone",
    arguments: [
      ("", true, 0), ("s", true, 0), ("f", false, 1), ("fs", false, 1), ("fss", true, 2), ("fsfs", false, 1),
      ("sff", true, 0), ("sfff", false, 1), ("sffsff", true, 0), ("sffffff", false, 1), ("sfffss", true, 2),
      ("sfffsfss", true, 2), ("fff", false, 1),
    ])
  func turns(results: String, isHealthy: Bool, turns: Int) {
    let state = Self.state(after: results.map { $0 == "s" })
    #expect(state.isHealthy == isHealthy)
    #expect(state.turns == turns)
  }

  @Test("checks come an interval apart, a tenth more or less, and not all at once")
  func jitter() {
    let seed = UInt64.random(in: 0 ... .max)
    print("HealthCheckTests.jitter seed \(seed)")
    var random = RandomSource(seed: seed)
    let now = MonotonicInstant(nanoseconds: second)
    var (firsts, nexts): (Set<UInt64>, Set<UInt64>) = ([], [])
    for _ in 0..<200 {
      var state = HealthCheckState(terms, now: now, random: &random)
      #expect(state.nextCheck.nanoseconds(since: now) <= second)
      firsts.insert(state.nextCheck.nanoseconds)
      _ = state.record(succeeded: true, terms, now: now, random: &random)
      let wait = state.nextCheck.nanoseconds(since: now)
      #expect(wait >= 4_500_000_000 && wait <= 5_500_000_000, "\(wait)")
      nexts.insert(wait)
    }
    #expect(firsts.count > 190 && nexts.count > 190)
  }

  @Test("terms of zero count as one")
  func zeros() {
    let zero = HealthCheckTerms(intervalNanoseconds: 0, unhealthyAfter: 0, healthyAfter: 0)
    #expect(zero == HealthCheckTerms(intervalNanoseconds: 1, unhealthyAfter: 1, healthyAfter: 1))
  }
}
