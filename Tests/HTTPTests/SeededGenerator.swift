// Random numbers a failed test can be repeated with: the seed is in its message.

import Base

struct SeededGenerator: RandomNumberGenerator {
  private var source: RandomSource

  init(_ seed: UInt64) { source = RandomSource(seed: seed) }

  mutating func next() -> UInt64 { source.next() }
}
