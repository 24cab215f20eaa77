// A small, fast, seedable random source for balancing and jitter. Not for secrets.

import CFairlead

/// xoshiro256** (Blackman and Vigna, 2018), seeded through SplitMix64. One per shard; not thread-safe.
public struct RandomSource: RandomNumberGenerator, Sendable {
  @usableFromInline var s0: UInt64
  @usableFromInline var s1: UInt64
  @usableFromInline var s2: UInt64
  @usableFromInline var s3: UInt64

  /// The same seed gives the same sequence: tests print theirs.
  public init(seed: UInt64) {
    var x = seed
    func splitMix() -> UInt64 {
      x &+= 0x9E37_79B9_7F4A_7C15
      var z = x
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
    s0 = splitMix()
    s1 = splitMix()
    s2 = splitMix()
    s3 = splitMix()
  }

  /// A source seeded by the kernel (getrandom).
  public static func seededByKernel() -> RandomSource {
    var seed: UInt64 = 0
    if fl_random(&seed, MemoryLayout<UInt64>.size) != 0 {
      seed = MonotonicInstant.now().nanoseconds
    }
    return RandomSource(seed: seed)
  }

  @inlinable public mutating func next() -> UInt64 {
    let product = s1 &* 5
    let result = ((product << 7) | (product >> 57)) &* 9
    let t = s1 << 17
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= t
    s3 = (s3 << 45) | (s3 >> 19)
    return result
  }

  /// A number in `0 ..< bound` with a bias below 2^-32 (Lemire's multiply-shift); 0 when `bound` is 0.
  @inlinable public mutating func next(below bound: UInt32) -> UInt32 {
    UInt32(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32)
  }

  /// A number from 0 up to, and without, 1.
  @inlinable public mutating func nextUnit() -> Double { Double(next() >> 11) * 0x1p-53 }
}
