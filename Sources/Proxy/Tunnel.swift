// A stream without a head: bytes both ways, each way at the other side's pace, each way ended on its own. What an upgraded
// connection becomes after its 101 (RFC 9110 section 7.8).
//
// The exchange of the request that asked for the upgrade stays: it pairs the two connections, and its time runs only
// while nothing moves.

import Base
import HTTP

extension Shard {
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
      close(connection, abort: true)
      return count
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    if connection.pointee.role == .downstream {
      exchange.pointee.requestByteCount &+= UInt64(count)
    } else {
      exchange.pointee.responseByteCount &+= UInt64(count)
    }
    extendDeadline(exchange)
    queue(other, bytes, count, owner)
    if other.pointee.unsentByteCount > unsentByteLimit { pauseReading(connection) }
    return count
  }

  /// One way has ended: carry the end on, and close when both have.
  func tunnelFinished(_ connection: ConnectionPointer) {
    guard let other = tunnelPeer(connection) else {
      close(connection)
      return
    }
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
    close(upstream)
  }

  private func detachTunnel(_ exchange: ExchangePointer) {
    let upstream = connections.pointer(exchange.pointee.upstream)
    upstream.pointee.exchange = noSlot
    exchange.pointee.upstream = noSlot
    finish(exchange)
  }

  private func tunnelPeer(_ connection: ConnectionPointer) -> ConnectionPointer? {
    guard connection.pointee.exchange != noSlot else { return nil }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let other =
      connection.pointee.role == .downstream ? exchange.pointee.upstream : exchange.pointee.downstream
    return other == noSlot ? nil : connections.pointer(other)
  }
}
