// How many retries a service may cost: a part of its requests, and a few each second besides. Without it the moment in
// which a service is overloaded is the moment in which its clients triple the load.
//
// The manner is Finagle's: every request deposits a fraction of a retry, a retry withdraws a whole one, and what was deposited
// is good for one window. Two things are stricter, for the retries that are free each second. They are so many in any second
// there is, wherever it begins. And a storm that lasts t seconds, one or more, sees so many times t of them, not so many for
// each second it began: what is drawn from a full account starts to come back only when a second has passed.

public import Base
import Synchronization

/// The budget of one service, shared by all shards: some 170 bytes of atomics, written in place, no lock.
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
  /// The free retries over more than a second: when the account was last full (42 bits, in units of 2^16 ns) | how many were
  /// taken since (22 bits). Both move on by whole seconds.
  private let sinceFull = Atomic<UInt64>(0)

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
    guard terms.perSecond > 0, withdrawSinceFull(terms, now) else { return false }
    if withdrawPart(terms, now) { return true }
    // None in this second: not taken, then. The account may have been full again meanwhile.
    var seen = sinceFull.load(ordering: .relaxed)
    while seen & Self.sinceFullTakenMask > 0 {
      let (done, original) = sinceFull.weakCompareExchange(expected: seen, desired: seen - 1, ordering: .relaxed)
      if done { break }
      seen = original
    }
    return false
  }

  /// Takes one, if with it no more than `perSecond` times the seconds since the account was full are taken, the first counting
  /// whole.
  private borrowing func withdrawSinceFull(_ terms: Terms, _ now: MonotonicInstant) -> Bool {
    let perSecond = UInt64(terms.perSecond)
    let mask = UInt64.max >> Self.sinceFullTakenBits
    let stamp = now.nanoseconds >> Self.stampUnitShift & mask
    var seen = sinceFull.load(ordering: .relaxed)
    while true {
      var (full, taken) = (seen >> Self.sinceFullTakenBits, seen & Self.sinceFullTakenMask)
      var age = (stamp &- full) & mask
      if age > mask / 2 { age = 0 }  // A clock behind the one that wrote.
      // More than two seconds' worth was taken under other terms, which hold no more.
      if taken > 2 * perSecond { taken = 0 }
      if (max(age, Self.stampsOfSecond) - Self.stampsOfSecond) * perSecond / Self.stampsOfSecond >= taken {
        (full, taken, age) = (stamp, 0, 0)
      } else if age >= 2 * Self.stampsOfSecond {
        let seconds = age / Self.stampsOfSecond - 1
        full = (full + seconds * Self.stampsOfSecond) & mask
        age -= seconds * Self.stampsOfSecond
        taken -= seconds * perSecond
      }
      guard taken < max(age, Self.stampsOfSecond) * perSecond / Self.stampsOfSecond else { return false }
      let (done, original) = sinceFull.weakCompareExchange(
        expected: seen, desired: full << Self.sinceFullTakenBits | (taken + 1), ordering: .relaxed)
      if done { return true }
      seen = original
    }
  }

  /// Takes one of the parts that are whole.
  private borrowing func withdrawPart(_ terms: Terms, _ now: MonotonicInstant) -> Bool {
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
  private static var sinceFullTakenBits: UInt64 { 22 }
  private static var sinceFullTakenMask: UInt64 { (1 << 22) - 1 }
  private static var stampUnitShift: UInt64 { 16 }
  private static var stampMask: UInt64 { (1 << 44) - 1 }
  /// So many units apart, two stamps lie a second apart or more.
  private static var stampsOfSecond: UInt64 { 1_000_000_000 >> stampUnitShift + 2 }
  /// Five hundred million requests at 1000 %: a slice that holds more counts as full.
  private static var mostOfSlice: Int64 { (1 << 39) - 1 }
}
