// One event-loop thread: its ring, its connections and exchanges, its timers, its upstream pools, its statistics. Nothing
// of a shard is shared, so nothing here locks; what is read from outside are single-writer cells.
//
// A turn:  submit and wait (one system call) → completions → expired timers → messages → flush → close → again.

import Base
import Capture
import Configuration
import EventLoop
import Glibc
import HTTP
import Policy
import TLS
import Telemetry

/// A shard. Made and destroyed by its node; everything else runs on its own thread.
final class Shard {
  let index: Int
  let node: NodeShared
  /// Read where it does not matter what that costs; what every request needs stands in `state` and in plain memory.
  var snapshot: Snapshot
  let sendsVia: Bool
  let ring: Ring
  let connections: Slab<Connection>
  let connectionTimers: TimerWheel
  let exchanges: Slab<Exchange>
  let exchangeTimers: TimerWheel
  /// By exchange, in time of its own (`hedgeTime`).
  let hedgeTimers: TimerWheel
  let sendVectors: Slab<SendVector>
  let segments: SegmentStore
  let http2: ShardHTTP2
  let services: ShardServices
  /// Those of the endpoints of `(original)`, all in one series; nil where nothing is captured.
  let originalCells: EndpointCells?
  let names: NameCache
  let trees = ShardTrees()
  /// Where a logical name is put together.
  let nameScratch: UnsafeMutableRawBufferPointer
  /// Where a ClientHello is put together that lies in several records.
  let helloScratch: UnsafeMutableRawBufferPointer
  /// What matches with the patterns of rules work in.
  let patterns = PatternMatcher()
  let statistics: ShardStatistics
  let accessLog: AccessRing?
  let records: Slab<AccessRecord>
  let requestHead: UnsafeMutablePointer<RequestHead>
  let responseHead: UnsafeMutablePointer<ResponseHead>
  let trailerFields: UnsafeMutablePointer<FieldTable>
  /// The snapshot's `via` lines and pseudonym as plain memory of this shard: reading them costs no reference count.
  let viaLines: ViaLines
  let viaPseudonym: UnsafeRawBufferPointer
  /// Room for a `via` line, and a `traceparent` line at its end whose value is written anew for each request that brings none.
  let traceLines: UnsafeMutableRawBufferPointer
  /// The name of the caller's deadline, and where the lines of a request that has one are put together.
  let deadlineName: UnsafeRawBufferPointer
  let deadlineLines: UnsafeMutableRawBufferPointer
  /// Where the text of an address is put for a request without a host.
  let authorityText: UnsafeMutableRawBufferPointer
  let listeners: UnsafeMutablePointer<ListenerSocket>
  let listenerCapacity: Int
  /// By the configuration's order.
  let listenerPolicies: UnsafeMutablePointer<ShardListener>
  /// Nil where nothing is captured.
  let destinations: OriginalDestinations?
  /// SO_MARK of upstream sockets; 0 for none.
  let upstreamMark: UInt32
  /// Nil where no workloads are or were configured.
  var callers: Callers?
  let state: UnsafeMutablePointer<ShardState>
  let sharing: UnsafeMutablePointer<Sharing>
  private let batch: UnsafeMutablePointer<Completion>

  private static let batchCapacity = 256
  /// Requests in progress on one shard. Each has a downstream connection, so there are never more of them than those.
  private static let exchangeCapacity: UInt32 = 1 << 20

  /// - Parameter passedSockets: how many listening sockets this shard may have besides one a listener.
  init(
    index: Int, node: NodeShared, snapshot: Snapshot, metrics: NodeMetrics, accessLog: AccessRing?, host: HostTables,
    passedSockets: Int
  ) throws {
    self.index = index
    self.node = node
    self.snapshot = snapshot
    self.accessLog = accessLog
    sendsVia = snapshot.sendsVia
    let now = MonotonicInstant.now()
    let limits = ShardLimits(snapshot.configuration.limits)
    ring = try Ring()
    segments = try SegmentStore(receiveBuffers: ReceiveBufferPool(ring: ring))
    let capacity = Shard.connectionCapacity(snapshot)
    connections = try Slab(capacity: capacity)
    connectionTimers = try TimerWheel(capacity: capacity, now: now)
    exchanges = try Slab(capacity: Shard.exchangeCapacity)
    exchangeTimers = try TimerWheel(capacity: Shard.exchangeCapacity, now: now)
    hedgeTimers = try TimerWheel(capacity: Shard.exchangeCapacity, now: Shard.hedgeTime(now))
    sendVectors = try Slab(capacity: capacity)
    records = try Slab(capacity: Shard.exchangeCapacity)
    http2 = try ShardHTTP2(capacity: capacity, limits: limits.head)
    services = try ShardServices(shard: index)
    originalCells =
      snapshot.hasDestinations ? metrics.endpointCells(shard: index, service: "(original)", endpoint: "any") : nil
    var random = RandomSource.seededByKernel()
    names = NameCache(random: &random)
    statistics = ShardStatistics(
      metrics: metrics, shard: index, listeners: snapshot.configuration.listeners.map(\.name),
      workloads: snapshot.workloads)
    callers = Callers(snapshot.workloads.table, host: host)
    requestHead = .allocate(capacity: 1)
    requestHead.initialize(to: RequestHead(maximumFields: limits.head.headers))
    responseHead = .allocate(capacity: 1)
    responseHead.initialize(to: ResponseHead(maximumFields: limits.head.headers))
    trailerFields = .allocate(capacity: 1)
    trailerFields.initialize(to: FieldTable(capacity: limits.head.headers))
    viaLines = ViaLines(snapshot.sendsVia ? snapshot.viaPseudonym : nil)
    viaPseudonym = .copy(snapshot.viaPseudonym)
    let trace = "traceparent: " + String(repeating: "0", count: TraceContext.encodedByteCount) + "\r\n"
    traceLines = UnsafeMutableRawBufferPointer(
      mutating: .copy([UInt8](repeating: 0, count: viaLines.longest) + Array(trace.utf8)))
    deadlineName = .copy(Array("l5d-ctx-deadline".utf8))
    deadlineLines = .allocate(
      byteCount: traceLines.count + deadlineName.count + Deadline.encodedByteCount + 4, alignment: 8)
    authorityText = .allocate(byteCount: 64, alignment: 8)
    listenerCapacity = snapshot.configuration.listeners.count + passedSockets
    listeners = .allocate(capacity: max(listenerCapacity, 1))
    listenerPolicies = .allocate(capacity: max(snapshot.configuration.listeners.count, 1))
    for (position, listener) in snapshot.configuration.listeners.enumerated() {
      (listenerPolicies + position).initialize(to: ShardListener(listener, snapshot))
    }
    destinations =
      snapshot.hasDestinations
      ? OriginalDestinations(
        capacity: UInt32(clamping: snapshot.configuration.limits.destinations), random: &random) : nil
    upstreamMark = snapshot.captures ? snapshot.configuration.capture.mark : 0
    batch = .allocate(capacity: Shard.batchCapacity)
    state = .allocate(capacity: 1)
    state.initialize(to: ShardState(now: now, random: random, limits: limits, identifiers: snapshot.identifiers))
    nameScratch = .allocate(byteCount: Path.maximumByteCount, alignment: 8)
    helloScratch = .allocate(byteCount: ClientHello.maximumMessageByteCount, alignment: 8)
    sharing = .allocate(capacity: 1)
    sharing.initialize(
      to: try Sharing(snapshot.workloads, exchanges: Shard.exchangeCapacity, now: now))
    setNaming()
    setRoutes()
  }

  /// Downstream connections up to the node's limit, and as many upstream ones; that is address space, not memory. Services
  /// may have more in all: then connections to endpoints are refused for want of room.
  private static func connectionCapacity(_ snapshot: Snapshot) -> UInt32 {
    UInt32(clamping: min(max(snapshot.configuration.limits.connections * 2, 1 << 18), 1 << 22))
  }

  var limits: ShardLimits { @inline(__always) get { state.pointee.limits } }

  // MARK: The loop

  /// Runs until told to stop. The shard's thread lives in here.
  func run() {
    do throws(RingError) { try ring.enable() } catch { fatalStart(error) }
    // The services come first.
    takeMessages()
    armWakeup()
    armAccepts()
    while !state.pointee.isStopping {
      ring.submitAndWait(timeoutNanoseconds: waitLimit())
      state.pointee.now = .now()
      let begin = state.pointee.now
      takeCompletions()
      expireTimers()
      retryStarved()
      settleOverdueAttributions()
      sweepServices()
      if let retry = state.pointee.acceptRetryAt, retry <= state.pointee.now, !state.pointee.isDraining {
        state.pointee.acceptRetryAt = nil
        armAccepts()
      }
      serveWaiting()
      endTurn()
      let elapsed = MonotonicInstant.now().nanoseconds(since: begin)
      statistics.countTurn(nanoseconds: elapsed)
      watchLoad(turnNanoseconds: elapsed)
    }
  }

  /// The probe enabled a ring like this one a moment ago; when this one cannot be, there is nothing to run on.
  private func fatalStart(_ error: RingError) -> Never {
    preconditionFailure("shard \(index): the ring that was set up cannot be enabled: \(error)")
  }

  func deadline(after nanoseconds: UInt64) -> MonotonicInstant {
    state.pointee.now.advanced(byNanoseconds: nanoseconds)
  }

  private func takeCompletions() {
    while true {
      let count = ring.takeCompletions(into: batch, capacity: Shard.batchCapacity)
      for position in 0..<count { handle(batch[position]) }
      if count < Shard.batchCapacity { return }
      state.pointee.now = .now()
    }
  }

  private func handle(_ completion: Completion) {
    guard let kind = completion.tag.kind else { return }
    switch kind {
    case .receive, .send, .connect:
      guard
        let connection = connections.pointer(
          completion.tag.slot, generation: completion.tag.generation, mask: 0xFF_FFFF)
      else { return }
      switch kind {
      case .receive: received(connection, completion)
      case .send: sent(connection, completion.result)
      default: connected(connection, completion.result)
      }
    case .accept: accepted(completion)
    case .wakeup: wokenUp()
    case .cancel: break
    }
  }

  private func expireTimers() {
    while let index = connectionTimers.popExpired(state.pointee.now) {
      if connections.isAllocated(index) { connectionExpired(connections.pointer(index)) }
    }
    while let index = exchangeTimers.popExpired(state.pointee.now) {
      if exchanges.isAllocated(index) { exchangeExpired(exchanges.pointer(index)) }
    }
    while let index = hedgeTimers.popExpired(Shard.hedgeTime(state.pointee.now)) {
      if exchanges.isAllocated(index) { hedgeIsDue(exchanges.pointer(index)) }
    }
  }

  private func waitLimit() -> UInt64? {
    if hasWaitingWork { return 0 }
    // The clock as of the end of the turn: what was scheduled in it counts from there.
    let now = state.pointee.now
    var wake = connectionTimers.nextWake(after: now)
    if let other = exchangeTimers.nextWake(after: now), wake.map({ other < $0 }) ?? true { wake = other }
    if let hedge = nextHedge(after: now), wake.map({ hedge < $0 }) ?? true { wake = hedge }
    if let retry = state.pointee.acceptRetryAt, wake.map({ retry < $0 }) ?? true { wake = retry }
    if let sweep = state.pointee.sweepAt, wake.map({ sweep < $0 }) ?? true { wake = sweep }
    if let settle = nextAttribution, wake.map({ settle < $0 }) ?? true { wake = settle }
    if state.pointee.starved.count > 0 {
      let soon = now.advanced(byNanoseconds: 10_000_000)
      if wake.map({ soon < $0 }) ?? true { wake = soon }
    }
    return wake.map { $0.nanoseconds(since: now) }
  }

  /// Begins attempts, flushes, closes, and gives buffers back to the kernel. Each can make work for the others, so all go on
  /// until nothing is left.
  private func endTurn() {
    if state.pointee.lacksDescriptors {
      state.pointee.lacksDescriptors = false
      shedIdleConnections()
    }
    repeat {
      beginRepeated()
      var position = 0
      while position < state.pointee.dirty.count {
        let entry = state.pointee.dirty[position]
        if let connection = connections.pointer(entry.index, generation: entry.generation) { flush(connection) }
        position += 1
      }
      state.pointee.dirty.removeFirst(position)
      reapClosing()
    } while state.pointee.dirty.count > 0 || state.pointee.repeated.count > 0
    segments.receiveBuffers.publish()
  }

  private func reapClosing() {
    let count = state.pointee.closing.count
    for position in 0..<count {
      let entry = state.pointee.closing[position]
      guard let connection = connections.pointer(entry.index, generation: entry.generation) else { continue }
      if !reap(connection) { state.pointee.closing.append(entry.index, entry.generation) }
    }
    state.pointee.closing.removeFirst(count)
  }

  private func retryStarved() {
    let count = state.pointee.starved.count
    guard count > 0, segments.receiveBuffers.canServe else { return }
    for position in 0..<count {
      let entry = state.pointee.starved[position]
      guard let connection = connections.pointer(entry.index, generation: entry.generation) else { continue }
      connection.pointee.flags.remove(.starved)
      armReceive(connection)
    }
    state.pointee.starved.removeFirst(count)
  }

  private func connectionExpired(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.closing) { return }
    switch connection.pointee.role {
    case .downstream: downstreamExpired(connection)
    case .upstream:
      if connection.pointee.flags.contains(.connecting) {
        connectFailed(connection, .connectTimeout)
      } else if connection.pointee.wire == .multiplexed {
        multiplexedExpired(connection)
      } else {
        close(connection)
      }
    }
  }

  /// Frees everything. After `run` has returned, on any thread.
  func destroy() {
    ring.destroy()
    for slot in 0..<connections.highWater where connections.isAllocated(slot) {
      let connection = connections.pointer(slot)
      if connection.pointee.wire == .multiplexed { freeHTTP2(connection) }
      if !connection.pointee.flags.isDisjoint(with: [.sink, .stream]) { continue }
      if connection.pointee.exchange != noSlot || connection.pointee.unsentByteCount > 0 {
        resetOnClose(connection.pointee.descriptor)
      }
      Glibc.close(connection.pointee.descriptor)
    }
    for position in 0..<state.pointee.listenerCount where listeners[position].descriptor >= 0 {
      Glibc.close(listeners[position].descriptor)
    }
    // Handed over, and never taken.
    node.mailbox(of: index).drain { if case .adopt(let descriptor, _) = $0 { Glibc.close(descriptor) } }
    http2.destroy()
    segments.receiveBuffers.destroy()
    segments.destroy()
    connections.destroy()
    connectionTimers.destroy()
    exchanges.destroy()
    exchangeTimers.destroy()
    hedgeTimers.destroy()
    sendVectors.destroy()
    records.destroy()
    names.destroy()
    destroyRoutes()
    patterns.destroy()
    requestHead.deinitialize(count: 1)
    requestHead.deallocate()
    responseHead.deinitialize(count: 1)
    responseHead.deallocate()
    trailerFields.deinitialize(count: 1)
    trailerFields.deallocate()
    viaLines.deallocate()
    viaPseudonym.deallocate()
    traceLines.deallocate()
    deadlineName.deallocate()
    deadlineLines.deallocate()
    listeners.deallocate()
    listenerPolicies.deinitialize(count: snapshot.configuration.listeners.count)
    listenerPolicies.deallocate()
    authorityText.deallocate()
    batch.deallocate()
    sharing.pointee.destroy()
    sharing.deinitialize(count: 1)
    sharing.deallocate()
    nameScratch.deallocate()
    helloScratch.deallocate()
    state.pointee.logicalNames?.destroy()
    state.pointee.targets?.deallocate()
    state.pointee.dirty.destroy()
    state.pointee.closing.destroy()
    state.pointee.starved.destroy()
    state.pointee.repeated.destroy()
    state.deinitialize(count: 1)
    state.deallocate()
  }
}
