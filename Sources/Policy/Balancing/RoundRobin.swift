// In turn, as weights say. Each endpoint has a virtual time of its next turn; a pick takes the earliest, and moves it on by one
// over the weight: earliest deadline first. Turns of one endpoint are so spread evenly among those of the others (weights 5, 1,
// 1 give no five in a row), at a cost of log n where the usual smooth algorithm looks at all.
//
// Every shard has a schedule of its own and starts it at a random place: the shards of all nodes together do not march in step.

import Base

/// A handle to one rotation; one thread's own. Whoever made it calls `destroy()`.
struct RoundRobin: @unchecked Sendable {
  private struct Turn {
    var time: Double
    /// Of the candidates.
    var index: UInt32
  }

  /// A heap, the earliest first.
  private let turns: UnsafeMutablePointer<Turn>
  private let count: Int

  /// Linear in the number of endpoints. `inverseWeights` has one for each.
  init(inverseWeights: [Float], _ random: inout RandomSource) {
    count = inverseWeights.count
    turns = .allocate(capacity: max(count, 1))
    for (index, inverse) in inverseWeights.enumerated() {
      (turns + index).initialize(
        to: Turn(time: random.nextUnit() * Double(inverse), index: UInt32(truncatingIfNeeded: index)))
    }
    for place in stride(from: count / 2 - 1, through: 0, by: -1) { sink(place) }
  }

  func destroy() { turns.deallocate() }

  /// The slot whose turn it is; -1 when none fits. One that does not fit loses its turn.
  func pick(_ candidates: Candidates, _ random: inout RandomSource) -> Int {
    guard candidates.count == count, count > 0 else { return -1 }
    for _ in 0..<RoundRobin.maximumTurns {
      let slot = candidates.slot(Int(turns[0].index))
      turns[0].time += 1 / candidates.weight(slot)
      sink(0)
      if candidates.fits(slot) { return slot }
    }
    return candidates.pickFromAll(&random)
  }

  private func sink(_ start: Int) {
    var place = start
    let turn = turns[place]
    while true {
      var child = 2 &* place &+ 1
      if child >= count { break }
      if child &+ 1 < count, turns[child &+ 1].time < turns[child].time { child &+= 1 }
      if turns[child].time >= turn.time { break }
      turns[place] = turns[child]
      place = child
    }
    turns[place] = turn
  }

  /// Turns given up in one pick before one by chance is taken.
  private static let maximumTurns = 16
}
