// Drawing an endpoint with a probability that follows its weight, in constant time: Walker's alias method with
// Vose's set-up. One column for each endpoint; a column is split between its own endpoint and one other.

import Base

/// A trivial handle to an immutable table: any number of threads may draw. Whoever built it calls `destroy()` once
/// nobody draws any more.
@frozen public struct WeightTable: @unchecked Sendable {
  @usableFromInline struct Column {
    /// Draws below this stay in the column's own endpoint, the others go to `alias`.
    @usableFromInline var threshold: UInt32
    @usableFromInline var alias: UInt32
  }

  @usableFromInline let columns: UnsafeMutablePointer<Column>
  /// How many endpoints there are.
  public let count: UInt32

  /// The table for these weights, one for each endpoint; nil when they are all equal (or none counts), where
  /// drawing evenly does the same for less. A weight that is not a positive finite number counts as zero.
  public init?(weights: [Float]) {
    let weights = WeightTable.sound(weights).map(Double.init)
    let total = weights.reduce(0, +)
    guard weights.count <= Int32.max, total > 0, weights.contains(where: { $0 != weights[0] }) else { return nil }
    columns = .allocate(capacity: weights.count)
    count = UInt32(weights.count)

    var shares = weights.map { $0 * Double(weights.count) / total }
    var small = shares.indices.filter { shares[$0] < 1 }
    var large = shares.indices.filter { shares[$0] >= 1 }
    while let poor = small.popLast() {
      guard let rich = large.last else {
        small.append(poor)
        break
      }
      columns[poor] = Column(threshold: WeightTable.threshold(shares[poor]), alias: UInt32(rich))
      shares[rich] -= 1 - shares[poor]
      if shares[rich] < 1 {
        large.removeLast()
        small.append(rich)
      }
    }
    // What is left has a share of one, but for rounding.
    for index in small + large { columns[index] = Column(threshold: .max, alias: UInt32(index)) }
  }

  /// Frees the table.
  public func destroy() { columns.deallocate() }

  /// An index below `count`.
  @inlinable public func draw(_ random: inout RandomSource) -> Int {
    let bits = random.next()
    let column = Int(truncatingIfNeeded: ((bits >> 32) &* UInt64(count)) >> 32)
    let own = UInt32(truncatingIfNeeded: bits) < columns[column].threshold
    return own ? column : Int(columns[column].alias)
  }

  /// Weights with everything that is none turned to zero.
  static func sound(_ weights: [Float]) -> [Float] {
    weights.map { $0.isFinite && $0 > 0 ? $0 : 0 }
  }

  private static func threshold(_ share: Double) -> UInt32 {
    UInt32(min(max(share, 0) * 4_294_967_296, 4_294_967_295))
  }
}
