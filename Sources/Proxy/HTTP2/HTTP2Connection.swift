// A connection that carries HTTP/2, either side: received bytes into its session, the session's frames out, and its end.

import Base
import CFairlead
import EventLoop
import Glibc
import HTTP

extension Shard {
  // MARK: Beginning

  /// A connection speaks HTTP/2 from now on. False when there is no memory, and it has been closed.
  func beginHTTP2(_ connection: ConnectionPointer) -> Bool {
    let isServer = connection.pointee.role == .downstream
    guard let slot = http2.states.allocate() else {
      close(connection, abort: true)
      return false
    }
    let state = http2.states.pointer(slot)
    let session = HTTP2Session(
      isServer: isServer, isServer ? http2.server : http2.client, context: UnsafeMutableRawPointer(state),
      memory: http2.memory)
    guard let session else {
      http2.states.free(slot)
      close(connection, abort: true)
      return false
    }
    state.initialize(
      to: HTTP2State(session: session, shard: Unmanaged.passUnretained(self), connection: connection.pointee.index))
    connection.pointee.wire = .multiplexed
    connection.pointee.session = slot
    if isServer {
      awaitStreams(connection)
      if self.state.pointee.isDraining { session.announceEnd() }
    }
    markDirty(connection)
    return true
  }

  func http2State(_ connection: ConnectionPointer) -> UnsafeMutablePointer<HTTP2State> {
    http2.states.pointer(connection.pointee.session)
  }

  // MARK: Bytes

  func processFrames(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    let h2 = http2State(connection)
    if h2.pointee.hasFailed { return count }
    h2.pointee.owner = owner
    h2.pointee.conduct.forgive(now: state.pointee.now)
    h2.pointee.keepAlive.heard(now: state.pointee.now)
    let reception = h2.pointee.session.receive(UnsafeRawBufferPointer(start: bytes, count: count))
    h2.pointee.owner = nil
    if connection.pointee.flags.contains(.closing) { return count }
    switch reception {
    case .taken: break
    case .broken:
      // A rule of the connection itself was broken, or it is a flood: its streams are lost, and the GOAWAY that says why is sent.
      if !h2.pointee.hasFailed { statistics.countError(.http2Broken) }
      h2.pointee.hasFailed = true
      h2.pointee.isLeaving = true
    case .flood: endFlood(h2)
    }
    if h2.pointee.hasNewSettings, connection.pointee.role == .upstream { settingsArrived(connection) }
    markDirty(connection)
    return count
  }

  /// Turns what the session has to send into output. Before every flush of its connection.
  func pump(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    while connection.pointee.unsentByteCount < frameBacklogLimit, let frames = h2.pointee.session.nextFrame() {
      // The end of a stream may have led to that of its connection.
      if connection.pointee.flags.contains(.closing) { return }
      if let start = frames.baseAddress,
        !segments.appendCopy(&connection.pointee.output, start, frames.count)
      {
        close(connection, abort: true)
        return
      }
    }
    if connection.pointee.flags.contains(.closing) { return }
    if h2.pointee.hasFailed || h2.pointee.session.isOver {
      if !h2.pointee.hasFailed, !h2.pointee.isLeaving { statistics.countError(.http2Broken) }
      h2.pointee.isLeaving = true
      loseStreams(connection)
      if connection.pointee.flags.isDisjoint(with: [.closing, .finishAfterFlush]) { endHTTP2(connection) }
    }
  }

  /// Frames of all streams of a connection that wait for its peer to take them.
  private var frameBacklogLimit: Int { 128 * 1024 }

  /// Its last frame is queued.
  private func endHTTP2(_ connection: ConnectionPointer) {
    if connection.pointee.role == .downstream {
      closeAfterFlush(connection)
    } else if connection.pointee.output.isEmpty, connection.pointee.inFlight.isEmpty {
      close(connection)
    } else {
      finishAfterFlush(connection)
      waitForEnd(connection)
    }
  }

  /// Asks for no more streams, while those on their way are still taken: the first of two GOAWAYs (RFC 9113 section 6.8). The
  /// second, with the last stream's number, comes when the time for that is over.
  func announceDrain(_ connection: ConnectionPointer) {
    http2State(connection).pointee.session.announceEnd()
    markDirty(connection)
  }

  /// Takes no more streams, and ends when those that are open have.
  func retireHTTP2(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    h2.pointee.isLeaving = true
    h2.pointee.session.refuseMore()
    markDirty(connection)
  }

  // MARK: Ends

  /// The peer has closed its side, or the connection broke: no stream can go on.
  func multiplexedBroke(_ connection: ConnectionPointer) {
    // Who waited for one of its streams must not get it now.
    http2State(connection).pointee.isLeaving = true
    loseStreams(connection)
    close(connection)
  }

  /// The time without a stream is over.
  func multiplexedExpired(_ connection: ConnectionPointer) {
    if connection.pointee.role == .upstream {
      upstreamMultiplexedExpired(connection)
      return
    }
    let h2 = http2State(connection)
    if connection.pointee.flags.contains(.finishAfterFlush) {
      close(connection)
      return
    }
    let idleTimeout = limits.idleTimeoutNanoseconds
    var link = h2.pointee.firstStream
    while link != noSlot {
      let stream = connections.pointer(link)
      link = stream.pointee.next
      // One without an exchange has its answer, and that may not have gone out yet.
      let isWaiting = state.pointee.now.nanoseconds(since: stream.pointee.activeAt) < idleTimeout
      if stream.pointee.exchange != noSlot || isWaiting || isStillTaking(stream) {
        connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: idleTimeout))
        if state.pointee.isDraining, !h2.pointee.isLeaving { retireHTTP2(connection) }
        return
      }
    }
    if !h2.pointee.isResting, !state.pointee.isDraining, restAfterNanoseconds < idleTimeout {
      h2.pointee.isResting = true
      h2.pointee.session.rest()
      let rest = idleTimeout - restAfterNanoseconds
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: rest))
      return
    }
    if h2.pointee.isLeaving, !isStillTaking(connection) {
      // It has been told, and has not even taken that.
      close(connection)
      return
    }
    endIdleMultiplexed(connection)
  }

  /// Tells the peer of a connection without a stream that it ends, and waits a moment for it to have taken that.
  func endIdleMultiplexed(_ connection: ConnectionPointer) {
    http2State(connection).pointee.isLeaving = true
    http2State(connection).pointee.session.terminate(HTTP2Error.none)
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: lingerNanoseconds))
    markDirty(connection)
  }

  /// A connection with a client has no stream: its idle time begins.
  func awaitStreams(_ connection: ConnectionPointer) {
    http2State(connection).pointee.isResting = false
    let time =
      state.pointee.isDraining ? drainGraceNanoseconds : min(restAfterNanoseconds, limits.idleTimeoutNanoseconds)
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: time))
  }

  /// Who asks again and again should not pay for pages each time.
  private var restAfterNanoseconds: UInt64 { 1_000_000_000 }

  /// Ends every stream of a connection that is lost.
  func loseStreams(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    while h2.pointee.firstStream != noSlot {
      let stream = connections.pointer(h2.pointee.firstStream)
      // Nothing can be sent on it any more, not even a reset.
      forgetNumber(stream, h2)
      if stream.pointee.role == .upstream {
        upstreamStreamLost(stream, code: HTTP2Error.internal)
      } else {
        close(stream)
      }
      // Whatever it led to, the stream has left the list.
      if h2.pointee.firstStream == stream.pointee.index { unlinkStream(stream) }
    }
  }

  /// The connection's slot is being freed: so is its session.
  func freeHTTP2(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    releaseText(h2)
    h2.pointee.session.destroy()
    http2.states.free(connection.pointee.session)
    connection.pointee.session = noSlot
  }

  // MARK: Conduct

  /// The peer is being told which rule it broke: of a stream, or of the whole connection (0).
  func blamed(_ h2: UnsafeMutablePointer<HTTP2State>, _ stream: Int32) {
    if stream == 0 {
      if h2.pointee.hasFailed { return }
      h2.pointee.hasFailed = true
      h2.pointee.isLeaving = true
    }
    statistics.countError(.http2Broken)
  }

  /// A frame has come: `count` bytes, or of GOAWAY its error code. False ends the connection.
  func frameArrived(
    _ h2: UnsafeMutablePointer<HTTP2State>, type: UInt8, flags: UInt8, _ count: Int, _ stream: Int32
  ) -> Bool {
    let connection = connections.pointer(h2.pointee.connection)
    if connection.pointee.flags.contains(.closing) { return false }
    if type != HTTP2Frame.ping { h2.pointee.keepAlive.heardMore() }
    switch type {
    case HTTP2Frame.data where count == 0 && flags & HTTP2Frame.endStream == 0: return lose(h2)
    case HTTP2Frame.headers, HTTP2Frame.data: return true
    case HTTP2Frame.settings, HTTP2Frame.ping:
      if type == HTTP2Frame.settings, flags & HTTP2Frame.acknowledgement == 0 {
        h2.pointee.hasSettings = true
        h2.pointee.hasNewSettings = true
      }
      // Answers to our own cost nothing.
      return flags & HTTP2Frame.acknowledgement != 0 || lose(h2)
    // Counted when it began.
    case HTTP2Frame.windowUpdate, HTTP2Frame.priority: return true
    case HTTP2Frame.goAway:
      h2.pointee.isLeaving = true
      h2.pointee.peerLeaves = count == Int(HTTP2Error.none)
      return true
    default: return lose(h2)
    }
  }

  /// A frame begins that is counted whether it is of use or not.
  func frameBegan(_ h2: UnsafeMutablePointer<HTTP2State>, type: UInt8) -> Bool {
    guard type == HTTP2Frame.windowUpdate else { return lose(h2) }
    if h2.pointee.conduct.takeUpdate() { return true }
    endFlood(h2)
    return false
  }

  /// The peer has made work for nothing. False when it has done that too often: the connection is to end.
  @discardableResult
  func lose(_ h2: UnsafeMutablePointer<HTTP2State>, _ count: Int32 = 1) -> Bool {
    if h2.pointee.conduct.lose(count) { return true }
    endFlood(h2)
    return false
  }

  func endFlood(_ h2: UnsafeMutablePointer<HTTP2State>) {
    if h2.pointee.hasFailed { return }
    h2.pointee.hasFailed = true
    h2.pointee.isLeaving = true
    statistics.countError(.http2Flood)
    h2.pointee.session.terminate(HTTP2Error.enhanceYourCalm)
  }
}
