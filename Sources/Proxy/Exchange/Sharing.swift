// What a shard needs to share itself and the services between workloads, to keep rates, and to refuse when there is too much.
// Set up once; `FairSharing.swift`, `RateLimiting.swift` and `Overload.swift` work with it.

import Base
import Configuration
import Policy

/// The limits of one workload in the units the cells count in.
struct WorkloadRates {
  var requests: RateLimit?
  var connections: RateLimit?
}

/// Reached through a pointer, like `ShardState`.
struct Sharing {
  /// Whether workloads are configured: then who has to wait does so by workload.
  let isActive: Bool
  let weights: FairWeights
  let links: FairLinks
  /// Exchanges that wait for their turn on this shard.
  let ready: FairQueue
  let plan: SheddingPlan
  /// By workload number.
  let rates: UnsafeMutablePointer<WorkloadRates>
  let workloadCount: Int
  /// Exchanges that lost their place in a queue to others: answered before the turn ends.
  var evicted = SlotList()
  /// Services with places to give to who waits; no generations.
  var freed = SlotList()
  var lag: LoopLag
  var overload: OverloadController
  /// What the next answer says when to come again; 0 for nothing.
  var retryAfterSeconds: UInt32 = 0

  /// - Parameter exchanges: how many a shard has at most.
  init(_ workloads: [Configuration.Workload], exchanges: UInt32, now: MonotonicInstant) throws(MappingError) {
    isActive = !workloads.isEmpty
    // `other` comes first.
    weights = FairWeights([1] + workloads.map(\.weight))
    links = try FairLinks(capacity: exchanges)
    ready = FairQueue(weights, links: links)
    plan = SheddingPlan(weights: weights)
    workloadCount = workloads.count + 1
    rates = .allocate(capacity: workloadCount)
    rates.initialize(to: WorkloadRates())
    for (position, workload) in workloads.enumerated() {
      (rates + position + 1).initialize(
        to: WorkloadRates(requests: workload.rateLimit?.compiled, connections: workload.connectionRate?.compiled))
    }
    lag = LoopLag(now: now)
    overload = OverloadController(now: now)
  }

  /// The owner calls it once.
  mutating func destroy() {
    ready.destroy()
    plan.destroy()
    links.destroy()
    rates.deallocate()
    evicted.destroy()
    freed.destroy()
  }
}
