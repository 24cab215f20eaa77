// Connections to endpoints: kept alive between requests, opened when none is idle, limited per service.
//
// A shard has its own connections. The one used last is used first, so that the others can age and go; an idle one keeps
// a receive armed and leaves the pool as soon as its endpoint closes it or says anything out of turn.

import Base
import CFairlead
import EventLoop
import Glibc
import HTTP
import Policy
import Telemetry

/// What came of asking for a connection.
enum Acquisition {
  case connection(ConnectionPointer)
  /// In the service's queue.
  case wait
  case failed(ProxyError)
}

extension Shard {
  // MARK: Loads

  func startLoad(_ exchange: ExchangePointer) {
    guard exchange.pointee.flags.isDisjoint(with: .loaded) else { return }
    exchange.pointee.flags.insert(.loaded)
    let service = services.service(exchange.pointee.service)
    service.pointee.loads[Int(exchange.pointee.endpoint)].attemptStarted()
    service.pointee.endpoints[Int(exchange.pointee.endpoint)].cells.inFlight.add(1)
  }

  func endLoad(_ exchange: ExchangePointer) {
    guard exchange.pointee.flags.contains(.loaded) else { return }
    abandonProbe(exchange)
    exchange.pointee.flags.remove(.loaded)
    let service = services.service(exchange.pointee.service)
    service.pointee.loads[Int(exchange.pointee.endpoint)].attemptEnded()
    service.pointee.endpoints[Int(exchange.pointee.endpoint)].cells.inFlight.add(-1)
  }

  /// What an attempt tells about its endpoint: the status of its answer, or nil when it gave none.
  func observeAttempt(_ exchange: ExchangePointer, status: UInt16?) {
    guard exchange.pointee.flags.contains(.loaded) else { return }
    let service = services.service(exchange.pointee.service)
    let elapsed = state.pointee.now.nanoseconds(since: exchange.pointee.attemptStartedAt)
    let endpoint = Int(exchange.pointee.endpoint)
    let outcome = status.map { ResponseClass(status: $0) } ?? .failure
    if status == nil, exchange.pointee.phase != .responding {
      service.pointee.ewma.observeBroken(
        &service.pointee.loads[endpoint], sampleNanoseconds: elapsed, now: state.pointee.now)
    } else if outcome.countsAsSlow {
      service.pointee.ewma.observeFailure(
        &service.pointee.loads[endpoint], sampleNanoseconds: elapsed, now: state.pointee.now)
    } else {
      service.pointee.ewma.observe(
        &service.pointee.loads[endpoint], sampleNanoseconds: elapsed, now: state.pointee.now)
    }
    judge(exchange, service, failed: outcome == .failure)
    statistics.countAttempt(service, endpoint, failed: outcome == .failure, elapsedNanoseconds: elapsed)
  }

  // MARK: Taking

  /// An idle connection to the endpoint, or a new one, or a place in the queue.
  func acquireConnection(
    _ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32
  ) -> Acquisition {
    let source = source(of: exchange)
    let speaks = isTransparent(exchange)
    let isStream = exchange.pointee.flags.contains(.stream)
    if exchange.pointee.flags.contains(.http2) || takesSwitch(exchange, service, endpoint) {
      return acquireStream(exchange, service, endpoint, source)
    }
    if !isStream, let idle = takeIdle(service, endpoint, source) { return .connection(idle) }
    if let opened = openWithinLimit(service, exchange.pointee.service, endpoint, source, speaks) { return opened }
    // What it would take now is worth more to a request that has no other attempt.
    if exchange.pointee.route.flags.contains(.isHedge) { return .wait }
    if !isStream, exchange.pointee.pinned == noSlot, service.pointee.idleCount > 0 {
      for other in 0..<UInt32(service.pointee.endpointCount) where isWell(service, other) {
        if let idle = takeIdle(service, other, source) { return .connection(idle) }
      }
    }
    // What is idle now cannot serve this exchange: its place can.
    if closeIdleConnection(of: exchange.pointee.service),
      let opened = openWithinLimit(service, exchange.pointee.service, endpoint, source, speaks)
    {
      return opened
    }
    return joinQueue(exchange, service)
  }

  /// The exchange waits for a connection, or there are too many that do.
  func joinQueue(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) -> Acquisition {
    // Nor does a hedge wait for a stream; whoever sends it gives it up.
    if exchange.pointee.route.flags.contains(.isHedge) { return .wait }
    // Where places are shared, there are no more of them than connections: one comes free as soon as others let go of it.
    let limit = sharesPlaces ? Int.max : service.pointee.policy.pendingLimit
    guard service.pointee.shared.pointee.connectionWaiters.tryAdd(limit: limit) else {
      return .failed(.tooManyConnections)
    }
    enterQueue(exchange, service)
    // A connection that rests on another shard is worth less than a request that waits here.
    node.broadcast(.freeConnection(service: exchange.pointee.service), from: index)
    return .wait
  }

  /// Whether a connection to an endpoint that nobody chose may be used as well as another.
  func isWell(_ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32) -> Bool {
    service.pointee.isPanicking || service.pointee.loads[Int(endpoint)].isHealthy
  }

  /// A new connection, or why it cannot be had; nil at the service's limit.
  func openWithinLimit(
    _ service: UnsafeMutablePointer<ShardService>, _ serviceIndex: UInt32, _ endpoint: UInt32, _ source: PeerAddress,
    _ speaks: Bool
  ) -> Acquisition? {
    guard service.pointee.shared.pointee.connections.tryAdd(limit: service.pointee.policy.connectionLimit) else {
      return nil
    }
    if let connection = open(service, serviceIndex, endpoint, source, speaks) { return .connection(connection) }
    service.pointee.shared.pointee.connections.subtract()
    return .failed(.noDescriptor)
  }

  /// Closes one of the service's idle connections. False when it has none on this shard.
  func closeIdleConnection(of serviceIndex: UInt32) -> Bool {
    guard let service = services.find(serviceIndex),
      service.pointee.idleCount > 0 || service.pointee.multiplexedCount > 0
    else { return false }
    let slots =
      serviceIndex == state.pointee.originalService ? Int(destinations?.count ?? 0) : service.pointee.endpointCount
    for endpoint in 0..<slots {
      if service.pointee.endpoints[endpoint].idleHead != noSlot {
        close(connections.pointer(service.pointee.endpoints[endpoint].idleHead))
        return true
      }
      var link = service.pointee.endpoints[endpoint].multiplexedHead
      while link != noSlot {
        let connection = connections.pointer(link)
        link = connection.pointee.next
        if isIdleMultiplexed(connection) {
          close(connection)
          return true
        }
      }
    }
    return false
  }

  /// Descriptors have run out: idle connections are what can be done without. A few at a time; whoever needs more asks again.
  func giveUpIdleConnections() {
    var left = 16
    for number in 0..<services.count {
      while left > 0, closeIdleConnection(of: number) { left -= 1 }
    }
  }

  /// Another shard needs a connection of this service: gives up an idle one, if there is any.
  func freeIdleConnection(of serviceIndex: UInt32) {
    guard let service = services.find(serviceIndex) else { return }
    if closeIdleConnection(of: serviceIndex) { return }
    // A place may have come free just before the other shard began to wait, when there was nobody to tell.
    if service.pointee.shared.pointee.connections.value < service.pointee.policy.connectionLimit {
      node.broadcast(.connectionFreed(service: serviceIndex), from: index)
    }
  }

  /// A place has come free: the first that waits tries again. A place for a connection may have room for many of HTTP/2, and one
  /// whose turn came to nothing leaves it to the next.
  func retryPending(_ service: UnsafeMutablePointer<ShardService>) {
    var left = service.pointee.shared.pointee.connectionWaiters.value
    while service.pointee.pendingHead != noSlot, left > 0 {
      left -= 1
      let slot = service.pointee.pendingHead
      let generation = exchanges.generation(slot)
      let exchange = exchanges.pointer(slot)
      let mayLeaveRoom = exchange.pointee.flags.contains(.http2)
      leaveQueue(exchange)
      dispatch(exchange)
      let isOver = !exchanges.isAllocated(slot) || exchanges.generation(slot) != generation
      if isOver { continue }
      guard mayLeaveRoom, exchange.pointee.phase != .pending, service.pointee.pendingHead != noSlot,
        hasMultiplexedRoom(service)
      else { return }
    }
  }

  /// Whether an exchange's upstream connection speaks from the client's address.
  func isTransparent(_ exchange: ExchangePointer) -> Bool {
    listenerPolicies[Int(exchange.pointee.listener)].isTransparent
      && !connections.pointer(exchange.pointee.downstream).pointee.original.isNone
  }

  /// The client that an exchange's upstream connection is for alone: it speaks from the client's address, or names it in its
  /// header. None where it is for anybody.
  private func source(of exchange: ExchangePointer) -> PeerAddress {
    let service = services.service(exchange.pointee.service)
    guard service.pointee.policy.proxyHeader != nil || isTransparent(exchange) else { return PeerAddress() }
    var source = connections.pointer(exchange.pointee.downstream).pointee.peer
    source.port = 0
    return source
  }

  /// An idle connection that speaks from `source`, the one used last first.
  private func takeIdle(
    _ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32, _ source: PeerAddress
  ) -> ConnectionPointer? {
    let pool = service.pointee.endpoints + Int(endpoint)
    var index = pool.pointee.idleHead
    var steps = 0
    while index != noSlot, connections.pointer(index).pointee.original != source, steps < idleSearchLimit {
      index = connections.pointer(index).pointee.next
      steps += 1
    }
    guard index != noSlot, steps < idleSearchLimit else { return nil }
    let connection = connections.pointer(index)
    leavePool(connection, pool)
    connection.pointee.flags.insert(.reused)
    connectionTimers.cancel(connection.pointee.index)
    return connection
  }

  /// How many idle connections of other clients are passed over (TPROXY) before a new one is opened.
  private var idleSearchLimit: Int { 64 }

  private func open(
    _ service: UnsafeMutablePointer<ShardService>, _ serviceIndex: UInt32, _ endpoint: UInt32, _ source: PeerAddress,
    _ speaks: Bool
  ) -> ConnectionPointer? {
    let pool = service.pointee.endpoints + Int(endpoint)
    let address = pool.pointee.address
    let descriptor = socket(address.pointee.family, fl_sock_stream | fl_sock_cloexec, 0)
    guard descriptor >= 0 else {
      statistics.descriptorShortages.add(1)
      state.pointee.lacksDescriptors = true
      return nil
    }
    guard let index = connections.allocate() else {
      Glibc.close(descriptor)
      return nil
    }
    fl_prepare_stream(descriptor)
    if upstreamMark != 0 { _ = fl_set_mark(descriptor, upstreamMark) }
    if speaks { speak(from: source, descriptor, to: address) }
    let connection = connections.pointer(index)
    connection.initialize(
      to: Connection(
        index: index, generation: connections.generation(index), descriptor: descriptor, role: .upstream,
        origin: serviceIndex, openedAt: state.pointee.now, peer: address.pointee.peer))
    connection.pointee.endpoint = endpoint
    connection.pointee.original = source
    connection.pointee.flags.insert(.connecting)
    connection.pointee.operationsInFlight = 1
    pool.pointee.openCount &+= 1
    pool.pointee.cells.connections.add(1)
    statistics.upstreamConnections.add(1)
    statistics.opened.add(1)
    address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      ring.connect(descriptor, $0, length: address.pointee.length, tag: connection.pointee.tag(.connect))
    }
    connectionTimers.schedule(index, deadline: deadline(after: service.pointee.policy.connectTimeoutNanoseconds))
    return connection
  }

  /// Binds an upstream socket to a client's address, so that the endpoint sees that. Where it cannot be (the endpoint has
  /// another family, or the kernel refuses), the connection is made from our own address and counted. So is one to an
  /// endpoint of this host: its answer would leave for the client itself, past us.
  private func speak(
    from source: PeerAddress, _ descriptor: Int32, to endpoint: UnsafeMutablePointer<EndpointSocketAddress>
  ) {
    let (address, family) = (EndpointSocketAddress(source), endpoint.pointee.family)
    if address.family == family, !endpoint.pointee.isLocal, fl_set_transparent(descriptor, family) == 0 {
      fl_bind_address_only(descriptor)
      if address.bind(descriptor) { return }
    }
    statistics.sourcesNotKept.add(1)
  }

  /// A connect completion.
  func connected(_ connection: ConnectionPointer, _ result: Int32) {
    connection.pointee.operationsInFlight &-= 1
    if connection.pointee.flags.contains(.closing) { return }
    connection.pointee.flags.remove(.connecting)
    connectionTimers.cancel(connection.pointee.index)
    guard result >= 0 else {
      connectFailed(connection, .endpointUnreachable)
      return
    }
    if !sendProxyHeader(connection) { return }
    armReceive(connection)
    if connection.pointee.wire == .multiplexed {
      connection.pointee.activeAt = state.pointee.now
      let h2 = http2State(connection)
      h2.pointee.keepAlive.heard(now: state.pointee.now)
      if h2.pointee.streamCount == 0 { restMultiplexed(connection) } else { armMultiplexed(connection) }
      markDirty(connection)
    } else if connection.pointee.exchange == noSlot {
      release(connection)
    } else if exchanges.pointer(connection.pointee.exchange).pointee.flags.contains(.stream) {
      streamConnected(exchanges.pointer(connection.pointee.exchange))
    } else {
      markDirty(connection)
    }
  }

  /// A connect that was refused or took too long: nothing was sent, so another attempt is always safe.
  func connectFailed(_ connection: ConnectionPointer, _ error: ProxyError) {
    statistics.connectFailures.add(1)
    if connection.pointee.wire == .multiplexed {
      multiplexedConnectFailed(connection, error)
      return
    }
    guard connection.pointee.exchange != noSlot else {
      close(connection)
      return
    }
    attemptFailed(exchanges.pointer(connection.pointee.exchange), error, verdict: .safe(.neverSent))
  }

  // MARK: Giving back

  /// The connection has served its exchange and can serve another: the first that waits, or the pool.
  func release(_ connection: ConnectionPointer) {
    let service = services.service(connection.pointee.origin)
    if service.pointee.pendingHead != noSlot {
      let exchange = exchanges.pointer(service.pointee.pendingHead)
      guard canServe(exchange, connection) else {
        // Its place is worth more than itself: what waits tries again once it is free.
        close(connection)
        return
      }
      leaveQueue(exchange)
      connection.pointee.flags.insert(.reused)
      attach(exchange, connection)
      return
    }
    if service.pointee.shared.pointee.connectionWaiters.value > 0 {
      // The same on another shard, which has asked once and been told that there was nothing idle.
      close(connection)
      return
    }
    let pool = service.pointee.endpoints + Int(connection.pointee.endpoint)
    if pool.pointee.state == .draining {
      close(connection)
      return
    }
    connection.pointee.next = pool.pointee.idleHead
    connection.pointee.previous = noSlot
    if pool.pointee.idleHead != noSlot {
      connections.pointer(pool.pointee.idleHead).pointee.previous = connection.pointee.index
    }
    pool.pointee.idleHead = connection.pointee.index
    pool.pointee.idleCount &+= 1
    service.pointee.idleCount &+= 1
    connection.pointee.flags.insert(.pooled)
    connectionTimers.schedule(
      connection.pointee.index, deadline: deadline(after: service.pointee.policy.idleTimeoutNanoseconds))
  }

  private func canServe(_ exchange: ExchangePointer, _ connection: ConnectionPointer) -> Bool {
    let service = services.service(connection.pointee.origin)
    let pool = service.pointee.endpoints + Int(connection.pointee.endpoint)
    return exchange.pointee.flags.isDisjoint(with: [.stream, .http2]) && pool.pointee.state == .live
      && !takesSwitch(exchange, service, connection.pointee.endpoint)
      && isWell(service, connection.pointee.endpoint)
      && (exchange.pointee.pinned == noSlot || exchange.pointee.pinned == connection.pointee.endpoint)
      && source(of: exchange) == connection.pointee.original
  }

  private func leavePool(_ connection: ConnectionPointer, _ pool: UnsafeMutablePointer<ShardEndpoint>) {
    connection.pointee.flags.remove(.pooled)
    services.service(connection.pointee.origin).pointee.idleCount &-= 1
    let (previous, next) = (connection.pointee.previous, connection.pointee.next)
    if previous == noSlot {
      pool.pointee.idleHead = next
    } else {
      connections.pointer(previous).pointee.next = next
    }
    if next != noSlot { connections.pointer(next).pointee.previous = previous }
    connection.pointee.previous = noSlot
    connection.pointee.next = noSlot
    pool.pointee.idleCount &-= 1
  }

  /// An upstream connection is being closed.
  func forgetUpstream(_ connection: ConnectionPointer) {
    let service = services.service(connection.pointee.origin)
    let pool = service.pointee.endpoints + Int(connection.pointee.endpoint)
    if connection.pointee.flags.contains(.pooled) { leavePool(connection, pool) }
    if connection.pointee.wire == .multiplexed { leaveMultiplexed(connection, pool) }
    pool.pointee.openCount &-= 1
    pool.pointee.cells.connections.add(-1)
    statistics.upstreamConnections.add(-1)
    service.pointee.shared.pointee.connections.subtract()
    if connection.pointee.exchange != noSlot {
      let exchange = exchanges.pointer(connection.pointee.exchange)
      exchange.pointee.upstream = noSlot
      connection.pointee.exchange = noSlot
      if exchange.pointee.flags.contains(.tunnel) { tunnelLostUpstream(exchange) }
    }
    // The place that came free is for the first that waits, here or on another shard.
    if service.pointee.pendingHead != noSlot {
      retryPending(service)
    } else if service.pointee.shared.pointee.connectionWaiters.value > 0 {
      node.broadcast(.connectionFreed(service: connection.pointee.origin), from: index)
    }
  }

  // MARK: The queue

  private func enterQueue(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) {
    exchange.pointee.nextPending = noSlot
    exchange.pointee.previousPending = service.pointee.pendingTail
    if service.pointee.pendingTail == noSlot {
      service.pointee.pendingHead = exchange.pointee.index
    } else {
      exchanges.pointer(service.pointee.pendingTail).pointee.nextPending = exchange.pointee.index
    }
    service.pointee.pendingTail = exchange.pointee.index
    statistics.pendingRequests.add(1)
  }

  /// Takes an exchange out of its service's queue for connections, wherever it stands.
  func leaveQueue(_ exchange: ExchangePointer) {
    let service = services.service(exchange.pointee.service)
    let (previous, next) = (exchange.pointee.previousPending, exchange.pointee.nextPending)
    if previous == noSlot {
      service.pointee.pendingHead = next
    } else {
      exchanges.pointer(previous).pointee.nextPending = next
    }
    if next == noSlot {
      service.pointee.pendingTail = previous
    } else {
      exchanges.pointer(next).pointee.previousPending = previous
    }
    exchange.pointee.nextPending = noSlot
    exchange.pointee.previousPending = noSlot
    exchange.pointee.phase = .dispatching
    service.pointee.shared.pointee.connectionWaiters.subtract()
    statistics.pendingRequests.add(-1)
  }
}
