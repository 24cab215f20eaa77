// The rate cell: how many it admits, how long it sends others away for, and that many threads get no more than one would.

import Base
import Glibc
import Policy
import Synchronization
import Testing

private let epoch = MonotonicInstant(nanoseconds: 5_000 * second)

private func wait(_ decision: RateDecision) -> UInt64? {
  if case .refused(let wait) = decision { wait } else { nil }
}

@Suite struct RateLimitTests {
  @Test("a burst is admitted at once, then one each interval, and the wait that is told is the right one")
  func burst() {
    let limit = RateLimit(count: 10, periodNanoseconds: second, burst: 3)
    let cell = RateCell()
    for _ in 0..<3 { #expect(cell.take(limit, now: epoch) == .admitted) }
    let told = wait(cell.take(limit, now: epoch))
    #expect(told == second / 10)
    let early = epoch.advanced(byNanoseconds: (told ?? 0) - 1)
    #expect(wait(cell.take(limit, now: early)) == 1)
    let due = epoch.advanced(byNanoseconds: told ?? 0)
    #expect(cell.take(limit, now: due) == .admitted)
    #expect(wait(cell.take(limit, now: due)) == second / 10)
    // After a rest of any length it is a burst again, and no more.
    let rested = epoch.advanced(byNanoseconds: 3_600 * second)
    #expect((0..<10).filter { _ in cell.take(limit, now: rested) == .admitted }.count == 3)
  }

  @Test(
    "in any time at most burst plus rate times time are admitted, and nearly as many",
    arguments: [
      (100, second, 20), (3, second, 1), (7, 60 * second, 7), (1_000_000, second, 1000), (333, second / 7, 2),
    ]
      as [(UInt64, UInt64, UInt64)])
  func bound(count: UInt64, period: UInt64, burst: UInt64) {
    let seed = UInt64.random(in: 0 ... .max)
    print("RateLimitTests.bound seed \(seed)")
    var random = RandomSource(seed: seed)
    let limit = RateLimit(count: count, periodNanoseconds: period, burst: burst)
    let cell = RateCell()
    var now = epoch
    var admitted: UInt64 = 0
    for _ in 0..<20_000 {
      if cell.take(limit, now: now) == .admitted { admitted += 1 }
      now = now.advanced(byNanoseconds: UInt64(random.next(below: UInt32(clamping: period / count / 4))))
      let elapsed = Double(now.nanoseconds(since: epoch))
      #expect(Double(admitted) <= Double(burst) + elapsed * Double(count) / Double(period) + 1)
    }
    let elapsed = Double(now.nanoseconds(since: epoch))
    let due = Double(burst) + elapsed * Double(count) / Double(period)
    // Who asks eight times as often as may pass comes late by an eighth at most.
    #expect(Double(admitted) > due * 0.86 - 2)
  }

  @Test("what was given back can be taken again")
  func givenBack() {
    let limit = RateLimit(count: 1, periodNanoseconds: second, burst: 2)
    let cell = RateCell()
    for _ in 0..<100 {
      #expect(cell.take(limit, now: epoch) == .admitted)
      cell.giveBack(limit)
    }
    #expect((0..<10).filter { _ in cell.take(limit, now: epoch) == .admitted }.count == 2)
  }

  @Test("threads whose clocks differ share one limit")
  func skew() {
    let limit = RateLimit(count: 1, periodNanoseconds: second, burst: 5)
    let cell = RateCell()
    let behind = MonotonicInstant(nanoseconds: epoch.nanoseconds - 3 * second / 10)
    let admitted = (0..<20).filter { cell.take(limit, now: $0.isMultiple(of: 2) ? epoch : behind) == .admitted }
    #expect(admitted.count == 5)
  }

  @Test("no rate, burst or clock stops the process, and the first always passes")
  func extremes() {
    let numbers: [UInt64] = [0, 1, 2, 1 << 20, 1 << 32, 1 << 61, 1 << 62, 1 << 63, .max - 1, .max]
    for count in numbers {
      for period in numbers {
        for burst in numbers {
          let limit = RateLimit(count: count, periodNanoseconds: period, burst: burst)
          for now in numbers {
            let cell = RateCell()
            #expect(cell.take(limit, now: MonotonicInstant(nanoseconds: now)) == .admitted)
            _ = cell.take(limit, now: MonotonicInstant(nanoseconds: now &+ 1)).retryAfterSeconds
            _ = cell.take(limit, now: MonotonicInstant(nanoseconds: 0))
            cell.giveBack(limit)
          }
        }
      }
    }
  }

  @Test("the clock's ticks may go round between two requests")
  func wrapping() {
    // 2^64 ticks of 1/256 ns.
    let circle = UInt64(1) << 56
    let limit = RateLimit(count: 10, periodNanoseconds: second, burst: 1)
    let cell = RateCell()
    let before = MonotonicInstant(nanoseconds: circle - 1)
    #expect(cell.take(limit, now: before) == .admitted)
    #expect(wait(cell.take(limit, now: before)) == second / 10)
    #expect(wait(cell.take(limit, now: before.advanced(byNanoseconds: second / 20))) == second / 20)
    #expect(cell.take(limit, now: before.advanced(byNanoseconds: second / 10)) == .admitted)
    // One that rested for half of the circle, or nearly all of it.
    for rest in [circle / 2, circle - 120 * second] {
      let cell = RateCell()
      #expect(cell.take(limit, now: epoch) == .admitted)
      #expect(cell.take(limit, now: epoch.advanced(byNanoseconds: rest)) == .admitted)
    }
  }

  @Test(
    "Retry-After is in whole seconds, rounded up, and never 0",
    arguments: [(1, 1), (second - 1, 1), (second, 1), (second + 1, 2), (90 * second, 90), (.max, 18_446_744_074)]
      as [(UInt64, UInt64)])
  func retryAfter(wait: UInt64, expected: UInt64) {
    #expect(RateDecision.refused(waitNanoseconds: wait).retryAfterSeconds == expected)
  }

  @Test("many threads get exactly what one would")
  func threads() async {
    let cell = SharedCell()
    let limit = RateLimit(count: 1, periodNanoseconds: second, burst: 10_000)
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          var mine = 0
          for _ in 0..<20_000 where cell.cell.take(limit, now: epoch) == .admitted { mine += 1 }
          cell.admitted.wrappingAdd(mine, ordering: .relaxed)
        }
      }
    }
    #expect(cell.admitted.load(ordering: .relaxed) == 10_000)
  }
}

private final class SharedCell: Sendable {
  let cell = RateCell()
  let admitted = Atomic<Int>(0)
}
