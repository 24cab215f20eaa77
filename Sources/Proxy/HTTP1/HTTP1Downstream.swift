// HTTP/1 towards clients: request bytes into an exchange, and the exchange's response out.

import Base
import EventLoop
import Glibc
import HTTP
import Policy

extension Shard {
  // MARK: Requests in

  /// Takes what it can of received bytes: heads, bodies, and again heads where requests are pipelined. Returns how many.
  func processRequestBytes(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    var offset = 0
    while offset < count, connection.pointee.isServing, connection.pointee.wire == .http1 {
      switch connection.pointee.codec.phase {
      case .head where connection.pointee.unsentByteCount > unsentByteLimit:
        // A client that pipelines must read the answers as well.
        connection.pointee.flags.insert(.inputHeld)
        return offset
      case .head: offset += takeRequestHead(connection, bytes + offset, count - offset)
      case .body where isBeingNamed(connection), .trailers where isBeingNamed(connection):
        connection.pointee.flags.insert(.inputHeld)
        return offset
      case .body: offset += takeRequestBody(connection, bytes + offset, count - offset, owner)
      case .trailers: offset += takeRequestTrailers(connection, bytes + offset, count - offset)
      case .complete:
        connection.pointee.flags.insert(.inputHeld)
        return offset
      }
    }
    return offset
  }

  /// Its head waits to hear what its name leads to: the body follows the head, not the other way round.
  private func isBeingNamed(_ connection: ConnectionPointer) -> Bool {
    connection.pointee.exchange != noSlot && exchanges.pointer(connection.pointee.exchange).pointee.phase == .naming
  }

  /// Parses a head that was parsed before and has been kept since.
  func parseKeptHead(_ bytes: UnsafeRawBufferPointer) -> Bool {
    if case .complete = HTTP1Parser.parseRequest(bytes, into: &requestHead.pointee, limits: limits.head) {
      true
    } else {
      false
    }
  }

  private func takeRequestHead(_ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    if connection.pointee.requestCount == 0, let used = takePreface(connection, received) { return used }
    if connection.pointee.codec.assembly == 0 {
      switch HTTP1Parser.parseRequest(received, into: &requestHead.pointee, limits: limits.head) {
      case .complete:
        requestArrived(connection, received)
        return requestHead.pointee.headLength
      case .refused(let refusal):
        refuseRequest(connection, refusal)
        return count
      case .incomplete:
        connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.headerTimeoutNanoseconds))
      }
    }
    switch assemble(connection, received, limit: limits.head.headerBytes + 2) {
    case .incomplete: return count
    case .refused(let refusal):
      refuseRequest(connection, refusal)
      return count
    case .whole(let used, let whole):
      switch HTTP1Parser.parseRequest(whole, into: &requestHead.pointee, limits: limits.head) {
      case .complete: requestArrived(connection, whole)
      case .refused(let refusal): refuseRequest(connection, refusal)
      case .incomplete: refuseRequest(connection, .badMethod)
      }
      releaseAssembly(connection)
      return used
    }
  }

  private func requestArrived(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    connectionTimers.cancel(connection.pointee.index)
    var flags: CodecFlags = []
    if requestHead.pointee.keepAlive { flags.insert(.keepAlive) }
    if requestHead.pointee.version == .http10 { flags.insert(.version10) }
    if requestHead.pointee.method == .head { flags.insert(.headRequest) }
    connection.pointee.codec.flags = flags
    let framing = requestHead.pointee.framing
    connection.pointee.codec.framing = framing
    connection.pointee.codec.phase = framing.hasBody ? .body : .complete
    switch framing {
    case .length(let length):
      connection.pointee.codec.remaining = length
      if length > UInt64(heldByteCount) { readBufferByBuffer(connection) }
    case .chunked: connection.pointee.codec.chunks = ChunkedDecoder()
    case .none, .untilClose: break
    }
    begin(connection, bytes, isComplete: !framing.hasBody)
  }

  private func takeRequestBody(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    guard connection.pointee.exchange != noSlot else { return count }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    if exchange.pointee.requestByteCount > UInt64(heldByteCount) { readBufferByBuffer(connection) }
    guard case .chunked = connection.pointee.codec.framing else {
      let used = Int(min(UInt64(count), connection.pointee.codec.remaining))
      connection.pointee.codec.remaining -= UInt64(used)
      let isLast = connection.pointee.codec.remaining == 0
      if isLast { connection.pointee.codec.phase = .complete }
      requestBody(exchange, bytes, used, owner)
      if isLast, connection.pointee.exchange != noSlot { requestComplete(connection) }
      return used
    }
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    var offset = 0
    while offset < count, connection.pointee.exchange != noSlot {
      switch connection.pointee.codec.chunks.next(received, from: offset) {
      case .data(let range):
        requestBody(exchange, bytes + range.lowerBound, range.count, owner)
        offset = range.upperBound
      case .needMore: return count
      case .trailers(at: let start):
        connection.pointee.codec.phase = .trailers
        connection.pointee.codec.scanner = HeadScanner(.trailers)
        return start
      case .end(at: let end):
        connection.pointee.codec.phase = .complete
        sendRequestEnd(exchange, trailers: nil)
        if connection.pointee.exchange != noSlot { requestComplete(connection) }
        return end
      case .refused(let refusal):
        fail(exchange, .refused(refusal))
        return count
      }
    }
    return offset
  }

  private func takeRequestTrailers(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int
  ) -> Int {
    guard connection.pointee.exchange != noSlot else { return count }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    switch assemble(connection, received, limit: limits.head.headerBytes) {
    case .incomplete: return count
    case .refused(let refusal):
      fail(exchange, .refused(refusal == .headTooLong ? .trailersTooLong : refusal))
      return count
    case .whole(let used, let whole):
      connection.pointee.codec.phase = .complete
      sendRequestEnd(exchange, trailers: whole)
      releaseAssembly(connection)
      if connection.pointee.exchange != noSlot { requestComplete(connection) }
      return used
    }
  }

  private func requestComplete(_ connection: ConnectionPointer) {
    connection.pointee.flags.remove(.longBody)
    requestEnded(exchanges.pointer(connection.pointee.exchange))
  }

  // MARK: Responses out

  /// A final response head, in `responseHead` over `bytes`.
  func sendResponseHead(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    let edits = exchange.pointee.route.plan?.pointee.responseEdits ?? HeadEdits()
    if downstream.pointee.wire == .http2, edits.isEmpty {
      sendStreamResponseHead(downstream, bytes)
      return
    }
    let isVersion10 = downstream.pointee.codec.flags.contains(.version10)
    let framing = responseHead.pointee.framing(towards: isVersion10 ? .http10 : .http11)
    downstream.pointee.codec.sends = framing
    if framing == .untilClose || !exchange.pointee.flags.contains(.requestComplete)
      || downstream.pointee.flags.contains(.closeAfterExchange) || state.pointee.isDraining
    {
      downstream.pointee.codec.flags.remove(.keepAlive)
    }
    writeResponseHead(downstream, bytes, framing: framing, isSwitch: false, edits)
    if downstream.pointee.wire == .http2, !downstream.pointee.flags.contains(.closing) {
      submitWrittenResponse(downstream)
    }
  }

  /// A 1xx head, in `responseHead` over `bytes`. HTTP/1.0 knows none.
  func sendInterimHead(_ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    let isSwitch = responseHead.pointee.isSwitch
    if downstream.pointee.wire == .http2 {
      sendStreamInterimHead(downstream, bytes)
      return
    }
    if downstream.pointee.codec.flags.contains(.version10), !isSwitch { return }
    writeResponseHead(downstream, bytes, framing: .none, isSwitch: isSwitch)
  }

  private func writeResponseHead(
    _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, framing: BodyFraming, isSwitch: Bool,
    _ edits: HeadEdits = HeadEdits()
  ) {
    let connection: ConnectionOption
    if isSwitch {
      connection = .upgrade
    } else if responseHead.pointee.isInterim {
      connection = .none
    } else if !downstream.pointee.codec.flags.contains(.keepAlive) {
      connection = .close
    } else {
      connection = downstream.pointee.codec.flags.contains(.version10) ? .keepAlive : .none
    }
    let via = viaLine(ofResponseTo: downstream)
    let room = HTTP1Serializer.responseBound(responseHead.pointee, extra: via) + edits.addedByteCount
    guard let target = reserve(downstream, room) else {
      close(downstream, abort: true)
      return
    }
    let output = UnsafeMutableRawBufferPointer(start: target, count: room)
    let written =
      edits.isEmpty
      ? HTTP1Serializer.writeResponse(
        responseHead.pointee, from: bytes, framing: framing, connection: connection, extra: via, into: output)
      : HTTP1Serializer.writeResponse(
        responseHead.pointee, from: bytes, framing: framing, connection: connection, extra: via, edits: edits,
        into: output)
    guard let written else {
      close(downstream, abort: true)
      return
    }
    commit(downstream, written)
  }

  /// Response body bytes; the caller keeps its reference on `owner`.
  func sendResponseBody(
    _ downstream: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    if appendBody(&downstream.pointee.output, downstream.pointee.codec.sends, bytes, count, owner) {
      markDirty(downstream)
    } else {
      close(downstream, abort: true)
    }
  }

  /// The response body is over; `trailers` is the endpoint's trailer section, where it sent one.
  func sendResponseEnd(_ downstream: ConnectionPointer, trailers: UnsafeRawBufferPointer?) {
    if downstream.pointee.wire == .http2 {
      endStreamResponse(downstream, trailers: trailers)
      return
    }
    guard case .chunked = downstream.pointee.codec.sends else { return }
    if appendLastChunk(&downstream.pointee.output, trailers) == nil {
      markDirty(downstream)
    } else {
      close(downstream, abort: true)
    }
  }

  /// A proxy-made answer to the request whose exchange has just ended.
  func sendLocalResponse(
    _ downstream: ConnectionPointer, _ error: ProxyError, service: UInt32, requestComplete: Bool
  ) {
    let codec = downstream.pointee.codec
    let closes =
      error.endsConnection || !requestComplete || !codec.flags.contains(.keepAlive) || state.pointee.isDraining
      || downstream.pointee.flags.contains(.closeAfterExchange)
    guard let target = reserve(downstream, LocalResponse.sizeLimit) else {
      close(downstream, abort: true)
      return
    }
    let room = UnsafeMutableRawBufferPointer(start: target, count: LocalResponse.sizeLimit)
    let via = viaLine(of: downstream)
    let retryAfter = takeRetryAfter(error) ?? secondsUntilProbe(error, service)
    let written =
      codec.flags.contains(.grpc)
      ? LocalResponse.writeGRPC(error, service: serviceName(service), via: via, retryAfter: retryAfter, into: room)
      : LocalResponse.write(
        error, service: serviceName(service), closes: closes,
        withBody: !codec.flags.contains(.headRequest), via: via,
        retryAfter: retryAfter, into: room)
    guard let written else {
      close(downstream, abort: true)
      return
    }
    commit(downstream, written)
    if downstream.pointee.wire == .http2 { submitWrittenResponse(downstream) }
    if closes { downstream.pointee.codec.flags.remove(.keepAlive) }
    downstreamStreamEnded(downstream, requestComplete: requestComplete)
  }

  /// A request that never became an exchange: refused bytes, or no room.
  func refuseRequest(_ downstream: ConnectionPointer, _ refusal: Refusal) {
    respondWithoutExchange(downstream, .refused(refusal))
  }

  func respondWithoutExchange(_ downstream: ConnectionPointer, _ error: ProxyError) {
    statistics.countError(error)
    statistics.countUnnamed(
      listener: Int(downstream.pointee.origin), workload: downstream.pointee.workload, status: error.status)
    recordRefusal(downstream, error)
    sendLocalResponse(downstream, error, service: noSlot, requestComplete: false)
  }

  /// The exchange is over: the next request, or the end of the connection.
  func downstreamStreamEnded(_ downstream: ConnectionPointer, requestComplete: Bool) {
    if downstream.pointee.flags.contains(.closing) { return }
    if downstream.pointee.wire == .http2 {
      streamExchangeEnded(downstream)
      return
    }
    guard requestComplete, downstream.pointee.codec.flags.contains(.keepAlive) else {
      closeAfterFlush(downstream)
      return
    }
    downstream.pointee.codec.reset()
    downstream.pointee.flags.remove(.longBody)
    // While draining an idle connection has only the moment in which a request may be on its way already.
    let rest = state.pointee.isDraining ? drainGraceNanoseconds : limits.idleTimeoutNanoseconds
    connectionTimers.schedule(downstream.pointee.index, deadline: deadline(after: rest))
    resumeInput(downstream)
  }

  // MARK: The client's end

  /// The client has sent its last byte. A request it has sent whole is still answered (half-close).
  func downstreamFinished(_ connection: ConnectionPointer) {
    switch connection.pointee.codec.phase {
    case .complete: break
    case .head:
      if connection.pointee.exchange == noSlot { closeAfterFlush(connection) }
    case .body, .trailers: close(connection)
    }
  }

  func downstreamBroke(_ connection: ConnectionPointer) { close(connection) }

  /// Time is over for a head, for an idle connection, or for a client that does not close.
  func downstreamExpired(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.stranger), letStrangerPass(connection) { return }
    switch connection.pointee.wire {
    case .multiplexed: return multiplexedExpired(connection)
    case .undetected: return detectionEnded(connection)
    case .clientHello: return clientHelloEnded(connection)
    case .proxyHeader: return proxyHeaderEnded(connection)
    case .http1, .http2, .tunnel: break
    }
    if connection.pointee.flags.contains(.finishAfterFlush), isStillTaking(connection) {
      connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.idleTimeoutNanoseconds))
      return
    }
    if connection.pointee.flags.contains(.lingering) || connection.pointee.flags.contains(.finishAfterFlush) {
      close(connection)
    } else if connection.pointee.exchange != noSlot {
      return
    } else if connection.pointee.codec.assembly != 0 {
      respondWithoutExchange(connection, .headerTimeout)
    } else {
      closeAfterFlush(connection)
    }
  }
}
