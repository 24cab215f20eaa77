// A stream without a head: bytes both ways, each way at the other side's pace, each way ended on its own. What an upgraded
// connection becomes after its 101 (RFC 9110 section 7.8), what CONNECT asks for (Connect.swift), and what a connection is from
// its start when it is not HTTP.
//
// An upgraded one keeps the exchange of the request that asked for it. Either way the exchange pairs the two connections,
// and its time runs only while nothing moves.

import Base
import HTTP
import TLS

extension Shard {
  /// Carries a connection as it is, to its original destination or where its listener says. Bytes that have come
  /// are held until the other side is there.
  ///
  /// - Parameter hello: what the client of a TLS connection has said (TLSPassthrough.swift).
  func beginStream(_ downstream: ConnectionPointer, _ hello: ClientHello? = nil) {
    downstream.pointee.wire = .tunnel
    connectionTimers.cancel(downstream.pointee.index)
    guard let index = exchanges.allocate() else {
      statistics.countError(.nodeFull)
      close(downstream, abort: true)
      return
    }
    let exchange = exchanges.pointer(index)
    exchange.initialize(
      to: Exchange(
        index: index, method: .connect, listener: UInt16(truncatingIfNeeded: downstream.pointee.origin),
        downstream: downstream.pointee.index, startedAt: state.pointee.now, attemptStartedAt: state.pointee.now,
        firstByteAt: state.pointee.now))
    exchange.pointee.flags = [.stream, .cannotReplay]
    downstream.pointee.exchange = index
    downstream.pointee.requestCount &+= 1
    if accessLog != nil { openStreamRecord(exchange, downstream) }
    if let refusal = captureRefusal(downstream) {
      fail(exchange, refusal)
    } else if isShed(downstream) {
      fail(exchange, .overloaded)
    } else if let hello {
      routeTLS(exchange, downstream, hello)
    } else if !downstream.pointee.original.isNone {
      statistics.countCaptured(listener: Int(downstream.pointee.origin), .tcp)
      streamNamed(exchange, downstream, .failed(.unknownName))
    } else {
      let target = listenerPolicies[Int(downstream.pointee.origin)].target
      if let resolution = resolve(target: target) {
        streamNamed(exchange, downstream, resolution)
      } else if !ask(exchange, .name(snapshot.targets[Int(target)])) {
        fail(exchange, .tooManyNames)
      }
    }
  }

  /// It is known where a stream goes: to its original destination, where it has one.
  func streamNamed(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ resolution: Resolution) {
    exchange.pointee.phase = .dispatching
    if let error = bindStream(exchange, downstream, settled(resolution)) {
      fail(exchange, error)
    } else {
      let service = services.service(exchange.pointee.service)
      exchange.pointee.hashKey = service.pointee.hash.key(of: downstream.pointee.peer)
      extendDeadline(exchange)
      if exchange.pointee.flags.contains(.connect) {
        takeTurn(exchange)
      } else {
        statistics.countStream(service, exchange)
        admit(exchange)
      }
    }
  }

  /// Gives a stream its service. Returns why there is none.
  private func bindStream(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ resolution: Resolution
  ) -> ProxyError? {
    if downstream.pointee.original.isNone || exchange.pointee.route.flags.contains(.named) {
      switch resolution {
      case .service(let service): if !give(exchange, service) { return .unknownName }
      case .failed(let error): return error
      case .tree: return .unknownName
      }
    } else if !goToOriginal(exchange, downstream) {
      return .tooManyDestinations
    }
    return nil
  }

  /// The other side of a stream is there.
  func streamConnected(_ exchange: ExchangePointer) {
    observeAttempt(exchange, status: 200)
    if exchange.pointee.flags.contains(.connect), !confirmTunnel(exchange) { return }
    becomeTunnel(exchange)
  }

  /// Both sides leave HTTP. Bytes that came with either head are still in the connections' hands and follow.
  func becomeTunnel(_ exchange: ExchangePointer) {
    exchange.pointee.flags.formUnion([.tunnel, .streaming])
    exchange.pointee.phase = .responding
    giveUpReplay(exchange)
    let downstream = connections.pointer(exchange.pointee.downstream)
    let upstream = connections.pointer(exchange.pointee.upstream)
    downstream.pointee.wire = .tunnel
    upstream.pointee.wire = .tunnel
    downstream.pointee.flags.remove(.longBody)
    upstream.pointee.flags.remove(.longBody)
    readBufferByBuffer(downstream)
    readBufferByBuffer(upstream)
    extendDeadline(exchange)
    resumeInput(downstream)
  }

  /// Received bytes go to the other side, all of them.
  func processTunnelBytes(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    guard let other = tunnelPeer(connection) else {
      if isAwaitingPeer(connection) { return 0 }
      close(connection, abort: true)
      return count
    }
    if other.pointee.flags.contains(.connecting) { return 0 }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    if connection.pointee.role == .downstream {
      exchange.pointee.requestByteCount &+= UInt64(count)
    } else {
      exchange.pointee.responseByteCount &+= UInt64(count)
    }
    if exchange.pointee.flags.isStreamAlone {
      services.service(exchange.pointee.service).pointee.cells.countStreamBytes(connection.pointee.role, count)
    }
    extendDeadline(exchange)
    queue(other, bytes, count, owner)
    if other.pointee.unsentByteCount > unsentByteLimit { pauseReading(connection) }
    return count
  }

  /// One way has ended: carry the end on, and close when both have.
  func tunnelFinished(_ connection: ConnectionPointer) {
    guard let other = tunnelPeer(connection) else {
      if !isAwaitingPeer(connection) { close(connection) }
      return
    }
    // Towards a side that still connects, the end follows what is held, when that goes on.
    if other.pointee.flags.contains(.connecting) { return }
    finishAfterFlush(other)
    endTunnelIfOver(exchanges.pointer(connection.pointee.exchange))
  }

  /// The last bytes of one way have been sent: nothing is left when the other way is over, too.
  func endTunnelIfOver(_ exchange: ExchangePointer) {
    guard exchange.pointee.upstream != noSlot else { return }
    let downstream = connections.pointer(exchange.pointee.downstream)
    let upstream = connections.pointer(exchange.pointee.upstream)
    let over: ConnectionFlags = [.peerFinished, .finished]
    if downstream.pointee.flags.isSuperset(of: over), upstream.pointee.flags.isSuperset(of: over) {
      closeTunnel(exchange)
    }
  }

  /// A side broke: the other is reset, so that it knows.
  func tunnelBroke(_ connection: ConnectionPointer) {
    guard let other = tunnelPeer(connection) else {
      close(connection)
      return
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    detachTunnel(exchange)
    close(connection)
    close(other, abort: true)
  }

  func closeTunnel(_ exchange: ExchangePointer) {
    let downstream = connections.pointer(exchange.pointee.downstream)
    let upstream = connections.pointer(exchange.pointee.upstream)
    detachTunnel(exchange)
    close(downstream)
    close(upstream, abort: upstream.pointee.unsentByteCount > 0)
  }

  /// The upstream of a tunnel was closed for want of means: what is left is no tunnel.
  func tunnelLostUpstream(_ exchange: ExchangePointer) {
    let downstream = connections.pointer(exchange.pointee.downstream)
    finish(exchange)
    close(downstream, abort: true)
  }

  private func detachTunnel(_ exchange: ExchangePointer) {
    let upstream = connections.pointer(exchange.pointee.upstream)
    upstream.pointee.exchange = noSlot
    exchange.pointee.upstream = noSlot
    finish(exchange)
  }

  /// Whether a stream has no other side yet, but is to get one.
  private func isAwaitingPeer(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.exchange != noSlot else { return false }
    return exchanges.pointer(connection.pointee.exchange).pointee.flags.isDisjoint(with: .tunnel)
  }

  private func tunnelPeer(_ connection: ConnectionPointer) -> ConnectionPointer? {
    guard connection.pointee.exchange != noSlot else { return nil }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let other =
      connection.pointee.role == .downstream ? exchange.pointee.upstream : exchange.pointee.downstream
    return other == noSlot ? nil : connections.pointer(other)
  }
}
