// What a shard needs to share itself and the services between workloads, to keep rates, and to refuse when there is too much.
// `FairSharing.swift`, `RateLimiting.swift` and `Overload.swift` work with it.

import Base
import Configuration
import Policy

/// Reached through a pointer, like `ShardState`.
struct Sharing {
  /// Whether workloads are configured: then who has to wait does so by workload.
  private(set) var isActive: Bool
  private(set) var weights: FairWeights
  let links: FairLinks
  /// Exchanges that wait for their turn on this shard.
  private(set) var ready: FairQueue
  private(set) var plan: SheddingPlan
  /// By workload number; the plan's, whose snapshot the shard keeps.
  private(set) var workloads: UnsafePointer<WorkloadLimits>
  /// Exchanges that lost their place in a queue to others: answered before the turn ends.
  var evicted = SlotList()
  /// Services with places to give to who waits; no generations.
  var freed = SlotList()
  var lag: LoopLag
  var overload: OverloadController
  /// What the next answer says when to come again; 0 for nothing.
  var retryAfterSeconds: UInt32 = 0

  /// - Parameter exchanges: how many a shard has at most.
  init(_ workloads: WorkloadPlan, exchanges: UInt32, now: MonotonicInstant) throws(MappingError) {
    isActive = workloads.isActive
    weights = workloads.weights
    links = try FairLinks(capacity: exchanges)
    ready = FairQueue(weights, links: links)
    plan = SheddingPlan(weights: weights)
    self.workloads = workloads.limits
    lag = LoopLag(now: now)
    overload = OverloadController(now: now)
  }

  /// Other workloads hold from now on. Who waits stays where it is.
  mutating func take(_ workloads: WorkloadPlan) {
    isActive = workloads.isActive
    weights = workloads.weights
    ready = ready.reweighted(weights)
    plan = plan.reweighted(weights)
    self.workloads = workloads.limits
  }

  /// The owner calls it once.
  mutating func destroy() {
    ready.destroy()
    plan.destroy()
    links.destroy()
    evicted.destroy()
    freed.destroy()
  }
}
