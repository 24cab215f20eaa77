// Which endpoint an attempt goes to. The choice is Policy's (`Balancer`); what a hash chooses by is made here, when a request is
// given its service, and stays with the exchange, so that every attempt has the same.

import Base
import Configuration
import HTTP
import Policy
import Telemetry

/// What a service's requests are hashed by; its name's bytes are its own.
struct HashSelector {
  enum Source {
    case none
    case header
    case cookie
    case address
  }

  let source: Source
  private let name: UnsafeRawBufferPointer

  init(_ policy: ServicePolicy.Balancer) {
    let (source, name): (Source, String) =
      switch policy.hash {
      case _ where !policy.kind.isByKey: (.none, "")
      case .header(let name): (.header, name)
      case .cookie(let name): (.cookie, name)
      case .source: (.address, "")
      }
    self.source = source
    self.name = UnsafeRawBufferPointer.copy(Array(name.utf8))
  }

  func deallocate() { name.deallocate() }

  /// A request's key: the head's bytes or the client's address. Allocates nothing.
  func key(of head: borrowing RequestHead, in bytes: UnsafeRawBufferPointer, from peer: PeerAddress) -> HashKey {
    switch source {
    case .none: return .none
    case .address: return key(of: peer)
    case .header:
      guard let index = head.fields.firstIndex(named: name, in: bytes) else { return .none }
      return HashKey(hashing: head.fields[index].value.slice(of: bytes))
    case .cookie:
      return head.fields.cookie(named: name, in: bytes).map { HashKey(hashing: $0) } ?? .none
    }
  }

  /// The key of a connection, which has no head.
  func key(of peer: PeerAddress) -> HashKey {
    source == .address && !peer.isNone ? HashKey(high: peer.high, low: peer.low) : .none
  }
}

extension Shard {
  /// The endpoint for the next attempt; negative when the service has none.
  func pickEndpoint(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) -> Int32 {
    guard let balancer = service.pointee.balancer else { return -1 }
    let failed = exchange.pointee.failedEndpoint
    let picked = balancer.pointee.pick(
      service.pointee.loads, key: exchange.pointee.hashKey, exclude: failed == noSlot ? -1 : Int32(bitPattern: failed),
      random: &state.pointee.random, now: state.pointee.now)
    if balancer.pointee.isPanicking != service.pointee.isPanicking {
      service.pointee.isPanicking = balancer.pointee.isPanicking
      service.pointee.cells.panic.set(service.pointee.isPanicking ? 1 : 0)
    }
    return picked
  }
}
