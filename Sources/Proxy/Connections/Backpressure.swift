// Credit: one side of an exchange is read only while the other takes what was read. Whoever stops a connection's reading finds
// here who starts it again.
//
//   paused by                                     resumed by
//   its other side has too much unsent            that side's output draining
//   it holds too much input itself                its input being taken (`resumeInput`)
//   a pipelining client does not read answers     its own output draining

import Base

/// What one direction of an exchange may hold: 64 KiB. It bounds the input a connection may have in hand, and what of a
/// request is kept for another attempt.
let heldByteCount = 64 * 1024
/// A side is not read while more than this waits to be sent on the other. With the one buffer that may then still arrive, that
/// makes 64 KiB. The kilobyte over one buffer leaves room for heads and chunk framing, so that a second buffer is received
/// while the first is being sent.
let unsentByteLimit = 33 * 1024

extension Shard {
  /// A connection's output has drained below the limit.
  func outputDrained(_ connection: ConnectionPointer) {
    if connection.pointee.exchange == noSlot {
      if connection.pointee.flags.contains(.inputHeld) { resumeInput(connection) }
      return
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let other = connection.pointee.role == .downstream ? exchange.pointee.upstream : exchange.pointee.downstream
    guard other != noSlot else { return }
    let peer = connections.pointer(other)
    if peer.pointee.flags.contains(.readPaused), mayRead(peer) { resumeReading(peer) }
  }

  /// Whether there is room for more of what this connection receives.
  func mayRead(_ connection: ConnectionPointer) -> Bool {
    if Int(connection.pointee.input.byteCount) >= heldByteCount / 2 { return false }
    guard connection.pointee.exchange != noSlot else { return true }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    switch connection.pointee.role {
    case .downstream: return requestBacklog(exchange) <= unsentByteLimit
    case .upstream:
      return connections.pointer(exchange.pointee.downstream).pointee.unsentByteCount <= unsentByteLimit
    }
  }
}
