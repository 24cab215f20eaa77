// Everything this process measures, by name. The registry hands out families and keeps their memory; it knows nothing of
// what the numbers mean. Made once at start, it must outlive every cell taken from it.

import Synchronization

/// The set of metric families. Any thread.
public final class Registry: Sendable {
  /// How many shards write to it.
  public let shardCount: Int
  /// The shard index of the control thread, which has cells of its own: `shardCount`.
  public var controlShard: Int { shardCount }

  private let storage: CellStorage
  private let families = Mutex<[MetricFamily]>([])
  private let maxSeries: Int

  /// - Parameter maxSeries: the most series of a family that does not say otherwise.
  public init(shardCount: Int, maxSeries: Int = 10_000) {
    precondition(shardCount > 0)
    self.shardCount = shardCount
    self.maxSeries = max(1, maxSeries)
    storage = CellStorage(arenaCount: shardCount + 1)
  }

  /// A family of counters. The name is the exported one, with or without `_total`.
  public func counter(
    _ name: String, help: String, unit: MetricUnit = .none, labels: [String] = [], maxSeries: Int? = nil,
    flat: [String] = []
  ) -> CounterFamily {
    let base = name.hasSuffix("_total") ? String(name.dropLast("_total".count)) : name
    return CounterFamily(
      family: register(base, help, .counter, unit, labels, maxSeries, .sum, flat))
  }

  /// A family of gauges. With the unit seconds, cells hold nanoseconds.
  public func gauge(
    _ name: String, help: String, unit: MetricUnit = .none, labels: [String] = [], maxSeries: Int? = nil,
    merge: GaugeMerge = .sum, flat: [String] = []
  ) -> GaugeFamily {
    GaugeFamily(family: register(name, help, .gauge, unit, labels, maxSeries, merge, flat))
  }

  /// A family of histograms of durations: recorded in nanoseconds, exported in seconds.
  public func histogram(
    _ name: String, help: String, labels: [String] = [], maxSeries: Int? = nil, flat: [String] = []
  ) -> HistogramFamily {
    HistogramFamily(family: register(name, help, .histogram, .seconds, labels, maxSeries, .sum, flat))
  }

  /// All families, in the order of their names.
  public var allFamilies: [MetricFamily] {
    families.withLock { $0 }.sorted { $0.descriptor.name < $1.descriptor.name }
  }

  /// Bytes of cell memory taken so far.
  public var cellBytes: Int { storage.allocatedBytes }

  private func register(
    _ name: String, _ help: String, _ kind: MetricKind, _ unit: MetricUnit, _ labels: [String], _ maxSeries: Int?,
    _ merge: GaugeMerge, _ flat: [String]
  ) -> MetricFamily {
    precondition(isMetricName(name), "not a metric name: \(name)")
    precondition(labels.allSatisfy(isLabelName), "\(name): a label name that is not one")
    precondition(kind != .histogram || !labels.contains("le"), "\(name): 'le' is the buckets' label")
    if let unit = unit.name { precondition(name.hasSuffix("_" + unit), "\(name): the name must end in _\(unit)") }
    return families.withLock { families in
      if let known = families.first(where: { $0.descriptor.name == name }) {
        precondition(
          known.descriptor.kind == kind && known.descriptor.labelNames == labels,
          "\(name) is registered twice, differently")
        return known
      }
      let descriptor = MetricDescriptor(
        name: name, help: help, kind: kind, unit: unit, labelNames: labels,
        maxSeries: max(1, maxSeries ?? self.maxSeries),
        gaugeMerge: merge, flatNames: flat)
      let family = MetricFamily(descriptor: descriptor, storage: storage, arenaCount: shardCount + 1)
      families.append(family)
      return family
    }
  }
}

/// `[a-zA-Z_:][a-zA-Z0-9_:]*`, the Prometheus data model.
private func isMetricName(_ name: String) -> Bool { isName(name, colons: true) }

/// `[a-zA-Z_][a-zA-Z0-9_]*`, not starting with two underscores.
private func isLabelName(_ name: String) -> Bool { isName(name, colons: false) && !name.hasPrefix("__") }

private func isName(_ name: String, colons: Bool) -> Bool {
  guard let first = name.utf8.first, !(0x30...0x39).contains(first) else { return false }
  return name.utf8.allSatisfy {
    (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) || $0 == 0x5F
      || (colons && $0 == 0x3A)
  }
}
