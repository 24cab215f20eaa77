// What part of a service's answers came within what time, for hedging: an attempt that takes longer than nearly all of them is
// worth a second one. Old answers fade, so that the estimate follows a service that becomes slower or faster.

import Base

/// A histogram of attempts' latencies that forgets, one of each service on each shard. 384 bytes, trivial, written by one
/// thread only; adding takes a few nanoseconds, and the quantile is worked out once in 64 of them.
///
/// Four buckets to each doubling from 65 µs to 68 s: an answer is off by at most a quarter of itself, upwards.
@frozen public struct LatencyEstimate: Sendable {
  @usableFromInline var buckets: InlineArray<80, UInt32>
  @usableFromInline var total: UInt32 = 0
  @usableFromInline var sinceEstimate: UInt32 = 0
  @usableFromInline var estimate: UInt64 = 0
  /// Thousandths.
  public let quantile: UInt32

  /// - Parameter percentile: 1 ... 99.9; beyond, the nearest.
  public init(percentile: Double) {
    buckets = InlineArray(repeating: 0)
    let clamped = percentile >= 1 ? min(percentile, 99.9) : 1
    quantile = UInt32(clamped * 10)
  }

  /// Adds an attempt's latency. After 4096 of them all counts are halved: an answer fades with those that follow it.
  @inlinable public mutating func add(nanoseconds: UInt64) {
    buckets[Self.bucket(of: nanoseconds)] &+= 1
    total &+= 1
    sinceEstimate &+= 1
    if total >= Self.halvedAt { halve() }
    if sinceEstimate >= Self.estimatedEach { renew() }
  }

  /// What the percentile's part of the attempts did not take longer than, rounded up to its bucket's end; nil before there
  /// are enough of them to tell.
  @inlinable public var nanoseconds: UInt64? { estimate == 0 ? nil : estimate }

  @usableFromInline mutating func halve() {
    var sum: UInt32 = 0
    for index in buckets.indices {
      buckets[index] /= 2
      sum &+= buckets[index]
    }
    total = sum
  }

  @usableFromInline mutating func renew() {
    sinceEstimate = 0
    guard total >= Self.fewest else { return }
    // Rounded up: of 128 attempts the 95th percentile is the 122nd.
    let rank = (UInt64(total) &* UInt64(quantile) &+ 999) / 1000
    var below: UInt64 = 0
    for index in buckets.indices {
      below &+= UInt64(buckets[index])
      if below >= rank {
        estimate = Self.end(ofBucket: index)
        return
      }
    }
  }

  @inlinable static func bucket(of nanoseconds: UInt64) -> Int {
    if nanoseconds < 1 << firstOctave { return 0 }
    let octave = 63 &- nanoseconds.leadingZeroBitCount
    let quarter = Int(truncatingIfNeeded: (nanoseconds >> UInt64(octave &- 2)) & 3)
    return min((octave &- Int(firstOctave)) &* 4 &+ quarter, 79)
  }

  @usableFromInline static func end(ofBucket index: Int) -> UInt64 {
    let quarters = UInt64(index % 4) &+ 5
    return quarters << (firstOctave &+ UInt64(index / 4) &- 2)
  }

  @usableFromInline static var firstOctave: UInt64 { @inlinable get { 16 } }
  @usableFromInline static var halvedAt: UInt32 { @inlinable get { 4096 } }
  @usableFromInline static var estimatedEach: UInt32 { @inlinable get { 64 } }
  /// Fewer do not have a 95th percentile worth the name.
  @usableFromInline static var fewest: UInt32 { @inlinable get { 128 } }
}
