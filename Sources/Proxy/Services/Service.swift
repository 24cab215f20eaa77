// A service as the whole node knows it: its number, its names, what all shards count together, and its endpoints with their
// memory. Made on the control thread by `ServiceDirectory`; shards keep their own view of it (`ShardServices`).

import Base
import Configuration
import Policy
import Synchronization
import Telemetry

/// A service's number on this node: the same on every shard, and given to another service only when no shard uses it any more.
typealias ServiceNumber = UInt32

/// Counts against a limit, shared by all shards: one uncontended atomic addition each way.
struct LimitCell: ~Copyable {
  private let count = Atomic<Int>(0)

  /// Adds one unless `limit` is reached.
  func tryAdd(limit: Int) -> Bool {
    var seen = count.load(ordering: .relaxed)
    while seen < limit {
      let (exchanged, original) = count.weakCompareExchange(
        expected: seen, desired: seen &+ 1, ordering: .sequentiallyConsistent)
      if exchanged { return true }
      seen = original
    }
    return false
  }

  // Who leaves looks whether somebody waits, and who waits looks whether somebody has left: one of both sees the other.
  func add() { count.wrappingAdd(1, ordering: .sequentiallyConsistent) }
  func subtract() { count.wrappingSubtract(1, ordering: .sequentiallyConsistent) }
  var value: Int { count.load(ordering: .sequentiallyConsistent) }
}

/// What is judged for a service as a whole, not per shard.
struct SharedService: ~Copyable {
  let requests = LimitCell()
  let connections = LimitCell()
  /// Waiting for a place among its requests.
  let pending = LimitCell()
  /// Waiting for a connection.
  let connectionWaiters = LimitCell()
  let rate = RateCell()
  let waiting: WaitingWeights
  /// What its failing may cost in further attempts.
  let budget = RetryBudget()
  /// Endpoints that failure accrual has taken out.
  let ejections = EjectionCount()

  init(shardCount: Int) { waiting = WaitingWeights(shardCount: shardCount) }
}

/// A service. Its plain members are set once; cells may be used from any thread.
final class Service: @unchecked Sendable {
  let number: ServiceNumber
  /// `/#/static/web`.
  let boundName: String
  /// What labels and tables call it: what follows the discovery's prefix in its bound name.
  let name: String
  /// Its number in the access log's table of names.
  let logName: UInt32
  /// What Host says for a client that named none: at most 64 bytes of the name.
  let authority: UnsafeRawBufferPointer
  let shared: UnsafeMutablePointer<SharedService>
  /// By shard.
  let cells: [ServiceCells]
  private let healthWord: UnsafeMutablePointer<Atomic<UInt32>>
  /// Moves when an endpoint goes out or comes back: balancers look again.
  let healthEpoch: HealthEpoch
  /// Shards that have not given it up.
  private let users: Atomic<Int>

  init(number: ServiceNumber, boundName: String, name: String, logName: UInt32, cells: [ServiceCells]) {
    self.number = number
    self.boundName = boundName
    self.name = name
    self.logName = logName
    self.cells = cells
    authority = UnsafeRawBufferPointer.copy(Array(name.utf8.prefix(64)))
    shared = .allocate(capacity: 1)
    shared.initialize(to: SharedService(shardCount: cells.count))
    healthWord = .allocate(capacity: 1)
    healthWord.initialize(to: Atomic(0))
    healthEpoch = HealthEpoch(healthWord)
    users = Atomic(cells.count)
  }

  deinit {
    authority.deallocate()
    shared.deinitialize(count: 1)
    shared.deallocate()
    healthWord.deinitialize(count: 1)
    healthWord.deallocate()
    for cells in cells { cells.deallocate() }
  }

  /// A shard has nothing of it any more.
  func leave() { users.wrappingSubtract(1, ordering: .releasing) }

  /// Whether any shard may still use it.
  var isUsed: Bool { users.load(ordering: .acquiring) > 0 }
}

/// An endpoint of a service: one for all shards. What is judged of it for the node as a whole belongs here.
final class SharedEndpoint: @unchecked Sendable {
  let endpoint: Endpoint
  /// Stable in memory while connects are in flight.
  let address: UnsafeMutablePointer<EndpointSocketAddress>
  /// When it came to a service that had others, for slow start; 0 for one that was there from the beginning.
  let addedAt: MonotonicInstant
  /// What the whole node makes of its failures and its checks.
  let accrual: UnsafeMutablePointer<FailureAccrual>
  /// As the metrics say. The control thread's own.
  var shownState = EndpointState.live
  /// Why its last check failed; nil when it did not, or there was none. The control thread's own.
  var checkFailure: CheckFailure?
  /// By shard.
  let cells: [EndpointCells]
  /// Whether it is on this host. The control thread's own; the kernel is asked once.
  private(set) lazy var isLocal = endpoint.address.isLocal || address.pointee.isLocal
  /// Keeps the count of what is out, which this one may be in.
  private let service: Service
  /// Its slot on each shard, `noSlot` where it has none. Each is its shard's own.
  private let slots: UnsafeMutablePointer<UInt32>

  init(_ endpoint: Endpoint, of service: Service, addedAt: MonotonicInstant, cells: [EndpointCells]) {
    self.endpoint = endpoint
    self.service = service
    self.addedAt = addedAt
    self.cells = cells
    address = .allocate(capacity: 1)
    address.initialize(to: EndpointSocketAddress(endpoint.address))
    accrual = .allocate(capacity: 1)
    accrual.initialize(to: FailureAccrual())
    slots = .allocate(capacity: max(cells.count, 1))
    slots.initialize(repeating: noSlot, count: max(cells.count, 1))
  }

  deinit {
    // It may have gone out once more between its end in the directory and its end on the shards.
    _ = accrual.pointee.reset(ejections: service.shared.pointee.ejections)
    address.deallocate()
    accrual.deinitialize(count: 1)
    accrual.deallocate()
    slots.deallocate()
  }

  func slot(on shard: Int) -> UInt32 { slots[shard] }
  func setSlot(_ slot: UInt32, on shard: Int) { slots[shard] = slot }
}

/// What the node makes of an endpoint, as tables and metrics call it.
enum EndpointState: String, CaseIterable {
  case live
  /// Taken out by failure accrual, or being probed.
  case ejected
  /// Active checks fail.
  case unhealthy

  init(_ state: FailureAccrual.State) {
    switch state {
    case .inService: self = .live
    case .out: self = .ejected
    case .unhealthy: self = .unhealthy
    }
  }
}

/// What a shard is told of a service: all of it, each time.
struct ServiceUpdate: Sendable {
  let service: Service
  let policy: ServicePolicy
  let endpoints: [SharedEndpoint]
  /// The balancer's tables, for these endpoints in this order.
  let plan: BalancerPlan
}
