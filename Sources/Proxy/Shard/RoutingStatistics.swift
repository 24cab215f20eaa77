// What is counted of rules: requests by rule, what was broken on purpose, copies, patterns that were stopped.

import Telemetry

/// The families.
struct RoutingMetrics: Sendable {
  let requests: CounterFamily
  let faults: CounterFamily
  let mirrors: CounterFamily
  let patternLimits: CounterFamily

  init(registry: Registry) {
    requests = registry.counter(
      "fairlead_route_requests_total", help: "Requests that a rule had, by its name or its number (#0 is the first).",
      labels: ["route"])
    faults = registry.counter(
      "fairlead_faults_injected_total", help: "Requests that a rule delayed or aborted on purpose.", labels: ["kind"])
    mirrors = registry.counter(
      "fairlead_mirrors_total", help: "Copies of requests, by what came of them.", labels: ["outcome"])
    patternLimits = registry.counter(
      "fairlead_pattern_limits_total", help: "Matches with a rule's pattern that a limit ended; they count as no match."
    )
  }
}

/// One shard's cells.
struct RoutingCells {
  let delays: CounterCell
  let aborts: CounterCell
  let patternLimits: CounterCell
  private let mirrors: InlineArray<5, CounterCell>

  /// What came of a copy.
  enum MirrorOutcome: Int, CaseIterable {
    /// An endpoint answered it, whatever it said.
    case answered
    /// No endpoint did.
    case failed
    /// Not sent: too many were under way.
    case limit
    /// Not sent: its body was too long to be kept.
    case body
    /// Not sent: the original ended before its body had come.
    case unfinished
  }

  init(_ metrics: RoutingMetrics, shard: Int) {
    delays = metrics.faults.cell(shard: shard, labels: ["delay"])
    aborts = metrics.faults.cell(shard: shard, labels: ["abort"])
    patternLimits = metrics.patternLimits.cell(shard: shard)
    mirrors = InlineArray { metrics.mirrors.cell(shard: shard, labels: ["\(MirrorOutcome.allCases[$0])"]) }
  }

  func countMirror(_ outcome: MirrorOutcome) { mirrors[outcome.rawValue].add(1) }
}
