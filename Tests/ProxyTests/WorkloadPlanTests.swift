// Workloads over changes of the configuration: numbers that stay, counters and rates that go on.

import Base
import Capture
import Configuration
import Policy
import Telemetry
import Testing

@testable import Proxy

@Suite("Workload numbers")
struct WorkloadNumberingTests {
  private let start = MonotonicInstant(nanoseconds: 1_000)
  private let later = MonotonicInstant(nanoseconds: 1_000 + WorkloadNumbering.restNanoseconds)

  @Test("a workload keeps its number, whatever is configured around it, and gets it back when it comes back")
  func stable() {
    var numbering = WorkloadNumbering()
    #expect(numbering.configure(["a", "b", "c"], now: start) == [1, 2, 3])
    let cells = numbering.cells[2]
    #expect(numbering.configure(["d", "c", "b"], now: start) == [4, 3, 2] && numbering.isUnsettled)
    #expect(numbering.cells[2] === cells)
    #expect(numbering.configure(["a", "b"], now: start) == [1, 2])
    #expect(numbering.names == ["other", "a", "b", "c", "d"])
  }

  @Test("a number comes free when its workload is gone for long enough and nobody has it any more")
  func settling() {
    var numbering = WorkloadNumbering()
    #expect(numbering.configure(["a", "b", "c"], now: start) == [1, 2, 3])
    let cells = numbering.cells[1]
    #expect(numbering.configure(["c"], now: start) == [3])
    #expect(numbering.settle(now: start) { _ in true } == [], "too soon")
    #expect(numbering.settle(now: later) { $0 != "b" } == ["a"])
    #expect(numbering.isUnsettled && numbering.names == ["other", "", "b", "c"])
    #expect(numbering.configure(["c", "x"], now: later) == [3, 1] && numbering.cells[1] !== cells)
    #expect(numbering.settle(now: later) { _ in true } == ["b"] && !numbering.isUnsettled)
  }

  @Test("there is an end to numbers: what finds none is other")
  func bounded() {
    var numbering = WorkloadNumbering()
    for round in 0..<10 {
      let names = (0..<1_000).map { "w\(round)-\($0)" }
      let numbers = numbering.configure(names, now: start)
      if round < 4 { #expect(Set(numbers).count == 1_000 && !numbers.contains(0)) }
      if round == 4 { #expect(numbers.count { $0 == 0 } == 905) }
    }
    #expect(numbering.names.count == WorkloadNumbering.capacity)
    #expect(numbering.settle(now: later) { _ in true }.count == 4_095)
    #expect(!numbering.configure(["new"], now: later).contains(0))
  }
}

@Suite("WorkloadPlan")
struct WorkloadPlanTests {
  private let metrics = NodeMetrics(registry: Registry(shardCount: 2))

  private func plan(_ workloads: [Configuration.Workload], _ numbering: inout WorkloadNumbering) -> WorkloadPlan {
    WorkloadPlan(
      workloads, numbering: &numbering, metrics: metrics.workloads, shardCount: 2, logNames: NameTable())
  }

  @Test("counters and rates of what stays go on, and what a connection of one that is gone counts has a place")
  func changes() throws {
    var numbering = WorkloadNumbering()
    let network = try IPNetwork(parsing: "10.0.0.0/24")
    let rate = Configuration.RateLimit(count: 1, period: .seconds(3600), burst: 1)
    let one = plan(
      [
        Configuration.Workload(name: "a", users: ["0"]),
        Configuration.Workload(name: "b", addresses: [network], weight: 3, rateLimit: rate),
      ], &numbering)
    let statistics = ShardStatistics(metrics: metrics, shard: 1, listeners: [], workloads: one)
    let address = IPv6Address(mapping: IPv4Address(10, 0, 0, 9))
    #expect(one.table.workload(ofAddress: address) == 2 && one.table.workload(ofUser: 0) == 1)
    let limit = try #require(one.limits[2].requests)
    #expect(one.limits[2].requestCell.pointee.take(limit, now: .now()) == .admitted)
    statistics.workloads.countConnection(1, workload: 1)
    statistics.workloads.countRequest(2, status: 200)

    let two = plan([Configuration.Workload(name: "b", addresses: [network], rateLimit: rate)], &numbering)
    statistics.workloads.take(two, shard: 1)
    #expect(two.table.workload(ofAddress: address) == 2 && two.table.workload(ofUser: 0) == 0)
    #expect(two.limits[2].requestCell.pointee.take(limit, now: .now()) != .admitted)
    #expect(two.limits[1].requests == nil && two.names == ["other", "a", "b"])
    #expect(two.numbers == ["other": 0, "b": 2])
    statistics.workloads.countRequest(2, status: 200)
    statistics.workloads.countRequest(1, status: 204)
    statistics.workloads.countConnection(-1, workload: 1)
    let requests = metrics.workloads.requests.family
    #expect(
      requests.value(labels: ["b", "2xx"]) == .counter(2) && requests.value(labels: ["a", "2xx"]) == .counter(1))
    #expect(metrics.workloads.connections.family.value(labels: ["a"]) == .gauge(0))
    metrics.workloads.retire("a")
    #expect(requests.value(labels: ["a", "2xx"]) == nil)
  }
}
