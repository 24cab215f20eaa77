// What is counted for each workload: requests by class, connections, bytes. Cells are looked up when the shard is set up;
// counting is an addition at an index. There are as many as the configuration names, and `other`.

import Capture
import Policy
import Telemetry

/// The families that count by workload.
struct WorkloadMetrics: Sendable {
  let requests: CounterFamily
  let connections: GaugeFamily
  let bytes: CounterFamily
  /// How the questions went whose the other end of a connection is.
  let lookups: CounterFamily
  let rateLimited: CounterFamily
  let shed: CounterFamily
  let queued: GaugeFamily

  init(registry: Registry) {
    requests = registry.counter(
      "fairlead_workload_requests_total", help: "Requests of a workload, by the class of the response's status.",
      labels: ["workload", "status_class"])
    connections = registry.gauge(
      "fairlead_workload_connections", help: "Downstream connections of a workload.", labels: ["workload"])
    bytes = registry.counter(
      "fairlead_workload_bytes_total", help: "Bytes received from a workload (in) and sent to it (out).", unit: .bytes,
      labels: ["workload", "direction"])
    lookups = registry.counter(
      "fairlead_attribution_lookups_total",
      help: "Questions to the kernel whose a local connection is, by outcome; late: its cgroup was not known in time.",
      labels: ["outcome"])
    rateLimited = registry.counter(
      "fairlead_rate_limited_total",
      help: "Requests and connections refused by a rate limit; scope: workload, connection, route or service.",
      labels: ["scope", "name"])
    shed = registry.counter(
      "fairlead_shed_total", help: "Requests refused because there was too much to do, by what of.",
      labels: ["workload", "reason"])
    queued = registry.gauge(
      "fairlead_workload_queued_requests", help: "Requests of a workload that wait for a place at their service.",
      labels: ["workload"])
  }
}

extension WorkloadMetrics {
  /// Takes a workload's series out of what is exported.
  func retire(_ name: String) {
    for statusClass in ServiceCells.classes { requests.retire(labels: [name, statusClass]) }
    connections.retire(labels: [name])
    for direction in ["in", "out"] { bytes.retire(labels: [name, direction]) }
    for scope in ["workload", "connection"] { rateLimited.retire(labels: [scope, name]) }
    for reason in ["loop_lag", "memory"] { shed.retire(labels: [name, reason]) }
    queued.retire(labels: [name])
  }
}

/// One workload's cells on one shard.
struct WorkloadCounters {
  /// By status class, as `ServiceCells.classes`.
  var requests: InlineArray<6, CounterCell>
  let connections: GaugeCell
  let bytesIn: CounterCell
  let bytesOut: CounterCell
  let rateLimited: CounterCell
  let connectionsRateLimited: CounterCell
  let shedByLag: CounterCell
  let shedByMemory: CounterCell
  let queued: GaugeCell

  init(_ metrics: WorkloadMetrics, shard: Int, name: String) {
    requests = InlineArray { metrics.requests.cell(shard: shard, labels: [name, ServiceCells.classes[$0]]) }
    connections = metrics.connections.cell(shard: shard, labels: [name])
    bytesIn = metrics.bytes.cell(shard: shard, labels: [name, "in"])
    bytesOut = metrics.bytes.cell(shard: shard, labels: [name, "out"])
    rateLimited = metrics.rateLimited.cell(shard: shard, labels: ["workload", name])
    connectionsRateLimited = metrics.rateLimited.cell(shard: shard, labels: ["connection", name])
    shedByLag = metrics.shed.cell(shard: shard, labels: [name, "loop_lag"])
    shedByMemory = metrics.shed.cell(shard: shard, labels: [name, "memory"])
    queued = metrics.queued.cell(shard: shard, labels: [name])
  }
}

/// One shard's cells of all workloads, by their numbers. The memory is the plan's.
struct WorkloadCells {
  private struct Table {
    var counters: UnsafeMutablePointer<WorkloadCounters>
    var count: Int
  }

  private let table: UnsafeMutablePointer<Table>

  init(_ plan: WorkloadPlan, shard: Int) {
    table = .allocate(capacity: 1)
    table.initialize(to: Table(counters: plan.counters(of: shard), count: plan.count))
  }

  /// Other workloads hold from now on; their plan lives as long as this uses it.
  func take(_ plan: WorkloadPlan, shard: Int) {
    table.pointee = Table(counters: plan.counters(of: shard), count: plan.count)
  }

  func deallocate() { table.deallocate() }

  private func cells(of workload: WorkloadNumber) -> UnsafeMutablePointer<WorkloadCounters> {
    precondition(Int(workload) < table.pointee.count, "a workload of another node")
    return table.pointee.counters + Int(workload)
  }

  /// A connection opened (1) or closed (-1).
  func countConnection(_ change: Int64, workload: WorkloadNumber) {
    cells(of: workload).pointee.connections.add(change)
  }

  /// A request that ended with `status` (0: without an answer).
  func countRequest(_ workload: WorkloadNumber, status: UInt16) {
    cells(of: workload).pointee.requests[min(Int(status / 100), 5)].add(1)
  }

  func countRateLimited(_ workload: WorkloadNumber) { cells(of: workload).pointee.rateLimited.add(1) }
  func countConnectionRateLimited(_ workload: WorkloadNumber) {
    cells(of: workload).pointee.connectionsRateLimited.add(1)
  }
  func countShed(_ workload: WorkloadNumber, _ reason: OverloadController.Reason) {
    switch reason {
    case .loopLag: cells(of: workload).pointee.shedByLag.add(1)
    case .memory: cells(of: workload).pointee.shedByMemory.add(1)
    }
  }
  func countQueued(_ change: Int64, workload: WorkloadNumber) { cells(of: workload).pointee.queued.add(change) }
  func countReceived(_ workload: WorkloadNumber, _ count: UInt64) { cells(of: workload).pointee.bytesIn.add(count) }
  func countSent(_ workload: WorkloadNumber, _ count: UInt64) { cells(of: workload).pointee.bytesOut.add(count) }
}

/// A workload and what its counters say.
public struct WorkloadSummary: Sendable {
  public let name: String
  public let connections: Int
  /// By status class: none, 1xx … 5xx.
  public let responses: [UInt64]
  /// Waiting for a place at their service.
  public let queued: Int
  /// Requests and connections refused by a rate limit.
  public let rateLimited: UInt64
  /// Requests refused for want of time or memory.
  public let shed: UInt64
  public let bytesIn: UInt64
  public let bytesOut: UInt64
}
