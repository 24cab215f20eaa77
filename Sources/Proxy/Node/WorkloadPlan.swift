// The configured workloads compiled into what shards work with: whose a connection is, weights, rates, counters, names for the
// log. Made on the control thread when the workloads change, shared by the snapshots until they change again.

import Base
import Capture
import Configuration
import Policy
import Telemetry

/// What a shard has of one workload, by its number. Trivial; its memory is the plan's.
struct WorkloadLimits {
  let requests: RateLimit?
  let connections: RateLimit?
  let requestCell: UnsafeMutablePointer<RateCell>
  let connectionCell: UnsafeMutablePointer<RateCell>
  /// In the log's table of names; 0 for `other`, which is left out.
  let logName: UInt32
}

/// Immutable but for what its cells count; any thread.
final class WorkloadPlan: @unchecked Sendable {
  let configured: [Configuration.Workload]
  let table: WorkloadTable
  /// What of it cannot be had, one line each.
  let problems: [String]
  /// By number: also those that are gone and still have connections. Empty where nobody has the number.
  let names: [String]
  /// The numbers of those that are configured, `other` included.
  let numbers: [String: WorkloadNumber]
  let weights: FairWeights
  /// By number.
  let limits: UnsafePointer<WorkloadLimits>
  private let rateCells: [WorkloadRateCells]
  /// By shard, then number.
  private let counters: UnsafeMutablePointer<WorkloadCounters>

  var count: Int { names.count }
  /// Whether workloads are configured: then who has to wait does so by workload.
  var isActive: Bool { !configured.isEmpty }

  /// - Parameters:
  ///   - metrics: where shards count; without it there are no counters.
  ///   - logNames: the access log's table of names.
  init(
    _ workloads: [Configuration.Workload], numbering: inout WorkloadNumbering, metrics: WorkloadMetrics?,
    shardCount: Int, logNames: NameTable
  ) {
    configured = workloads
    let numbers = numbering.configure(workloads.map(\.name), now: .now())
    names = numbering.names
    rateCells = numbering.cells
    let (table, problems) = WorkloadTable.compiled(workloads, numbers: numbers)
    self.table = table
    self.problems =
      problems
      + zip(workloads, numbers).filter { $1 == 0 }.map {
        "workload '\($0.0.name)' counts as other: too many workloads have come and gone; restart"
      }
    self.numbers = Dictionary(
      [(WorkloadTable.other, WorkloadNumber(0))] + zip(workloads.map(\.name), numbers),
      uniquingKeysWith: { first, _ in first })
    var weights = [Double](repeating: 1, count: names.count)
    let numbered = Dictionary(
      zip(numbers, workloads).filter { $0.0 > 0 }.map { (Int($0), $1) }, uniquingKeysWith: { first, _ in first })
    let limits = UnsafeMutablePointer<WorkloadLimits>.allocate(capacity: names.count)
    for (number, cells) in rateCells.enumerated() {
      let workload = numbered[number]
      if let workload { weights[number] = workload.weight }
      (limits + number).initialize(
        to: WorkloadLimits(
          requests: workload?.rateLimit?.compiled, connections: workload?.connectionRate?.compiled,
          requestCell: cells.requests, connectionCell: cells.connections,
          logName: number == 0 ? 0 : logNames.number(of: names[number])))
    }
    self.weights = FairWeights(weights)
    self.limits = UnsafePointer(limits)
    let shardCount = metrics == nil ? 0 : shardCount
    counters = .allocate(capacity: max(shardCount * names.count, 1))
    guard let metrics else { return }
    for shard in 0..<shardCount {
      for (number, name) in names.enumerated() {
        // Nobody counts under a free number.
        (counters + shard * names.count + number).initialize(
          to: WorkloadCounters(metrics, shard: shard, name: name.isEmpty ? WorkloadTable.other : name))
      }
    }
  }

  /// Workloads numbered as if there were no others: none, for shards that know of none.
  convenience init(_ workloads: [Configuration.Workload] = [], metrics: WorkloadMetrics?, shardCount: Int) {
    var numbering = WorkloadNumbering()
    self.init(workloads, numbering: &numbering, metrics: metrics, shardCount: shardCount, logNames: NameTable())
  }

  deinit {
    limits.deallocate()
    counters.deallocate()
  }

  func counters(of shard: Int) -> UnsafeMutablePointer<WorkloadCounters> { counters + shard * count }
}
