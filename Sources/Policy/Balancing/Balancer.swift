// One service's balancer on one shard: picks the endpoint of an attempt.
//
//   key, for hash kinds ──► table ──────────────┐
//   else: level (locality) ──► kind ──► fits? ──┼──► slot
//         the level has none: all levels ───────┤
//   none fits anywhere: a broken one, else the one that just failed, else -1
//
// A pick allocates nothing and does bounded work. The balancer knows of health what the gates say, counted anew when the
// service's epoch moves; when too few endpoints are healthy to carry the load (panic), that is not believed and all are used.

public import Base

/// One thread's own. Made anew when endpoints change, from a plan that all shards share.
public struct Balancer: ~Copyable {
  private struct Group {
    let slots: UnsafeMutablePointer<UInt32>
    let count: Int
    let table: WeightTable?
    let rotation: RoundRobin?
  }

  /// Keeps the tables alive; picks use the copies of its handles below.
  private let plan: BalancerPlan
  private let kind: BalancerKind
  private let metric: LoadMetric
  private let slowStart: SlowStart
  private let rampingUntil: MonotonicInstant
  private let hashTable: HashTable?
  private let slots: UnsafeMutablePointer<UInt32>
  private let groups: UnsafeMutablePointer<Group>
  private let groupCount: Int
  private let epoch: HealthEpoch?
  private var seenEpoch: UInt32 = 0
  /// Before the first no counting, whatever changes; at the second counting, whatever does not.
  private var earliestCount = MonotonicInstant(nanoseconds: 0)
  private var latestCount = MonotonicInstant(nanoseconds: 0)
  private var shares = LevelShares()

  /// Whether so few endpoints are healthy that all are used.
  public private(set) var isPanicking = false

  /// Prepares picks among `slots`, one for each of the plan's endpoints, and writes their weights and ages into `loads`. Linear,
  /// and cheap: 10,000 endpoints take well under a millisecond.
  ///
  /// - Parameters:
  ///   - slots: by the plan's position; each within `loads`.
  ///   - epoch: moves when the health of one of these endpoints changes.
  public init(
    _ plan: BalancerPlan, slots: [UInt32], loads: UnsafeMutablePointer<EndpointLoad>, epoch: HealthEpoch?,
    random: inout RandomSource
  ) {
    precondition(slots.count == plan.count, "a slot for each endpoint")
    self.plan = plan
    self.epoch = epoch
    kind = plan.settings.kind
    metric = plan.settings.metric
    slowStart = plan.settings.slowStart
    rampingUntil = plan.rampingUntil
    hashTable = plan.hashTable
    groupCount = plan.groups.count
    self.slots = .allocate(capacity: max(plan.groups.reduce(0) { $0 + $1.count }, 1))
    groups = .allocate(capacity: groupCount)
    for (position, slot) in slots.enumerated() {
      let inverseWeight = plan.inverseWeights[position]
      let load = loads + Int(slot)
      load.pointee.inverseWeight = inverseWeight > 0 ? inverseWeight : 1
      load.pointee.addedAt = plan.addedAt[position]
      if inverseWeight > 0 {
        load.pointee.flags.remove(.weightless)
      } else {
        load.pointee.flags.insert(.weightless)
      }
    }
    var next = self.slots
    for (index, group) in plan.groups.enumerated() {
      for place in 0..<group.count {
        let position = group.positions.map { Int($0[place]) } ?? place
        (next + place).initialize(to: slots[position])
      }
      let inverseWeights = kind == .roundRobin ? (0..<group.count).map { loads[Int(next[$0])].inverseWeight } : []
      (groups + index).initialize(
        to: Group(
          slots: next, count: group.count, table: group.table,
          rotation: kind == .roundRobin ? RoundRobin(inverseWeights: inverseWeights, &random) : nil))
      next += group.count
    }
  }

  deinit {
    for index in 0..<groupCount { groups[index].rotation?.destroy() }
    groups.deallocate()
    slots.deallocate()
  }

  /// How many endpoints there are to choose from.
  public var count: Int { groups[0].count }

  /// The slot of the endpoint to use, -1 when there is none.
  ///
  /// - Parameters:
  ///   - loads: those the balancer was made with; averages may be brought up to date.
  ///   - key: what a hash kind chooses by.
  ///   - exclude: the slot of the attempt that just failed, -1 for none: used only when there is no other.
  public mutating func pick(
    _ loads: UnsafeMutablePointer<EndpointLoad>, key: HashKey = .none, exclude: Int32 = -1,
    random: inout RandomSource, now: MonotonicInstant
  ) -> Int32 {
    if groups[0].count == 0 { return -1 }
    if countIsDue(now) { countHealth(loads, now) }
    let exclude = Int(exclude)
    var found = -1
    if let hashTable, key != .none {
      found = hashTable.pick(candidates(groups[0], loads, exclude, now), key)
    } else {
      let level = groupCount > 1 && !isPanicking ? 1 + shares.draw(&random) : 0
      // A level beyond the last has no share; the check is for memory's sake.
      let group = level < groupCount ? level : 0
      if groups[group].count > 0 {
        found = pick(groups[group], candidates(groups[group], loads, exclude, now), &random)
      }
      if found < 0, group != 0 { found = pick(groups[0], candidates(groups[0], loads, exclude, now), &random) }
    }
    if found < 0 { found = candidates(groups[0], loads, exclude, now).lastResort(metric, &random) }
    return Int32(truncatingIfNeeded: found)
  }

  private func pick(_ group: Group, _ candidates: Candidates, _ random: inout RandomSource) -> Int {
    switch kind {
    case .p2c, .aperture, .ringHash, .maglev: PowerOfTwoChoices.pick(candidates, metric, &random)
    case .leastLoaded: LeastLoaded.pick(candidates, metric, &random)
    case .random: WeightedRandom.pick(candidates, &random)
    case .roundRobin: group.rotation?.pick(candidates, &random) ?? -1
    }
  }

  @inline(__always) private func candidates(
    _ group: Group, _ loads: UnsafeMutablePointer<EndpointLoad>, _ excluded: Int, _ now: MonotonicInstant
  ) -> Candidates {
    Candidates(
      loads: loads, slots: group.slots, count: group.count, table: group.table, excluded: excluded,
      ignoresGates: isPanicking, slowStart: slowStart, isRamping: now < rampingUntil, now: now)
  }
}

// MARK: Health

extension Balancer {
  @inline(__always) private func countIsDue(_ now: MonotonicInstant) -> Bool {
    if now >= latestCount { return true }
    guard let epoch, epoch.value != seenEpoch else { return false }
    return now >= earliestCount
  }

  /// Linear; not more often than once in a microsecond for each endpoint, so that flapping endpoints cost little.
  private mutating func countHealth(_ loads: UnsafeMutablePointer<EndpointLoad>, _ now: MonotonicInstant) {
    seenEpoch = epoch?.value ?? 0
    earliestCount = now.advanced(byNanoseconds: UInt64(groups[0].count) &* 1_000)
    latestCount = now.advanced(byNanoseconds: max(1_000_000_000, UInt64(groups[0].count) &* 1_000))
    var levels = InlineArray<3, LevelHealth>(repeating: LevelHealth())
    var all = LevelHealth()
    for index in (groupCount > 1 ? 1 : 0)..<groupCount {
      var level = LevelHealth()
      let group = groups[index]
      for place in 0..<group.count {
        let load = loads + Int(group.slots[place])
        if !load.pointee.isUsable { continue }
        level.total &+= 1
        if load.pointee.isHealthy { level.healthy &+= 1 }
      }
      all.total &+= level.total
      all.healthy &+= level.healthy
      levels[max(index - 1, 0)] = level
    }
    isPanicking = Double(all.healthy) < plan.settings.panic * Double(all.total)
    if groupCount > 1 { shares = LevelShares(levels, spillOver: plan.settings.spillOver) }
  }
}
