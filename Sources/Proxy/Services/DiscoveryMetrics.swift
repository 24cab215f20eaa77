// How the discovery sources are, as metrics: looked at when somebody reads them.

import Base
import Discovery
import Telemetry

/// Turns reports into cells. Lives on the control thread.
public final class DiscoveryMetrics {
  private let services: GaugeFamily
  private let endpoints: GaugeFamily
  private let age: GaugeFamily
  private let state: GaugeFamily
  private let badLines: GaugeFamily
  private let updates: CounterFamily
  private let errors: CounterFamily
  private let shard: Int
  /// What the sources' own counters said last, by their labels.
  private var seen: [[String]: (updates: UInt64, errors: UInt64)] = [:]

  public init(registry: Registry) {
    let labels = ["prefix", "kind"]
    shard = registry.controlShard
    services = registry.gauge(
      "fairlead_discovery_services", help: "Services that a discovery knows.", labels: labels)
    endpoints = registry.gauge(
      "fairlead_discovery_endpoints", help: "Endpoints of all services that a discovery knows.", labels: labels)
    age = registry.gauge(
      "fairlead_discovery_age_seconds", help: "How old a discovery's last good answer is.", unit: .seconds,
      labels: labels)
    state = registry.gauge(
      "fairlead_discovery_state", help: "1 for the state a discovery is in.", labels: labels + ["state"])
    badLines = registry.gauge(
      "fairlead_discovery_bad_lines", help: "Lines, files and records that are there and not used.", labels: labels)
    updates = registry.counter(
      "fairlead_discovery_updates_total", help: "Services that came, went or got other endpoints.", labels: labels)
    errors = registry.counter(
      "fairlead_discovery_errors_total", help: "Look-ups and readings that failed.", labels: labels)
  }

  /// Brings the cells up to date.
  public func take(_ reports: [SourceReport], now: MonotonicInstant) {
    var gone = Set(seen.keys)
    for report in reports {
      let labels = [report.prefix, report.kind]
      gone.remove(labels)
      set(labels, report, now)
      let before = seen[labels] ?? (0, 0)
      // A source that began anew counts from zero.
      updates.cell(shard: shard, labels: labels)
        .add(report.updates >= before.updates ? report.updates - before.updates : report.updates)
      errors.cell(shard: shard, labels: labels)
        .add(report.errors >= before.errors ? report.errors - before.errors : report.errors)
      seen[labels] = (report.updates, report.errors)
    }
    for labels in gone {
      for family in [services, endpoints, age, badLines] { family.retire(labels: labels) }
      for one in Freshness.State.allCases { state.retire(labels: labels + [one.rawValue]) }
      seen[labels] = nil
    }
  }

  private func set(_ labels: [String], _ report: SourceReport, _ now: MonotonicInstant) {
    func cell(_ family: GaugeFamily) -> GaugeCell { family.cell(shard: shard, labels: labels) }
    cell(services).set(Int64(report.services))
    cell(endpoints).set(Int64(report.endpoints))
    cell(badLines).set(Int64(report.badEntries))
    let nanoseconds = report.freshness.confirmed.map { now.nanoseconds(since: $0) } ?? 0
    cell(age).set(Int64(clamping: nanoseconds))
    for one in Freshness.State.allCases {
      state.cell(shard: shard, labels: labels + [one.rawValue]).set(report.freshness.state == one ? 1 : 0)
    }
  }
}
