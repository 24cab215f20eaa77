// The service `(original)`: endpoints that nobody configured, the addresses captured clients had connected to. Each address
// a shard meets gets a slot, so that connections to it are pooled, counted and limited like any endpoint's; a slot is given to
// another address when nothing but idle connections uses it.
//
// Clients choose these addresses, so their number is limited (limits.destinations): with every slot in use by something under
// way, a request to yet another address is refused.

import Base
import Policy
import Telemetry

/// Which address has which slot, on one shard: a hash table with chains, of fixed size. The hash is seeded, so that no
/// client can choose addresses that meet in one chain.
final class OriginalDestinations {
  let capacity: UInt32
  private(set) var count: UInt32 = 0
  private var hand: UInt32 = 0
  private let buckets: UnsafeMutablePointer<UInt32>
  private let nextInBucket: UnsafeMutablePointer<UInt32>
  private let keys: UnsafeMutablePointer<PeerAddress>
  /// Exchanges that go to a slot, with or without a connection.
  private let pins: UnsafeMutablePointer<UInt32>
  private let bucketMask: UInt64
  private let seed: UInt64

  /// A slot takes about 300 bytes once it is used.
  ///
  /// - Parameter capacity: addresses at once; at least 1.
  init(capacity: UInt32, random: inout RandomSource) {
    self.capacity = capacity
    let bucketCount = Int((capacity &* 2).nextPowerOfTwo)
    bucketMask = UInt64(bucketCount - 1)
    seed = random.next()
    buckets = .allocate(capacity: bucketCount)
    buckets.initialize(repeating: noSlot, count: bucketCount)
    nextInBucket = .allocate(capacity: Int(capacity))
    nextInBucket.initialize(repeating: noSlot, count: Int(capacity))
    keys = .allocate(capacity: Int(capacity))
    keys.initialize(repeating: PeerAddress(), count: Int(capacity))
    pins = .allocate(capacity: Int(capacity))
    pins.initialize(repeating: 0, count: Int(capacity))
  }

  deinit {
    buckets.deallocate()
    nextInBucket.deallocate()
    keys.deallocate()
    pins.deallocate()
  }

  func find(_ address: PeerAddress) -> UInt32? {
    var slot = buckets[bucket(of: address)]
    while slot != noSlot, keys[Int(slot)] != address { slot = nextInBucket[Int(slot)] }
    return slot == noSlot ? nil : slot
  }

  /// A slot that no address has had yet.
  func takeFresh() -> UInt32? {
    guard count < capacity else { return nil }
    count += 1
    return count - 1
  }

  /// The next slot to ask whether it can be given away; all of them, in turn.
  func nextCandidate() -> UInt32 {
    defer { hand = hand + 1 == count ? 0 : hand + 1 }
    return hand
  }

  func assign(_ slot: UInt32, to address: PeerAddress) {
    keys[Int(slot)] = address
    let bucket = bucket(of: address)
    nextInBucket[Int(slot)] = buckets[bucket]
    buckets[bucket] = slot
  }

  /// The slot's address is forgotten.
  func withdraw(_ slot: UInt32) {
    let bucket = bucket(of: keys[Int(slot)])
    var link = buckets + bucket
    while link.pointee != noSlot, link.pointee != slot { link = nextInBucket + Int(link.pointee) }
    if link.pointee == slot { link.pointee = nextInBucket[Int(slot)] }
    nextInBucket[Int(slot)] = noSlot
  }

  func address(of slot: UInt32) -> PeerAddress { keys[Int(slot)] }
  func isPinned(_ slot: UInt32) -> Bool { pins[Int(slot)] > 0 }
  func pin(_ slot: UInt32) { pins[Int(slot)] += 1 }
  func unpin(_ slot: UInt32) { pins[Int(slot)] -= 1 }

  /// murmur3's finalizer over the words of the address.
  private func bucket(of address: PeerAddress) -> Int {
    let hash = mixed(mixed(mixed(seed ^ address.high) ^ address.low) ^ UInt64(address.port))
    return Int(hash & bucketMask)
  }
}

private func mixed(_ value: UInt64) -> UInt64 {
  var value = value
  value = (value ^ value >> 33) &* 0xFF51_AFD7_ED55_8CCD
  value = (value ^ value >> 33) &* 0xC4CE_B9FE_1A85_EC53
  return value ^ value >> 33
}

extension UInt32 {
  fileprivate var nextPowerOfTwo: UInt32 { self <= 1 ? 1 : 1 << (32 - UInt32((self - 1).leadingZeroBitCount)) }
}

extension Shard {
  /// Sends an exchange to the address its client had connected to. False when there is no room for one more address.
  func goToOriginal(_ exchange: ExchangePointer, _ downstream: ConnectionPointer) -> Bool {
    let number = state.pointee.originalService
    guard let service = services.find(number), let destinations,
      let slot = destinationSlot(service, destinations, downstream.pointee.original), give(exchange, number)
    else { return false }
    destinations.pin(slot)
    exchange.pointee.pinned = slot
    return true
  }

  /// The exchange has no more to do with its destination.
  func leaveOriginal(_ exchange: ExchangePointer) {
    guard exchange.pointee.pinned != noSlot else { return }
    destinations?.unpin(exchange.pointee.pinned)
    exchange.pointee.pinned = noSlot
  }

  private func destinationSlot(
    _ service: UnsafeMutablePointer<ShardService>, _ destinations: OriginalDestinations, _ address: PeerAddress
  ) -> UInt32? {
    if let slot = destinations.find(address) { return slot }
    guard let slot = destinations.takeFresh() ?? reclaimedSlot(service, destinations) else { return nil }
    destinations.assign(slot, to: address)
    services.prepareDestination(slot, address, now: state.pointee.now)
    statistics.originalDestinations.set(Int64(destinations.count))
    return slot
  }

  /// A slot whose address nobody is using, its idle connections closed.
  private func reclaimedSlot(
    _ service: UnsafeMutablePointer<ShardService>, _ destinations: OriginalDestinations
  ) -> UInt32? {
    for _ in 0..<destinations.count {
      let slot = destinations.nextCandidate()
      let endpoint = service.pointee.endpoints + Int(slot)
      if destinations.isPinned(slot) || endpoint.pointee.openCount > endpoint.pointee.idleCount { continue }
      // A connection that closes lets an exchange go on that waits for its place, and its failure another: none of them
      // may have this slot meanwhile, and one that has found its address there keeps it.
      destinations.pin(slot)
      while endpoint.pointee.idleHead != noSlot { close(connections.pointer(endpoint.pointee.idleHead)) }
      destinations.unpin(slot)
      if destinations.isPinned(slot) || endpoint.pointee.openCount > 0 { continue }
      destinations.withdraw(slot)
      return slot
    }
    return nil
  }
}
