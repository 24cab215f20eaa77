// Whose requests to refuse when a part of all must be. What is let through is shared like everything else, by weight: a workload
// that asks for less than its share gets all of it, and the others are cut to one level per weight (max-min fairness, found by
// filling up). So light ones are refused first, then those that ask for most, and who asks for little is not touched before
// everybody else is down to as little.
//
//   asked for        ███████████ flood      ██ quiet     ███████ batch (weight ½)
//   let through      █████·····             ██           ██·····           level: 5 per weight
//
// What is let through in a window falls slowly only, and not at all while the severity does: when a flood ends, severity is still
// high for a while, and those who stay must not be refused for what they no longer have to share.

public import Base

/// A handle to one shard's plan: copy it freely, all copies are the same. The owner (one thread) calls `destroy()` once.
public struct SheddingPlan {
  private struct Flow {
    let weight: Double
    var arrivals: UInt32 = 0
    /// What it asks for in a window, smoothed.
    var demand = 0.0
    /// Refused is a draw below this.
    var threshold: UInt64 = 0
  }

  private struct Budget {
    /// Requests to let through in a window.
    var admitted = 0.0
    var severity = 0.0
  }

  private let flows: UnsafeMutablePointer<Flow>
  private let count: Int
  private let budget: UnsafeMutablePointer<Budget>

  /// A plan that refuses nothing.
  /// - Parameter weights: by flow number; at least one is made of none.
  public init(weights: FairWeights) {
    count = max(weights.count, 1)
    flows = .allocate(capacity: count)
    budget = .allocate(capacity: 1)
    budget.initialize(to: Budget())
    for number in 0..<count {
      let step = number < weights.count ? weights.steps[number] : 1
      (flows + number).initialize(to: Flow(weight: 1 / Double(max(step, 1))))
    }
  }

  /// The same plan for other weights, or more flows. This one is destroyed.
  public func reweighted(_ weights: FairWeights) -> SheddingPlan {
    let next = SheddingPlan(weights: weights)
    for number in 0..<min(count, next.count) {
      next.flows[number].arrivals = flows[number].arrivals
      next.flows[number].demand = flows[number].demand
      next.flows[number].threshold = flows[number].threshold
    }
    next.budget.pointee = budget.pointee
    destroy()
    return next
  }

  public func destroy() {
    flows.deallocate()
    budget.deallocate()
  }

  /// Counts a request and says whether to refuse it. A flow there is not counts as the first.
  public func refuses(_ flow: FlowNumber, random: inout RandomSource) -> Bool {
    let flow = flows + (Int(flow) < count ? Int(flow) : 0)
    flow.pointee.arrivals &+= 1
    return flow.pointee.threshold > 0 && random.next() >> 32 < flow.pointee.threshold
  }

  /// A window is over: makes the plan for the next one.
  /// - Parameter severity: the part of everything to refuse, 0 … 1.
  public func renew(severity: Double) {
    var total = 0.0
    var highest = 0.0
    for number in 0..<count {
      let flow = flows + number
      flow.pointee.demand = (flow.pointee.demand + Double(flow.pointee.arrivals)) / 2
      flow.pointee.arrivals = 0
      flow.pointee.threshold = 0
      total += flow.pointee.demand
      highest = max(highest, flow.pointee.demand / flow.pointee.weight)
    }
    let before = budget.pointee
    let asked = total * (1 - min(severity, 1))
    let kept = severity < before.severity ? before.admitted : before.admitted * Self.kept
    budget.pointee = Budget(admitted: before.severity > 0 ? max(kept, asked) : asked, severity: severity)
    guard severity > 0, total > budget.pointee.admitted else { return }
    let level = level(admitting: budget.pointee.admitted, highest: highest)
    for number in 0..<count where flows[number].demand > 0 {
      let admitted = min(level * flows[number].weight / flows[number].demand, 1)
      flows[number].threshold = UInt64((1 - admitted) * 4_294_967_296)
    }
  }

  /// The part of a flow's requests that is refused now.
  public func refusedPart(of flow: FlowNumber) -> Double {
    Int(flow) < count ? Double(flows[Int(flow)].threshold) / 4_294_967_296 : 0
  }

  /// How much per weight each may have so that all together have `admitted`. Halving finds it closer than requests are counted.
  private func level(admitting admitted: Double, highest: Double) -> Double {
    var (low, high) = (0.0, highest)
    for _ in 0..<Self.halvings {
      let middle = (low + high) / 2
      var sum = 0.0
      for number in 0..<count { sum += min(flows[number].demand, middle * flows[number].weight) }
      if sum < admitted { low = middle } else { high = middle }
    }
    return low
  }

  private static let halvings = 48
  /// Of what was let through in the window before: a seventh of it is left after two seconds.
  private static let kept = 0.9
}
