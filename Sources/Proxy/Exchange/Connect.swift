// CONNECT (RFC 9110 section 9.3.6; RFC 9113 section 8.5), where a listener allows it: what the request names is looked up on the
// listener's list, and from then on it is a stream like any other (Tunnel.swift), but for its client, who is told what became of it.
//
//   db.example:5432   →  a name goes the way of names: /svc/db.example, whose endpoints have ports of their own
//   10.0.0.7:443      →  an address is an endpoint of the service `(original)`
//   not on the list   →  403
//   this proxy's own listeners, by whatever way   →  508
//
// The bytes that come behind the head wait until the other side is there. A client whose request fails is not believed to have
// waited: what follows may be meant for the tunnel, so its connection ends (over HTTP/2, its stream).

import Base
import Configuration
import EventLoop
import HTTP
import Policy

extension Shard {
  /// A CONNECT request has come on a listener that has a list. The head is `requestHead`, over `bytes`.
  func openTunnel(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    exchange.pointee.flags.formUnion([.stream, .connect, .cannotReplay])
    exchange.pointee.flags.subtract([.requestComplete, .grpc, .expectsUpgrade])
    downstream.pointee.codec.flags.remove(.grpc)
    downstream.pointee.codec.flags.insert(.connect)
    let target = ConnectTarget(
      host: requestHead.pointee.hostRange.slice(of: bytes), port: requestHead.pointee.port)
    if requestHead.pointee.framing != .none {
      fail(exchange, .connectBody)
    } else if !mayConnect(exchange, target) {
      fail(exchange, .connectRefused)
    } else {
      switch target {
      case .address(let address, let port):
        downstream.pointee.original = PeerAddress(address, port: port)
        streamNamed(exchange, downstream, .failed(.unknownName))
      case .name(let name, _): nameStream(exchange, downstream, name, override: override(exchange, bytes))
      }
    }
  }

  private func mayConnect(_ exchange: ExchangePointer, _ target: ConnectTarget) -> Bool {
    // The kernel takes it for one of this host's own.
    if case .address(let address, _) = target, address.isUnspecified { return false }
    return snapshot.configuration.listeners[Int(exchange.pointee.listener)].connect.contains { $0.contains(target) }
  }

  /// Whether an exchange's endpoint is one of this proxy's listeners: its client would talk to the proxy through the proxy.
  func leadsBack(_ exchange: ExchangePointer, to endpoint: Int) -> Bool {
    guard exchange.pointee.flags.contains(.connect) else { return false }
    let address = services.service(exchange.pointee.service).pointee.endpoints[endpoint].address
    return node.ownPorts.contains(address.pointee.peer.port) && address.pointee.isLocal
  }

  /// The other side of a tunnel is there: its client is told. False when the client is gone with that.
  func confirmTunnel(_ exchange: ExchangePointer) -> Bool {
    exchange.pointee.status = 200
    exchange.pointee.firstByteAt = state.pointee.now
    let downstream = connections.pointer(exchange.pointee.downstream)
    if downstream.pointee.wire == .http2 {
      sendStreamSuccess(downstream)
    } else if appendText(&downstream.pointee.output, "HTTP/1.1 200 OK\r\n\r\n") {
      markDirty(downstream)
    } else {
      close(downstream, abort: true)
    }
    return downstream.pointee.flags.isDisjoint(with: .closing)
  }
}

extension IPAddress {
  fileprivate var isUnspecified: Bool {
    switch unmapped {
    case .v4(let address): address == .unspecified
    case .v6(let address): address == .unspecified
    }
  }
}

extension PeerAddress {
  fileprivate init(_ address: IPAddress, port: UInt16) {
    self.init()
    let mapped: IPv6Address
    switch address {
    case .v4(let address): mapped = IPv6Address(mapping: address)
    case .v6(let address): mapped = address
    }
    (high, low, self.port) = (mapped.high, mapped.low, port)
  }
}
