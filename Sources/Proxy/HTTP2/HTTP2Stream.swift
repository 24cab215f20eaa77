// The streams of an HTTP/2 connection, either side: where each is found, its body out frame by frame, its credit, its end.

import Base
import EventLoop
import Glibc
import HTTP
import Telemetry

extension Shard {
  // MARK: Finding

  /// The stream's slot; nil for one that is nobody's any more.
  func note(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32) -> ConnectionPointer? {
    let note = h2.pointee.session.note(of: number)
    guard note != 0 else { return nil }
    let stream = connections.pointer(UInt32(truncatingIfNeeded: note &- 1))
    return stream.pointee.flags.contains(.closing) ? nil : stream
  }

  /// A stream of a connection. It has what its exchange may ask of a connection: whose it is, and where it came from.
  func makeStream(_ connection: ConnectionPointer) -> ConnectionPointer? {
    guard let slot = connections.allocate() else { return nil }
    let h2 = http2State(connection)
    let stream = connections.pointer(slot)
    stream.initialize(
      to: Connection(
        index: slot, generation: connections.generation(slot), descriptor: -1, role: connection.pointee.role,
        origin: connection.pointee.origin, openedAt: state.pointee.now, peer: connection.pointee.peer))
    stream.pointee.wire = .http2
    stream.pointee.flags = connection.pointee.flags.intersection([.straight, .selfLoop]).union(.stream)
    stream.pointee.session = connection.pointee.index
    stream.pointee.workload = connection.pointee.workload
    stream.pointee.original = connection.pointee.original
    stream.pointee.endpoint = connection.pointee.endpoint
    stream.pointee.next = h2.pointee.firstStream
    if h2.pointee.firstStream != noSlot { connections.pointer(h2.pointee.firstStream).pointee.previous = slot }
    h2.pointee.firstStream = slot
    h2.pointee.streamCount &+= 1
    (stream.pointee.role == .downstream ? statistics.downstreamStreams : statistics.upstreamStreams).add(1)
    return stream
  }

  func setNumber(_ stream: ConnectionPointer, _ number: Int32, _ h2: UnsafeMutablePointer<HTTP2State>) {
    stream.pointee.streamNumber = number
    h2.pointee.session.setNote(UInt(stream.pointee.index) + 1, of: number)
  }

  /// The session's stream is none of this slot's any more.
  func forgetNumber(_ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>) {
    guard stream.pointee.streamNumber != 0 else { return }
    h2.pointee.session.setNote(0, of: stream.pointee.streamNumber)
    stream.pointee.streamNumber = 0
  }

  func parent(_ stream: ConnectionPointer) -> ConnectionPointer { connections.pointer(stream.pointee.session) }

  // MARK: Body in

  func dataArrived(
    _ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32, _ bytes: UnsafePointer<UInt8>, _ count: Int
  ) {
    guard let stream = note(h2, number), let owner = h2.pointee.owner else {
      h2.pointee.session.consume(number, count)
      return
    }
    stream.pointee.bytesReceived &+= UInt64(count)
    stream.pointee.activeAt = state.pointee.now
    stream.pointee.uncredited &+= UInt32(truncatingIfNeeded: count)
    segments.retain(owner)
    deliver(stream, UnsafeMutableRawPointer(mutating: bytes), count, owner)
    if stream.pointee.flags.isDisjoint(with: [.closing, .readPaused]), stream.pointee.input.isEmpty { credit(stream) }
  }

  /// Gives back the credit for what has been passed on.
  func credit(_ stream: ConnectionPointer) {
    let count = Int(stream.pointee.uncredited)
    guard count > 0 else { return }
    stream.pointee.uncredited = 0
    let parent = parent(stream)
    if parent.pointee.flags.contains(.closing) { return }
    let session = http2State(parent).pointee.session
    // What a stream that is over had kept is still the connection's.
    if stream.pointee.streamNumber == 0 {
      session.consumeConnection(count)
    } else {
      session.consume(stream.pointee.streamNumber, count)
    }
    markDirty(parent)
  }

  func streamEnded(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32) {
    guard let stream = note(h2, number) else { return }
    endInput(stream)
  }

  /// The peer will send no more on this stream.
  func endInput(_ stream: ConnectionPointer) {
    stream.pointee.flags.insert(.peerFinished)
    if stream.pointee.input.isEmpty { peerFinished(stream) }
  }

  func processStreamBytes(
    _ stream: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    // The exchange is over: what still comes is nobody's.
    guard stream.pointee.exchange != noSlot else { return count }
    let exchange = exchanges.pointer(stream.pointee.exchange)
    if stream.pointee.role == .downstream {
      if exchange.pointee.phase == .naming || stream.pointee.codec.phase == .complete {
        stream.pointee.flags.insert(.inputHeld)
        return 0
      }
      requestBody(exchange, bytes, count, owner)
    } else {
      responseBody(exchange, stream, bytes, count, owner)
    }
    return count
  }

  // MARK: Body out

  /// There is something to send on a stream, or its end.
  func flushStream(_ stream: ConnectionPointer) {
    guard stream.pointee.streamNumber != 0 else { return }
    let parent = parent(stream)
    http2State(parent).pointee.session.resume(stream.pointee.streamNumber)
    markDirty(parent)
  }

  /// How much of a stream's body can be sent.
  func supply(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32, _ room: Int) -> Int {
    guard let stream = note(h2, number) else { return HTTP2Supply.later }
    let waiting = Int(stream.pointee.output.byteCount)
    let count = min(waiting, room)
    guard count == waiting, stream.pointee.flags.contains(.finishAfterFlush) else {
      if count > 0, !h2.pointee.conduct.send(count, isCut: count < waiting) { endFlood(h2) }
      return count > 0 ? HTTP2Supply.some(count) : HTTP2Supply.later
    }
    stream.pointee.flags.insert(.finished)
    if submitTrailers(stream, h2) {
      answeredEarly(stream, h2, hasTrailers: true)
      return HTTP2Supply.last(count, trailers: true)
    }
    answeredEarly(stream, h2)
    return HTTP2Supply.last(count, trailers: false)
  }

  /// The response ends before its request has: the client is told that no more of that is wanted (RFC 9113 section 8.1). Where
  /// the end is in fields, or a call's, only in a while: gRPC's own client, when it reads them and the reset at once, loses the
  /// status and makes INTERNAL of it. It has ended its side by then.
  func answeredEarly(_ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>, hasTrailers: Bool = false) {
    guard stream.pointee.role == .downstream, stream.pointee.wire == .http2,
      !stream.pointee.flags.contains(.peerFinished)
    else { return }
    if hasTrailers || stream.pointee.codec.flags.contains(.grpc) {
      connectionTimers.schedule(stream.pointee.index, deadline: deadline(after: lingerNanoseconds))
      return
    }
    h2.pointee.session.reset(stream.pointee.streamNumber, HTTP2Error.none)
  }

  /// A trailer section that waits for the end of its body goes out. False where there is none.
  private func submitTrailers(_ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>) -> Bool {
    let text: UnsafeRawBufferPointer
    if stream.pointee.role == .downstream {
      text = assembled(stream)
    } else {
      guard stream.pointee.exchange != noSlot else { return false }
      let exchange = exchanges.pointer(stream.pointee.exchange)
      text = UnsafeRawBufferPointer(
        start: Chunk(address: exchange.pointee.trailers).map { UnsafeRawPointer($0.bytes) },
        count: Int(exchange.pointee.trailersByteCount))
    }
    guard !text.isEmpty else { return false }
    var consumed = 0
    guard
      case .complete = HTTP1Parser.parseTrailers(
        text, into: &trailerFields.pointee, limits: limits.head, consumed: &consumed), trailerFields.pointee.count > 0
    else { return false }
    http2.fields.pointee.removeAll()
    http2.fields.pointee.addForwarded(trailerFields.pointee, text)
    return h2.pointee.session.submitTrailers(stream.pointee.streamNumber, http2.fields.pointee)
  }

  /// Puts a DATA frame behind what its connection has to send.
  func sendData(
    _ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32, _ header: UnsafePointer<UInt8>, _ count: Int
  ) -> Bool {
    let connection = connections.pointer(h2.pointee.connection)
    guard let stream = note(h2, number), Int(stream.pointee.output.byteCount) >= count,
      segments.appendCopy(&connection.pointee.output, header, frameHeaderSize)
    else { return false }
    keepForReplay(stream, count)
    let moved: Bool
    if count <= smallFrame {
      moved = segments.copy(count, from: &stream.pointee.output, to: &connection.pointee.output)
    } else {
      moved = segments.move(count, from: &stream.pointee.output, to: &connection.pointee.output)
    }
    guard moved else { return false }
    stream.pointee.bytesSent &+= UInt64(count)
    stream.pointee.activeAt = state.pointee.now
    if stream.pointee.exchange != noSlot {
      extendDeadline(exchanges.pointer(stream.pointee.exchange))
      if stream.pointee.unsentByteCount <= unsentByteLimit { outputDrained(stream) }
    }
    return true
  }

  private var frameHeaderSize: Int { 9 }
  /// Up to here a copy costs less than a vector more.
  private var smallFrame: Int { 1024 }

  /// What goes to an endpoint stays for another attempt, as long as it is not too much.
  private func keepForReplay(_ stream: ConnectionPointer, _ count: Int) {
    guard stream.pointee.role == .upstream, stream.pointee.exchange != noSlot else { return }
    let exchange = exchanges.pointer(stream.pointee.exchange)
    if exchange.pointee.flags.contains(.cannotReplay) { return }
    let keeps = exchange.pointee.phase == .waiting && fitsReplay(exchange, count)
    if !keeps || !segments.share(stream.pointee.output, first: count, to: &exchange.pointee.replay) {
      giveUpReplay(exchange)
    }
  }

  /// A head has become frames.
  func headSent(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32) {
    guard let stream = note(h2, number), stream.pointee.role == .upstream, stream.pointee.exchange != noSlot else {
      return
    }
    exchanges.pointer(stream.pointee.exchange).pointee.flags.insert(.requestStarted)
  }

  // MARK: End

  /// The session has closed a stream: both sides have ended it, or one has reset it.
  func streamClosed(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32, _ code: UInt32) {
    guard let stream = note(h2, number) else { return }
    stream.pointee.streamNumber = 0
    if code == HTTP2Error.none { h2.pointee.conduct.earn() }
    if stream.pointee.wire == .tunnel {
      tunnelStreamClosed(stream, code: code)
    } else if stream.pointee.role == .upstream {
      upstreamStreamLost(stream, code: code)
    } else {
      close(stream)
    }
  }

  /// A stream that had become a tunnel.
  private func tunnelStreamClosed(_ stream: ConnectionPointer, code: UInt32) {
    guard code == HTTP2Error.none, stream.pointee.exchange != noSlot,
      stream.pointee.flags.isSuperset(of: [.finished, .peerFinished])
    else {
      tunnelBroke(stream)
      return
    }
    // Its last bytes may not have left for the other side yet: when they have, that ends the tunnel.
    endTunnelIfOver(exchanges.pointer(stream.pointee.exchange))
  }

  /// A stream's slot is being given up: the peer hears of it where it does not know yet.
  func forgetStream(_ stream: ConnectionPointer) {
    let parent = parent(stream)
    let h2 = http2State(parent)
    if stream.pointee.streamNumber != 0 {
      let number = stream.pointee.streamNumber
      forgetNumber(stream, h2)
      h2.pointee.session.reset(number, endingCode(stream))
      markDirty(parent)
    }
    credit(stream)
    unlinkStream(stream)
    (stream.pointee.role == .downstream ? statistics.downstreamStreams : statistics.upstreamStreams).add(-1)
    if stream.pointee.role == .downstream {
      if stream.pointee.exchange != noSlot { downstreamGone(exchanges.pointer(stream.pointee.exchange)) }
      // While draining, the second GOAWAY has its time, whatever a client does that does not heed the first.
      let isAnnounced = state.pointee.isDraining && !h2.pointee.isLeaving
      if h2.pointee.streamCount == 0, !isAnnounced, !parent.pointee.flags.contains(.closing) {
        awaitStreams(parent)
      }
    } else {
      forgetUpstreamStream(stream, parent)
    }
  }

  /// With which code a stream that the peer still knows is ended.
  private func endingCode(_ stream: ConnectionPointer) -> UInt32 {
    guard stream.pointee.role == .downstream else { return HTTP2Error.cancel }
    if stream.pointee.flags.contains(.abort) {
      guard stream.pointee.wire == .tunnel else { return HTTP2Error.internal }
      // What stands for a reset of TCP (RFC 9113 section 8.5, RFC 8441 section 5).
      return stream.pointee.codec.flags.contains(.connect) ? HTTP2Error.connect : HTTP2Error.cancel
    }
    // The response has gone out whole.
    return stream.pointee.flags.contains(.finished) ? HTTP2Error.none : HTTP2Error.cancel
  }

  func unlinkStream(_ stream: ConnectionPointer) {
    let h2 = http2State(parent(stream))
    let (previous, next) = (stream.pointee.previous, stream.pointee.next)
    guard previous != noSlot || h2.pointee.firstStream == stream.pointee.index else { return }
    if previous == noSlot {
      h2.pointee.firstStream = next
    } else {
      connections.pointer(previous).pointee.next = next
    }
    if next != noSlot { connections.pointer(next).pointee.previous = previous }
    stream.pointee.previous = noSlot
    stream.pointee.next = noSlot
    h2.pointee.streamCount &-= 1
  }

  // MARK: Text

  func releaseText(_ h2: UnsafeMutablePointer<HTTP2State>) {
    h2.pointee.text = nil
    if let chunk = Chunk(address: h2.pointee.textChunk) { segments.chunks.release(chunk) }
    h2.pointee.textChunk = 0
  }

  /// A head or a trailer section begins to arrive. False: the stream is refused.
  func headBegan(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32) -> Bool {
    let connection = connections.pointer(h2.pointee.connection)
    if connection.pointee.flags.contains(.closing) { return false }
    var kind = HTTP2HeadText.Kind.trailers
    if connection.pointee.role == .downstream {
      if h2.pointee.session.note(of: number) == 0 {
        guard let stream = makeStream(connection) else { return false }
        setNumber(stream, number, h2)
        connection.pointee.requestCount &+= 1
        kind = .request
      }
    } else if let stream = note(h2, number), stream.pointee.codec.phase == .head {
      kind = .response
    }
    h2.pointee.conduct.allowUpdates()
    releaseText(h2)
    let room = limits.head.headerBytes + textSlack
    let chunk = segments.chunks.allocate(room)
    h2.pointee.textChunk = chunk.address
    h2.pointee.text = HTTP2HeadText(kind, in: chunk.bytes, capacity: room)
    return true
  }

  /// For what the text has and the fields do not: the first line's words, framing, the lengths of cookies.
  private var textSlack: Int { 1024 }

  /// It is whole.
  func headEnded(_ h2: UnsafeMutablePointer<HTTP2State>, _ number: Int32, endsStream: Bool) {
    defer { releaseText(h2) }
    guard let stream = note(h2, number), var text = h2.pointee.text,
      let chunk = Chunk(address: h2.pointee.textChunk)
    else { return }
    switch (text.kind, stream.pointee.role) {
    case (.request, _): requestHeadArrived(stream, h2, &text, chunk, endsStream: endsStream)
    case (.response, _): responseHeadArrived(stream, h2, &text, chunk, endsStream: endsStream)
    case (.trailers, _): trailersArrived(stream, h2, &text, chunk, endsStream: endsStream)
    }
  }

  /// A trailer section: it ends the body, and waits for what is held of that.
  private func trailersArrived(
    _ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>, _ text: inout HTTP2HeadText, _ chunk: Chunk,
    endsStream: Bool
  ) {
    guard endsStream, stream.pointee.exchange != noSlot, case .complete(let count) = text.finish(endsStream: true)
    else {
      if stream.pointee.exchange != noSlot || !endsStream { malformed(stream, h2) }
      return
    }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: count)
    releaseAssembly(stream)
    guard appendToAssembly(stream, bytes, limit: bytes.count) else { return }
    endInput(stream)
  }

  /// The stream breaks a rule of RFC 9113 section 8: it is reset, and what it asked for or answered is nobody's.
  func malformed(_ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>) {
    let number = stream.pointee.streamNumber
    h2.pointee.session.reset(number, HTTP2Error.protocol)
    lose(h2)
    if stream.pointee.role == .upstream {
      forgetNumber(stream, h2)
      upstreamStreamLost(stream, code: HTTP2Error.protocol)
    } else {
      forgetNumber(stream, h2)
      close(stream)
    }
  }
}
