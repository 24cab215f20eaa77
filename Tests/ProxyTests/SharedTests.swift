// What the shards of a node share: where a connection goes, who gets a message, and what is counted.

import Base
import Configuration
import Glibc
import Telemetry
import TestSupport
import Testing

@testable import Proxy

private func sharedNode(_ shardCount: Int) throws -> NodeShared {
  let snapshot = Snapshot(try configuration(services: [], delegations: []), generation: 1)
  return NodeShared(shardCount: shardCount, logNames: LogNames(snapshot, NameTable()))
}

@Suite("NodeShared")
struct NodeSharedTests {
  /// What a shard does with a fresh connection (`Shard.admit`).
  private func admit(_ node: NodeShared, on shard: Int) {
    node.addConnection(to: node.shardToTake(insteadOf: shard) ?? shard)
  }

  @Test("200 connections that all come to one shard of two are spread evenly")
  func spreads() throws {
    let node = try sharedNode(2)
    for _ in 0..<200 { admit(node, on: 0) }
    let counts = (0..<2).map { node.connectionCount(of: $0) }
    #expect(counts.reduce(0, +) == 200)
    #expect(counts.allSatisfy { $0 <= 120 }, "\(counts)")
  }

  @Test(
    "whoever accepts and however many shards there are, no shard holds much more than its part",
    arguments: [2, 3, 4, 8, 64])
  func spreadsOverMany(shardCount: Int) throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("NodeSharedTests.spreadsOverMany \(shardCount) seed \(seed)")
    var random = RandomSource(seed: seed)
    let node = try sharedNode(shardCount)
    let count = 100 * shardCount
    // Three quarters come to the first shard.
    for _ in 0..<count {
      admit(node, on: random.next(below: 4) == 0 ? Int(random.next(below: UInt32(shardCount))) : 0)
    }
    for shard in 0..<shardCount { #expect(node.connectionCount(of: shard) <= 120, "shard \(shard)") }
  }

  @Test(
    "a shard keeps its connection unless another holds clearly fewer",
    arguments: [
      (0, 0, false), (1, 0, false), (2, 0, true), (2, 1, false), (3, 1, true), (9, 8, false), (10, 8, false),
      (11, 8, true), (113, 100, false), (114, 100, true), (5, 50, false),
    ])
  func threshold(own: Int, other: Int, gives: Bool) throws {
    let node = try sharedNode(2)
    for _ in 0..<own { node.addConnection(to: 0) }
    for _ in 0..<other { node.addConnection(to: 1) }
    #expect(node.shardToTake(insteadOf: 0) == (gives ? 1 : nil))
  }

  @Test("a single shard keeps everything")
  func single() throws {
    let node = try sharedNode(1)
    for _ in 0..<50 { admit(node, on: 0) }
    #expect(node.connectionCount(of: 0) == 50)
    for _ in 0..<50 { node.removeConnection(from: 0) }
    #expect(node.connectionCount(of: 0) == 0)
  }

  @Test("messages reach the shard they are for, in order, and the first one wakes it")
  func messages() throws {
    let node = try sharedNode(2)
    for listener in 0..<UInt32(3) {
      #expect(node.send(.adopt(descriptor: -1, listener: listener), to: 1))
    }
    var counter: UInt64 = 0
    #expect(read(node.wakeDescriptor(of: 1), &counter, 8) == 8)
    #expect(counter >= 1)
    var listeners: [UInt32] = []
    node.mailbox(of: 1).drain { if case .adopt(_, let listener) = $0 { listeners.append(listener) } }
    #expect(listeners == [0, 1, 2])
    var others = 0
    node.mailbox(of: 0).drain { _ in others += 1 }
    #expect(others == 0)
  }

  @Test("a question is answered once, when the last shard has answered")
  func gathers() {
    let answers = Monitor<[[Int]]>([])
    let gather = ShardGather<Int>(expected: 3) { all in answers.with { $0.append(all.sorted()) } }
    gather.add(3)
    gather.add(1)
    #expect(answers.with { $0.isEmpty })
    gather.add(2)
    #expect(answers.with { $0 } == [[1, 2, 3]])
  }

  @Test("the access log is woken by the shard whose ring fills up")
  func wakesAccessLog() throws {
    let node = try sharedNode(1)
    node.accessLogIsHalfFull()
    let woken = Gate()
    node.onAccessLogHalfFull { woken.open() }
    node.accessLogIsHalfFull()
    #expect(woken.isOpen)
  }
}

@Suite("Shard statistics")
struct ShardStatisticsTests {
  private let registry = Registry(shardCount: 2)

  private func counter(_ name: String, _ labels: [String]) -> UInt64? {
    guard case .counter(let value) = value(name, labels) else { return nil }
    return value
  }

  private func gauge(_ name: String, _ labels: [String]) -> Int64? {
    guard case .gauge(let value) = value(name, labels) else { return nil }
    return value
  }

  private func value(_ name: String, _ labels: [String]) -> MetricValue? {
    // A counter's `_total` belongs to the exposition, not to the family's name.
    registry.allFamilies.first { family in
      family.descriptor.name == name || family.descriptor.kind == .counter && family.descriptor.name + "_total" == name
    }?.value(labels: labels)
  }

  @Test("connections are counted by node, shard and listener, and the shards' parts add up")
  func connections() {
    let metrics = NodeMetrics(registry: registry)
    let shards = (0..<2).map { ShardStatistics(metrics: metrics, shard: $0, listeners: ["out", "in"]) }
    shards[0].countDownstream(1, listener: 0)
    shards[0].countDownstream(1, listener: 1)
    shards[1].countDownstream(1, listener: 1)
    shards[1].countDownstream(1, listener: 1)
    shards[1].countDownstream(-1, listener: 1)
    #expect(gauge("fairlead_connections", ["downstream"]) == 3)
    #expect(gauge("fairlead_shard_connections", ["0"]) == 2)
    #expect(gauge("fairlead_shard_connections", ["1"]) == 1)
    #expect(gauge("fairlead_listener_connections", ["out"]) == 1)
    #expect(gauge("fairlead_listener_connections", ["in"]) == 2)
    #expect(shards[1].listenerConnections(1).value == 1)
  }

  @Test("bytes are those of the clients' connections, in and out")
  func bytes() {
    let statistics = ShardStatistics(metrics: NodeMetrics(registry: registry), shard: 0, listeners: ["out"])
    statistics.countReceived(.downstream, 100, workload: 0)
    statistics.countReceived(.upstream, 7, workload: 0)
    statistics.countSent(.downstream, 30, workload: 0)
    statistics.countSent(.upstream, 9, workload: 0)
    #expect(counter("fairlead_bytes_total", ["in"]) == 100)
    #expect(counter("fairlead_bytes_total", ["out"]) == 30)
  }

  @Test("every error has a counter of its own, by its code")
  func errors() {
    let statistics = ShardStatistics(metrics: NodeMetrics(registry: registry), shard: 1, listeners: ["out"])
    for (position, error) in ProxyError.all.enumerated() {
      for _ in 0...position { statistics.countError(error) }
    }
    for (position, error) in ProxyError.all.enumerated() {
      #expect(counter("fairlead_errors_total", ["FL\(error.code)"]) == UInt64(position + 1))
    }
  }

  @Test(
    "requests are counted by listener and class of their status",
    arguments: [(0, "none"), (101, "1xx"), (200, "2xx"), (304, "3xx"), (404, "4xx"), (503, "5xx"), (999, "5xx")]
      as [(UInt16, String)])
  func statusClasses(status: UInt16, name: String) {
    let metrics = NodeMetrics(registry: registry)
    let cells = metrics.serviceCells(shard: 0, service: "web", listeners: ["out", "in"])
    defer { cells.deallocate() }
    cells.count(listener: 1, status: status, nanoseconds: 5_000)
    for other in ServiceCells.classes {
      #expect(counter("fairlead_requests_total", ["in", "web", other]) == (other == name ? 1 : 0))
      #expect(counter("fairlead_requests_total", ["out", "web", other]) == 0)
    }
    guard case .histogram(let histogram) = value("fairlead_request_duration_seconds", ["in", "web"]) else {
      Issue.record("no durations")
      return
    }
    #expect(histogram.counts.reduce(0, +) == 1)
    #expect(histogram.sumNanoseconds == 5_000)
  }

  @Test("a request that names no service counts as unknown's")
  func unnamed() {
    let statistics = ShardStatistics(metrics: NodeMetrics(registry: registry), shard: 0, listeners: ["out"])
    statistics.countUnnamed(listener: 0, workload: 0, status: 400)
    #expect(counter("fairlead_requests_total", ["out", "unknown", "4xx"]) == 1)
  }

  @Test("the loop's lag is its longest recent turn, which is forgotten by and by")
  func loopLag() {
    let statistics = ShardStatistics(metrics: NodeMetrics(registry: registry), shard: 0, listeners: [])
    func lag() -> Int64 { gauge("fairlead_shard_loop_lag_seconds", ["0"]) ?? -1 }
    statistics.countTurn(nanoseconds: 1_000_000)
    #expect(lag() == 1_000_000)
    statistics.countTurn(nanoseconds: 10)
    #expect(lag() < 1_000_000 && lag() > 990_000)
    for _ in 0..<400 { statistics.countTurn(nanoseconds: 10) }
    #expect(lag() < 500_000)
    statistics.countTurn(nanoseconds: UInt64.max)
    #expect(counter("fairlead_shard_turns_total", ["0"]) == 403)
  }
}
