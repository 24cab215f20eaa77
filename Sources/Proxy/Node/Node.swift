// The node: compiles a configuration, opens the listeners, starts the shards, and carries the control thread's questions and
// commands to them. Its own functions run on the control thread.

import Base
import Capture
import Configuration
public import Discovery
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
  public var configuration: Configuration { snapshot.configuration }
  public let registry: Registry
  public var generation: UInt64 { snapshot.generation }
  /// The addresses really bound, in the configuration's order: ports are known even where 0 was asked for.
  public let listenerAddresses: [SocketAddress]
  /// What there was to say about opening the listeners, a line each.
  public let listenerNotes: [String]
  /// The CPU of each shard; nil where it is not pinned.
  public let shardCPUs: [Int?]
  private(set) var snapshot: Snapshot
  /// Kept until the next one: taking many rules apart is not for a shard to do.
  private var formerSnapshot: Snapshot?
  let directory: ServiceDirectory
  let binder: NameBinder
  private let checker: HealthChecker
  let sources: DiscoverySources
  private let waiting = WaitingQuestions()
  let loop: ControlLoop
  /// When names are forgotten because an answer does not hold any longer.
  private var forgetting: (timer: UInt64, deadline: MonotonicInstant)?
  /// Of what names lead to.
  private var namesGeneration: UInt32 = 1
  let shared: NodeShared
  fileprivate let shards: [Shard]
  private let threads: [ShardThread]
  let metrics: NodeMetrics
  /// The control thread's.
  var survey: HostSurvey
  var workloadNumbering: WorkloadNumbering
  /// Looks for workloads that can be forgotten.
  var settling: UInt64?
  /// The access log's.
  let names: NameTable
  /// Called on the control thread after workloads have changed.
  public var onNewWorkloads: () -> Void = {}
  private let listenerKeeping: [ListenerSocket.Keeping]
  /// Whether a process may come after this one, for which sockets are kept. The control thread's own.
  private var keepsListeners = true

  /// Opens everything and starts the shards.
  ///
  /// - Parameters:
  ///   - names: the table the access log's writer reads names from.
  ///   - accessRings: one a shard where an access log is written, else none.
  ///   - loop: the control thread's: where names are looked up for the shards.
  ///   - log: takes lines for people.
  ///   - keeper: passes listening sockets of an earlier process, and keeps ours for the next one; nil where there is none.
  public static func start(
    _ configuration: Configuration, shardCount: Int, registry: Registry, names: NameTable, accessRings: [AccessRing],
    loop: ControlLoop, keeper: (any ListenerKeeper)? = nil, log: @escaping (String) -> Void = { _ in }
  ) throws(NodeError) -> Node {
    let metrics = NodeMetrics(registry: registry)
    var numbering = WorkloadNumbering()
    let workloads = WorkloadPlan(
      configuration.workloads, numbering: &numbering, metrics: metrics.workloads, shardCount: shardCount,
      logNames: names)
    let snapshot = Snapshot(
      configuration, generation: 1, metrics: metrics, shardCount: shardCount, workloads: workloads,
      logNames: accessRings.isEmpty ? nil : names)
    let shared = NodeShared(shardCount: shardCount, logNames: LogNames(snapshot, names))
    var survey = HostSurvey(workloads.table)
    if workloads.table.needsOwners { _ = survey.look() }
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
    let directory = ServiceDirectory(
      metrics: metrics, shardCount: shardCount, listeners: configuration.listeners.map(\.name), logNames: names
    ) { shared.broadcast($0) }
    directory.zone = configuration.node.zone
    directory.apertureName = Aperture.name(configuration.node.name)
    let checker = HealthChecker(
      loop: loop, metrics: metrics, mark: snapshot.captures ? configuration.capture.mark : 0
    ) { [weak directory] in directory?.showStates(of: $0) }
    directory.onChange = { checker.update($0) }
    directory.setStatic(configuration, hasDestinations: snapshot.hasDestinations) { shared.broadcast(.original($0)) }
    var opening = ListenerOpening(configuration.listeners, shards: shards, passed: passed, keeper: keeper)
    try opening.run()
    shared.ownPorts = opening.addresses.compactMap(\.port)
    let sources = DiscoverySources(configuration, directory, loop, log: log)
    let node = try Node(
      registry: registry, metrics: metrics, snapshot: snapshot, directory: directory, checker: checker,
      sources: sources, loop: loop, shared: shared, shards: shards, listeners: opening, survey: survey,
      numbering: numbering, names: names)
    sources.onNews = { [weak node] names, mayLeadElsewhere in node?.discoveryHasNews(names, mayLeadElsewhere) }
    // Whoever asked before is answered now; whoever asks from now on wakes us.
    shared.onQuestion { [weak node] in loop.post { [weak node] in node?.answerQuestions() } }
    loop.post { [weak node] in node?.answerQuestions() }
    shared.onChangedHealth { [weak node] in loop.post { [weak node] in node?.showHealth() } }
    return node
  }

  private init(
    registry: Registry, metrics: NodeMetrics, snapshot: Snapshot, directory: ServiceDirectory, checker: HealthChecker,
    sources: DiscoverySources, loop: ControlLoop, shared: NodeShared, shards: [Shard], listeners: ListenerOpening,
    survey: HostSurvey, numbering: WorkloadNumbering, names: NameTable
  ) throws(NodeError) {
    self.survey = survey
    workloadNumbering = numbering
    self.names = names
    self.directory = directory
    self.checker = checker
    self.sources = sources
    self.loop = loop
    binder = NameBinder(snapshot.configuration, directory, sources) { shared.broadcast($0) }
    let configuration = snapshot.configuration
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
  }

  // MARK: Names

  /// Answers what shards have asked since the last time.
  private func answerQuestions() { shared.questions.drain { answer($0) } }

  /// Answers a question, or keeps it until discovery has news of what it waits for.
  private func answer(_ question: NameQuestion) {
    guard let resolution = binder.resolve(question) else { return waiting.add(question, for: sources.pending) }
    var holds = question.override == nil
    if holds, let until = sources.holdsUntil {
      // A name that is not there now may be there soon; one that leads elsewhere meanwhile is looked at again then.
      if case .failed = resolution { holds = false } else { forgetNames(at: until) }
    }
    let answer = NameAnswer(
      resolution: resolution, holds: holds, snapshotGeneration: question.snapshotGeneration,
      exchange: question.exchange,
      exchangeGeneration: question.exchangeGeneration)
    _ = shared.send(.answer(answer), to: question.shard)
  }

  private func discoveryHasNews(_ names: [BoundName], _ mayLeadElsewhere: Bool) {
    if mayLeadElsewhere { forgetNames() }
    for question in waiting.take(names) { answer(question) }
  }

  /// Names may lead elsewhere from now on: shards forget what they know.
  private func forgetNames() {
    namesGeneration &+= 1
    binder.forget()
    shared.broadcast(.forgetNames(generation: namesGeneration))
    sources.namesForgotten()
  }

  /// Names are forgotten then, but not more often than once a second.
  private func forgetNames(at instant: MonotonicInstant) {
    let deadline = max(instant, MonotonicInstant.now().advanced(byNanoseconds: 1_000_000_000))
    if let forgetting {
      if forgetting.deadline <= deadline { return }
      loop.cancel(forgetting.timer)
    }
    let timer = loop.schedule(at: deadline) { [weak self] in
      self?.forgetting = nil
      self?.forgetNames()
    }
    forgetting = (timer, deadline)
  }

  /// How the sources of the configuration are, in its order.
  public func discoveryReports() -> [SourceReport] { sources.reports() }

  /// Which source tells of a service's endpoints, by the service's number, and whether it still does.
  public func endpointSources() -> [UInt32: (prefix: String, state: String)] {
    var found: [UInt32: (prefix: String, state: String)] = [:]
    for entry in directory.all {
      guard let path = try? Path(parsing: entry.service.boundName), let name = BoundName(path) else { continue }
      found[entry.service.number] = sources.freshness(of: name).map { (name.prefix, $0.state.rawValue) }
    }
    return found
  }

  /// How a name is delegated, step by step; `override` is added to the table, as a request's own would be.
  public func explain(_ name: Path, override: [DelegationEntry]) -> (binding: Binding, steps: [DelegationStep]) {
    binder.explain(name, override: override)
  }

  /// How many endpoints a service has; nil for one that the node does not have.
  public func endpointCount(of service: BoundName) -> Int? { directory[service.description]?.endpoints.count }

  // MARK: Health

  /// Shows which endpoints are out, after shards have said that something changed.
  private func showHealth() {
    var services: Set<ServiceNumber> = []
    shared.changedHealth.drain { services.insert($0) }
    for number in services { directory.showStates(of: number) }
  }

  // MARK: Configuration

  /// Another configuration holds from now on. What cannot change while the node runs must be the same
  /// (`Configuration.changesThatNeedRestart`).
  public func publish(_ configuration: Configuration) {
    let workloads = workloadPlan(of: configuration)
    let haveWorkloadsChanged = workloads !== snapshot.workloads
    let next = Snapshot(
      configuration, generation: snapshot.generation &+ 1, metrics: metrics, shardCount: shards.count,
      workloads: workloads, logNames: shards.contains { $0.accessLog != nil } ? names : nil, former: snapshot)
    let former = Set(snapshot.configuration.staticServiceNames)
    directory.zone = configuration.node.zone
    directory.apertureName = Aperture.name(configuration.node.name)
    directory.setStatic(configuration, hasDestinations: next.hasDestinations)
    sources.follow(configuration)
    binder.take(configuration)
    for label in Set(snapshot.configuration.routeLabels).subtracting(configuration.routeLabels) {
      metrics.routing.requests.retire(labels: [label])
    }
    for label in Set(snapshot.configuration.limitedRouteLabels).subtracting(configuration.limitedRouteLabels) {
      metrics.workloads.rateLimited.retire(labels: ["route", label])
    }
    formerSnapshot = snapshot
    snapshot = next
    shared.broadcast(.publish(next, survey.tables))
    if haveWorkloadsChanged { onNewWorkloads() }
    forgetNames()
    for name in former.subtracting(configuration.staticServiceNames) { directory.remove(name) }
    for question in waiting.takeAll() { answer(question) }
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
    checker.stop()
    for shard in shards { _ = shared.send(.stop, to: shard.index) }
    for thread in threads { thread.join() }
    sources.stop()
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
    ask(.connections(gather(reply), limit: limit))
  }

  /// What the shards' balancers have measured, by shard.
  public func loads(_ reply: @escaping @Sendable ([[ShardLoad]]) -> Void) {
    ask(.loads(gather(reply)))
  }

  /// Answers are taken on the control thread: what is made of ten thousand of them is not for a shard to do.
  private func gather<Answer: Sendable>(_ reply: @escaping @Sendable ([Answer]) -> Void) -> ShardGather<Answer> {
    ShardGather(expected: shards.count) { [loop] answers in loop.post { reply(answers) } }
  }

  @discardableResult
  private func ask(_ message: ShardMessage) -> Bool {
    shards.reduce(true) { shared.send(message, to: $1.index) && $0 }
  }

  public func connectionCount(shard: Int) -> Int { shared.connectionCount(of: shard) }

  /// Requests in progress of all services.
  public var inFlightRequestCount: Int { directory.all.reduce(0) { $0 + $1.service.shared.pointee.requests.value } }
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
  /// The service's.
  public let number: UInt32
  public let endpoint: Endpoint
  /// Its weight, or as much of it as its slow start allows.
  public let effectiveWeight: Double
  /// `live`, `ejected` or `unhealthy`.
  public let state: String
  /// Why its last active check failed; nil when it did not.
  public let checkFailure: String?
  public let inFlight: Int
  public let connections: Int
  public let successes: UInt64
  public let failures: UInt64
}

extension Node {
  /// Every service's counters now.
  public func serviceSummaries() -> [ServiceSummary] {
    directory.all.map { entry in
      let definition = entry.service
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
      let retries = RetryReason.allCases.reduce(UInt64(0)) {
        $0 &+ counter(metrics.common.retries.family, [definition.name, $1.rawValue])
      }
      return ServiceSummary(
        name: definition.name, responses: responses, retries: retries,
        inFlight: definition.shared.pointee.requests.value, endpoints: entry.endpoints, latency: latency)
    }
  }

  /// Every endpoint's counters now, in the order of the services and their endpoints.
  public func endpointSummaries() -> [EndpointSummary] {
    let now = MonotonicInstant.now()
    return directory.all.flatMap { entry in
      entry.endpoints.map { endpoint in
        let labels = [entry.service.name, endpoint.address.description]
        return EndpointSummary(
          service: entry.service.name, number: entry.service.number, endpoint: endpoint,
          effectiveWeight: entry.effectiveWeight(of: endpoint, now: now),
          state: entry.state(of: endpoint).rawValue,
          checkFailure: entry.members[endpoint.address]?.checkFailure?.text,
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

  /// Services there are, that of original destinations aside.
  public var serviceCount: Int { directory.count - (snapshot.hasDestinations ? 1 : 0) }

  /// What services are called that connections name by their numbers; empty for a number that has none.
  public var serviceNames: [String] { directory.namesByNumber }

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
