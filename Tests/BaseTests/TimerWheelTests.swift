// The timer wheel against hand-made cases and a naive model, in virtual time.

import Base
import Testing

private let tick: UInt64 = 1 << 24
private let turn: UInt64 = tick << 12
private let second: UInt64 = 1_000_000_000

private func instant(_ nanoseconds: UInt64) -> MonotonicInstant { MonotonicInstant(nanoseconds: nanoseconds) }

private func popAll(_ wheel: TimerWheel, _ now: MonotonicInstant) -> [UInt32] {
  var fired: [UInt32] = []
  while let index = wheel.popExpired(now) { fired.append(index) }
  return fired.sorted()
}

@Suite struct TimerWheelTests {
  @Test(
    "a deadline fires not before its time and at most a tick after it",
    arguments: [1, tick - 1, tick, tick + 1, second, 60 * second, turn - 1, turn, turn + 1, 10 * turn, 3600 * second]
      as [UInt64])
  func precision(delay: UInt64) throws {
    let start = instant(5 * second + 12345)
    let wheel = try TimerWheel(capacity: 10, now: start)
    defer { wheel.destroy() }
    let deadline = start.advanced(byNanoseconds: delay)
    wheel.schedule(3, deadline: deadline)
    // The loop's own way: sleep to the next wake-up, look, until it fires.
    var now = start
    for _ in 0..<1000 {
      now = try #require(wheel.nextWake(after: now))
      guard let index = wheel.popExpired(now) else { continue }
      #expect(index == 3)
      #expect(now >= deadline)
      #expect(now.nanoseconds(since: deadline) <= tick)
      #expect(wheel.popExpired(now) == nil)
      #expect(wheel.nextWake(after: now) == nil)
      return
    }
    Issue.record("never fired")
  }

  @Test("moving a deadline later keeps the place in the wheel and fires at the new time")
  func movedLater() throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(0))
    defer { wheel.destroy() }
    wheel.schedule(0, deadline: instant(second))
    let place = wheel.nextWake(after: instant(0))
    for later in 2...30 as ClosedRange<UInt64> { wheel.schedule(0, deadline: instant(later * second)) }
    #expect(wheel.nextWake(after: instant(0)) == place)
    #expect(popAll(wheel, instant(29 * second)) == [])
    #expect(wheel.isScheduled(0))
    #expect(popAll(wheel, instant(30 * second + 2 * tick)) == [0])
    #expect(!wheel.isScheduled(0))
  }

  @Test("moving a deadline earlier fires at the earlier time")
  func movedEarlier() throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(0))
    defer { wheel.destroy() }
    wheel.schedule(0, deadline: instant(30 * second))
    wheel.schedule(0, deadline: instant(second))
    #expect(popAll(wheel, instant(second + 2 * tick)) == [0])
    #expect(wheel.nextWake(after: instant(0)) == nil)
  }

  @Test("a cancelled deadline does not fire, and may be set again")
  func cancelled() throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(0))
    defer { wheel.destroy() }
    wheel.cancel(2)
    #expect(!wheel.isScheduled(2))
    wheel.schedule(0, deadline: instant(second))
    wheel.schedule(1, deadline: instant(second))
    wheel.cancel(0)
    #expect(!wheel.isScheduled(0))
    #expect(popAll(wheel, instant(2 * second)) == [1])
    #expect(wheel.nextWake(after: instant(0)) == nil)
    wheel.schedule(0, deadline: instant(3 * second))
    wheel.cancel(0)
    wheel.schedule(0, deadline: instant(4 * second))
    #expect(popAll(wheel, instant(5 * second)) == [0])
  }

  @Test("a removed node leaves its slot at once, wherever it stands in the list", arguments: 0..<3 as Range<UInt32>)
  func removed(victim: UInt32) throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(0))
    defer { wheel.destroy() }
    for index in 0..<3 as Range<UInt32> { wheel.schedule(index, deadline: instant(second)) }
    wheel.remove(victim)
    wheel.remove(victim)
    #expect(popAll(wheel, instant(2 * second)) == [0, 1, 2].filter { $0 != victim })
    wheel.schedule(victim, deadline: instant(3 * second))
    wheel.remove(victim)
    #expect(wheel.nextWake(after: instant(0)) == nil)
  }

  @Test(
    "a clock that jumps by any distance fires what is due and keeps the rest",
    arguments: [turn - tick, turn, turn + tick, 100 * turn, 1 << 62] as [UInt64])
  func jumps(distance: UInt64) throws {
    let wheel = try TimerWheel(capacity: 300, now: instant(7 * tick))
    defer { wheel.destroy() }
    let landing = instant(7 * tick + distance)
    for index in 0..<100 as Range<UInt32> {
      wheel.schedule(index, deadline: instant(7 * tick + UInt64(index) * (turn / 150)))
      wheel.schedule(100 + index, deadline: landing.advanced(byNanoseconds: UInt64(index + 1) * (turn / 40)))
    }
    wheel.schedule(200, deadline: instant(.max))
    #expect(popAll(wheel, landing) == Array(0..<100))
    #expect(popAll(wheel, landing.advanced(byNanoseconds: turn * 3)) == Array(100..<200))
    #expect(wheel.isScheduled(200))
  }

  @Test("a clock that steps back fires nothing and loses nothing")
  func backwards() throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(100 * second))
    defer { wheel.destroy() }
    wheel.schedule(0, deadline: instant(101 * second))
    #expect(popAll(wheel, instant(5)) == [])
    #expect(popAll(wheel, instant(102 * second)) == [0])
  }

  @Test("an owner that schedules into the past while timers fire does not hold the loop")
  func scheduledIntoThePast() throws {
    let wheel = try TimerWheel(capacity: 4, now: instant(0))
    defer { wheel.destroy() }
    for (round, jump) in [second, 2 * second, 10 * turn, 20 * turn].enumerated() {
      wheel.schedule(0, deadline: instant(1))
      var fired = 0
      while let index = wheel.popExpired(instant(jump)) {
        fired += 1
        wheel.schedule(index, deadline: instant(1))
        if fired > 10 { break }
      }
      #expect(fired >= 1 && fired <= 2, "round \(round)")
    }
  }

  @Test("random use agrees with a naive list", arguments: 0..<8)
  func model(run: Int) throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("TimerWheelTests.model run \(run) seed \(seed)")
    var random = RandomSource(seed: seed)
    let capacity: UInt32 = 200
    var now = instant(UInt64(random.next(below: 1_000_000)) * 1000)
    let wheel = try TimerWheel(capacity: capacity, now: now)
    defer { wheel.destroy() }
    var deadlines: [UInt32: MonotonicInstant] = [:]
    for _ in 0..<20_000 {
      let index = random.next(below: capacity)
      switch random.next(below: 100) {
      case 0..<60:
        let reach: [UInt64] = [second / 10, second, 15 * second, 60 * second, 300 * second]
        let delay = random.next() % reach[Int(random.next(below: 5))]
        deadlines[index] = now.advanced(byNanoseconds: delay)
        wheel.schedule(index, deadline: now.advanced(byNanoseconds: delay))
      case 60..<70:
        deadlines[index] = nil
        wheel.cancel(index)
      case 70..<75:
        deadlines[index] = nil
        wheel.remove(index)
      default:
        let leaps: [UInt64] = [1_000_000, second / 20, second, 30 * second, 3 * turn]
        now = now.advanced(byNanoseconds: random.next() % leaps[min(4, Int(random.next(below: 40)) / 9)])
        for fired in popAll(wheel, now) {
          let deadline = try #require(deadlines[fired], "fired unasked, seed \(seed)")
          deadlines[fired] = nil
          #expect(deadline <= now, "fired early, seed \(seed)")
        }
        let late = deadlines.values.filter { now.nanoseconds(since: $0) > 2 * tick }
        #expect(late.isEmpty, "fired late, seed \(seed)")
        if let earliest = deadlines.values.min() {
          let wake = try #require(wheel.nextWake(after: now), "no wake-up, seed \(seed)")
          #expect(wake.nanoseconds <= max(earliest, now).nanoseconds + 2 * tick, "wakes late, seed \(seed)")
        }
      }
      #expect(wheel.isScheduled(index) == (deadlines[index] != nil), "seed \(seed)")
    }
  }
}
