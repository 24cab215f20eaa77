// A shard's own tables of a snapshot's services: policies as plain numbers, loads, idle connections, metric cells.
// Everything a request needs after its name is known is reached from one `ShardService` by pointers.

import Base
import Configuration
import Policy
import Telemetry

/// A service's policy in the units the shard counts in.
struct ShardPolicy {
  let connectTimeoutNanoseconds: UInt64
  let requestTimeoutNanoseconds: UInt64
  let idleTimeoutNanoseconds: UInt64
  let streamTimeoutNanoseconds: UInt64
  let connectionLimit: Int
  let pendingLimit: Int
  let requestLimit: Int
  let metric: LoadMetric

  init(_ policy: ServicePolicy) {
    connectTimeoutNanoseconds = policy.timeouts.connect.wholeNanoseconds
    // An attempt's own limit is the request's as long as an attempt that ran out of time is not repeated.
    requestTimeoutNanoseconds = min(
      policy.timeouts.request.wholeNanoseconds, policy.timeouts.attempt?.wholeNanoseconds ?? UInt64.max)
    idleTimeoutNanoseconds = policy.timeouts.idle.wholeNanoseconds
    streamTimeoutNanoseconds = policy.timeouts.stream.wholeNanoseconds
    connectionLimit = policy.limits.connections
    pendingLimit = policy.limits.pending
    requestLimit = policy.limits.requests
    switch policy.balancer.load {
    case .ewma:
      metric = .ewma(PeakEWMA(decayNanoseconds: policy.balancer.decay.wholeNanoseconds))
    case .inFlight: metric = .inFlight
    }
  }
}

/// One endpoint as this shard sees it.
struct ShardEndpoint {
  /// The idle connection used last; the others follow by `Connection.next`.
  var idleHead: UInt32 = noSlot
  var idleCount: UInt32 = 0
  var openCount: UInt32 = 0
  let address: UnsafeMutablePointer<EndpointSocketAddress>
  let cells: EndpointCells
}

/// One service as this shard sees it.
struct ShardService {
  let policy: ShardPolicy
  let shared: UnsafeMutablePointer<SharedService>
  /// What Host says for a client that named none: the service's name.
  let authority: UnsafeRawBufferPointer
  /// Endpoints to choose from; none of `(original)`, whose slots are reached by address.
  let endpointCount: Int
  let endpoints: UnsafeMutablePointer<ShardEndpoint>
  let loads: UnsafeMutablePointer<EndpointLoad>
  /// Where weights differ.
  let weights: WeightTable?
  let ewma: PeakEWMA
  /// Idle connections to all its endpoints.
  var idleCount: UInt32 = 0
  /// Exchanges waiting for a connection, first come first served, linked by `Exchange.nextPending`.
  var pendingHead: UInt32 = noSlot
  var pendingTail: UInt32 = noSlot
  let cells: ServiceCells
}

/// The services of one snapshot on one shard. Freed when no exchange and no connection uses them any more.
final class ShardServices {
  let snapshot: Snapshot
  private let storage: UnsafeMutablePointer<ShardService>
  /// The addresses of `(original)`'s slots; nil where nothing is captured.
  private let destinationAddresses: UnsafeMutablePointer<EndpointSocketAddress>?
  private let destinationCells: EndpointCells?
  let count: Int

  init(_ snapshot: Snapshot, metrics: NodeMetrics, shard: Int) {
    self.snapshot = snapshot
    count = snapshot.services.count
    let slots = snapshot.originalService == nil ? 0 : snapshot.configuration.limits.destinations
    destinationAddresses = slots == 0 ? nil : .allocate(capacity: slots)
    destinationCells =
      slots == 0 ? nil : metrics.endpointCells(shard: shard, service: "(original)", endpoint: "any")
    storage = .allocate(capacity: max(count, 1))
    for (index, definition) in snapshot.services.enumerated() {
      let endpointCount = definition.endpoints.count
      let capacity = max(snapshot.originalService == UInt32(index) ? slots : endpointCount, 1)
      let endpoints = UnsafeMutablePointer<ShardEndpoint>.allocate(capacity: capacity)
      let loads = UnsafeMutablePointer<EndpointLoad>.allocate(capacity: capacity)
      for (position, endpoint) in definition.endpoints.enumerated() {
        (endpoints + position).initialize(
          to: ShardEndpoint(
            address: definition.addresses + position,
            cells: metrics.endpointCells(shard: shard, service: definition.name, endpoint: endpoint.address.description)
          ))
      }
      let weights = definition.endpoints.map { Float($0.weight) }
      EndpointLoad.initialize(
        UnsafeMutableBufferPointer(start: loads, count: endpointCount), weights: weights, now: .now())
      let policy = ShardPolicy(definition.policy)
      (storage + index).initialize(
        to: ShardService(
          policy: policy, shared: definition.shared,
          authority: UnsafeRawBufferPointer.copy(Array(definition.name.utf8.prefix(64))), endpointCount: endpointCount,
          endpoints: endpoints, loads: loads,
          weights: WeightTable(weights: weights),
          ewma: PeakEWMA(decayNanoseconds: definition.policy.balancer.decay.wholeNanoseconds),
          cells: metrics.serviceCells(
            shard: shard, service: definition.name, listeners: snapshot.configuration.listeners.map(\.name))))
    }
  }

  deinit {
    for index in 0..<count {
      let service = storage + index
      service.pointee.authority.deallocate()
      service.pointee.endpoints.deallocate()
      service.pointee.loads.deallocate()
      service.pointee.weights?.destroy()
      service.pointee.cells.deallocate()
    }
    storage.deallocate()
    destinationAddresses?.deallocate()
  }

  /// Makes a slot of `(original)` an endpoint at `address`. Nothing uses it.
  func prepareDestination(_ slot: UInt32, _ address: PeerAddress, now: MonotonicInstant) {
    guard let original = snapshot.originalService, let destinationAddresses, let destinationCells else { return }
    let service = self.service(original)
    let place = destinationAddresses + Int(slot)
    place.initialize(to: EndpointSocketAddress(address))
    (service.pointee.endpoints + Int(slot)).initialize(to: ShardEndpoint(address: place, cells: destinationCells))
    (service.pointee.loads + Int(slot)).initialize(to: EndpointLoad(now: now))
  }

  /// `index` comes from this snapshot's `resolve`.
  func service(_ index: UInt32) -> UnsafeMutablePointer<ShardService> {
    precondition(Int(index) < count, "a service of another snapshot")
    return storage + Int(index)
  }
}
