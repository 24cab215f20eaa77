// The tables of one service's balancer, made anew whenever its endpoints change. Making them is linear in the endpoints (some
// milliseconds for ten thousand), so it is the control thread's work; all shards then share one plan, and each only says
// in which of its slots it keeps which endpoint (`Balancer`).

import Base

/// Immutable; any thread may read it.
public final class BalancerPlan: @unchecked Sendable {
  /// Endpoints chosen among: all of them, or those of one level: the near ones, or those of the slice, and then the others.
  struct Group {
    /// Their positions in the set; nil for all in order.
    let positions: [UInt32]?
    let count: Int
    let table: WeightTable?
  }

  public let settings: BalancerSettings
  /// How many endpoints the set has.
  public let count: Int
  /// All endpoints, and where they are of several levels, one for each level.
  let groups: [Group]
  /// The set's mean weight over an endpoint's; 0 for one without weight.
  let inverseWeights: [Float]
  let addedAt: [MonotonicInstant]
  let hashTable: HashTable?
  /// How many endpoints this node's slice touches; all of them but for `aperture`.
  public let usedCount: Int
  /// From then on no endpoint is in its slow start.
  let rampingUntil: MonotonicInstant

  /// - Parameter members: by position in the set.
  public init(_ members: [BalancerMember], settings: BalancerSettings) {
    self.settings = settings
    count = min(members.count, Int(Int32.max))
    let weights = BalancerPlan.weights(members)
    let mean = weights.reduce(0, +) / Double(max(weights.count, 1))
    let coverage = settings.kind == .aperture ? settings.aperture.coverage(of: members, weights: weights) : nil
    inverseWeights = weights.indices.map { position in
      guard weights[position] > 0 else { return 0 }
      // What is used in part gets part of the load: that much of it is as much as another's whole.
      let part = coverage.map { $0[position] > 0 ? max($0[position], 0.01) : 1 } ?? 1
      return Float(mean / (weights[position] * part))
    }
    usedCount = coverage.map { $0.count { $0 > 0 } } ?? members.count
    addedAt = members.map(\.addedAt)
    let levels = coverage?.map { $0 > 0 ? 0 : 1 } ?? members.map { settings.prefer.level(of: $0.locality) }
    let isByKey = settings.kind.isByKey
    let latest = members.map(\.addedAt.nanoseconds).max() ?? 0
    rampingUntil =
      latest == 0 || isByKey
      ? MonotonicInstant(nanoseconds: 0)
      : MonotonicInstant(nanoseconds: latest).advanced(byNanoseconds: settings.slowStart.durationNanoseconds)

    var groups = [Group(positions: nil, count: weights.count, table: WeightTable(weights: weights.map { Float($0) }))]
    let isOfOneLevel = levels.allSatisfy { $0 == levels.first }
    if !isByKey, !isOfOneLevel {
      for level in 0...(levels.max() ?? 0) {
        let positions = levels.indices.filter { levels[$0] == level }
        groups.append(
          Group(
            positions: positions.map { UInt32(truncatingIfNeeded: $0) }, count: positions.count,
            table: WeightTable(
              weights: positions.map { Float(weights[$0] * (level == 0 ? coverage?[$0] ?? 1 : 1)) })))
      }
    }
    self.groups = groups
    hashTable = isByKey ? BalancerPlan.hashTable(members, weights, settings) : nil
  }

  deinit {
    for group in groups { group.table?.destroy() }
    hashTable?.destroy()
  }

  /// Sound ones; all alike where there are none.
  private static func weights(_ members: [BalancerMember]) -> [Double] {
    let weights = members.map { $0.weight.isFinite && $0.weight > 0 ? min($0.weight, 0x1p40) : 0 }
    return weights.contains { $0 > 0 } ? weights : weights.map { _ in 1 }
  }

  private static func hashTable(
    _ members: [BalancerMember], _ weights: [Double], _ settings: BalancerSettings
  ) -> HashTable? {
    let hashed = zip(members, weights).map { HashMember(identity: $0.identity, weight: $1) }
    if settings.kind == .ringHash {
      return HashRing(hashed, limit: settings.tableSize ?? BalancerSettings.defaultRingSize).map { .ring($0) }
    }
    return MaglevTable(hashed, size: settings.tableSize ?? BalancerSettings.defaultMaglevSize).map { .maglev($0) }
  }
}
