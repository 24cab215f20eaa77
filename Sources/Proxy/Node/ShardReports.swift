// What a shard tells about itself when asked: its connections and what its balancers think of the endpoints. Asked by people,
// a few times a minute; bounded by the limit of the question.

import Base
import Policy
import Telemetry

/// One connection, as a plain value for tables.
public struct ConnectionSummary: Sendable {
  public enum State: String, Sendable { case connecting, active, idle, closing }
  /// What is spoken on it; `undetected` until its first bytes have told.
  public enum WireProtocol: String, Sendable { case http1, http2, tunnel, undetected }

  public let shard: Int
  public let slot: UInt32
  public let generation: UInt32
  public let isDownstream: Bool
  public let peer: SocketAddress?
  /// The index of the listener (downstream) or of the service (upstream) in the configuration's order.
  public let origin: Int
  /// The number of the workload that is calling (downstream); 0 for `other`.
  public let workload: Int
  public let state: State
  public let wireProtocol: WireProtocol
  public let ageNanoseconds: UInt64
  public let idleNanoseconds: UInt64
  public let requestCount: UInt32
  public let bytesReceived: UInt64
  public let bytesSent: UInt64
}

/// What one shard's balancer thinks of an endpoint.
public struct ShardLoad: Sendable {
  /// The service's number.
  public let service: UInt32
  public let endpoint: SocketAddress
  /// The average of its answer times.
  public let costNanoseconds: Double
}

/// What one shard has, shown or not.
public struct ShardConnections: Sendable {
  public let total: Int
  public let connections: [ConnectionSummary]
}

extension Shard {
  func listConnections(limit: Int) -> ShardConnections {
    var summaries: [ConnectionSummary] = []
    let total = Int(statistics.downstreamConnections.value + statistics.upstreamConnections.value)
    summaries.reserveCapacity(min(limit, max(total, 0)))
    let now = MonotonicInstant.now()
    for slot in 0..<connections.highWater where connections.isAllocated(slot) {
      // A stream of HTTP/2 has its connection's row, and where a copy's answer goes is none.
      if !connections.pointer(slot).pointee.flags.isDisjoint(with: [.stream, .sink]) { continue }
      if summaries.count >= limit { break }
      summaries.append(summary(connections.pointer(slot), now: now))
    }
    return ShardConnections(total: total, connections: summaries)
  }

  private func summary(_ connection: ConnectionPointer, now: MonotonicInstant) -> ConnectionSummary {
    let flags = connection.pointee.flags
    let state: ConnectionSummary.State
    if !connection.pointee.isServing {
      state = .closing
    } else if flags.contains(.connecting) {
      state = .connecting
    } else {
      state = isInUse(connection) ? .active : .idle
    }
    return ConnectionSummary(
      shard: index, slot: connection.pointee.index, generation: connection.pointee.generation,
      isDownstream: connection.pointee.role == .downstream, peer: connection.pointee.peer.socketAddress,
      origin: Int(connection.pointee.origin), workload: Int(connection.pointee.workload), state: state,
      wireProtocol: wireProtocol(connection),
      ageNanoseconds: now.nanoseconds(since: connection.pointee.openedAt),
      idleNanoseconds: now.nanoseconds(since: connection.pointee.activeAt),
      requestCount: connection.pointee.requestCount, bytesReceived: connection.pointee.bytesReceived,
      bytesSent: connection.pointee.bytesSent)
  }

  private func isInUse(_ connection: ConnectionPointer) -> Bool {
    if connection.pointee.wire == .multiplexed { return http2State(connection).pointee.streamCount > 0 }
    return connection.pointee.exchange != noSlot
  }

  private func wireProtocol(_ connection: ConnectionPointer) -> ConnectionSummary.WireProtocol {
    switch connection.pointee.wire {
    case .http1: .http1
    case .http2, .multiplexed: .http2
    case .tunnel: .tunnel
    case .undetected, .proxyHeader, .clientHello: .undetected
    }
  }

  /// What was measured of the endpoints. Of those that nothing was sent to yet there is nothing to say.
  func listLoads() -> [ShardLoad] {
    var loads: [ShardLoad] = []
    for number in 0..<services.count {
      guard let service = services.find(number) else { continue }
      for slot in 0..<service.pointee.endpointCount where service.pointee.loads[slot].costNanoseconds > 0 {
        let endpoint = service.pointee.endpoints[slot]
        guard endpoint.state == .live, let shared = endpoint.shared else { continue }
        let address = shared._withUnsafeGuaranteedRef { $0.endpoint.address }
        loads.append(
          ShardLoad(
            service: number, endpoint: address, costNanoseconds: service.pointee.loads[slot].costNanoseconds))
      }
    }
    return loads
  }
}

extension PeerAddress {
  /// Nil for a peer without an address.
  var socketAddress: SocketAddress? {
    if high == 0, low >> 32 == 0xFFFF {
      return .v4(IPv4Address(value: UInt32(truncatingIfNeeded: low)), port: port)
    }
    if high == 0, low == 0 { return nil }
    return .v6(IPv6Address(high: high, low: low), port: port)
  }
}
