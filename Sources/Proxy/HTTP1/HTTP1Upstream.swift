// HTTP/1 towards endpoints: the exchange's request out, and response bytes back into the exchange.

import Base
import EventLoop
import Glibc
import HTTP
import Policy
import Telemetry

extension Shard {
  // MARK: Requests out

  /// Serializes the request head, in `requestHead` over `bytes`, into the exchange's own queue: it waits there until a
  /// connection takes it, and can be sent again from there. False when it does not fit.
  func writeRequestHead(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) -> Bool {
    let via = viaLine(of: connections.pointer(exchange.pointee.downstream))
    var extra = requestHead.pointee.hasTraceparent ? via : viaAndNewTraceLines(via)
    if exchange.pointee.deadlineOfDay != 0 { extra = withDeadline(extra, exchange) }
    if changesRequestHead(exchange) {
      return writeChangedRequestHead(exchange, bytes, authority: requestAuthority(exchange), extra: extra)
    }
    let room = HTTP1Serializer.requestBound(requestHead.pointee, extra: extra)
    let chunk = segments.chunks.allocate(room)
    let written = HTTP1Serializer.writeRequest(
      requestHead.pointee, from: bytes, connection: requestHead.pointee.wantsUpgrade ? .upgrade : .none,
      authority: requestAuthority(exchange), extra: extra,
      into: UnsafeMutableRawBufferPointer(start: chunk.bytes, count: room))
    guard let written else {
      segments.chunks.release(chunk)
      return false
    }
    return segments.append(&exchange.pointee.request, chunk.bytes, written, owner: BufferOwner(chunk: chunk))
  }

  /// What Host says for a client that sent none: the service's name, or the address it had connected to.
  private func requestAuthority(_ exchange: ExchangePointer) -> UnsafeRawBufferPointer {
    if exchange.pointee.pinned == noSlot {
      return services.service(exchange.pointee.service).pointee.authority
    }
    let original = connections.pointer(exchange.pointee.downstream).pointee.original
    // Rare, and the only place that needs an address as text for a request: it may allocate.
    if requestHead.pointee.authorityRange.isEmpty, let text = original.socketAddress?.description {
      let count = min(text.utf8.count, authorityText.count)
      authorityText.copyBytes(from: text.utf8.prefix(count))
      return UnsafeRawBufferPointer(rebasing: authorityText[..<count])
    }
    return UnsafeRawBufferPointer(start: nil, count: 0)
  }

  /// The `via` line and a `traceparent` that starts a trace (W3C Trace Context): sampled, since a service that follows its
  /// caller's decision would otherwise stop recording because of us. Valid until the next call.
  private func viaAndNewTraceLines(_ via: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let context = TraceContext.started(using: &state.pointee.random, sampled: true)
    let value = UnsafeMutableRawBufferPointer(
      rebasing: traceLines[(traceLines.count - TraceContext.encodedByteCount - 2)..<(traceLines.count - 2)])
    _ = context.write(into: value)
    // In front of the line that stands there.
    let start = viaLines.longest - via.count
    UnsafeMutableRawBufferPointer(rebasing: traceLines[start...]).copyMemory(from: via)
    return UnsafeRawBufferPointer(rebasing: traceLines[start...])
  }

  /// Body bytes to wherever the request is: on its connection, or still waiting for one.
  func sendRequestBody(
    _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    let framing =
      exchange.pointee.flags.contains(.http2)
      ? .untilClose : connections.pointer(exchange.pointee.downstream).pointee.codec.framing
    if exchange.pointee.route.mirror != noSlot { mirrorBody(exchange, bytes, count, owner) }
    guard exchange.pointee.upstream != noSlot else {
      if !appendBody(&exchange.pointee.request, framing, bytes, count, owner) { fail(exchange, .noDescriptor) }
      return
    }
    let upstream = connections.pointer(exchange.pointee.upstream)
    if appendBody(&upstream.pointee.output, framing, bytes, count, owner) {
      markDirty(upstream)
    } else {
      fail(exchange, .noDescriptor)
    }
  }

  /// The end of a chunked request body, with the client's trailer section where it sent one.
  func sendRequestEnd(_ exchange: ExchangePointer, trailers: UnsafeRawBufferPointer?) {
    if exchange.pointee.route.mirror != noSlot { mirrorTrailers(exchange, trailers) }
    if exchange.pointee.flags.contains(.http2) {
      keepTrailers(exchange, trailers)
      return
    }
    let refusal: Refusal?
    if exchange.pointee.upstream == noSlot {
      refusal = appendLastChunk(&exchange.pointee.request, trailers)
    } else {
      let upstream = connections.pointer(exchange.pointee.upstream)
      refusal = appendLastChunk(&upstream.pointee.output, trailers)
      markDirty(upstream)
    }
    if let refusal { fail(exchange, .refused(refusal)) }
  }

  /// The exchange has this connection: its request goes out.
  func startUpstreamStream(_ exchange: ExchangePointer, _ upstream: ConnectionPointer) {
    if upstream.pointee.wire == .http2 {
      startStream(exchange, upstream)
      return
    }
    upstream.pointee.codec.reset()
    segments.moveAll(from: &exchange.pointee.request, to: &upstream.pointee.output)
    if !upstream.pointee.flags.contains(.connecting) { markDirty(upstream) }
  }

  /// The first `count` bytes in flight have been sent. They stay for another attempt until the response begins, as long as
  /// they are not too many.
  func requestSent(_ upstream: ConnectionPointer, _ count: Int) {
    let exchange = exchanges.pointer(upstream.pointee.exchange)
    let keeps =
      exchange.pointee.phase == .waiting && !exchange.pointee.flags.contains(.cannotReplay)
      && fitsReplay(exchange, count)
    if keeps, segments.move(count, from: &upstream.pointee.inFlight, to: &exchange.pointee.replay) { return }
    giveUpReplay(exchange)
    if !keeps { segments.consume(&upstream.pointee.inFlight, count) }
  }

  /// Whether so many bytes more may be kept: of the body as many as are held anywhere, and the head besides.
  func fitsReplay(_ exchange: ExchangePointer, _ count: Int) -> Bool {
    Int(exchange.pointee.replay.byteCount) + count <= heldByteCount + Int(exchange.pointee.requestHeadByteCount)
  }

  /// Takes the whole request back from a connection that failed, and closes that. False when it has none.
  func takeBackRequest(_ exchange: ExchangePointer) -> Bool {
    var request = SegmentQueue()
    segments.moveAll(from: &exchange.pointee.replay, to: &request)
    var whole = true
    if exchange.pointee.upstream != noSlot {
      let upstream = connections.pointer(exchange.pointee.upstream)
      // Bytes of a send that is still in flight stay lent to it until its completion.
      if upstream.pointee.flags.contains(.sending) {
        whole = segments.share(upstream.pointee.inFlight, to: &request)
      } else {
        segments.moveAll(from: &upstream.pointee.inFlight, to: &request)
      }
      segments.moveAll(from: &upstream.pointee.output, to: &request)
      endLoad(exchange)
      exchange.pointee.upstream = noSlot
      upstream.pointee.exchange = noSlot
      close(upstream)
    }
    segments.moveAll(from: &request, to: &exchange.pointee.request)
    return whole && (!exchange.pointee.request.isEmpty || exchange.pointee.flags.contains(.stream))
  }

  // MARK: Responses in

  func processResponseBytes(
    _ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Int {
    var offset = 0
    while offset < count, connection.pointee.isServing {
      if connection.pointee.flags.contains(.discarding) {
        offset += discard(connection, bytes + offset, count - offset)
        continue
      }
      guard connection.pointee.exchange != noSlot else {
        // Nobody asked: whatever it is, it must not become the answer to the next request.
        close(connection)
        return count
      }
      if connection.pointee.wire == .tunnel {
        return offset + processTunnelBytes(connection, bytes + offset, count - offset, owner)
      }
      let exchange = exchanges.pointer(connection.pointee.exchange)
      switch connection.pointee.codec.phase {
      case .head:
        guard isSolicited(connection, exchange) else {
          attemptFailed(exchange, .endpointGarbage(nil), verdict: verdict(connection, exchange))
          return count
        }
        exchange.pointee.flags.insert(.responseStarted)
        offset += takeResponseHead(connection, exchange, bytes + offset, count - offset)
      case .body: offset += takeResponseBody(connection, exchange, bytes + offset, count - offset, owner)
      case .trailers: offset += takeResponseTrailers(connection, bytes + offset, count - offset)
      case .complete:
        connection.pointee.codec.flags.insert(.sawExtra)
        return count
      }
    }
    return offset
  }

  /// Whether the endpoint can have seen the request it seems to answer. A short request that was not even sent cannot have
  /// been answered: what came is left over from before, and taking it would give one client another's response.
  private func isSolicited(_ connection: ConnectionPointer, _ exchange: ExchangePointer) -> Bool {
    exchange.pointee.flags.contains(.requestStarted)
      || Int(connection.pointee.inFlight.byteCount) > ReceiveBufferPool.bufferSize
  }

  private func takeResponseHead(
    _ connection: ConnectionPointer, _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int
  ) -> Int {
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    let context = ResponseContext(
      method: exchange.pointee.method, wantsUpgrade: exchange.pointee.flags.contains(.expectsUpgrade))
    if connection.pointee.codec.assembly == 0 {
      switch HTTP1Parser.parseResponse(received, into: &responseHead.pointee, context: context, limits: limits.head) {
      case .complete:
        responseArrived(connection, exchange, received)
        return responseHead.pointee.headLength
      case .refused(let refusal):
        refuseResponse(exchange, refusal)
        return count
      case .incomplete: break
      }
    }
    switch assemble(connection, received, limit: limits.head.headerBytes) {
    case .incomplete: return count
    case .refused(let refusal):
      refuseResponse(exchange, refusal)
      return count
    case .whole(let used, let whole):
      switch HTTP1Parser.parseResponse(whole, into: &responseHead.pointee, context: context, limits: limits.head) {
      case .complete: break
      case .refused(let refusal):
        refuseResponse(exchange, refusal)
        return count
      case .incomplete:
        refuseResponse(exchange, nil)
        return count
      }
      responseArrived(connection, exchange, whole)
      releaseAssembly(connection)
      return used
    }
  }

  /// What the endpoint sent is no response head.
  private func refuseResponse(_ exchange: ExchangePointer, _ refusal: Refusal?) {
    observeAttempt(exchange, status: nil)
    if attemptLost(exchange) { return }
    fail(exchange, .endpointGarbage(refusal))
  }

  private func responseArrived(
    _ connection: ConnectionPointer, _ waiting: ExchangePointer, _ bytes: UnsafeRawBufferPointer
  ) {
    var exchange = waiting
    let status = responseHead.pointee.status.code
    if status == 101 {
      // Bytes of a body that is still to come would be taken for the new protocol's.
      guard exchange.pointee.flags.contains(.requestComplete) else {
        observeAttempt(exchange, status: nil)
        fail(exchange, .endpointGarbage(nil))
        return
      }
      exchange.pointee.status = status
      observeAttempt(exchange, status: status)
      responseInterim(exchange, connection, bytes)
      if connection.pointee.exchange != noSlot { becomeTunnel(exchange) }
      return
    }
    if status < 200 {
      responseInterim(exchange, connection, bytes)
      return
    }
    let framing = responseHead.pointee.framing
    connection.pointee.codec.framing = framing
    connection.pointee.codec.flags = responseHead.pointee.keepAlive ? .keepAlive : []
    connection.pointee.codec.phase = framing.hasBody ? .body : .complete
    switch framing {
    case .length(let length):
      connection.pointee.codec.remaining = length
      if length > UInt64(heldByteCount) { readBufferByBuffer(connection) }
    case .chunked: connection.pointee.codec.chunks = ChunkedDecoder()
    case .none, .untilClose: break
    }
    if exchange.pointee.partner != noSlot {
      guard let chosen = chooseAttempt(exchange, connection, status: status) else { return }
      exchange = chosen
    }
    if status >= 500, repeatsAnswered(exchange, connection, status: status) { return }
    responseBegan(exchange, connection, bytes)
  }

  private func takeResponseBody(
    _ connection: ConnectionPointer, _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int,
    _ owner: BufferOwner
  ) -> Int {
    if exchange.pointee.responseByteCount > UInt64(heldByteCount) { readBufferByBuffer(connection) }
    switch connection.pointee.codec.framing {
    case .none: return count
    case .untilClose:
      responseBody(exchange, connection, bytes, count, owner)
      return count
    case .length:
      let used = Int(min(UInt64(count), connection.pointee.codec.remaining))
      connection.pointee.codec.remaining -= UInt64(used)
      if connection.pointee.codec.remaining == 0 { connection.pointee.codec.phase = .complete }
      responseBody(exchange, connection, bytes, used, owner)
      return used
    case .chunked:
      return takeResponseChunks(connection, exchange, bytes, count, owner)
    }
  }

  private func takeResponseChunks(
    _ connection: ConnectionPointer, _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int,
    _ owner: BufferOwner
  ) -> Int {
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    var offset = 0
    while offset < count, connection.pointee.exchange != noSlot {
      switch connection.pointee.codec.chunks.next(received, from: offset) {
      case .data(let range):
        responseBody(exchange, connection, bytes + range.lowerBound, range.count, owner)
        offset = range.upperBound
      case .needMore: return count
      case .trailers(at: let start):
        connection.pointee.codec.phase = .trailers
        connection.pointee.codec.scanner = HeadScanner(.trailers)
        return start
      case .end(at: let end):
        connection.pointee.codec.phase = .complete
        sendResponseEnd(connections.pointer(exchange.pointee.downstream), trailers: nil)
        return end
      case .refused:
        fail(exchange, .responseTruncated)
        return count
      }
    }
    return offset
  }

  private func takeResponseTrailers(_ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int)
    -> Int
  {
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    switch assemble(connection, received, limit: limits.head.headerBytes) {
    case .incomplete: return count
    case .refused:
      fail(exchange, .responseTruncated)
      return count
    case .whole(let used, let whole):
      connection.pointee.codec.phase = .complete
      sendResponseEnd(connections.pointer(exchange.pointee.downstream), trailers: whole)
      releaseAssembly(connection)
      return used
    }
  }

  /// After received bytes were processed: a complete response sets its connection free and ends its exchange.
  func responseProcessed(_ connection: ConnectionPointer) {
    if connection.pointee.flags.contains(.discarding) {
      discardProcessed(connection)
      return
    }
    guard connection.pointee.codec.phase == .complete, connection.pointee.exchange != noSlot,
      connection.pointee.isServing
    else { return }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    let isReusable =
      connection.pointee.codec.flags.isSuperset(of: .keepAlive) && !connection.pointee.codec.flags.contains(.sawExtra)
      && exchange.pointee.flags.contains(.requestComplete) && connection.pointee.unsentByteCount == 0
      && !connection.pointee.flags.contains(.peerFinished)
    exchange.pointee.upstream = noSlot
    connection.pointee.exchange = noSlot
    connection.pointee.flags.remove(.longBody)
    endLoad(exchange)
    if isReusable {
      resumeReading(connection)
      release(connection)
    } else {
      close(connection)
    }
    responseEnded(exchange)
  }

  // MARK: The endpoint's end

  /// The endpoint has sent its last byte.
  func upstreamFinished(_ connection: ConnectionPointer) {
    guard connection.pointee.exchange != noSlot else {
      close(connection)
      return
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    switch connection.pointee.codec.phase {
    case .head: upstreamLost(connection, exchange)
    case .body where connection.pointee.codec.framing == .untilClose:
      connection.pointee.codec.phase = .complete
      sendResponseEnd(connections.pointer(exchange.pointee.downstream), trailers: nil)
      responseProcessed(connection)
    case .body, .trailers: fail(exchange, .responseTruncated)
    case .complete: responseProcessed(connection)
    }
  }

  func upstreamBroke(_ connection: ConnectionPointer) {
    guard connection.pointee.exchange != noSlot else {
      close(connection)
      return
    }
    let exchange = exchanges.pointer(connection.pointee.exchange)
    switch connection.pointee.codec.phase {
    case .head: upstreamLost(connection, exchange)
    case .body, .trailers, .complete: fail(exchange, .responseTruncated)
    }
  }

  /// A send failed. The endpoint may have answered before it closed: the receive side, which is armed, tells. What could
  /// not be sent stays for another attempt.
  func upstreamSendFailed(_ connection: ConnectionPointer) {
    if connection.pointee.receive == .off, connection.pointee.flags.contains(.readPaused) {
      resumeReading(connection)
    }
  }

  /// The connection ended before a response began.
  private func upstreamLost(_ connection: ConnectionPointer, _ exchange: ExchangePointer) {
    attemptFailed(exchange, .endpointClosed, verdict: verdict(connection, exchange))
  }

  /// Whether what was sent on this connection may be sent again elsewhere.
  private func verdict(_ connection: ConnectionPointer, _ exchange: ExchangePointer) -> RetryVerdict {
    // A send whose completion has not come may have brought the endpoint any part of its bytes.
    let nothingSent =
      !exchange.pointee.flags.contains(.requestStarted) && !connection.pointee.flags.contains(.sending)
    let attempt = BrokenAttempt(
      isMethodIdempotent: exchange.pointee.method.isIdempotent,
      isConnectionReused: connection.pointee.flags.contains(.reused),
      progress: nothingSent ? .nothingSent : .partlySent,
      sawResponseByte: exchange.pointee.flags.contains(.responseStarted),
      isBodyReplayable: !exchange.pointee.flags.contains(.cannotReplay))
    return RetryVerdict(of: attempt)
  }
}
