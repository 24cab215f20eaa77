// The configuration compiled into what shards work with. Immutable; made on the control thread and published to every
// shard. Services are not part of it: they come and go with discovery (`ServiceDirectory`).

import Base
import Capture
import Configuration
import Policy
import Telemetry

/// A compiled configuration.
final class Snapshot: Sendable {
  /// 1 for the first, one more with each that is published.
  let generation: UInt64
  let configuration: Configuration
  /// `via` is added and counted.
  let sendsVia: Bool
  /// The node's name, as `via` carries it.
  let viaPseudonym: [UInt8]
  /// Whether a listener captures.
  let captures: Bool
  /// Whether there is a service of original destinations: for what is captured, or for what CONNECT names by address.
  let hasDestinations: Bool
  /// Logical names that the configuration itself leads to: those of listeners, then those of rules, each of either once. An
  /// exchange that goes to one names it by its place here.
  let targets: [Path]
  /// What requests are called. Freed with the snapshot.
  let identifiers: IdentifierTable
  /// The targets of the identifiers that always say the same name, by their places.
  let fixedTargets: [Int: UInt32]
  /// Where connections begin with a header of the PROXY protocol, by listener; nil where nowhere.
  let proxySources: [NetworkTable?]
  /// Where those of rules begin.
  let firstRouteTarget: UInt32
  let routes: RouteTable
  /// What counts the rules' requests; nil where nobody does.
  let routeCells: RouteCells?
  /// Who may be calling.
  let workloads: WorkloadPlan

  /// - Parameters:
  ///   - metrics: where the rules' requests are counted.
  ///   - workloads: those of the configuration; nil to number them as if there were no others.
  ///   - logNames: the access log's table of names; nil where none is written.
  ///   - former: what holds until now; its rules' rates go on.
  init(
    _ configuration: Configuration, generation: UInt64, metrics: NodeMetrics? = nil, shardCount: Int = 0,
    workloads: WorkloadPlan? = nil, logNames: NameTable? = nil, former: Snapshot? = nil
  ) {
    self.generation = generation
    self.configuration = configuration
    let workloads =
      workloads ?? WorkloadPlan(configuration.workloads, metrics: metrics?.workloads, shardCount: shardCount)
    self.workloads = workloads
    sendsVia = configuration.node.via
    viaPseudonym = Array(configuration.node.name.utf8)
    captures = configuration.listeners.contains { $0.capture != .none }
    hasDestinations = configuration.listeners.contains {
      $0.capture != .none || $0.connect.contains(where: \.isNetwork)
    }
    proxySources = configuration.listeners.map { listener in
      listener.proxySources.isEmpty ? nil : NetworkTable(listener.proxySources.map { ($0, 1) })
    }
    var targets: [Path] = []
    for name in configuration.listeners.compactMap(\.to) where !targets.contains(name) { targets.append(name) }
    var fixedTargets: [Int: UInt32] = [:]
    for (index, identifier) in configuration.identifiers.enumerated() {
      guard case .fixed(let name) = identifier else { continue }
      if !targets.contains(name) { targets.append(name) }
      fixedTargets[index] = targets.firstIndex(of: name).map { UInt32($0) }
    }
    self.fixedTargets = fixedTargets
    identifiers = IdentifierTable(configuration.identifiers)
    var random = RandomSource.seededByKernel()
    routes = RouteTable(configuration.routes.map(\.rule), workloads: workloads.numbers, random: &random)
    firstRouteTarget = UInt32(truncatingIfNeeded: targets.count)
    self.targets = targets + routes.destinations
    routeCells = metrics.map {
      RouteCells(configuration, metrics: $0, shardCount: shardCount, logNames: logNames, former: former?.routeCells)
    }
  }

  deinit { identifiers.destroy() }

  /// The place of a logical name among the targets.
  func target(_ name: Path) -> UInt32? { targets.firstIndex(of: name).map { UInt32($0) } }
}

extension Configuration {
  /// What its rules are called in metrics and tables.
  var routeLabels: [String] { routes.enumerated().map { $1.label(number: $0) } }
  /// The same of those that have a rate.
  var limitedRouteLabels: [String] {
    routes.enumerated().filter { $1.rateLimit != nil }.map { $1.label(number: $0) }
  }
}
