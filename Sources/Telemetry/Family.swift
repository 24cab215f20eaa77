// A metric family: one name, one kind, one set of label names; one series for every combination of label values in use,
// one cell a shard under every series. Looking a cell up locks and may allocate: do it when a snapshot is compiled or a
// shard is set up, keep the cell, and write through it.

import Synchronization

/// What a family measures.
public enum MetricKind: Sendable { case counter, gauge, histogram }

/// The unit of the exported value. Durations are held in nanoseconds and exported in seconds.
public enum MetricUnit: Sendable {
  case none, bytes
  case seconds

  var name: String? {
    switch self {
    case .none: nil
    case .bytes: "bytes"
    case .seconds: "seconds"
    }
  }
}

/// How the shards' gauges become one value.
public enum GaugeMerge: Sendable { case sum, maximum }

/// What a family is called and how it is exported.
public struct MetricDescriptor: Sendable {
  /// Without `_total`, which the exposition adds to counters.
  public let name: String
  public let help: String
  public let kind: MetricKind
  public let unit: MetricUnit
  public let labelNames: [String]
  /// More combinations of label values than this share one series, all of whose label values are "other".
  public let maxSeries: Int
  public let gaugeMerge: GaugeMerge
  /// Where its values appear in the flat JSON form, see `FlatMetrics`.
  public let flatNames: [String]
}

/// A family of series. Any thread.
public final class MetricFamily: Sendable {
  public let descriptor: MetricDescriptor
  private let storage: CellStorage
  private let arenaCount: Int
  private let state = Mutex(State())

  init(descriptor: MetricDescriptor, storage: CellStorage, arenaCount: Int) {
    self.descriptor = descriptor
    self.storage = storage
    self.arenaCount = arenaCount
  }

  /// The words of one shard's cell of one series, made if needed; those of the overflow series when the family is full.
  func words(shard: Int, labels: [String]) -> CellWords {
    precondition(labels.count == descriptor.labelNames.count, "\(descriptor.name): wrong number of label values")
    precondition(shard >= 0 && shard < arenaCount, "\(descriptor.name): no such shard")
    return state.withLock { state in words(shard, ofSeries: seriesIndex(labels, &state), &state) }
  }

  /// The same for each of so many shards, from one look-up.
  func words(shardCount: Int, labels: [String]) -> [CellWords] {
    precondition(labels.count == descriptor.labelNames.count, "\(descriptor.name): wrong number of label values")
    precondition(shardCount >= 0 && shardCount <= arenaCount, "\(descriptor.name): no such shards")
    return state.withLock { state in
      let index = seriesIndex(labels, &state)
      var all: [CellWords] = []
      all.reserveCapacity(shardCount)
      for shard in 0..<shardCount { all.append(words(shard, ofSeries: index, &state)) }
      return all
    }
  }

  private func words(_ shard: Int, ofSeries index: Int, _ state: inout State) -> CellWords {
    if let words = state.series[index].cells[shard] { return words }
    let words = storage.allocate(words: wordCount, arena: shard)
    state.series[index].cells[shard] = words
    return words
  }

  /// Takes a series out of what is exported. Cells that are still held stay good to write to. A later look-up of the same
  /// labels brings the series back with its old values. Once the family is full, the memory of retired series serves new
  /// ones, oldest first, so holders should have let go by then; a late write is counted in the wrong series, no worse.
  public func retire(labels: [String]) {
    state.withLock { state in
      guard let index = state.index[labels], !state.series[index].isRetired else { return }
      state.retirements &+= 1
      state.series[index].retirement = state.retirements
      state.retired.append(Retirement(series: index, number: state.retirements))
      state.retiredCount += 1
    }
  }

  /// Series in use, the overflow series included.
  public var seriesCount: Int { state.withLock { $0.series.count - $0.retiredCount } }

  /// Look-ups that ended in the overflow series because the family was full.
  public var overflowedLookups: UInt64 { state.withLock { $0.overflowedLookups } }

  /// The merged value of every series in use, in the order of their labels.
  public func collect() -> [(labels: [String], value: MetricValue)] {
    let series = state.withLock { $0.series.filter { !$0.isRetired } }
    return series.sorted { $0.labels.lexicographicallyPrecedes($1.labels) }.map { ($0.labels, merge($0.cells)) }
  }

  /// Calls `body` with every series in use, in the order of their labels, one at a time (a histogram is 1.7 KiB).
  func forEachSeries(_ body: (_ labels: [String], _ value: MetricValue) -> Void) {
    let series = state.withLock { $0.series.filter { !$0.isRetired } }
    for one in series.sorted(by: { $0.labels.lexicographicallyPrecedes($1.labels) }) {
      body(one.labels, merge(one.cells))
    }
  }

  /// The merged value of one series, or nil when it is unknown or retired.
  public func value(labels: [String]) -> MetricValue? {
    let cells = state.withLock { state -> [CellWords?]? in
      guard let index = state.index[labels], !state.series[index].isRetired else { return nil }
      return state.series[index].cells
    }
    return cells.map(merge)
  }

  private func seriesIndex(_ labels: [String], _ state: inout State) -> Int {
    if let index = state.index[labels] {
      if state.series[index].isRetired {
        state.series[index].retirement = 0
        state.retiredCount -= 1
        dropStale(&state)
      }
      return index
    }
    if state.series.count < descriptor.maxSeries { return add(labels, &state) }
    if let index = takeRetired(&state) {
      state.index[state.series[index].labels] = nil
      for words in state.series[index].cells { words?.clear(wordCount) }
      state.series[index].labels = labels
      state.index[labels] = index
      return index
    }
    state.overflowedLookups &+= 1
    if let overflow = state.overflow { return overflow }
    let other = [String](repeating: overflowLabel, count: labels.count)
    let overflow = state.index[other] ?? add(other, &state)
    state.overflow = overflow
    return overflow
  }

  /// The series that was retired first, in use from now on; nil when there is none.
  private func takeRetired(_ state: inout State) -> Int? {
    while state.firstRetired < state.retired.count {
      let oldest = state.retired[state.firstRetired]
      state.firstRetired += 1
      guard state.series[oldest.series].retirement == oldest.number else { continue }
      state.series[oldest.series].retirement = 0
      state.retiredCount -= 1
      dropStale(&state)
      return oldest.series
    }
    return nil
  }

  /// Entries of series that came back, or were taken, go when they are more than the others: constant time for each.
  private func dropStale(_ state: inout State) {
    guard state.retired.count > 2 * state.retiredCount + 64 else { return }
    let series = state.series
    state.retired = state.retired[state.firstRetired...].filter { series[$0.series].retirement == $0.number }
    state.firstRetired = 0
  }

  private func add(_ labels: [String], _ state: inout State) -> Int {
    let index = state.series.count
    state.series.append(Series(labels: labels, cells: [CellWords?](repeating: nil, count: arenaCount)))
    state.index[labels] = index
    return index
  }

  private func merge(_ cells: [CellWords?]) -> MetricValue {
    switch descriptor.kind {
    case .counter:
      return .counter(cells.reduce(0) { $0 &+ ($1?.load() ?? 0) })
    case .gauge:
      let values = cells.compactMap { $0.map { Int64(bitPattern: $0.load()) } }
      switch descriptor.gaugeMerge {
      case .sum: return .gauge(values.reduce(0, &+))
      case .maximum: return .gauge(values.max() ?? 0)
      }
    case .histogram:
      var snapshot = HistogramSnapshot()
      for words in cells {
        if let words { HistogramCell(words: words.base).merge(into: &snapshot) }
      }
      return .histogram(snapshot)
    }
  }

  private var wordCount: Int { descriptor.kind == .histogram ? HistogramCell.wordCount : 1 }

  private struct State {
    var index: [[String]: Int] = [:]
    var series: [Series] = []
    /// Retired series, oldest first, from `firstRetired` on; those that came back since are among them.
    var retired: [Retirement] = []
    var firstRetired = 0
    var retiredCount = 0
    var retirements: UInt64 = 0
    /// The series that takes what is over the cap, once there is one.
    var overflow: Int?
    var overflowedLookups: UInt64 = 0
  }

  private struct Series {
    var labels: [String]
    var cells: [CellWords?]
    /// The number of its retirement; 0 while it is in use.
    var retirement: UInt64 = 0
    var isRetired: Bool { retirement != 0 }
  }

  private struct Retirement {
    let series: Int
    let number: UInt64
  }
}

/// A series' merged value.
public enum MetricValue: Equatable, Sendable {
  case counter(UInt64)
  case gauge(Int64)
  case histogram(HistogramSnapshot)
}

/// A family of counters.
public struct CounterFamily: Sendable {
  public let family: MetricFamily
  /// One shard's counter of one series. Locks and may allocate: keep the cell.
  public func cell(shard: Int, labels: [String] = []) -> CounterCell {
    CounterCell(word: family.words(shard: shard, labels: labels).base)
  }
  /// The counters of the first shards of one series, from one look-up.
  public func cells(shardCount: Int, labels: [String]) -> [CounterCell] {
    family.words(shardCount: shardCount, labels: labels).map { CounterCell(word: $0.base) }
  }
  /// Takes a series out of what is exported, see `MetricFamily.retire`.
  public func retire(labels: [String]) { family.retire(labels: labels) }
}

/// A family of gauges.
public struct GaugeFamily: Sendable {
  public let family: MetricFamily
  /// One shard's gauge of one series. Locks and may allocate: keep the cell.
  public func cell(shard: Int, labels: [String] = []) -> GaugeCell {
    GaugeCell(word: family.words(shard: shard, labels: labels).base)
  }
  /// The gauges of the first shards of one series, from one look-up.
  public func cells(shardCount: Int, labels: [String]) -> [GaugeCell] {
    family.words(shardCount: shardCount, labels: labels).map { GaugeCell(word: $0.base) }
  }
  /// Takes a series out of what is exported, see `MetricFamily.retire`.
  public func retire(labels: [String]) { family.retire(labels: labels) }
}

/// A family of histograms.
public struct HistogramFamily: Sendable {
  public let family: MetricFamily
  /// One shard's histogram of one series. Locks and may allocate: keep the cell.
  public func cell(shard: Int, labels: [String] = []) -> HistogramCell {
    HistogramCell(words: family.words(shard: shard, labels: labels).base)
  }
  /// Takes a series out of what is exported, see `MetricFamily.retire`.
  public func retire(labels: [String]) { family.retire(labels: labels) }
}

/// The label value of the series that takes what is over the cap.
let overflowLabel = "other"
