// The admin API's view of this daemon: the node's summaries as the reports the API shows.

import Admin
import Base
import Configuration
import Discovery
import Glibc
import Policy
import Proxy
import Synchronization
import Telemetry

/// Conforms the daemon to what the admin server asks. Its methods run on the control thread.
final class Administration: NodeAdministration, @unchecked Sendable {
  let build = Daemon.build()
  /// What the daemon was started with, until there is a node.
  private let initial: Configuration
  var configuration: Configuration { node?.configuration ?? initial }
  private let source: String
  private var degraded: [String]
  private let accessLog: AccessLogWriter?
  private let startedAt = MonotonicInstant.now()
  // The control thread's own.
  private(set) var node: Node?
  private(set) var reloading: Reloading?
  private var registry: Registry?
  private var discoveryMetrics: DiscoveryMetrics?
  private(set) var isDraining = false
  private var accessLogSeen = AccessLogStatistics()
  private(set) var logLevel = LogLevel.info
  private var drainAction: () -> Void = {}
  private var shutdownAction: () -> Void = {}
  /// Reads the configuration again; the time within which that must be confirmed, if it must.
  private(set) var reloadAction: (Duration?) -> ReloadOutcome = { _ in .unchanged }
  /// What was last found different, and when.
  var lastChanges: (at: MonotonicInstant, answer: Result<ConfigurationChangesReport, ConfigurationRefusal>)?

  init(configuration: Configuration, source: String, degraded: [String], accessLog: AccessLogWriter?) {
    initial = configuration
    self.source = source
    self.degraded = degraded
    self.accessLog = accessLog
  }

  func attach(_ node: Node, registry: Registry) {
    self.node = node
    self.registry = registry
    discoveryMetrics = DiscoveryMetrics(registry: registry)
    degraded += node.workloadProblems()
    ProxyMetrics(registry: registry).publish(build, registry: registry)
  }

  func onDrain(_ action: @escaping () -> Void) { drainAction = action }
  func onShutdown(_ action: @escaping () -> Void) { shutdownAction = action }
  func onReload(_ reloading: Reloading, _ action: @escaping (Duration?) -> ReloadOutcome) {
    self.reloading = reloading
    reloadAction = action
  }
  func setDraining() { isDraining = true }
  func addDegraded(_ line: String) { if !degraded.contains(line) { degraded.append(line) } }

  // MARK: NodeAdministration

  func readiness(_ reply: @escaping @Sendable (Health) -> Void) {
    if isDraining {
      reply(.failing("draining: this node takes no new connections"))
    } else {
      liveness(reply)
    }
  }

  func liveness(_ reply: @escaping @Sendable (Health) -> Void) {
    guard let node else {
      reply(.failing("starting"))
      return
    }
    node.ping { reply(.ok) }
  }

  func status(_ reply: @escaping @Sendable (StatusReport) -> Void) {
    let uptime = Double(MonotonicInstant.now().nanoseconds(since: startedAt)) / 1e9
    var report = StatusReport(
      node: configuration.node.name, build: build, processIdentifier: Int(getpid()),
      state: isDraining ? .draining : node == nil ? .starting : degraded.isEmpty ? .ready : .degraded,
      uptimeSeconds: uptime, configuration: source, logLevel: logLevel, residentBytes: MemoryWatch.residentBytes(),
      discovery: discovery(),
      accessLog: accessLog?.statistics, degraded: degraded)
    guard let node else {
      reply(report)
      return
    }
    report.snapshotGeneration = node.generation
    report.downstreamConnections = node.downstreamConnectionCount
    report.upstreamConnections = node.upstreamConnectionCount
    report.inFlightRequests = node.inFlightRequestCount
    report.shards = (0..<node.shardCount).map { shard in
      StatusReport.Shard(
        index: shard, cpu: node.shardCPUs[shard], connections: node.connectionCount(shard: shard),
        requests: node.requestCount(shard: shard), loopLagNanoseconds: node.loopLagNanoseconds(shard: shard),
        overload: node.overload(shard: shard))
    }
    report.listeners = zip(configuration.listeners, node.listenerAddresses).enumerated().map { index, pair in
      StatusReport.Listener(
        name: pair.0.name, address: pair.1.description, direction: pair.0.direction.rawValue,
        protocolName: pair.0.protocol.rawValue, connections: node.connectionCount(listener: index))
    }
    reply(report)
  }

  private func discovery() -> [StatusReport.Discovery] {
    let now = MonotonicInstant.now()
    return (node?.discoveryReports() ?? []).map { report in
      let age = report.freshness.confirmed.map { Double(now.nanoseconds(since: $0)) / 1e9 } ?? 0
      var one = StatusReport.Discovery(
        prefix: report.prefix, kind: report.kind, state: report.freshness.state.rawValue, services: report.services,
        ageSeconds: age, failure: report.freshness.failure)
      one.origin = report.origin
      one.endpoints = report.endpoints
      one.updates = report.updates
      one.errors = report.errors
      one.badLines = report.badEntries
      one.problems = report.problems
      return one
    }
  }

  func endpoints(_ reply: @escaping @Sendable ([EndpointReport]) -> Void) {
    guard let node else {
      reply([])
      return
    }
    let summaries = node.endpointSummaries()
    let sources = node.endpointSources()
    node.loads { shards in
      // Each shard has an average of its own: the one that is shown is the mean of those that have heard anything.
      var costs: [EndpointKey: [Double]] = [:]
      for one in shards.joined() {
        costs[EndpointKey(service: one.service, address: one.endpoint), default: []].append(one.costNanoseconds)
      }
      reply(
        summaries.map { summary in
          let heard = costs[EndpointKey(service: summary.number, address: summary.endpoint.address)] ?? []
          var report = EndpointReport(
            service: summary.service, address: summary.endpoint.address.description, state: summary.state,
            zone: summary.endpoint.zone, weight: summary.endpoint.weight, effectiveWeight: summary.effectiveWeight,
            inFlight: summary.inFlight, connections: summary.connections,
            latencyNanoseconds: heard.isEmpty ? 0 : UInt64(heard.reduce(0, +) / Double(heard.count)),
            requests: summary.successes &+ summary.failures, failures: summary.failures)
          report.checkFailure = summary.checkFailure
          if let source = sources[summary.number] { (report.source, report.sourceState) = source }
          return report
        })
    }
  }

  func services(_ reply: @escaping @Sendable (ServicesReport) -> Void) {
    let summaries = node?.serviceSummaries() ?? []
    reply(
      ServicesReport(
        at: .now(),
        services: summaries.map { summary in
          ServiceReport(
            name: summary.name, responses: Array(summary.responses.dropFirst()), unanswered: summary.responses[0],
            retries: summary.retries, inFlight: summary.inFlight, liveEndpoints: summary.endpoints.count,
            endpoints: summary.endpoints.count, latency: summary.latency)
        }))
  }

  func workloads(_ reply: @escaping @Sendable ([WorkloadReport]) -> Void) {
    let summaries = node?.workloadSummaries() ?? []
    let configured = [nil] + configuration.workloads.map(Optional.some)
    let reports: [WorkloadReport] = zip(summaries, configured).map { summary, workload in
      WorkloadReport(
        name: summary.name, addresses: workload?.addresses.map(\.description) ?? [], users: workload?.users ?? [],
        cgroups: workload?.cgroups ?? [], weight: workload?.weight ?? 1, onFailure: workload?.onFailure?.rawValue,
        connections: summary.connections, queued: summary.queued, rateLimited: summary.rateLimited, shed: summary.shed,
        responses: Array(summary.responses.dropFirst()), unanswered: summary.responses[0], bytesIn: summary.bytesIn,
        bytesOut: summary.bytesOut)
    }
    reply(Array(reports.dropFirst()) + Array(reports.prefix(1)))
  }

  func names(_ path: Path, override: [DelegationEntry], _ reply: @escaping @Sendable (NamesReport) -> Void) {
    let table = (node?.configuration ?? configuration).delegations.map { delegation in
      let place = NamesReport.Place(
        file: delegation.line > 0 ? delegation.file : "the command line", line: delegation.line,
        column: delegation.column)
      return (entry: delegation.entry, place: place)
    }
    let entries = table + override.map { ($0, NamesReport.Place(file: "dtab")) }
    guard let node else {
      reply(NamesReport(path, .negative(NegativeBinding(logical: path, tried: [])), [], entries: entries) { _ in nil })
      return
    }
    let (binding, steps) = node.explain(path, override: override)
    let report = NamesReport(path, binding, steps, entries: entries) { service in
      node.endpointCount(of: service).map { NamesReport.Service(endpoints: $0, liveEndpoints: $0) }
    }
    reply(report)
  }

  func routes(_ reply: @escaping @Sendable ([RouteReport]) -> Void) {
    let counts = zip(node?.routeRequestCounts() ?? [], node?.routeLimitedCounts() ?? [])
    reply(
      zip(configuration.routes, counts).enumerated().map { number, pair in
        let (route, (requests, limited)) = pair
        return RouteReport(
          name: route.label(number: number), place: route.place, matches: route.matchSummary,
          does: route.actionSummary, requests: requests, rateLimited: limited)
      })
  }

  func connections(limit: Int, _ reply: @escaping @Sendable (ConnectionsReport) -> Void) {
    guard let node else {
      reply(ConnectionsReport(total: 0, connections: []))
      return
    }
    let listeners = configuration.listeners.map(\.name)
    let addresses = node.listenerAddresses.map(\.description)
    let services = node.serviceNames
    let workloads = node.workloadNames
    node.connections(limit: limit) { shards in
      let all = shards.flatMap(\.connections).prefix(limit)
      reply(
        ConnectionsReport(
          total: shards.reduce(0) { $0 + $1.total },
          connections: all.map {
            row($0, listeners: listeners, addresses: addresses, services: services, workloads: workloads)
          }))
    }
  }

  func configurationJSON() -> String {
    var json = JSONWriter()
    configuration.write(to: &json)
    return json.text
  }

  func metrics(_ format: ExpositionFormat) -> [UInt8] {
    countAccessLogLosses()
    measureDiscovery()
    return registry?.render(format) ?? []
  }

  func flatMetrics() -> [UInt8] {
    countAccessLogLosses()
    measureDiscovery()
    return registry?.renderFlatJSON() ?? Array("{}".utf8)
  }

  private func measureDiscovery() {
    if let node { discoveryMetrics?.take(node.discoveryReports(), now: .now()) }
  }

  /// The log's writer counts for itself; what it has lost since the last look goes into the metrics.
  private func countAccessLogLosses() {
    guard let registry, let now = accessLog?.statistics else { return }
    let lost = ProxyMetrics(registry: registry).accessLogLost
    lost.cell(shard: registry.controlShard, labels: ["ring_full"]).add(now.dropped &- accessLogSeen.dropped)
    lost.cell(shard: registry.controlShard, labels: ["write_failed"]).add(now.failed &- accessLogSeen.failed)
    accessLogSeen = now
  }

  func setLogLevel(_ level: LogLevel) { logLevel = level }
  func drain() { drainAction() }
  func shutdown() { shutdownAction() }
}

private struct EndpointKey: Hashable {
  let service: UInt32
  let address: SocketAddress
}

private func row(
  _ connection: ConnectionSummary, listeners: [String], addresses: [String], services: [String],
  workloads: [String]
) -> ConnectionReport {
  let peer = connection.peer?.description ?? "unix:"
  let owners = connection.isDownstream ? listeners : services
  return ConnectionReport(
    shard: connection.shard, id: UInt64(connection.generation) << 32 | UInt64(connection.slot),
    direction: connection.isDownstream ? "downstream" : "upstream", peer: peer,
    local: connection.isDownstream && connection.origin < addresses.count ? addresses[connection.origin] : "",
    owner: connection.origin < owners.count ? owners[connection.origin] : "",
    workload: connection.isDownstream && connection.workload < workloads.count ? workloads[connection.workload] : nil,
    state: connection.state.rawValue,
    protocolName: connection.wireProtocol.rawValue, ageSeconds: Double(connection.ageNanoseconds) / 1e9,
    idleSeconds: Double(connection.idleNanoseconds) / 1e9,
    requests: UInt64(connection.requestCount), bytesIn: connection.bytesReceived, bytesOut: connection.bytesSent)
}
