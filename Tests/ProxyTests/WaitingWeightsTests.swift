// Which shard a free place goes to.

import Base
import Testing

@testable import Proxy

@Suite("Waiting weights")
struct WaitingWeightsTests {
  @Test("nobody waits, nobody gets it")
  func none() {
    #expect(WaitingWeights(shardCount: 4).shard(of: 12345) == nil)
    #expect(WaitingWeights(shardCount: 0).shard(of: 0) == nil)
  }

  @Test("shards get places by the weight that waits there")
  func shares() {
    let seed = UInt64.random(in: 0 ... .max)
    print("WaitingWeightsTests.shares seed \(seed)")
    var random = RandomSource(seed: seed)
    let weights = WaitingWeights(shardCount: 4)
    weights.set(1_000, shard: 0)
    weights.set(3_000, shard: 2)
    weights.set(1, shard: 3)
    var counts = [0, 0, 0, 0]
    for _ in 0..<40_000 {
      if let shard = weights.shard(of: random.next()) { counts[shard] += 1 }
    }
    // Five standard deviations.
    #expect(abs(counts[0] - 10_000) < 440 && counts[1] == 0 && counts[3] < 60, "\(counts), seed \(seed)")
    weights.set(0, shard: 0)
    weights.set(0, shard: 2)
    #expect(weights.shard(of: random.next()) == 3)
  }
}
