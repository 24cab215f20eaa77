// How much weight waits for a service on each shard, written by that shard and read by all: who has a place to give away gives
// it to a shard by these weights, so that a workload that calls through one shard only is served as often as it is due.

import Synchronization

/// One service's waiting weights by shard, in thousandths.
struct WaitingWeights: ~Copyable {
  private let cells: UnsafeMutablePointer<Atomic<UInt64>>
  private let count: Int

  init(shardCount: Int) {
    count = max(shardCount, 1)
    cells = .allocate(capacity: count)
    for shard in 0..<count { (cells + shard).initialize(to: Atomic(0)) }
  }

  deinit { cells.deallocate() }

  func set(_ weight: UInt64, shard: Int) { cells[shard].store(weight, ordering: .relaxed) }

  /// The shard that a draw falls on; nil when nobody waits.
  /// - Parameter draw: any number; even draws give shards by their weights.
  func shard(of draw: UInt64) -> Int? {
    var total: UInt64 = 0
    for shard in 0..<count { total &+= cells[shard].load(ordering: .relaxed) }
    guard total > 0 else { return nil }
    var rest = (draw >> 11) % total
    for shard in 0..<count {
      let weight = cells[shard].load(ordering: .relaxed)
      if rest < weight { return shard }
      rest &-= weight
    }
    // The weights have changed meanwhile.
    return (0..<count).first { cells[$0].load(ordering: .relaxed) > 0 }
  }
}
