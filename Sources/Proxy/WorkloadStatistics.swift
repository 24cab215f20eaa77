// What is counted for each workload: requests by class, connections, bytes. Cells are looked up when the shard is set up;
// counting is an addition at an index. There are as many as the configuration names, and `other`.

import Capture
import Telemetry

/// The families that count by workload.
struct WorkloadMetrics: Sendable {
  let requests: CounterFamily
  let connections: GaugeFamily
  let bytes: CounterFamily
  /// How the questions went whose the other end of a connection is.
  let lookups: CounterFamily

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
  }
}

/// One shard's cells of all workloads, by their numbers.
struct WorkloadCells {
  private let cells: UnsafeMutablePointer<Cells>
  private let count: Int

  private struct Cells {
    /// By status class, as `ServiceCells.classes`.
    var requests: InlineArray<6, CounterCell>
    let connections: GaugeCell
    let bytesIn: CounterCell
    let bytesOut: CounterCell
  }

  init(_ metrics: WorkloadMetrics, shard: Int, names: [String]) {
    count = names.count
    cells = .allocate(capacity: max(count, 1))
    for (number, name) in names.enumerated() {
      (cells + number).initialize(
        to: Cells(
          requests: InlineArray { metrics.requests.cell(shard: shard, labels: [name, ServiceCells.classes[$0]]) },
          connections: metrics.connections.cell(shard: shard, labels: [name]),
          bytesIn: metrics.bytes.cell(shard: shard, labels: [name, "in"]),
          bytesOut: metrics.bytes.cell(shard: shard, labels: [name, "out"])))
    }
  }

  func deallocate() { cells.deallocate() }

  private func cells(of workload: WorkloadNumber) -> UnsafeMutablePointer<Cells> {
    precondition(Int(workload) < count, "a workload of another snapshot")
    return cells + Int(workload)
  }

  /// A connection opened (1) or closed (-1).
  func countConnection(_ change: Int64, workload: WorkloadNumber) {
    cells(of: workload).pointee.connections.add(change)
  }

  /// A request that ended with `status` (0: without an answer).
  func countRequest(_ workload: WorkloadNumber, status: UInt16) {
    cells(of: workload).pointee.requests[min(Int(status / 100), 5)].add(1)
  }

  func countReceived(_ workload: WorkloadNumber, _ count: UInt64) { cells(of: workload).pointee.bytesIn.add(count) }
  func countSent(_ workload: WorkloadNumber, _ count: UInt64) { cells(of: workload).pointee.bytesOut.add(count) }
}

/// A workload and what its counters say.
public struct WorkloadSummary: Sendable {
  public let name: String
  public let connections: Int
  /// By status class: none, 1xx … 5xx.
  public let responses: [UInt64]
  public let bytesIn: UInt64
  public let bytesOut: UInt64
}
