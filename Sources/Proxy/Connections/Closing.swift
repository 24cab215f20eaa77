// The end of a connection: politely, with what is queued sent and the client given time to read it, or at once. `close` may be
// called from anywhere at any time: the connection goes silent, and its slot and descriptor are freed when nothing is in flight.

import Base
import CFairlead
import EventLoop
import Glibc

extension Shard {
  /// Sends FIN after what is queued. The other direction stays open.
  func finishAfterFlush(_ connection: ConnectionPointer) {
    connection.pointee.flags.insert(.finishAfterFlush)
    markDirty(connection)
  }

  /// Ends a downstream connection the polite way: what is queued, FIN, then a while of reading and throwing away, so
  /// that the client is not reset while it reads our last answer (RFC 9112 section 9.6).
  func closeAfterFlush(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.closing) { return }
    segments.releaseAll(&connection.pointee.input)
    releaseAssembly(connection)
    if connection.pointee.flags.contains(.peerFinished) {
      connection.pointee.flags.insert(.finishAfterFlush)
    } else {
      connection.pointee.flags.formUnion([.finishAfterFlush, .lingering])
      connection.pointee.codec.lingerBudget = UInt32(lingerByteCount)
    }
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.idleTimeoutNanoseconds))
    connection.pointee.flags.remove(.inputHeld)
    resumeReading(connection)
    markDirty(connection)
  }

  /// How long a client that was answered may take to end its side.
  var lingerNanoseconds: UInt64 { 2_000_000_000 }
  private var lingerByteCount: Int { 1024 * 1024 }

  func lingered(_ connection: ConnectionPointer, _ count: Int) {
    if count > Int(connection.pointee.codec.lingerBudget) {
      close(connection)
    } else {
      connection.pointee.codec.lingerBudget &-= UInt32(count)
    }
  }

  /// Everything has been sent: FIN, and what follows from it.
  func sendEnd(_ connection: ConnectionPointer) {
    if !connection.pointee.flags.contains(.finished) {
      connection.pointee.flags.insert(.finished)
      shutdown(connection.pointee.descriptor, Int32(SHUT_WR))
      if connection.pointee.flags.contains(.lingering) {
        connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: lingerNanoseconds))
      }
    }
    if connection.pointee.wire == .tunnel {
      if connection.pointee.exchange != noSlot { endTunnelIfOver(exchanges.pointer(connection.pointee.exchange)) }
    } else if connection.pointee.role == .downstream, connection.pointee.flags.contains(.peerFinished) {
      close(connection)
    }
  }

  /// Ends a connection at once. Safe at any time; the slot is freed when nothing is in flight.
  ///
  /// - Parameter abort: end with a reset, so that the peer cannot take what it has for a complete message.
  func close(_ connection: ConnectionPointer, abort: Bool = false) {
    if connection.pointee.flags.contains(.closing) { return }
    connection.pointee.flags.insert(.closing)
    if abort || isCutShort(connection) { connection.pointee.flags.insert(.abort) }
    segments.releaseAll(&connection.pointee.input)
    segments.releaseAll(&connection.pointee.output)
    releaseAssembly(connection)
    connectionTimers.remove(connection.pointee.index)
    if connection.pointee.wire == .multiplexed { loseStreams(connection) }
    switch connection.pointee.role {
    case _ where connection.pointee.flags.contains(.stream): forgetStream(connection)
    case .downstream where connection.pointee.flags.contains(.sink): forgetSink(connection)
    case .downstream: forgetDownstream(connection)
    case .upstream: forgetUpstream(connection)
    }
    state.pointee.closing.append(connection.pointee.index, connection.pointee.generation)
  }

  /// Whether a client would be left with a part of a response: it must not look like the whole.
  private func isCutShort(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.role == .downstream else { return false }
    if connection.pointee.unsentByteCount > 0 { return true }
    guard connection.pointee.exchange != noSlot else { return false }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    return exchange.pointee.phase == .responding && !exchange.pointee.flags.contains(.tunnel)
  }

  /// At the end of a turn: closes what has nothing in flight any more, and cancels what has. True when it is gone.
  func reap(_ connection: ConnectionPointer) -> Bool {
    if connection.pointee.operationsInFlight == 0 {
      free(connection)
      return true
    }
    if connection.pointee.flags.contains(.inClosingList) { return false }
    connection.pointee.flags.insert(.inClosingList)
    if !connection.pointee.flags.contains(.abort) { shutdown(connection.pointee.descriptor, fl_shutdown_both) }
    ring.cancelAll(
      on: connection.pointee.descriptor, tag: OperationTag(kind: .cancel, slot: 0, generation: 0))
    return false
  }

  private func free(_ connection: ConnectionPointer) {
    segments.releaseAll(&connection.pointee.inFlight)
    if connection.pointee.wire == .multiplexed { freeHTTP2(connection) }
    if !connection.pointee.flags.isDisjoint(with: [.sink, .stream]) {
      connections.free(connection.pointee.index)
      return
    }
    if connection.pointee.flags.contains(.abort) {
      resetOnClose(connection.pointee.descriptor)
    }
    Glibc.close(connection.pointee.descriptor)
    connections.free(connection.pointee.index)
  }

  /// Makes `close` send a reset instead of an orderly end.
  func resetOnClose(_ descriptor: Int32) {
    var reset = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &reset, socklen_t(MemoryLayout<linger>.size))
  }
}
