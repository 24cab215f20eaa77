// Consistent hashing: a key leads to the same endpoint on every node and on every shard, and when an endpoint comes or goes
// only few keys move. Two tables do it. The ring moves the fewest keys; Maglev's spreads them most evenly and is found in
// one step. Both are made of what endpoints are (`identity`) and weigh, never of their order.

import Base

/// What a hash table is made of. `identity` is the same on all nodes, and its own.
struct HashMember {
  let identity: UInt64
  let weight: Double
}

/// A handle to an immutable table; any number of threads may look up. Whoever made it calls `destroy()`.
enum HashTable {
  case ring(HashRing)
  case maglev(MaglevTable)

  /// The slot for a key. The first choice that fits; where one does not, the next choice of the same key, so that the keys
  /// of an endpoint that is out spread over all others and come back to it. -1 when none fits.
  func pick(_ candidates: Candidates, _ key: HashKey) -> Int {
    let found =
      switch self {
      case .ring(let ring): ring.pick(candidates, key)
      case .maglev(let table): table.pick(candidates, key)
      }
    if found >= 0 { return found }
    // Nearly all are out: from a place that is the key's own, the next that fits.
    var index = Int(truncatingIfNeeded: StableHash.mix(~key.rawValue) % UInt64(max(candidates.count, 1)))
    for _ in 0..<min(candidates.count, Candidates.scanLimit) {
      let slot = candidates.slot(index)
      if candidates.fits(slot) { return slot }
      index = index &+ 1 == candidates.count ? 0 : index &+ 1
    }
    return -1
  }

  func destroy() {
    switch self {
    case .ring(let ring): ring.destroy()
    case .maglev(let table): table.destroy()
    }
  }
}
