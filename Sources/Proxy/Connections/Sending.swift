// Bytes out: what a protocol queues on a connection is sent at the end of the turn, everything that is there in one operation,
// and never more than one operation at a time.

import Base
import CFairlead
import EventLoop
import Glibc
import HTTP

/// The vectors of a send of several segments; they must stay until its completion.
struct SendVector {
  static let capacity = 16
  var message = msghdr()
  var vectors = InlineArray<16, iovec>(repeating: iovec())
}

extension Shard {
  /// Room for `count` bytes at the end of a connection's output. Write there, then `commit`.
  func reserve(_ connection: ConnectionPointer, _ count: Int) -> UnsafeMutableRawPointer? {
    if let room = segments.roomAtTail(connection.pointee.output, count) { return room }
    let chunk = segments.chunks.allocate(count)
    if segments.append(&connection.pointee.output, chunk.bytes, 0, owner: BufferOwner(chunk: chunk)) {
      return chunk.bytes
    }
    return nil
  }

  /// Counts `count` bytes, written where `reserve` said, as output.
  func commit(_ connection: ConnectionPointer, _ count: Int) {
    segments.extendTail(&connection.pointee.output, count)
    markDirty(connection)
  }

  /// Queues bytes as they are. The caller keeps its reference.
  func queue(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    if appendBody(&connection.pointee.output, .untilClose, bytes, count, owner) {
      markDirty(connection)
    } else {
      close(connection, abort: true)
    }
  }

  func markDirty(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.dirty) { return }
    connection.pointee.flags.insert(.dirty)
    state.pointee.dirty.append(connection.pointee.index, connection.pointee.generation)
  }

  /// Sends what is queued, in one operation of up to 16 segments.
  func flush(_ connection: ConnectionPointer) {
    connection.pointee.flags.remove(.dirty)
    if connection.pointee.flags.contains(.sink) {
      discard(connection)
      return
    }
    if connection.pointee.flags.contains(.stream) {
      flushStream(connection)
      return
    }
    if connection.pointee.wire == .multiplexed,
      connection.pointee.flags.isDisjoint(with: [.closing, .connecting, .sending])
    {
      pump(connection)
    }
    guard connection.pointee.flags.isDisjoint(with: [.closing, .connecting, .sending]) else { return }
    if connection.pointee.output.isEmpty {
      if connection.pointee.flags.contains(.finishAfterFlush) { sendEnd(connection) }
      return
    }
    let tag = connection.pointee.tag(.send)
    if connection.pointee.output.isSingle {
      let segment = segments.segment(connection.pointee.output.head)
      ring.send(
        connection.pointee.descriptor, segment.pointee.bytes, count: Int(segment.pointee.count), tag: tag)
      segments.moveAll(from: &connection.pointee.output, to: &connection.pointee.inFlight)
    } else {
      guard let index = sendVectors.allocate() else {
        close(connection, abort: true)
        return
      }
      let vector = sendVectors.pointer(index)
      vector.initialize(to: SendVector())
      connection.pointee.sendVector = index
      let count = moveToVector(connection, vector)
      vector.pointee.message.msg_iovlen = count
      ring.sendMessage(connection.pointee.descriptor, UnsafePointer(vectorMessage(vector)), tag: tag)
    }
    connection.pointee.flags.insert(.sending)
    connection.pointee.operationsInFlight &+= 1
  }

  private func moveToVector(_ connection: ConnectionPointer, _ vector: UnsafeMutablePointer<SendVector>) -> Int {
    // The vectors follow the message inside the slab's slot, whose address is stable.
    let vectors = (UnsafeMutableRawPointer(vector) + MemoryLayout<msghdr>.stride).assumingMemoryBound(to: iovec.self)
    vector.pointee.message.msg_iov = vectors
    var count = 0
    while count < SendVector.capacity, connection.pointee.output.head != 0 {
      let segment = segments.segment(connection.pointee.output.head)
      vectors[count] = iovec(iov_base: segment.pointee.bytes, iov_len: Int(segment.pointee.count))
      segments.moveFirst(from: &connection.pointee.output, to: &connection.pointee.inFlight)
      count += 1
    }
    return count
  }

  /// `message` is the first member of `SendVector`.
  private func vectorMessage(_ vector: UnsafeMutablePointer<SendVector>) -> UnsafeMutablePointer<msghdr> {
    UnsafeMutableRawPointer(vector).assumingMemoryBound(to: msghdr.self)
  }

  /// A send completion.
  func sent(_ connection: ConnectionPointer, _ result: Int32) {
    connection.pointee.operationsInFlight &-= 1
    connection.pointee.flags.remove(.sending)
    if connection.pointee.sendVector != noSlot {
      sendVectors.free(connection.pointee.sendVector)
      connection.pointee.sendVector = noSlot
    }
    if result > 0 {
      connection.pointee.bytesSent &+= UInt64(result)
      connection.pointee.activeAt = state.pointee.now
      statistics.countSent(connection.pointee.role, Int(result), workload: connection.pointee.workload)
      if connection.pointee.role == .upstream, connection.pointee.exchange != noSlot {
        exchanges.pointer(connection.pointee.exchange).pointee.flags.insert(.requestStarted)
      }
    }
    if connection.pointee.flags.contains(.closing) {
      segments.releaseAll(&connection.pointee.inFlight)
      return
    }
    guard result > 0 else {
      if result == -EINTR || result == -EAGAIN {
        sendAgain(connection)
      } else {
        // The reason is told by the receive side as well; whichever comes first ends the connection.
        sendFailed(connection, result)
      }
      return
    }
    if connection.pointee.exchange != noSlot { extendDeadline(exchanges.pointer(connection.pointee.exchange)) }
    if Int(result) < Int(connection.pointee.inFlight.byteCount) {
      sentBytes(connection, Int(result))
      sendAgain(connection)
      return
    }
    sentBytes(connection, Int(connection.pointee.inFlight.byteCount))
    if connection.pointee.flags.contains(.lingering) {
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.idleTimeoutNanoseconds))
    }
    if !connection.pointee.output.isEmpty || connection.pointee.flags.contains(.finishAfterFlush)
      || connection.pointee.wire == .multiplexed
    {
      markDirty(connection)
    }
    if connection.pointee.unsentByteCount <= unsentByteLimit { outputDrained(connection) }
  }

  /// Before a connection is reset because its response broke off: what has come of the response is still the client's. What
  /// the socket does not take at once is lost.
  func sendRest(_ connection: ConnectionPointer) {
    guard connection.pointee.wire == .http1, connection.pointee.role == .downstream,
      connection.pointee.flags.isDisjoint(with: [.closing, .connecting, .sending, .sink, .stream])
    else { return }
    while connection.pointee.output.head != 0 {
      let segment = segments.segment(connection.pointee.output.head)
      let count = Int(segment.pointee.count)
      let sent = Glibc.send(
        connection.pointee.descriptor, segment.pointee.bytes, count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
      guard sent > 0 else { return }
      connection.pointee.bytesSent &+= UInt64(sent)
      statistics.countSent(.downstream, sent, workload: connection.pointee.workload)
      segments.consume(&connection.pointee.output, sent)
      if sent < count { return }
    }
  }

  /// Whether a peer that we wait for has taken bytes since this was last asked. A send completes only when a large part
  /// of the kernel's buffer is free again; a peer that reads slowly is at work all the while.
  func isStillTaking(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.unsentByteCount > 0, !connection.pointee.flags.contains(.closing) else { return false }
    // Of a stream its connection's socket says nothing: what has gone into frames does.
    let acknowledged =
      connection.pointee.flags.contains(.stream)
      ? connection.pointee.bytesSent : fl_acknowledged_bytes(connection.pointee.descriptor)
    defer { connection.pointee.acknowledgedAtExpiry = acknowledged }
    return acknowledged != connection.pointee.acknowledgedAtExpiry
  }

  /// Puts what a short send left in front of the queue again.
  private func sendAgain(_ connection: ConnectionPointer) {
    segments.moveAll(from: &connection.pointee.output, to: &connection.pointee.inFlight)
    swap(&connection.pointee.output, &connection.pointee.inFlight)
    markDirty(connection)
  }

  /// The first `count` bytes of what was in flight have gone out.
  private func sentBytes(_ connection: ConnectionPointer, _ count: Int) {
    if connection.pointee.role == .upstream, connection.pointee.exchange != noSlot {
      requestSent(connection, count)
    } else {
      segments.consume(&connection.pointee.inFlight, count)
    }
  }

  private func sendFailed(_ connection: ConnectionPointer, _ result: Int32) {
    if connection.pointee.role == .upstream, connection.pointee.wire == .http1,
      result == -EPIPE || result == -ECONNRESET
    {
      upstreamSendFailed(connection)
    } else {
      connectionFailed(connection, -result)
    }
  }
}
