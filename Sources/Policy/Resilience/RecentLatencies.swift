// How long a service's answers took lately, and what a hedge waits for: the time under which so many of a hundred of them were
// there. One shard's own, an estimate: counts by the logarithm of the time, halved as they grow old, so that what is recent
// outweighs what was.
//
//     bucket 0: under 1 µs | eight buckets for each doubling up to 137 s | the last: longer
//
// A time is known to an eighth of itself, and told as the upper end of its bucket: rather late than early.

public import Base

/// Which requests get a second attempt while the first is under way, and when.
public struct HedgingPolicy: Hashable, Sendable {
  /// Of a hundred answers, so many come before a hedge is sent.
  public let percentile: UInt32
  /// A hedge never goes out sooner.
  public let minimumNanoseconds: UInt64
  /// Answers that a shard must have seen before it believes its estimate.
  public let minimumSamples: UInt32

  /// - Parameters:
  ///   - percentile: at most 99.
  ///   - minimumSamples: at most half of what is kept, `RecentLatencies.keptSamples`.
  public init(percentile: UInt32, minimumNanoseconds: UInt64, minimumSamples: UInt32) {
    self.percentile = min(max(percentile, 1), 99)
    self.minimumNanoseconds = minimumNanoseconds
    self.minimumSamples = min(max(minimumSamples, 1), RecentLatencies.keptSamples / 2)
  }
}

/// A trivial handle: copies are the same estimate, the owner calls `destroy()` once. Not thread-safe.
public struct RecentLatencies {
  private struct State {
    var counts = InlineArray<218, UInt32>(repeating: 0)
    var total: UInt32 = 0
    /// The percentile asked for last, as of `knownTotal` and `knownAt`; 0 when it has to be found anew.
    var known: UInt64 = 0
    var knownPercentile: UInt32 = 0
    var sinceKnown: UInt32 = 0
    var halvedAt: MonotonicInstant
  }

  private let state: UnsafeMutablePointer<State>

  public init(now: MonotonicInstant) {
    state = .allocate(capacity: 1)
    state.initialize(to: State(halvedAt: now))
  }

  public func destroy() { state.deallocate() }

  /// An answer took so long, or longer: an attempt that was given up counts with the time it had. Allocates nothing.
  public func record(nanoseconds: UInt64, now: MonotonicInstant) {
    age(now)
    state.pointee.counts[Self.bucket(of: nanoseconds)] &+= 1
    state.pointee.total &+= 1
    state.pointee.sinceKnown &+= 1
    if state.pointee.total >= Self.keptSamples { halve() }
  }

  /// When a request that begins now gets its hedge, counted from then; nil while too little is known. Allocates nothing.
  public func delay(_ policy: HedgingPolicy, now: MonotonicInstant) -> UInt64? {
    age(now)
    guard state.pointee.total >= policy.minimumSamples else { return nil }
    return max(percentile(policy.percentile), policy.minimumNanoseconds)
  }

  /// Found anew after every sixty-fourth answer.
  private func percentile(_ percentile: UInt32) -> UInt64 {
    if state.pointee.known != 0, state.pointee.knownPercentile == percentile,
      state.pointee.sinceKnown < Self.samplesBetweenLooks
    {
      return state.pointee.known
    }
    // Nearest rank.
    let rank = (UInt64(state.pointee.total) * UInt64(percentile) + 99) / 100
    var seen: UInt64 = 0
    var bucket = 0
    while bucket < Self.bucketCount - 1 {
      seen &+= UInt64(state.pointee.counts[bucket])
      if seen >= rank { break }
      bucket += 1
    }
    state.pointee.known = Self.upperBound(ofBucket: bucket)
    state.pointee.knownPercentile = percentile
    state.pointee.sinceKnown = 0
    return state.pointee.known
  }

  // MARK: Forgetting

  private func age(_ now: MonotonicInstant) {
    guard now.nanoseconds(since: state.pointee.halvedAt) >= Self.halfLifeNanoseconds else { return }
    let halvings = now.nanoseconds(since: state.pointee.halvedAt) / Self.halfLifeNanoseconds
    for _ in 0..<min(halvings, 16) { halve() }
    state.pointee.halvedAt = now
  }

  private func halve() {
    var total: UInt32 = 0
    for bucket in 0..<Self.bucketCount {
      state.pointee.counts[bucket] /= 2
      total &+= state.pointee.counts[bucket]
    }
    state.pointee.total = total
    state.pointee.known = 0
  }

  // MARK: Buckets

  private static func bucket(of nanoseconds: UInt64) -> Int {
    if nanoseconds < 1 << lowestExponent { return 0 }
    let exponent = UInt64(63 - nanoseconds.leadingZeroBitCount)
    if exponent > highestExponent { return bucketCount - 1 }
    let eighth = (nanoseconds >> (exponent - 3)) & 7
    return Int(truncatingIfNeeded: 1 + (exponent - lowestExponent) * 8 + eighth)
  }

  /// The least time above all of the bucket's.
  private static func upperBound(ofBucket bucket: Int) -> UInt64 {
    if bucket == 0 { return 1 << lowestExponent }
    let (octave, eighth) = UInt64(bucket - 1).quotientAndRemainder(dividingBy: 8)
    return (9 + eighth) << (lowestExponent + octave - 3)
  }

  /// Answers that are kept at most, older ones at half their weight, and half of that.
  public static var keptSamples: UInt32 { 4096 }
  private static var halfLifeNanoseconds: UInt64 { 30_000_000_000 }
  private static var samplesBetweenLooks: UInt32 { 64 }
  private static var lowestExponent: UInt64 { 10 }
  private static var highestExponent: UInt64 { 36 }
  /// One for what is shorter, eight for each of the exponents, one for what is longer.
  private static var bucketCount: Int { 218 }
}
