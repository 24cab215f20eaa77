// How many retries a service may cost: a part of its requests, and a few each second besides. Without it the moment in
// which a service is overloaded is the moment in which its clients triple the load.
//
// The manner is Finagle's: every request deposits a fraction of a retry, a retry withdraws a whole one, and what was deposited
// is good for one window. One thing is stricter: the retries that are free each second are so many in any second there is,
// the first of a storm too, so that over any span an upstream sees no more than its share of the requests of that span and
// the window before it, and the free ones of each second that was begun.

public import Base
import Synchronization

/// The budget of one service, shared by all shards: some 160 bytes of atomics, written in place, no lock.
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
  /// The free retries in ten parts, each: when one of it was taken last (44 bits, in units of 2^16 ns) | how many were taken
  /// (20 bits). A part is whole again a second after its last one was taken; with ten free ones a second or fewer, each
  /// has a part of its own.
  private let free: InlineArray<10, Atomic<UInt64>> = InlineArray { _ in Atomic(0) }

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
    let stamp = now.nanoseconds >> Self.stampUnitShift & Self.stampMask
    let perSecond = UInt64(terms.perSecond)
    for part in 0..<Self.partCount {
      let size = perSecond * (part + 1) / Self.partCount - perSecond * part / Self.partCount
      let word = Int(truncatingIfNeeded: part)
      var seen = free[word].load(ordering: .relaxed)
      while true {
        let age = (stamp &- seen >> Self.takenBits) & Self.stampMask
        // An age of half of all time is a clock behind the one that wrote.
        let isWhole = age >= Self.stampsOfSecond && age <= Self.stampMask / 2
        let taken = isWhole ? 0 : seen & Self.takenMask
        guard taken < size else { break }
        // The later of the two clocks counts.
        let last = taken > 0 && age > Self.stampMask / 2 ? seen >> Self.takenBits : stamp
        let (done, original) = free[word].weakCompareExchange(
          expected: seen, desired: last << Self.takenBits | (taken + 1), ordering: .relaxed)
        if done { return true }
        seen = original
      }
    }
    return false
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
  private static var partCount: UInt64 { 10 }
  private static var takenBits: UInt64 { 20 }
  private static var takenMask: UInt64 { (1 << 20) - 1 }
  private static var stampUnitShift: UInt64 { 16 }
  private static var stampMask: UInt64 { (1 << 44) - 1 }
  /// So many units apart, two stamps lie a second apart or more.
  private static var stampsOfSecond: UInt64 { 1_000_000_000 >> stampUnitShift + 2 }
  /// Five hundred million requests at 1000 %: a slice that holds more counts as full.
  private static var mostOfSlice: Int64 { (1 << 39) - 1 }
}
