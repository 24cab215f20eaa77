// The retry budget: what it allows over time, what it forgets, and that racing threads never get more.

import Base
import Policy
import Synchronization
import Testing

/// A budget in memory of its own, as services have it.
private final class Account: @unchecked Sendable {
  let budget: UnsafeMutablePointer<RetryBudget>
  let terms: RetryBudget.Terms
  var now = MonotonicInstant(nanoseconds: 1_000 * second)

  init(percent: UInt32 = 20, perSecond: UInt32 = 10, window: UInt64 = 10 * second) {
    terms = RetryBudget.Terms(percent: percent, perSecond: perSecond, windowNanoseconds: window)
    budget = .allocate(capacity: 1)
    budget.initialize(to: RetryBudget())
  }

  deinit {
    budget.deinitialize(count: 1)
    budget.deallocate()
  }

  func deposit(_ count: Int) { for _ in 0..<count { budget.pointee.deposit(terms, now: now) } }
  func advance(milliseconds: UInt64) { now = now.advanced(byNanoseconds: milliseconds * 1_000_000) }
  func withdraw() -> Bool { budget.pointee.withdraw(terms, now: now) }
  /// How many retries it gives in a row, up to a million.
  func drain() -> Int {
    var count = 0
    while count < 1_000_000, withdraw() { count += 1 }
    return count
  }
}

@Suite struct RetryBudgetTests {
  @Test("a new account has one second's free retries, and they come back one by one when a second has passed")
  func free() {
    let account = Account()
    #expect(account.drain() == 10)
    account.advance(milliseconds: 999)
    #expect(account.drain() == 0)
    account.advance(milliseconds: 102)
    #expect(account.drain() == 1)
    account.advance(milliseconds: 401)
    #expect(account.drain() == 4)
    account.advance(milliseconds: 501)
    #expect(account.drain() == 5)
    // From here on each comes back a second after it was taken.
    account.advance(milliseconds: 500)
    #expect(account.drain() == 5)
    // An hour's rest saves up a second.
    account.advance(milliseconds: 3_600_000)
    #expect(account.drain() == 10)
  }

  @Test("an account that was not drawn on for a while is full again, however little was drawn")
  func fullAgain() {
    let account = Account()
    for _ in 0..<50 {
      #expect(account.withdraw() && account.withdraw() && account.withdraw())
      account.advance(milliseconds: 1_301)
    }
    #expect(account.drain() == 10)
  }

  @Test("any number of free retries is to be had in a second, and no more", arguments: [0, 1, 3, 10, 11, 99, 25_000])
  func anyNumber(perSecond: Int) {
    let account = Account(percent: 0, perSecond: UInt32(perSecond))
    for _ in 0..<3 {
      #expect(account.drain() == perSecond)
      account.advance(milliseconds: 2_001)
    }
  }

  @Test("no second of a storm sees more free retries than one second's, wherever it begins", arguments: [1, 7, 10, 64])
  func anySecond(perSecond: Int) {
    let account = Account(percent: 0, perSecond: UInt32(perSecond))
    var random = RandomSource(seed: 7)
    var taken: [UInt64] = []
    for _ in 0..<20_000 {
      account.now = account.now.advanced(byNanoseconds: random.next() % 4_000_000)
      if account.withdraw() { taken.append(account.now.nanoseconds) }
    }
    for (first, last) in zip(taken, taken.dropFirst(perSecond)) { #expect(last - first >= second) }
    // And they are used: forty seconds have passed. An account of one is full again whenever it is drawn on, and lets two pass.
    #expect(taken.count >= perSecond * (perSecond == 1 ? 18 : 36), "\(taken.count)")
  }

  @Test(
    "requests allow their part of retries",
    arguments: [(20, 1_000, 200), (20, 4, 0), (20, 5, 1), (100, 50, 50), (1_000, 5, 50), (0, 1_000, 0), (33, 100, 33)]
      as [(UInt32, Int, Int)])
  func percents(percent: UInt32, requests: Int, expected: Int) {
    let account = Account(percent: percent, perSecond: 0)
    account.deposit(requests)
    #expect(account.drain() == expected)
    #expect(account.drain() == 0)
  }

  @Test("a budget of nothing gives nothing")
  func nothing() {
    let account = Account(percent: 0, perSecond: 0)
    account.deposit(100_000)
    #expect(account.drain() == 0)
  }

  @Test("deposits are good for the window and no longer")
  func expires() {
    let account = Account(perSecond: 0)
    account.deposit(100)
    account.advance(milliseconds: 8_000)
    #expect(account.budget.pointee.remaining(account.terms, now: account.now) == 20)
    account.advance(milliseconds: 2_000)
    #expect(account.drain() == 0)
    // What was drawn expires with what it was drawn from, so the account does not stay in debt.
    account.deposit(50)
    #expect(account.drain() == 10)
    account.advance(milliseconds: 20_000)
    account.deposit(5)
    #expect(account.drain() == 1)
  }

  @Test(
    "a clock that jumps by any distance finds an account that works",
    arguments: [1, 9, 10, 11, 1 << 23, (1 << 33) - 20])
  func jumps(seconds: UInt64) {
    let account = Account(perSecond: 0)
    account.deposit(100)
    account.now = account.now.advanced(byNanoseconds: seconds * second)
    account.deposit(100)
    let count = account.drain()
    #expect(count == (seconds < 10 ? 40 : 20))
  }

  @Test("a thread whose clock lags by some milliseconds shares the account")
  func skew() {
    let account = Account(perSecond: 0)
    account.now = MonotonicInstant(nanoseconds: 1_000 * second + 5)
    account.deposit(50)
    account.now = MonotonicInstant(nanoseconds: 1_000 * second - 5)
    #expect(account.budget.pointee.remaining(account.terms, now: account.now) == 10)
    account.deposit(50)
    account.now = MonotonicInstant(nanoseconds: 1_000 * second + 10)
    #expect(account.drain() == 20)
  }

  @Test("terms may change while the account stays")
  func terms() {
    let account = Account(perSecond: 0)
    account.deposit(100)
    let other = RetryBudget.Terms(percent: 50, perSecond: 0, windowNanoseconds: 2 * second)
    for _ in 0..<100 { account.budget.pointee.deposit(other, now: account.now) }
    var count = 0
    while count < 1_000, account.budget.pointee.withdraw(other, now: account.now) { count += 1 }
    #expect((50...70).contains(count), "\(count)")
  }

  @Test("what was drawn under generous terms is no debt under others")
  func fewer() {
    let account = Account(percent: 0, perSecond: 1_000)
    #expect(account.drain() == 1_000)
    account.advance(milliseconds: 2_100)
    let fewer = RetryBudget.Terms(percent: 0, perSecond: 10, windowNanoseconds: 10 * second)
    #expect((0..<20).filter { _ in account.budget.pointee.withdraw(fewer, now: account.now) }.count == 10)
  }

  @Test(
    "a service that fails everything sees its requests, a fifth more, and ten a second", arguments: [1, 20, 100, 2_000])
  func storm(requestsPerSecond: Int) {
    let account = Account()
    var (offered, retried) = (0, 0)
    let begun = account.now.nanoseconds
    // Each request fails and asks for retries until it is refused one, or has had three.
    for _ in 0..<30 {
      for _ in 0..<requestsPerSecond {
        offered += 1
        account.deposit(1)
        for _ in 0..<3 where account.withdraw() { retried += 1 }
        // From the first second on.
        let passed = max(account.now.nanoseconds - begun, second)
        let free = Int(10 * passed / second)
        #expect(retried <= offered / 5 + free, "\(retried) of \(offered) after \(passed) ns")
        account.now = account.now.advanced(byNanoseconds: second / UInt64(requestsPerSecond))
      }
    }
    // And it uses what it may: a budget that refuses everything would pass the lines above.
    #expect(Double(retried) >= min(0.17 * Double(offered) + 10 * 28, 2.9 * Double(offered)), "\(retried) of \(offered)")
  }

  @Test("threads that race for the last retries never get one too many")
  func races() {
    let account = Account(percent: 20, perSecond: 10)
    account.deposit(5_000)
    let given = Atomic<Int>(0)
    let threads = 8
    runThreads(threads) { _ in
      for _ in 0..<1_000 where account.withdraw() { given.wrappingAdd(1, ordering: .relaxed) }
    }
    let total = given.load(ordering: .relaxed) + account.drain()
    #expect(total == 1_010)
  }

  @Test("deposits that race are all counted")
  func depositsRace() {
    let account = Account(percent: 100, perSecond: 0)
    runThreads(8) { _ in account.deposit(1_000) }
    #expect(account.drain() == 8_000)
  }
}
