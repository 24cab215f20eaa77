// Families, series, shards: what is written on one side is what is read on the other.

import Base
import Glibc
import Synchronization
import Testing

@testable import Telemetry

@Suite struct RegistryTests {
  @Test("shards' counters are added up, label by label")
  func counters() {
    let registry = Registry(shardCount: 2)
    let family = registry.counter("x_total", help: "", labels: ["a"])
    family.cell(shard: 0, labels: ["1"]).add(3)
    family.cell(shard: 1, labels: ["1"]).increment()
    family.cell(shard: 1, labels: ["2"]).increment()
    family.cell(shard: registry.controlShard, labels: ["2"]).increment()
    #expect(family.family.value(labels: ["1"]) == .counter(4))
    #expect(family.family.value(labels: ["2"]) == .counter(2))
    #expect(family.family.value(labels: ["3"]) == nil)
  }

  @Test("the same labels give the same cell")
  func identity() {
    let family = Registry(shardCount: 1).counter("x_total", help: "", labels: ["a"])
    let cell = family.cell(shard: 0, labels: ["1"])
    cell.increment()
    #expect(family.cell(shard: 0, labels: ["1"]).value == 1)
    #expect(family.family.seriesCount == 1)
  }

  @Test("gauges are summed or the largest is taken")
  func gauges() {
    let registry = Registry(shardCount: 2)
    let sum = registry.gauge("s", help: "")
    sum.cell(shard: 0).add(-5)
    sum.cell(shard: 1).set(3)
    #expect(sum.family.value(labels: []) == .gauge(-2))
    let most = registry.gauge("m", help: "", merge: .maximum)
    most.cell(shard: 0).set(-5)
    most.cell(shard: 1).set(-3)
    #expect(most.family.value(labels: []) == .gauge(-3))
  }

  @Test("series over the cap share one series named other")
  func cap() {
    let registry = Registry(shardCount: 1)
    let family = registry.counter("x_total", help: "", labels: ["a", "b"], maxSeries: 3)
    for index in 0..<10 { family.cell(shard: 0, labels: ["\(index)", "b"]).increment() }
    #expect(family.family.seriesCount == 4)
    #expect(family.family.value(labels: ["other", "other"]) == .counter(7))
    #expect(family.family.overflowedLookups == 7)
    #expect(family.family.value(labels: ["2", "b"]) == .counter(1))
  }

  @Test("a retired series is not exported, its cells stay good, and it comes back with its value")
  func retiring() {
    let family = Registry(shardCount: 1).counter("x_total", help: "", labels: ["a"])
    let cell = family.cell(shard: 0, labels: ["1"])
    cell.increment()
    family.retire(labels: ["1"])
    family.retire(labels: ["1"])
    #expect(family.family.collect().isEmpty)
    cell.increment()
    #expect(family.cell(shard: 0, labels: ["1"]).value == 2)
    #expect(family.family.collect().map(\.value) == [.counter(2)])
  }

  @Test("a full family takes the memory of retired series, cleared, before it overflows")
  func reuse() {
    let family = Registry(shardCount: 1).counter("x_total", help: "", labels: ["a"], maxSeries: 2)
    family.cell(shard: 0, labels: ["1"]).add(7)
    family.cell(shard: 0, labels: ["2"]).add(8)
    family.retire(labels: ["1"])
    family.cell(shard: 0, labels: ["3"]).increment()
    #expect(family.family.value(labels: ["3"]) == .counter(1))
    #expect(family.family.value(labels: ["1"]) == nil)
    family.cell(shard: 0, labels: ["1"]).increment()
    #expect(family.family.value(labels: ["other"]) == .counter(1))
  }

  @Test("of many retired series the ones that came back are not taken, and of the others the oldest first")
  func comingAndGoing() {
    let family = Registry(shardCount: 1).counter("x_total", help: "", labels: ["a"], maxSeries: 1_000)
    func cell(_ number: Int) -> CounterCell { family.cell(shard: 0, labels: ["\(number)"]) }
    for number in 0..<1_000 { cell(number).add(UInt64(number + 1)) }
    // Again and again, as when a service's endpoints come and go.
    for _ in 0..<20 {
      for number in 0..<1_000 { family.retire(labels: ["\(number)"]) }
      #expect(family.family.seriesCount == 0)
      for number in 0..<500 { #expect(cell(number).value == UInt64(number + 1)) }
      #expect(family.family.seriesCount == 500)
      for number in 500..<1_000 { _ = cell(number) }
    }
    for number in 0..<1_000 { family.retire(labels: ["\(number)"]) }
    for number in 0..<10 { _ = cell(number) }
    for number in 1_000..<1_005 { #expect(cell(number).value == 0) }
    for number in 10..<15 { #expect(family.family.value(labels: ["\(number)"]) == nil) }
    // Back with a new memory, that of the next oldest.
    #expect(cell(10).value == 0 && cell(16).value == 17 && cell(0).value == 1)
    #expect(family.family.overflowedLookups == 0)
  }

  @Test("cells of one series on all shards are those that each shard gets alone")
  func allShards() {
    let registry = Registry(shardCount: 3)
    let counter = registry.counter("x_total", help: "", labels: ["a"])
    let gauge = registry.gauge("y", help: "", labels: ["a"])
    for (shard, cell) in counter.cells(shardCount: 3, labels: ["1"]).enumerated() {
      #expect(cell.word == counter.cell(shard: shard, labels: ["1"]).word)
    }
    for (shard, cell) in gauge.cells(shardCount: 2, labels: ["1"]).enumerated() {
      #expect(cell.word == gauge.cell(shard: shard, labels: ["1"]).word)
    }
    #expect(counter.cells(shardCount: 0, labels: ["1"]).isEmpty)
  }

  @Test("cells of different shards are never on one cache line")
  func cacheLines() {
    let registry = Registry(shardCount: 2)
    let family = registry.counter("x_total", help: "", labels: ["a"])
    var lines: [Set<UInt>] = [[], []]
    for label in 0..<3000 {
      for shard in 0..<2 {
        lines[shard].insert(UInt(bitPattern: family.cell(shard: shard, labels: ["\(label)"]).word) / 64)
      }
    }
    #expect(lines[0].isDisjoint(with: lines[1]))
    // Eight counters share a line within a shard: 3000 take 375 lines, a little more at the chunks' ends.
    #expect(lines[0].count < 400)
    #expect(registry.cellBytes < 100_000)
  }

  @Test("a family registered twice alike is one family")
  func twice() {
    let registry = Registry(shardCount: 1)
    registry.counter("x", help: "").cell(shard: 0).increment()
    registry.counter("x_total", help: "").cell(shard: 0).increment()
    #expect(registry.allFamilies.count == 1)
    #expect(registry.allFamilies.first?.value(labels: []) == .counter(2))
  }

  @Test("a reader never sees a counter go back while shards write")
  func concurrentReading() {
    let registry = Registry(shardCount: 2)
    let family = registry.counter("x_total", help: "")
    let histogram = registry.histogram("h_seconds", help: "")
    let rounds: UInt64 = 200_000
    let done = Atomic<Int>(0)
    let writers = (0..<2).map { shard in
      Worker {
        let counter = family.cell(shard: shard)
        let cell = histogram.cell(shard: shard)
        for round in 0..<rounds {
          counter.increment()
          cell.record(nanoseconds: round * 1000)
        }
        done.wrappingAdd(1, ordering: .releasing)
      }
    }
    var last: UInt64 = 0
    while done.load(ordering: .acquiring) < 2 {
      if case .counter(let now)? = family.family.value(labels: []) {
        #expect(now >= last)
        last = now
      }
    }
    for writer in writers { writer.join() }
    #expect(family.family.value(labels: []) == .counter(2 * rounds))
    guard case .histogram(let snapshot)? = histogram.family.value(labels: []) else {
      Issue.record("no histogram")
      return
    }
    #expect(snapshot.count == 2 * rounds)
  }
}

/// A thread for a test's other side.
final class Worker: @unchecked Sendable {
  private let body: @Sendable () -> Void
  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
    let retained = Unmanaged.passRetained(self)
    let result = pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Worker>.fromOpaque(context).takeRetainedValue().body() }
        return nil
      }, retained.toOpaque())
    precondition(result == 0, "pthread_create: \(result)")
  }

  func join() { pthread_join(thread, nil) }
}
