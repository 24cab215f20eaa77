// The node: compiles a configuration, opens the listeners, starts the shards, and carries the control thread's questions and
// commands to them. Its own functions run on the control thread.

import Base
import Capture
import Configuration
import EventLoop
import Glibc
import Policy
import Telemetry

/// Why a node could not start: one line that says what and what to do.
public struct NodeError: Error, CustomStringConvertible {
  public let description: String
}

/// A running proxy.
public final class Node: @unchecked Sendable {
  public let configuration: Configuration
  public let registry: Registry
  public let generation: UInt64 = 1
  /// The addresses really bound, in the configuration's order: ports are known even where 0 was asked for.
  public let listenerAddresses: [SocketAddress]
  /// What there was to say about opening the listeners, a line each.
  public let listenerNotes: [String]
  /// The CPU of each shard; nil where it is not pinned.
  public let shardCPUs: [Int?]
  let snapshot: Snapshot
  let shared: NodeShared
  fileprivate let shards: [Shard]
  private let threads: [ShardThread]
  let metrics: NodeMetrics
  /// The control thread's.
  var survey: HostSurvey
  private let listenerKeeping: [ListenerSocket.Keeping]
  /// Whether a process may come after this one, for which sockets are kept. The control thread's own.
  private var keepsListeners = true

  /// Opens everything and starts the shards.
  ///
  /// - Parameters:
  ///   - names: the table the access log's writer reads names from.
  ///   - accessRings: one a shard where an access log is written, else none.
  ///   - keeper: passes listening sockets of an earlier process, and keeps ours for the next one; nil where there is none.
  public static func start(
    _ configuration: Configuration, shardCount: Int, registry: Registry, names: NameTable, accessRings: [AccessRing],
    keeper: (any ListenerKeeper)? = nil
  ) throws(NodeError) -> Node {
    let snapshot = Snapshot(configuration, generation: 1)
    let shared = NodeShared(shardCount: shardCount, logNames: LogNames(snapshot, names))
    let metrics = NodeMetrics(registry: registry)
    var survey = HostSurvey(snapshot.workloads)
    if snapshot.workloads.needsOwners { _ = survey.look() }
    let passed = PassedListeners(keeper?.takePassed() ?? [], for: configuration.listeners)
    var shards: [Shard] = []
    for index in 0..<shardCount {
      do {
        shards.append(
          try Shard(
            index: index, node: shared, snapshot: snapshot, metrics: metrics,
            accessLog: accessRings.isEmpty ? nil : accessRings[index], host: survey.tables,
            passedSockets: passed.count))
      } catch {
        throw NodeError(description: "cannot set up shard \(index): \(error)")
      }
    }
    var opening = ListenerOpening(configuration.listeners, shards: shards, passed: passed, keeper: keeper)
    try opening.run()
    shared.ownPorts = opening.addresses.compactMap(\.port)
    return try Node(
      configuration: configuration, registry: registry, metrics: metrics, snapshot: snapshot, shared: shared,
      shards: shards, listeners: opening, survey: survey)
  }

  private init(
    configuration: Configuration, registry: Registry, metrics: NodeMetrics, snapshot: Snapshot, shared: NodeShared,
    shards: [Shard], listeners: ListenerOpening, survey: HostSurvey
  ) throws(NodeError) {
    self.survey = survey
    self.configuration = configuration
    self.registry = registry
    self.metrics = metrics
    self.snapshot = snapshot
    self.shared = shared
    self.shards = shards
    listenerAddresses = listeners.addresses
    listenerNotes = listeners.notes
    listenerKeeping = listeners.keeping
    for (listener, counts) in zip(configuration.listeners, listeners.counts) {
      for source in ListenerOpening.Source.allCases {
        metrics.listeningSockets.cell(shard: registry.controlShard, labels: [listener.name, source.rawValue])
          .set(Int64(counts[source] ?? 0))
      }
    }
    let cpus = CPUs.allowed()
    // With more shards than CPUs, pinning would only take the kernel's choice away.
    let assigned = shards.indices.map { shards.count <= cpus.count ? cpus[$0] : nil }
    shardCPUs = assigned
    var threads: [ShardThread] = []
    for shard in shards {
      let handle = ShardHandle(shard)
      guard
        let thread = ShardThread.start(
          name: "fl-shard-\(shard.index)", cpu: assigned[shard.index].map(Int32.init), { handle.shard.run() })
      else { throw NodeError(description: "cannot start the thread of shard \(shard.index): \(errnoText())") }
      threads.append(thread)
    }
    self.threads = threads
    for (service, definition) in snapshot.services.enumerated() {
      for endpoint in definition.endpoints {
        let labels = [snapshot.services[service].name, endpoint.address.description, "live"]
        metrics.common.endpointState.cell(shard: registry.controlShard, labels: labels).set(1)
      }
    }
  }

  /// Lets a shard go to its thread: until then, and again after `join`, only the control thread touches it.
  private struct ShardHandle: @unchecked Sendable {
    let shard: Shard
    init(_ shard: Shard) { self.shard = shard }
  }

  // MARK: Commands

  public var shardCount: Int { shards.count }

  /// Stops accepting; connections end as soon as nothing is in progress on them.
  ///
  /// - Parameter forGood: no process comes after this one: listening sockets that are kept for it are shut down, too.
  public func drain(forGood: Bool = false) {
    if forGood { keepsListeners = false }
    for shard in shards { _ = shared.send(.drain(keepsListeners: keepsListeners), to: shard.index) }
  }

  /// Downstream connections that are open.
  public var downstreamConnectionCount: Int { shared.downstreamConnections.value }

  /// Ends all shards, whatever is in progress, and waits for their threads.
  public func stop() {
    for shard in shards { _ = shared.send(.stop, to: shard.index) }
    for thread in threads { thread.join() }
    for shard in shards { shard.destroy() }
    for (address, keeping) in zip(listenerAddresses, listenerKeeping) {
      // The file of a socket that lives on stays with it.
      guard case .unix(let path) = address, keeping == .none || keeping == .byKeeper && !keepsListeners else {
        continue
      }
      unlink(path)
    }
  }

  /// Called from a shard's thread when the access log should be written out soon.
  public func onAccessLogHalfFull(_ wake: @escaping @Sendable () -> Void) { shared.onAccessLogHalfFull(wake) }

  // MARK: Questions

  /// Replies once every shard has turned.
  ///
  /// - Returns: false when a shard's letter-box is full, and no reply will come.
  @discardableResult
  public func ping(_ reply: @escaping @Sendable () -> Void) -> Bool {
    ask(.ping(ShardRoll(expected: shards.count, reply: reply)))
  }

  public func connections(limit: Int, _ reply: @escaping @Sendable ([ShardConnections]) -> Void) {
    ask(.connections(ShardGather(expected: shards.count, reply: reply), limit: limit))
  }

  /// The endpoints' loads, by shard, service and endpoint.
  public func loads(_ reply: @escaping @Sendable ([[[EndpointLoad]]]) -> Void) {
    ask(.loads(ShardGather(expected: shards.count, reply: reply)))
  }

  @discardableResult
  private func ask(_ message: ShardMessage) -> Bool {
    shards.reduce(true) { shared.send(message, to: $1.index) && $0 }
  }

  public func connectionCount(shard: Int) -> Int { shared.connectionCount(of: shard) }

  /// Requests in progress of all services.
  public var inFlightRequestCount: Int { snapshot.services.reduce(0) { $0 + $1.shared.pointee.requests.value } }
}

/// A service and what its counters say.
public struct ServiceSummary: Sendable {
  public let name: String
  /// By status class: none, 1xx … 5xx.
  public let responses: [UInt64]
  public let retries: UInt64
  public let inFlight: Int
  public let endpoints: [Endpoint]
  public let latency: HistogramSnapshot
}

/// An endpoint and what its counters say.
public struct EndpointSummary: Sendable {
  public let service: String
  public let endpoint: Endpoint
  public let inFlight: Int
  public let connections: Int
  public let successes: UInt64
  public let failures: UInt64
}

extension Node {
  /// Every service's counters now.
  public func serviceSummaries() -> [ServiceSummary] {
    snapshot.services.map { definition in
      var responses = [UInt64](repeating: 0, count: ServiceCells.classes.count)
      var latency = HistogramSnapshot()
      for listener in configuration.listeners {
        for (position, statusClass) in ServiceCells.classes.enumerated() {
          responses[position] &+= counter(
            metrics.common.requests.family, [listener.name, definition.name, statusClass])
        }
        if case .histogram(let histogram) = metrics.common.requestDuration.family.value(
          labels: [listener.name, definition.name])
        {
          latency.merge(histogram)
        }
      }
      let retries = ["unreachable", "closed"].reduce(UInt64(0)) {
        $0 &+ counter(metrics.common.retries.family, [definition.name, $1])
      }
      return ServiceSummary(
        name: definition.name, responses: responses, retries: retries,
        inFlight: definition.shared.pointee.requests.value, endpoints: definition.endpoints, latency: latency)
    }
  }

  /// Every endpoint's counters now, in the order of the services and their endpoints.
  public func endpointSummaries() -> [EndpointSummary] {
    snapshot.services.flatMap { definition in
      definition.endpoints.map { endpoint in
        let labels = [definition.name, endpoint.address.description]
        return EndpointSummary(
          service: definition.name, endpoint: endpoint,
          inFlight: gauge(metrics.endpointInFlight.family, labels),
          connections: gauge(metrics.endpointConnections.family, labels),
          successes: counter(metrics.endpointAttempts.family, labels + ["success"]),
          failures: counter(metrics.endpointAttempts.family, labels + ["failure"]))
      }
    }
  }

  /// A shard's longest recent turn.
  public func loopLagNanoseconds(shard: Int) -> UInt64 {
    UInt64(max(0, gauge(metrics.common.loopLag.family, ["\(shard)"])))
  }

  /// Requests finished on a shard.
  public func requestCount(shard: Int) -> UInt64 { shards[shard].statistics.requests.value }

  /// Downstream connections that came through a listener.
  public func connectionCount(listener: Int) -> Int {
    shards.reduce(0) { $0 + Int($1.statistics.listenerConnections(listener).value) }
  }

  public var upstreamConnectionCount: Int { gauge(metrics.common.connections.family, ["upstream"]) }

  func counter(_ family: MetricFamily, _ labels: [String]) -> UInt64 {
    if case .counter(let value) = family.value(labels: labels) { value } else { 0 }
  }

  func gauge(_ family: MetricFamily, _ labels: [String]) -> Int {
    if case .gauge(let value) = family.value(labels: labels) { Int(truncatingIfNeeded: value) } else { 0 }
  }
}
