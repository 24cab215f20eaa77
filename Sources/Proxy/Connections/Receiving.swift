// Bytes in: from the ring to the protocol that is spoken on a connection. What the protocol cannot take yet is held, up to a
// limit; reading stops and goes on by the rules of Backpressure.swift.

import Base
import EventLoop
import Glibc
import Telemetry

extension Shard {
  /// Arms the receive a connection wants now, if none is armed.
  func armReceive(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.stream) {
      credit(connection)
      return
    }
    guard connection.pointee.receive == .off,
      connection.pointee.flags.isDisjoint(with: [.closing, .readPaused, .peerFinished, .connecting])
    else { return }
    connection.pointee.operationsInFlight &+= 1
    let tag = connection.pointee.tag(.receive)
    if connection.pointee.flags.contains(.longBody) {
      connection.pointee.receive = .single
      ring.receive(connection.pointee.descriptor, group: segments.receiveBuffers.group, tag: tag)
    } else {
      connection.pointee.receive = .multishot
      ring.receiveMultishot(connection.pointee.descriptor, group: segments.receiveBuffers.group, tag: tag)
    }
  }

  /// Stops reading until `resumeReading`. What the kernel has delivered already still comes.
  func pauseReading(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.readPaused) { return }
    connection.pointee.flags.insert(.readPaused)
    cancelMultishot(connection)
  }

  func resumeReading(_ connection: ConnectionPointer) {
    guard connection.pointee.flags.contains(.readPaused) else { return }
    connection.pointee.flags.remove(.readPaused)
    armReceive(connection)
  }

  /// From now on long bodies are read one buffer at a time, so that no more arrives than there is credit for.
  func readBufferByBuffer(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.longBody) { return }
    connection.pointee.flags.insert(.longBody)
    cancelMultishot(connection)
  }

  private func cancelMultishot(_ connection: ConnectionPointer) {
    guard connection.pointee.receive == .multishot else { return }
    connection.pointee.receive = .cancelling
    ring.cancel(connection.pointee.tag(.receive), tag: OperationTag(kind: .cancel, slot: 0, generation: 0))
  }

  /// A receive completion.
  func received(_ connection: ConnectionPointer, _ completion: Completion) {
    if !completion.hasMore {
      connection.pointee.operationsInFlight &-= 1
      connection.pointee.receive = .off
    }
    guard let buffer = completion.buffer else {
      receiveEnded(connection, completion.result)
      return
    }
    segments.receiveBuffers.take(buffer)
    let count = Int(completion.result)
    if count <= 0 || connection.pointee.flags.contains(.closing) {
      segments.receiveBuffers.release(buffer)
      if count <= 0 { receiveEnded(connection, completion.result) }
      return
    }
    connection.pointee.bytesReceived &+= UInt64(count)
    connection.pointee.activeAt = state.pointee.now
    statistics.countReceived(connection.pointee.role, count, workload: connection.pointee.workload)
    deliver(connection, segments.receiveBuffers.pointer(buffer), count, BufferOwner(receiveBuffer: buffer))
    if connection.pointee.receive == .off {
      armReceive(connection)
    } else if count < ReceiveBufferPool.bufferSize, isAmidMessage(connection), hasBroken(connection) {
      cancelMultishot(connection)
    }
  }

  /// Whether more of a message is to come that has begun.
  private func isAmidMessage(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.isServing, connection.pointee.wire == .http1 else { return false }
    switch connection.pointee.role {
    case .upstream: return connection.pointee.exchange != noSlot
    case .downstream:
      switch connection.pointee.codec.phase {
      case .head: return connection.pointee.codec.assembly != 0
      case .body, .trailers: return true
      case .complete: return false
      }
    }
  }

  /// Whether the peer has reset the connection. A reset that comes before the kernel has run the receive for the bytes in
  /// front of it wakes nobody: the two wake-ups are taken for one, and a multishot receive that has read the last byte
  /// waits for another that never comes. Armed anew, it tells. Asked only where the connection waits for the rest of a
  /// message: elsewhere the next send finds out.
  private func hasBroken(_ connection: ConnectionPointer) -> Bool {
    var entry = pollfd(fd: connection.pointee.descriptor, events: 0, revents: 0)
    return poll(&entry, 1, 0) == 1
  }

  private func receiveEnded(_ connection: ConnectionPointer, _ result: Int32) {
    if connection.pointee.flags.contains(.closing) { return }
    switch -result {
    case 0:
      connection.pointee.flags.insert(.peerFinished)
      if connection.pointee.flags.contains(.lingering) {
        // With our last answer still on its way, the end of sending it is the end.
        if connection.pointee.unsentByteCount == 0 { close(connection) }
      } else if connection.pointee.input.isEmpty {
        peerFinished(connection)
      }
    case ENOBUFS:
      statistics.receiveBufferShortages.add(1)
      if !connection.pointee.flags.contains(.starved) {
        connection.pointee.flags.insert(.starved)
        state.pointee.starved.append(connection.pointee.index, connection.pointee.generation)
      }
    case ECANCELED, EINTR, EAGAIN:
      armReceive(connection)
    default:
      connectionFailed(connection, -result)
    }
  }

  /// Received bytes on their way to the codec; the caller hands over one reference.
  func deliver(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    if connection.pointee.flags.contains(.lingering) {
      segments.release(owner)
      lingered(connection, count)
      return
    }
    if !connection.pointee.input.isEmpty || connection.pointee.flags.contains(.inputHeld) {
      hold(connection, bytes, count, owner)
      return
    }
    connection.pointee.flags.insert(.processing)
    let used = process(connection, bytes, count, owner)
    connection.pointee.flags.remove(.processing)
    if used < count && connection.pointee.isServing {
      hold(connection, bytes + used, count - used, owner)
    } else {
      segments.release(owner)
    }
    processed(connection)
    // What was in progress when reading was paused may be over by now.
    if connection.pointee.flags.contains(.readPaused), connection.pointee.isServing, mayRead(connection) {
      resumeReading(connection)
    }
  }

  /// Keeps bytes the codec cannot take yet, and stops reading when there are too many.
  private func hold(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    // A short piece is copied, so that a pipelined request does not keep a whole receive buffer from the kernel.
    if count <= ChunkPool.capacity || areBuffersScarce {
      let stored = segments.appendCopy(&connection.pointee.input, bytes, count)
      segments.release(owner)
      if !stored { close(connection, abort: true) }
    } else if !segments.append(&connection.pointee.input, bytes, count, owner: owner) {
      close(connection, abort: true)
    }
    if Int(connection.pointee.input.byteCount) > heldByteCount { pauseReading(connection) }
  }

  /// Gives held input to the codec, as far as it takes it.
  func resumeInput(_ connection: ConnectionPointer) {
    connection.pointee.flags.remove(.inputHeld)
    if connection.pointee.flags.contains(.processing) { return }
    while !connection.pointee.input.isEmpty, connection.pointee.isServing,
      !connection.pointee.flags.contains(.inputHeld)
    {
      let first = segments.segment(connection.pointee.input.head)
      let (bytes, count, owner) = (first.pointee.bytes, Int(first.pointee.count), first.pointee.owner)
      segments.retain(owner)
      connection.pointee.flags.insert(.processing)
      let used = process(connection, bytes, count, owner)
      connection.pointee.flags.remove(.processing)
      segments.release(owner)
      // Closing emptied the queue.
      if connection.pointee.isServing { segments.consume(&connection.pointee.input, used) }
      processed(connection)
      if used == 0 { break }
    }
    if connection.pointee.isServing, mayRead(connection) {
      resumeReading(connection)
      if connection.pointee.flags.contains(.stream) { credit(connection) }
    }
    if connection.pointee.input.isEmpty, connection.pointee.flags.contains(.peerFinished),
      connection.pointee.isServing
    {
      peerFinished(connection)
    }
  }

  // MARK: The protocols

  func process(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    if connection.pointee.flags.contains(.stranger) { return takeStrangersBytes(connection, bytes, count, owner) }
    switch (connection.pointee.wire, connection.pointee.role) {
    case (.http1, .downstream): return processRequestBytes(connection, bytes, count, owner)
    case (.http1, .upstream): return processResponseBytes(connection, bytes, count, owner)
    case (.http2, _): return processStreamBytes(connection, bytes, count, owner)
    case (.multiplexed, _): return processFrames(connection, bytes, count, owner)
    case (.tunnel, _): return processTunnelBytes(connection, bytes, count, owner)
    case (.undetected, _): return detectProtocol(connection, bytes, count, owner)
    case (.clientHello, _): return takeClientHello(connection, bytes, count)
    case (.proxyHeader, _): return takeProxyHeader(connection, bytes, count)
    }
  }

  /// After the codec has run: what it could not do while it was running.
  func processed(_ connection: ConnectionPointer) {
    if connection.pointee.role == .upstream, connection.pointee.wire == .http1 { responseProcessed(connection) }
    if connection.pointee.flags.contains(.detected) {
      connection.pointee.flags.remove(.detected)
      if releaseGathered(connection) { resumeInput(connection) }
    }
  }

  /// The peer will send no more, and all it sent has been taken.
  func peerFinished(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.stranger), letStrangerPass(connection) { return }
    switch (connection.pointee.wire, connection.pointee.role) {
    case (.http1, .downstream): downstreamFinished(connection)
    case (.http1, .upstream): upstreamFinished(connection)
    case (.http2, .downstream): downstreamStreamFinished(connection)
    case (.http2, .upstream): upstreamStreamFinished(connection)
    case (.multiplexed, _): multiplexedBroke(connection)
    case (.tunnel, _): tunnelFinished(connection)
    // Also without a byte: a client may end its side at once and wait for what the server has to say.
    case (.undetected, _): detectionEnded(connection)
    case (.clientHello, _): clientHelloEnded(connection)
    case (.proxyHeader, _): proxyHeaderEnded(connection)
    }
  }

  /// The connection broke. `code` is an errno value.
  func connectionFailed(_ connection: ConnectionPointer, _ code: Int32) {
    if connection.pointee.flags.contains(.closing) { return }
    switch (connection.pointee.wire, connection.pointee.role) {
    case (.http1, .downstream): downstreamBroke(connection)
    case (.http1, .upstream): upstreamBroke(connection)
    case (.multiplexed, _): multiplexedBroke(connection)
    case (.tunnel, _): tunnelBroke(connection)
    case (.http2, _), (.undetected, _), (.clientHello, _), (.proxyHeader, _): close(connection)
    }
  }
}
