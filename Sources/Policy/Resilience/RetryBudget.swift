// How many retries a service may cost: a part of its requests, and a few each second besides. Without it the moment in
// which a service is overloaded is the moment in which its clients triple the load.
//
// The manner is Finagle's: every request deposits a fraction of a retry, a retry withdraws a whole one, and what was deposited
// is good for one window. One thing is stricter: the retries that are free each second cannot be saved up for longer than
// a second, so that over any span an upstream sees no more than its share of the requests of that span and the window
// before it, and the free ones of each of its seconds, plus those of one.

public import Base
import Synchronization

/// The budget of one service, shared by all shards: some ninety bytes of atomics, written in place, no lock.
///
/// It never allows a retry too many. Of two shards that ask for the last one at the same moment, both may be refused.
public struct RetryBudget: ~Copyable, Sendable {
  /// What is allowed. Passed to every call and not kept, so that it may change while the account stays.
  public struct Terms: Hashable, Sendable {
    /// Retries per hundred requests.
    public let percent: UInt32
    /// Retries per second whatever the requests.
    public let perSecond: UInt32
    /// How long a request counts.
    public let windowNanoseconds: UInt64

    /// - Parameters:
    ///   - percent: at most 1000.
    ///   - perSecond: at most 1 000 000.
    public init(percent: UInt32, perSecond: UInt32, windowNanoseconds: UInt64) {
      self.percent = min(percent, 1_000)
      self.perSecond = min(perSecond, 1_000_000)
      self.windowNanoseconds = max(windowNanoseconds, 1)
    }
  }

  /// Deposits less withdrawals of each slice of time, in hundredths of a retry.
  private let window = AtomicWindow()
  /// When the free retries are used up to, as an instant: it lies in the future by what was used of the present second
  /// (the generic cell rate algorithm).
  private let usedThrough = Atomic<UInt64>(0)

  /// An account with a second's worth of free retries and nothing else.
  public init() {}

  /// A request, not a retry, begins: its part is deposited.
  public borrowing func deposit(_ terms: Terms, now: MonotonicInstant) {
    guard terms.percent > 0 else { return }
    add(Int64(terms.percent), terms, now)
  }

  /// Takes one retry out. False when there is none: then the request must not be sent again.
  public borrowing func withdraw(_ terms: Terms, now: MonotonicInstant) -> Bool {
    if withdrawFree(terms, now) { return true }
    guard terms.percent > 0 else { return false }
    // Taken first and given back where it was not there: so two who race never both get the last.
    add(-Self.cost, terms, now)
    if balance(terms, now) >= 0 { return true }
    add(Self.cost, terms, now)
    return false
  }

  /// Whole retries that the requests of the window still allow; negative for a moment while others ask. For reports.
  public borrowing func remaining(_ terms: Terms, now: MonotonicInstant) -> Int64 { balance(terms, now) / Self.cost }

  private borrowing func withdrawFree(_ terms: Terms, _ now: MonotonicInstant) -> Bool {
    guard terms.perSecond > 0 else { return false }
    let interval = Self.second / UInt64(terms.perSecond)
    var seen = usedThrough.load(ordering: .relaxed)
    while true {
      let next = max(seen, now.nanoseconds) &+ interval
      guard next &- now.nanoseconds <= Self.second else { return false }
      let (done, original) = usedThrough.weakCompareExchange(expected: seen, desired: next, ordering: .relaxed)
      if done { return true }
      seen = original
    }
  }

  private borrowing func add(_ hundredths: Int64, _ terms: Terms, _ now: MonotonicInstant) {
    window.update(now, sliceNanoseconds: AtomicWindow.sliceNanoseconds(ofWindow: terms.windowNanoseconds)) { bits in
      let sum = Self.signed(bits) &+ hundredths
      return UInt64(bitPattern: min(max(sum, -Self.mostOfSlice), Self.mostOfSlice))
    }
  }

  private borrowing func balance(_ terms: Terms, _ now: MonotonicInstant) -> Int64 {
    var sum: Int64 = 0
    window.forEach(now, sliceNanoseconds: AtomicWindow.sliceNanoseconds(ofWindow: terms.windowNanoseconds)) {
      sum &+= Self.signed($0)
    }
    return sum
  }

  /// Forty bits as a number with a sign.
  private static func signed(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits << 24) >> 24 }

  private static var cost: Int64 { 100 }
  private static var second: UInt64 { 1_000_000_000 }
  /// Five hundred million requests at 1000 %: a slice that holds more counts as full.
  private static var mostOfSlice: Int64 { (1 << 39) - 1 }
}
