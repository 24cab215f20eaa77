// Where a duration is counted, and what can be said about many of them: log-linear buckets, quantiles, differences.
// The layout is fixed for the whole program, so that histograms of any two shards, moments or programs can be merged.
//
//   bucket 0                 0 < v <= 2^10 ns            (about a microsecond: nothing finer is of interest here)
//   bucket 1 + 8*o + s       between 2^(10+o) and 2^(11+o) in eight equal steps, each (lower, upper]
//   last bucket              v > 2^37 ns                 (about 137 seconds)
//
// A bucket is at most an eighth of its lower bound wide; a quantile is answered with a bucket's middle, so it is off by at
// most 6.25 % between the two ends. Upper bounds are inclusive because Prometheus's `le` is.

/// The fixed bucket layout. Pure.
public enum HistogramLayout {
  /// log2 of the first bucket's upper bound, in nanoseconds.
  @inlinable public static var firstExponent: Int { 10 }
  /// log2 of the largest bound, in nanoseconds.
  @inlinable public static var lastExponent: Int { 37 }
  /// Steps in an octave.
  @inlinable public static var stepsPerOctave: Int { 8 }
  /// All buckets: the one below the first bound, the octaves', the one above the last.
  @inlinable public static var bucketCount: Int { (lastExponent - firstExponent) * stepsPerOctave + 2 }

  /// The bucket a duration falls into: `0 ..< bucketCount`, for any input.
  @inlinable public static func bucket(of nanoseconds: UInt64) -> Int {
    if nanoseconds <= 1 << UInt64(firstExponent) { return 0 }
    if nanoseconds > 1 << UInt64(lastExponent) { return bucketCount - 1 }
    let v = nanoseconds &- 1
    let exponent = 63 &- v.leadingZeroBitCount
    let step = Int(truncatingIfNeeded: v &>> UInt64(truncatingIfNeeded: exponent &- 3)) & 7
    return 1 &+ (exponent &- firstExponent) &* 8 &+ step
  }

  /// A bucket's inclusive upper bound in nanoseconds; `UInt64.max` for the last.
  public static func upperBound(of bucket: Int) -> UInt64 {
    if bucket <= 0 { return 1 << UInt64(firstExponent) }
    if bucket >= bucketCount - 1 { return .max }
    let (octave, step) = (bucket - 1).quotientAndRemainder(dividingBy: stepsPerOctave)
    return UInt64(stepsPerOctave + step + 1) << UInt64(firstExponent + octave - 3)
  }

  /// A bucket's exclusive lower bound in nanoseconds.
  public static func lowerBound(of bucket: Int) -> UInt64 {
    bucket <= 0 ? 0 : upperBound(of: min(bucket, bucketCount - 1) - 1)
  }

  /// The buckets whose upper bounds are exported as Prometheus's `le`: every doubling from 32.768 us to 34.4 s.
  /// They are bounds of the layout, so the exported counts are exact.
  public static let exportedBuckets: [Int] = (15...35).map { bucket(of: UInt64(1) << UInt64($0)) }
}

/// A merged histogram: what the control thread and the command line reckon with. A plain value.
public struct HistogramSnapshot: Equatable, Sendable {
  /// Observations per bucket, `HistogramLayout.bucketCount` of them.
  public var counts: [UInt64]
  /// The sum of all observations.
  public var sumNanoseconds: UInt64

  /// Nothing observed yet.
  public init() {
    counts = [UInt64](repeating: 0, count: HistogramLayout.bucketCount)
    sumNanoseconds = 0
  }

  /// From its sparse form: (upper bound in nanoseconds, count) pairs. A bound that is none of the layout's is counted in the
  /// bucket that it would fall into, so a newer program's buckets still give sensible quantiles.
  public init(sumNanoseconds: UInt64, sparse: [(upperBoundNanoseconds: UInt64, count: UInt64)]) {
    self.init()
    self.sumNanoseconds = sumNanoseconds
    for (bound, count) in sparse { counts[HistogramLayout.bucket(of: bound)] &+= count }
  }

  /// The number of observations.
  public var count: UInt64 { counts.reduce(0, &+) }

  /// The buckets that hold anything, as (inclusive upper bound, count).
  public var sparse: [(upperBoundNanoseconds: UInt64, count: UInt64)] {
    counts.indices.lazy.filter { counts[$0] != 0 }.map { (HistogramLayout.upperBound(of: $0), counts[$0]) }
  }

  /// Adds another histogram's observations.
  public mutating func merge(_ other: HistogramSnapshot) {
    sumNanoseconds &+= other.sumNanoseconds
    for bucket in counts.indices { counts[bucket] &+= other.counts[bucket] }
  }

  /// What was observed since `earlier`. A bucket that went backwards (the program restarted) counts from zero.
  public func since(_ earlier: HistogramSnapshot) -> HistogramSnapshot {
    var difference = HistogramSnapshot()
    for bucket in counts.indices {
      let (now, before) = (counts[bucket], earlier.counts[bucket])
      difference.counts[bucket] = now >= before ? now - before : now
    }
    difference.sumNanoseconds =
      sumNanoseconds >= earlier.sumNanoseconds ? sumNanoseconds - earlier.sumNanoseconds : sumNanoseconds
    return difference
  }

  /// The duration that a share of `fraction` (0 ... 1) of the observations does not exceed, within 6.25 %; below 1.024 us
  /// the answer is half a microsecond, above 137 s it is 137 s. Nil when nothing was observed.
  public func quantileNanoseconds(_ fraction: Double) -> UInt64? {
    let total = count
    guard total > 0 else { return nil }
    let share = min(max(fraction.isNaN ? 0 : fraction, 0), 1)
    // The rank of the observation looked for, 1 ... total.
    let exact = (share * Double(total)).rounded(.up)
    let rank = exact >= Double(total) ? total : max(1, UInt64(exact))
    var seen: UInt64 = 0
    for bucket in counts.indices {
      seen &+= counts[bucket]
      if seen >= rank { return Self.middle(of: bucket) }
    }
    return Self.middle(of: counts.count - 1)
  }

  /// The mean, or nil when nothing was observed.
  public var meanNanoseconds: UInt64? {
    let total = count
    return total == 0 ? nil : sumNanoseconds / total
  }

  /// The upper bound of the highest bucket in use, or nil when nothing was observed.
  public var maximumNanoseconds: UInt64? {
    counts.lastIndex { $0 != 0 }.map {
      $0 == counts.count - 1 ? HistogramLayout.lowerBound(of: $0) : HistogramLayout.upperBound(of: $0)
    }
  }

  private static func middle(of bucket: Int) -> UInt64 {
    let lower = HistogramLayout.lowerBound(of: bucket)
    if bucket >= HistogramLayout.bucketCount - 1 { return lower }
    return lower + (HistogramLayout.upperBound(of: bucket) - lower) / 2
  }
}
