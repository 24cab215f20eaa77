// A shard's own view of the node's services: policies as plain numbers, loads, idle connections, metric cells. Everything a
// request needs after its name is known is reached from one `ShardService` by pointers.
//
// An endpoint has a slot: connections and exchanges name it by that number. What discovery says later changes slots only by
// adding some and by letting others drain: the slot of an endpoint that is gone takes no new requests, loses its idle
// connections, and is free for another when nothing uses it any more. The same goes for a whole service that is given up.

import Base
import Capture
import Configuration
import Policy
import Telemetry

/// A service's policy in the units the shard counts in.
struct ShardPolicy {
  let connectTimeoutNanoseconds: UInt64
  let requestTimeoutNanoseconds: UInt64
  let attemptTimeoutNanoseconds: UInt64?
  let idleTimeoutNanoseconds: UInt64
  let streamTimeoutNanoseconds: UInt64
  let tunnelTimeoutNanoseconds: UInt64
  let connectionLimit: Int
  let pendingLimit: Int
  let requestLimit: Int
  let retries: RetryPolicy
  /// Nil where no request gets a second attempt while the first is under way.
  let hedging: HedgingPolicy?
  let accrual: AccrualPolicy
  /// Endpoints that failure accrual may take out: past this the balancer would use all of them anyway.
  let mostOutPercent: Int
  /// Of requests to the service.
  let rate: RateLimit?
  let `protocol`: ServicePolicy.UpstreamProtocol
  /// Nil where silent connections over HTTP/2 are not asked.
  let keepAlive: HTTP2KeepAlive.Terms?
  /// The header that new connections begin with.
  let proxyHeader: ProxyHeader.Version?

  init(_ policy: ServicePolicy) {
    connectTimeoutNanoseconds = policy.timeouts.connect.wholeNanoseconds
    requestTimeoutNanoseconds = policy.timeouts.request.wholeNanoseconds
    attemptTimeoutNanoseconds = policy.timeouts.attempt?.wholeNanoseconds
    idleTimeoutNanoseconds = policy.timeouts.idle.wholeNanoseconds
    streamTimeoutNanoseconds = policy.timeouts.stream.wholeNanoseconds
    tunnelTimeoutNanoseconds = policy.timeouts.tunnel.wholeNanoseconds
    connectionLimit = policy.limits.connections
    pendingLimit = policy.limits.pending
    requestLimit = policy.limits.requests
    retries = RetryPolicy(policy.retries)
    hedging = policy.hedging?.compiled
    accrual = policy.circuitBreaker.accrual
    mostOutPercent = 100 - policy.balancer.panic
    rate = policy.rateLimit?.compiled
    // A header names one client, and a connection with HTTP/2 serves many.
    `protocol` = policy.proxyProtocol == .none ? policy.protocol : .http1
    keepAlive = policy.keepAlive.interval.map {
      HTTP2KeepAlive.Terms(
        intervalNanoseconds: $0.wholeNanoseconds, timeoutNanoseconds: policy.keepAlive.timeout.wholeNanoseconds)
    }
    proxyHeader = policy.proxyProtocol.version
  }

  /// How long nothing may move on an exchange whose response has begun.
  func silenceNanoseconds(_ flags: ExchangeFlags) -> UInt64 {
    if flags.isStreamAlone { return streamTimeoutNanoseconds }
    return flags.contains(.tunnel) ? tunnelTimeoutNanoseconds : idleTimeoutNanoseconds
  }
}

/// One endpoint as this shard sees it.
struct ShardEndpoint {
  /// The idle connection used last; the others follow by `Connection.next`.
  var idleHead: UInt32 = noSlot
  var idleCount: UInt32 = 0
  /// The first of its connections that carry HTTP/2; the others follow by `Connection.next`.
  var multiplexedHead: UInt32 = noSlot
  var openCount: UInt32 = 0
  /// The update that named it last.
  var seen: UInt32 = 0
  var state = State.live
  var extendedConnect = ExtendedConnect.unknown
  let address: UnsafeMutablePointer<EndpointSocketAddress>
  let cells: EndpointCells
  /// The node's judgement; nil for an original destination, which nobody judges.
  let accrual: UnsafeMutablePointer<FailureAccrual>?
  /// Nil for an original destination. Held while the slot is not free.
  let shared: Unmanaged<SharedEndpoint>?

  enum State: UInt8 {
    case live
    /// Gone from discovery: what it has in flight finishes.
    case draining
    /// Nobody's; only `idleHead` and the counts, all zero, mean anything.
    case free
  }
}

/// One service as this shard sees it.
struct ShardService {
  let identity: Unmanaged<Service>
  let number: ServiceNumber
  var policy: ShardPolicy
  let shared: UnsafeMutablePointer<SharedService>
  let healthEpoch: HealthEpoch
  /// What Host says for a client that named none: the service's name.
  let authority: UnsafeRawBufferPointer
  /// Slots that are or were used; none of `(original)`, whose slots are reached by address.
  var endpointCount = 0
  /// Slots that discovery knows.
  var liveCount = 0
  var capacity: Int
  var endpoints: UnsafeMutablePointer<ShardEndpoint>
  var loads: UnsafeMutablePointer<EndpointLoad>
  /// Nil where no endpoint was ever known, and for `(original)`.
  var balancer: UnsafeMutablePointer<Balancer>?
  var hash: HashSelector
  /// As the metrics say.
  var isPanicking = false
  var ewma: PeakEWMA
  /// Where its policy hedges.
  var latencies: RecentLatencies?
  /// Idle connections to all its endpoints.
  var idleCount: UInt32 = 0
  /// Open connections that carry HTTP/2.
  var multiplexedCount: UInt32 = 0
  /// Exchanges that have it.
  var exchangeCount: UInt32 = 0
  /// Exchanges waiting for a connection, first come first served, linked by `Exchange.nextPending`.
  var pendingHead: UInt32 = noSlot
  var pendingTail: UInt32 = noSlot
  /// Exchanges waiting for a place among its requests, by workload; made when the first has to wait.
  var queue: FairQueue?
  /// Places have come free that may be given to who waits: in the list of those to see to before the turn ends.
  var hasFreePlaces = false
  var updates: UInt32 = 0
  /// Being given up, or has slots that drain.
  var isSwept = false
  var isLeaving = false
  let logName: UInt32
  let cells: ServiceCells
}

/// The services on one shard. Only the shard's thread.
final class ShardServices {
  let shard: Int
  /// By number; nil where there is none.
  private let memory: MappedMemory
  private let table: UnsafeMutablePointer<UnsafeMutablePointer<ShardService>?>
  /// One past the highest number ever used.
  private(set) var count: UInt32 = 0
  /// Services with slots that drain, or being given up.
  private var swept: [ServiceNumber] = []
  private var original: OriginalSlots?

  init(shard: Int) throws(MappingError) {
    self.shard = shard
    // All zero, which is nil, and committed only as far as it is used.
    memory = try MappedMemory(
      byteCount: ServiceDirectory.capacity * MemoryLayout<UnsafeMutablePointer<ShardService>?>.stride)
    table = memory.base.assumingMemoryBound(to: UnsafeMutablePointer<ShardService>?.self)
  }

  deinit {
    for number in 0..<count { if let service = find(number) { free(service) } }
    memory.unmap()
  }

  /// `number` comes from an exchange or a connection, which keep their service.
  @inline(__always) func service(_ number: ServiceNumber) -> UnsafeMutablePointer<ShardService> {
    guard let service = table[Int(number)] else { preconditionFailure("a service that was given up") }
    return service
  }

  /// The service of a number that may have been given up meanwhile.
  func find(_ number: ServiceNumber) -> UnsafeMutablePointer<ShardService>? {
    number < count ? table[Int(number)] : nil
  }

  /// Whether a service has an endpoint that a request can be sent to now: one that discovery knows, that no breaker or check
  /// of the node has taken out, and that this shard does not leave alone after failures of its own. One that is due for a
  /// probe counts: the request is the probe. Panic does not: where another name stands in, all need not be used.
  func hasEndpoint(_ number: ServiceNumber, now: MonotonicInstant) -> Bool {
    guard let service = find(number), !service.pointee.isLeaving, service.pointee.liveCount > 0 else { return false }
    return (0..<service.pointee.endpointCount).contains { service.pointee.loads[$0].takesRequests(now: now) }
  }

  // MARK: Changes

  /// Takes over what the control thread says of a service. Linear in its endpoints.
  ///
  /// - Returns: slots that drain from now on: their idle connections are to be closed.
  func apply(_ update: ServiceUpdate, now: MonotonicInstant, random: inout RandomSource) -> [UInt32] {
    let number = update.service.number
    precondition(number < ServiceDirectory.capacity, "a number the directory does not give")
    let service = table[Int(number)] ?? add(update.service, update.policy, endpointCount: update.endpoints.count)
    service.pointee.policy = ShardPolicy(update.policy)
    service.pointee.ewma = PeakEWMA(decayNanoseconds: update.policy.balancer.decay.wholeNanoseconds)
    if (service.pointee.latencies != nil) != (service.pointee.policy.hedging != nil) {
      service.pointee.latencies?.destroy()
      service.pointee.latencies = service.pointee.policy.hedging.map { _ in RecentLatencies(now: now) }
    }
    service.pointee.hash.deallocate()
    service.pointee.hash = HashSelector(update.policy.balancer)
    service.pointee.updates &+= 1
    var free = 0
    var slots: [UInt32] = []
    slots.reserveCapacity(update.endpoints.count)
    for shared in update.endpoints {
      var slot = shared.slot(on: shard)
      if slot == noSlot { slot = takeSlot(service, &free, shared, now: now) }
      service.pointee.endpoints[Int(slot)].seen = service.pointee.updates
      slots.append(slot)
    }
    service.pointee.liveCount = update.endpoints.count
    var draining: [UInt32] = []
    for slot in 0..<service.pointee.endpointCount
    where service.pointee.endpoints[slot].seen != service.pointee.updates
      && service.pointee.endpoints[slot].state == .live
    {
      service.pointee.endpoints[slot].state = .draining
      service.pointee.loads[slot].flags.insert(.draining)
      draining.append(UInt32(slot))
    }
    if !draining.isEmpty { sweepLater(service) }
    let balancer = service.pointee.balancer ?? .allocate(capacity: 1)
    if service.pointee.balancer != nil { balancer.deinitialize(count: 1) }
    balancer.initialize(
      to: Balancer(
        update.plan, slots: slots, loads: service.pointee.loads, epoch: service.pointee.healthEpoch, random: &random))
    service.pointee.balancer = balancer
    return draining
  }

  /// A service is being given up. Its slots have drained by an update without endpoints.
  func leave(_ number: ServiceNumber) -> UnsafeMutablePointer<ShardService>? {
    guard let service = find(number) else { return nil }
    service.pointee.isLeaving = true
    sweepLater(service)
    return service
  }

  private func add(
    _ definition: Service, _ policy: ServicePolicy, endpointCount: Int
  ) -> UnsafeMutablePointer<ShardService> {
    let capacity = max(endpointCount, 4)
    let service = UnsafeMutablePointer<ShardService>.allocate(capacity: 1)
    service.initialize(
      to: ShardService(
        identity: .passRetained(definition), number: definition.number, policy: ShardPolicy(policy),
        shared: definition.shared, healthEpoch: definition.healthEpoch, authority: definition.authority,
        capacity: capacity,
        endpoints: .allocate(capacity: capacity), loads: .allocate(capacity: capacity),
        hash: HashSelector(policy.balancer),
        ewma: PeakEWMA(decayNanoseconds: policy.balancer.decay.wholeNanoseconds), logName: definition.logName,
        cells: definition.cells[shard]))
    table[Int(definition.number)] = service
    count = max(count, definition.number + 1)
    return service
  }

  /// A free slot, or a new one at the end, for an endpoint this shard does not know.
  private func takeSlot(
    _ service: UnsafeMutablePointer<ShardService>, _ free: inout Int, _ shared: SharedEndpoint, now: MonotonicInstant
  ) -> UInt32 {
    let count = service.pointee.endpointCount
    while free < count, service.pointee.endpoints[free].state != .free { free += 1 }
    let slot = free
    if slot == count {
      if count == service.pointee.capacity { grow(service) }
      service.pointee.endpointCount += 1
    }
    (service.pointee.endpoints + slot).initialize(
      to: ShardEndpoint(
        address: shared.address, cells: shared.cells[shard], accrual: shared.accrual,
        shared: .passRetained(shared)))
    (service.pointee.loads + slot).initialize(to: EndpointLoad(now: now))
    service.pointee.loads[slot].gate = EndpointGate(FailureAccrual.gate(of: shared.accrual))
    shared.setSlot(UInt32(slot), on: shard)
    return UInt32(slot)
  }

  private func grow(_ service: UnsafeMutablePointer<ShardService>) {
    let (count, capacity) = (service.pointee.endpointCount, service.pointee.capacity * 2)
    let endpoints = UnsafeMutablePointer<ShardEndpoint>.allocate(capacity: capacity)
    let loads = UnsafeMutablePointer<EndpointLoad>.allocate(capacity: capacity)
    endpoints.moveInitialize(from: service.pointee.endpoints, count: count)
    loads.moveInitialize(from: service.pointee.loads, count: count)
    service.pointee.endpoints.deallocate()
    service.pointee.loads.deallocate()
    (service.pointee.endpoints, service.pointee.loads, service.pointee.capacity) = (endpoints, loads, capacity)
  }

  // MARK: Draining

  private func sweepLater(_ service: UnsafeMutablePointer<ShardService>) {
    if service.pointee.isSwept { return }
    service.pointee.isSwept = true
    swept.append(service.pointee.number)
  }

  /// Whether anything drains.
  var needsSweep: Bool { !swept.isEmpty }

  /// Frees slots and services that nothing uses any more. Between two events, when nobody holds a slot's number for later.
  func sweep() {
    swept.removeAll { number in
      guard let service = find(number) else { return true }
      var left = 0
      for slot in 0..<service.pointee.endpointCount where service.pointee.endpoints[slot].state == .draining {
        let endpoint = service.pointee.endpoints + slot
        if endpoint.pointee.openCount > 0 || service.pointee.loads[slot].inFlight > 0 {
          left += 1
        } else {
          freeSlot(endpoint)
        }
      }
      while service.pointee.endpointCount > 0,
        service.pointee.endpoints[service.pointee.endpointCount - 1].state == .free
      {
        service.pointee.endpointCount -= 1
      }
      if left > 0 { return false }
      guard service.pointee.isLeaving else {
        service.pointee.isSwept = false
        return true
      }
      guard service.pointee.exchangeCount == 0 else { return false }
      table[Int(number)] = nil
      free(service)
      return true
    }
  }

  private func freeSlot(_ endpoint: UnsafeMutablePointer<ShardEndpoint>) {
    endpoint.pointee.state = .free
    if let shared = endpoint.pointee.shared {
      shared._withUnsafeGuaranteedRef { $0.setSlot(noSlot, on: shard) }
      shared.release()
    }
  }

  private func free(_ service: UnsafeMutablePointer<ShardService>) {
    for slot in 0..<service.pointee.endpointCount where service.pointee.endpoints[slot].state != .free {
      freeSlot(service.pointee.endpoints + slot)
    }
    service.pointee.endpoints.deallocate()
    service.pointee.loads.deallocate()
    service.pointee.balancer?.deinitialize(count: 1)
    service.pointee.balancer?.deallocate()
    service.pointee.hash.deallocate()
    service.pointee.cells.panic.set(0)
    service.pointee.queue?.destroy()
    service.pointee.latencies?.destroy()
    let identity = service.pointee.identity
    service.deinitialize(count: 1)
    service.deallocate()
    identity._withUnsafeGuaranteedRef { $0.leave() }
    identity.release()
  }

  // MARK: Original destinations

  /// Makes a service the one of original destinations, with this many slots.
  func makeOriginal(_ number: ServiceNumber, slots: Int, cells: EndpointCells) {
    guard let service = find(number) else { return }
    let capacity = max(slots, 1)
    service.pointee.endpoints.deallocate()
    service.pointee.loads.deallocate()
    service.pointee.capacity = capacity
    service.pointee.endpoints = .allocate(capacity: capacity)
    service.pointee.loads = .allocate(capacity: capacity)
    original = OriginalSlots(number: number, capacity: capacity, cells: cells)
  }

  /// Makes a slot of `(original)` an endpoint at `address`. Nothing uses it.
  func prepareDestination(_ slot: UInt32, _ address: PeerAddress, now: MonotonicInstant) {
    guard let original, let service = find(original.number) else { return }
    let place = original.addresses + Int(slot)
    place.initialize(to: EndpointSocketAddress(address))
    (service.pointee.endpoints + Int(slot)).initialize(
      to: ShardEndpoint(address: place, cells: original.cells, accrual: nil, shared: nil))
    (service.pointee.loads + Int(slot)).initialize(to: EndpointLoad(now: now))
  }

  /// The memory of original destinations' addresses.
  private final class OriginalSlots {
    let number: ServiceNumber
    let cells: EndpointCells
    let addresses: UnsafeMutablePointer<EndpointSocketAddress>

    init(number: ServiceNumber, capacity: Int, cells: EndpointCells) {
      self.number = number
      self.cells = cells
      addresses = .allocate(capacity: capacity)
    }

    deinit { addresses.deallocate() }
  }
}
