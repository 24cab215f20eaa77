// What a shard counts, and where: cells looked up once, when the shard and its services are set up, and written with a load,
// an add and a store from then on.

import Base
import Capture
import Policy
import Telemetry

/// One endpoint's cells on one shard.
struct EndpointCells {
  let succeeded: CounterCell
  let failed: CounterCell
  let inFlight: GaugeCell
  let connections: GaugeCell
}

/// One service's cells on one shard.
struct ServiceCells {
  /// By listener and status class: `none`, then 1xx to 5xx.
  private let requests: UnsafeMutablePointer<CounterCell>
  private let durations: UnsafeMutablePointer<HistogramCell>
  let attemptDuration: HistogramCell
  let unreachableRetries: CounterCell
  let closedRetries: CounterCell
  let statusRetries: CounterCell
  let timeoutRetries: CounterCell
  let exhaustedRetries: CounterCell
  /// 1 while this shard uses all endpoints, however few are healthy.
  let panic: GaugeCell
  /// By outcome.
  private let hedges: InlineArray<4, CounterCell>
  let rateLimited: CounterCell
  private let streams: UnsafeMutablePointer<CounterCell>
  private let streamBytesIn: CounterCell
  private let streamBytesOut: CounterCell
  private let listenerCount: Int
  /// By gRPC's status code; nil for those that have not come yet, for most services have none.
  let grpcResponses: UnsafeMutablePointer<CounterCell?>

  static let classes = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"]

  init(metrics: NodeMetrics, shard: Int, service: String, listeners: [String]) {
    let classCount = ServiceCells.classes.count
    listenerCount = listeners.count
    requests = .allocate(capacity: max(listeners.count * classCount, 1))
    durations = .allocate(capacity: max(listeners.count, 1))
    streams = .allocate(capacity: max(listeners.count, 1))
    for (position, listener) in listeners.enumerated() {
      for (number, name) in ServiceCells.classes.enumerated() {
        (requests + position * classCount + number).initialize(
          to: metrics.common.requests.cell(shard: shard, labels: [listener, service, name]))
      }
      (streams + position).initialize(to: metrics.streams.cell(shard: shard, labels: [listener, service]))
      (durations + position).initialize(
        to: metrics.common.requestDuration.cell(shard: shard, labels: [listener, service]))
    }
    grpcResponses = .allocate(capacity: GRPCStatus.count)
    grpcResponses.initialize(repeating: nil, count: GRPCStatus.count)
    streamBytesIn = metrics.streamBytes.cell(shard: shard, labels: [service, "in"])
    streamBytesOut = metrics.streamBytes.cell(shard: shard, labels: [service, "out"])
    attemptDuration = metrics.common.attemptDuration.cell(shard: shard, labels: [service])
    unreachableRetries = metrics.common.retries.cell(shard: shard, labels: [service, "unreachable"])
    closedRetries = metrics.common.retries.cell(shard: shard, labels: [service, "closed"])
    statusRetries = metrics.common.retries.cell(shard: shard, labels: [service, "status"])
    timeoutRetries = metrics.common.retries.cell(shard: shard, labels: [service, "timeout"])
    rateLimited = metrics.workloads.rateLimited.cell(shard: shard, labels: ["service", service])
    exhaustedRetries = metrics.common.retryBudgetExhausted.cell(shard: shard, labels: [service])
    panic = metrics.balancerPanic.cell(shard: shard, labels: [service])
    hedges = InlineArray { metrics.hedges.cell(shard: shard, labels: [service, HedgeOutcome.allCases[$0].rawValue]) }
  }

  func deallocate() {
    requests.deallocate()
    durations.deallocate()
    streams.deallocate()
    grpcResponses.deallocate()
  }

  func countHedge(_ outcome: HedgeOutcome) {
    switch outcome {
    case .won: hedges[0].add(1)
    case .lost: hedges[1].add(1)
    case .failed: hedges[2].add(1)
    case .refused: hedges[3].add(1)
    }
  }

  func countStream(listener: Int) {
    precondition(listener < listenerCount, "a listener of another snapshot")
    streams[listener].add(1)
  }

  /// Bytes that came from a client, or from an endpoint.
  func countStreamBytes(_ role: ConnectionRole, _ count: Int) {
    (role == .downstream ? streamBytesIn : streamBytesOut).add(UInt64(count))
  }

  /// Counts a request that ended with `status` (0: without an answer).
  func count(listener: Int, status: UInt16, nanoseconds: UInt64) {
    precondition(listener < listenerCount, "a listener of another snapshot")
    let statusClass = min(Int(status / 100), 5)
    requests[listener &* ServiceCells.classes.count &+ statusClass].add(1)
    durations[listener].record(nanoseconds: nanoseconds)
  }
}

/// A shard's cells that belong to no service.
final class ShardStatistics {
  let downstreamConnections: GaugeCell
  let shardConnections: GaugeCell
  let upstreamConnections: GaugeCell
  let downstreamStreams: GaugeCell
  let upstreamStreams: GaugeCell
  let unansweredPings: CounterCell
  let requests: CounterCell
  let accepted: CounterCell
  let opened: CounterCell
  let pendingRequests: GaugeCell
  let connectFailures: CounterCell
  let acceptFailures: CounterCell
  let handedOver: CounterCell
  let receiveBufferShortages: CounterCell
  let descriptorShortages: CounterCell
  let originalDestinations: GaugeCell
  let sourcesNotKept: CounterCell
  let workloads: WorkloadCells
  let routing: RoutingCells
  /// What came of the questions whose the other end of a connection is.
  let foundOwners: CounterCell
  let absentOwners: CounterCell
  let failedOwners: CounterCell
  /// Connections that went on before their cgroup was known.
  let lateAttributions: CounterCell
  private let captured: [InlineArray<4, CounterCell>]
  private let clientHellos: [InlineArray<8, CounterCell>]
  private let proxyHeaders: [InlineArray<6, CounterCell>]
  private let bytesIn: CounterCell
  private let bytesOut: CounterCell
  private let loopLag: GaugeCell
  private let turns: CounterCell
  private let overloadState: GaugeCell
  private let overloadChanges: CounterCell
  private let errors: UnsafeMutablePointer<CounterCell>
  private let listeners: [GaugeCell]
  private let unknownServices: ServiceCells
  private let metrics: NodeMetrics
  private let shard: Int
  /// Keeps the memory of `workloads` where no snapshot does.
  private let ownPlan: WorkloadPlan?

  /// - Parameter workloads: nil for none.
  init(metrics: NodeMetrics, shard: Int, listeners: [String], workloads: WorkloadPlan? = nil) {
    self.metrics = metrics
    self.shard = shard
    let common = metrics.common
    downstreamConnections = common.connections.cell(shard: shard, labels: ["downstream"])
    upstreamConnections = common.connections.cell(shard: shard, labels: ["upstream"])
    downstreamStreams = metrics.http2Streams.cell(shard: shard, labels: ["downstream"])
    upstreamStreams = metrics.http2Streams.cell(shard: shard, labels: ["upstream"])
    unansweredPings = metrics.unansweredPings.cell(shard: shard)
    shardConnections = metrics.shardConnections.cell(shard: shard, labels: ["\(shard)"])
    requests = metrics.shardRequests.cell(shard: shard, labels: ["\(shard)"])
    self.listeners = listeners.map { metrics.listenerConnections.cell(shard: shard, labels: [$0]) }
    accepted = common.connectionsOpened.cell(shard: shard, labels: ["downstream"])
    opened = common.connectionsOpened.cell(shard: shard, labels: ["upstream"])
    pendingRequests = metrics.pendingRequests.cell(shard: shard)
    connectFailures = metrics.connectFailures.cell(shard: shard)
    acceptFailures = metrics.acceptFailures.cell(shard: shard)
    handedOver = metrics.handedOver.cell(shard: shard)
    receiveBufferShortages = metrics.bufferShortages.cell(shard: shard)
    descriptorShortages = metrics.descriptorShortages.cell(shard: shard)
    originalDestinations = metrics.originalDestinations.cell(shard: shard)
    sourcesNotKept = metrics.sourcesNotKept.cell(shard: shard)
    captured = listeners.map { listener in
      InlineArray { metrics.captured.cell(shard: shard, labels: [listener, "\(CapturedProtocol.allCases[$0])"]) }
    }
    clientHellos = listeners.map { listener in
      InlineArray { metrics.clientHellos.cell(shard: shard, labels: [listener, "\(ClientHelloOutcome.allCases[$0])"]) }
    }
    proxyHeaders = listeners.map { listener in
      InlineArray { metrics.proxyHeaders.cell(shard: shard, labels: [listener, "\(ProxyHeaderOutcome.allCases[$0])"]) }
    }
    let plan = workloads ?? WorkloadPlan(metrics: metrics.workloads, shardCount: shard + 1)
    ownPlan = workloads == nil ? plan : nil
    self.workloads = WorkloadCells(plan, shard: shard)
    routing = RoutingCells(metrics.routing, shard: shard)
    foundOwners = metrics.workloads.lookups.cell(shard: shard, labels: ["found"])
    absentOwners = metrics.workloads.lookups.cell(shard: shard, labels: ["absent"])
    failedOwners = metrics.workloads.lookups.cell(shard: shard, labels: ["failed"])
    lateAttributions = metrics.workloads.lookups.cell(shard: shard, labels: ["late"])
    bytesIn = common.bytes.cell(shard: shard, labels: ["in"])
    bytesOut = common.bytes.cell(shard: shard, labels: ["out"])
    loopLag = common.loopLag.cell(shard: shard, labels: ["\(shard)"])
    turns = metrics.turns.cell(shard: shard, labels: ["\(shard)"])
    overloadState = metrics.overloadState.cell(shard: shard, labels: ["\(shard)"])
    overloadChanges = metrics.overloadChanges.cell(shard: shard, labels: ["\(shard)"])
    let all = ProxyError.all
    errors = .allocate(capacity: all.count)
    for (position, error) in all.enumerated() {
      (errors + position).initialize(to: common.errors.cell(shard: shard, labels: ["FL\(error.code)"]))
    }
    unknownServices = metrics.serviceCells(shard: shard, service: "unknown", listeners: listeners)
  }

  deinit {
    errors.deallocate()
    unknownServices.deallocate()
    workloads.deallocate()
  }

  func listenerConnections(_ listener: Int) -> GaugeCell { listeners[listener] }

  /// A downstream connection opened (1) or closed (-1).
  func countDownstream(_ change: Int64, listener: Int) {
    downstreamConnections.add(change)
    shardConnections.add(change)
    listeners[listener].add(change)
  }

  func countReceived(_ role: ConnectionRole, _ count: Int, workload: WorkloadNumber) {
    guard role == .downstream else { return }
    bytesIn.add(UInt64(count))
    workloads.countReceived(workload, UInt64(count))
  }

  func countSent(_ role: ConnectionRole, _ count: Int, workload: WorkloadNumber) {
    guard role == .downstream else { return }
    bytesOut.add(UInt64(count))
    workloads.countSent(workload, UInt64(count))
  }

  func countError(_ error: ProxyError) { errors[error.position].add(1) }

  /// The longest of the recent turns: an old one's weight halves with every few hundred turns.
  func countTurn(nanoseconds: UInt64) {
    turns.add(1)
    let lag = loopLag.value
    loopLag.set(max(Int64(truncatingIfNeeded: nanoseconds), lag - lag >> 9))
  }

  func countOverload(_ overload: OverloadController, changed: Bool) {
    if changed { overloadChanges.add(1) }
    overloadState.set(overload.state == .normal ? 0 : overload.reason == .loopLag ? 1 : 2)
  }

  func countRetry(_ service: UnsafeMutablePointer<ShardService>, _ reason: RetryReason) {
    switch reason {
    case .unreachable: service.pointee.cells.unreachableRetries.add(1)
    case .closed: service.pointee.cells.closedRetries.add(1)
    case .status: service.pointee.cells.statusRetries.add(1)
    case .timeout: service.pointee.cells.timeoutRetries.add(1)
    }
  }

  func countAttempt(
    _ service: UnsafeMutablePointer<ShardService>, _ endpoint: Int, failed: Bool, elapsedNanoseconds: UInt64
  ) {
    service.pointee.cells.attemptDuration.record(nanoseconds: elapsedNanoseconds)
    let cells = service.pointee.endpoints[endpoint].cells
    (failed ? cells.failed : cells.succeeded).add(1)
  }

  /// A connection with an original destination whose protocol has become known.
  func countCaptured(listener: Int, _ spoken: CapturedProtocol) { captured[listener][spoken.rawValue].add(1) }

  func countClientHello(listener: Int, _ outcome: ClientHelloOutcome) {
    clientHellos[listener][outcome.rawValue].add(1)
  }

  func countProxyHeader(listener: Int, _ outcome: ProxyHeaderOutcome) {
    proxyHeaders[listener][outcome.rawValue].add(1)
  }

  /// A stream that has found its service.
  func countStream(_ service: UnsafeMutablePointer<ShardService>, _ exchange: ExchangePointer) {
    service.pointee.cells.countStream(listener: Int(exchange.pointee.listener))
  }

  /// A request that was refused before it could name a service.
  func countUnnamed(listener: Int, workload: WorkloadNumber, status: UInt16) {
    workloads.countRequest(workload, status: status)
    unknownServices.count(listener: listener, status: status, nanoseconds: 0)
  }

  /// A finished exchange; one that found no service counts under `unknown`.
  func countExchange(
    _ exchange: ExchangePointer, _ services: ShardServices, workload: WorkloadNumber, now: MonotonicInstant
  ) {
    // A stream is no request: it was counted when it began.
    if exchange.pointee.flags.isStreamAlone { return }
    requests.add(1)
    let nanoseconds = now.nanoseconds(since: exchange.pointee.startedAt)
    let listener = Int(exchange.pointee.listener)
    // What we answer ourselves has a status of its own.
    let grpcStatus = exchange.pointee.errorCode == 0 ? exchange.pointee.grpcStatus?.httpStatus : nil
    let status = grpcStatus ?? exchange.pointee.status
    if let grpc = exchange.pointee.grpcStatus { countGRPC(grpc, services.find(exchange.pointee.service)) }
    workloads.countRequest(workload, status: status)
    if exchange.pointee.service == noSlot {
      unknownServices.count(listener: listener, status: status, nanoseconds: nanoseconds)
    } else {
      services.service(exchange.pointee.service).pointee.cells.count(
        listener: listener, status: status, nanoseconds: nanoseconds)
    }
  }

  /// How a gRPC call ended. The first of its kind at a service finds its cell, which locks; there are 17 kinds.
  private func countGRPC(_ status: GRPCStatus, _ service: UnsafeMutablePointer<ShardService>?) {
    let cells = service?.pointee.cells.grpcResponses ?? unknownServices.grpcResponses
    let place = min(Int(status.code), GRPCStatus.count - 1)
    if let cell = cells[place] {
      cell.add(1)
      return
    }
    let name = service.map { $0.pointee.identity.takeUnretainedValue().name } ?? "unknown"
    let cell = metrics.grpcResponses.cell(shard: shard, labels: [name, String(status.code)])
    cells[place] = cell
    cell.add(1)
  }
}
