// HTTP/2 towards endpoints: many requests on one connection. A shard has as few connections to an endpoint as its streams need;
// each request gets a stream of one that has room, and a connection takes another when one ends.

import Base
import Configuration
import EventLoop
import Glibc
import HTTP
import Policy

extension Shard {
  // MARK: Taking

  /// Whether an exchange's endpoint is spoken to in HTTP/2. What asks for another protocol than WebSocket does so in HTTP/1.
  func speaksHTTP2(_ exchange: ExchangePointer, _ downstream: ConnectionPointer) -> Bool {
    switch services.service(exchange.pointee.service).pointee.policy.protocol {
    case .http1: return false
    case .http2: return true
    case .same: return downstream.pointee.wire == .http2
    }
  }

  /// A stream on a connection to the endpoint, on a new one, or a place in the queue.
  func acquireStream(
    _ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32,
    _ source: PeerAddress
  ) -> Acquisition {
    if let connection = connectionWithRoom(service, endpoint, source) { return stream(on: connection) }
    let speaks = isTransparent(exchange)
    var opened = openWithinLimit(service, exchange.pointee.service, endpoint, source, speaks)
    if opened == nil {
      // At the limit, another endpoint will do as well; and what is idle and cannot serve has a place that can.
      if exchange.pointee.pinned == noSlot, service.pointee.multiplexedCount > 0 {
        for other in 0..<UInt32(service.pointee.endpointCount) where isWell(service, other) {
          if let connection = connectionWithRoom(service, other, source) { return stream(on: connection) }
        }
      }
      if closeIdleConnection(of: exchange.pointee.service) {
        opened = openWithinLimit(service, exchange.pointee.service, endpoint, source, speaks)
      }
    }
    switch opened {
    case .connection(let connection):
      let pool = service.pointee.endpoints + Int(endpoint)
      guard beginHTTP2(connection) else { return .failed(.noDescriptor) }
      connection.pointee.next = pool.pointee.multiplexedHead
      if pool.pointee.multiplexedHead != noSlot {
        connections.pointer(pool.pointee.multiplexedHead).pointee.previous = connection.pointee.index
      }
      pool.pointee.multiplexedHead = connection.pointee.index
      service.pointee.multiplexedCount &+= 1
      return stream(on: connection)
    case .failed(let error): return .failed(error)
    case .wait, nil: return joinQueue(exchange, service)
    }
  }

  /// A connection to the endpoint, for this client, that can take another stream.
  private func connectionWithRoom(
    _ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32, _ source: PeerAddress
  ) -> ConnectionPointer? {
    let pool = service.pointee.endpoints + Int(endpoint)
    guard pool.pointee.state == .live else { return nil }
    var link = pool.pointee.multiplexedHead
    while link != noSlot {
      let connection = connections.pointer(link)
      link = connection.pointee.next
      if connection.pointee.original == source, hasRoom(connection) { return connection }
    }
    return nil
  }

  /// Whether some connection of a service can take another stream.
  func hasMultiplexedRoom(_ service: UnsafeMutablePointer<ShardService>) -> Bool {
    if service.pointee.multiplexedCount == 0 { return false }
    for endpoint in 0..<service.pointee.endpointCount where service.pointee.endpoints[endpoint].state == .live {
      var link = service.pointee.endpoints[endpoint].multiplexedHead
      while link != noSlot {
        let connection = connections.pointer(link)
        link = connection.pointee.next
        if hasRoom(connection) { return true }
      }
    }
    return false
  }

  /// Whether a connection without a stream is only kept for who may come.
  func isIdleMultiplexed(_ connection: ConnectionPointer) -> Bool {
    connection.pointee.isServing && http2State(connection).pointee.streamCount == 0
  }

  private func hasRoom(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.isServing, connection.pointee.flags.isDisjoint(with: .finishAfterFlush) else {
      return false
    }
    let h2 = http2State(connection)
    return !h2.pointee.isLeaving && !h2.pointee.hasFailed
      && Int(h2.pointee.streamCount) < min(h2.pointee.session.peersStreamLimit, streamsOfConnection)
  }

  /// Past this many on one connection, another shares the load.
  private var streamsOfConnection: Int { 100 }

  private func stream(on connection: ConnectionPointer) -> Acquisition {
    // Its timer looks for itself whether the connection idles.
    makeStream(connection).map { .connection($0) } ?? .failed(.noDescriptor)
  }

  // MARK: Requests out

  /// The exchange has this stream: its request goes out. The head stands in front of the queue as HTTP/1 text.
  func startStream(_ exchange: ExchangePointer, _ stream: ConnectionPointer) {
    let parent = parent(stream)
    let h2 = http2State(parent)
    stream.pointee.codec.reset()
    parent.pointee.requestCount &+= 1
    let isSwitch = exchange.pointee.flags.contains(.webSocket)
    if isSwitch, !canSwitch(exchange, stream, h2) { return }
    let first = segments.segment(exchange.pointee.request.head)
    let count = min(Int(exchange.pointee.requestHeadByteCount), Int(first.pointee.count))
    let bytes = UnsafeRawBufferPointer(start: first.pointee.bytes, count: count)
    guard
      case .complete = HTTP1Parser.parseRequest(
        bytes, into: &http2.requestHead.pointee,
        limits: HTTP1Limits(headerBytes: count + 1, headers: limits.head.headers + 16))
    else {
      fail(exchange, .refused(.headTooLong))
      return
    }
    http2.fields.pointee.set(request: http2.requestHead.pointee, bytes, scheme: "http")
    if exchange.pointee.flags.contains(.grpc) { tellGRPCTimeout(exchange) }
    let isWhole = exchange.pointee.flags.contains(.requestComplete)
    let hasBody =
      isSwitch || !isWhole || Int(exchange.pointee.request.byteCount) > count || exchange.pointee.trailersByteCount > 0
    guard let number = h2.pointee.session.submitRequest(http2.fields.pointee, hasBody: hasBody) else {
      // No number is left on this connection: nothing was sent.
      retireHTTP2(parent)
      attemptFailed(exchange, .endpointClosed, verdict: .safe(.neverSent))
      return
    }
    setNumber(stream, number, h2)
    if isSwitch { keepAnswer(stream, bytes) }
    // The head is sent with the next frames; it stays for another attempt.
    if exchange.pointee.flags.contains(.cannotReplay) {
      segments.consume(&exchange.pointee.request, count)
    } else if !segments.move(count, from: &exchange.pointee.request, to: &exchange.pointee.replay) {
      giveUpReplay(exchange)
    }
    segments.moveAll(from: &exchange.pointee.request, to: &stream.pointee.output)
    if isWhole, !isSwitch { stream.pointee.flags.insert(hasBody ? .finishAfterFlush : .finished) }
    markDirty(parent)
  }

  /// The client's trailer section, where it has one, goes out when all of the body has.
  func keepTrailers(_ exchange: ExchangePointer, _ trailers: UnsafeRawBufferPointer?) {
    guard let trailers, let start = trailers.baseAddress, exchange.pointee.trailers == 0 else { return }
    let chunk = segments.chunks.allocate(trailers.count)
    memcpy(chunk.bytes, start, trailers.count)
    exchange.pointee.trailers = chunk.address
    exchange.pointee.trailersByteCount = UInt32(truncatingIfNeeded: trailers.count)
  }

  func releaseTrailers(_ exchange: ExchangePointer) {
    guard let chunk = Chunk(address: exchange.pointee.trailers) else { return }
    segments.chunks.release(chunk)
    exchange.pointee.trailers = 0
    exchange.pointee.trailersByteCount = 0
  }

  /// The client's request is whole: so is the stream's.
  func endStreamRequest(_ stream: ConnectionPointer) {
    stream.pointee.flags.insert(.finishAfterFlush)
    markDirty(stream)
  }

  // MARK: Responses in

  func responseHeadArrived(
    _ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>, _ text: inout HTTP2HeadText, _ chunk: Chunk,
    endsStream: Bool
  ) {
    guard stream.pointee.exchange != noSlot else { return }
    var exchange = exchanges.pointer(stream.pointee.exchange)
    exchange.pointee.flags.insert(.responseStarted)
    let isHead = exchange.pointee.method == .head
    guard case .complete(let count) = text.finish(endsStream: endsStream, hasNoBody: isHead) else {
      malformed(stream, h2)
      return
    }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: count)
    let context = ResponseContext(method: exchange.pointee.method)
    guard
      case .complete = HTTP1Parser.parseResponse(
        bytes, into: &responseHead.pointee, context: context, limits: limits.head),
      responseHead.pointee.status.code != 101
    else {
      malformed(stream, h2)
      return
    }
    let status = responseHead.pointee.status.code
    if status < 200 {
      if endsStream {
        malformed(stream, h2)
      } else {
        responseInterim(exchange, stream, bytes)
      }
      return
    }
    stream.pointee.codec.framing = .untilClose
    stream.pointee.codec.phase = endsStream ? .complete : .body
    if exchange.pointee.flags.contains(.webSocket) {
      if status < 300 {
        switched(exchange, stream, bytes)
        if endsStream, stream.pointee.flags.isDisjoint(with: .closing) { endInput(stream) }
        return
      }
      // The request ends where it would without a switch.
      releaseAssembly(stream)
      endStreamRequest(stream)
    }
    let grpc = exchange.pointee.flags.contains(.grpc) ? grpcStatusOfHead(bytes) : nil
    if exchange.pointee.partner != noSlot {
      guard let chosen = chooseAttempt(exchange, stream, status: grpc?.httpStatus ?? status) else { return }
      exchange = chosen
    }
    if (grpc?.httpStatus ?? status) >= 500, repeatsAnswered(exchange, stream, status: status, grpc: grpc) { return }
    responseBegan(exchange, stream, bytes)
    if endsStream, stream.pointee.flags.isDisjoint(with: .closing) { endInput(stream) }
  }

  /// The endpoint has ended its side of a stream: the response is whole.
  func upstreamStreamFinished(_ stream: ConnectionPointer) {
    guard stream.pointee.exchange != noSlot else { return }
    let exchange = exchanges.pointer(stream.pointee.exchange)
    if stream.pointee.codec.phase == .head { return }
    stream.pointee.codec.phase = .complete
    let downstream = connections.pointer(exchange.pointee.downstream)
    let trailers = assembled(stream)
    takeGRPCStatus(exchange, trailers: trailers)
    sendResponseEnd(downstream, trailers: trailers.isEmpty ? nil : trailers)
    // Sending may have ended the exchange.
    guard stream.pointee.exchange == exchange.pointee.index, stream.pointee.flags.isDisjoint(with: .closing) else {
      return
    }
    exchange.pointee.upstream = noSlot
    stream.pointee.exchange = noSlot
    endLoad(exchange)
    // What of the request has no credit yet is wanted by nobody: without a reset the stream would wait for that without end.
    let isSent =
      stream.pointee.flags.contains(.finished)
      || stream.pointee.flags.contains(.finishAfterFlush) && stream.pointee.output.isEmpty
    if !isSent { close(stream) }
    responseEnded(exchange)
  }

  /// A stream has ended before its response was whole, or after: its connection broke, or the endpoint reset it.
  func upstreamStreamLost(_ stream: ConnectionPointer, code: UInt32) {
    guard stream.pointee.exchange != noSlot else {
      close(stream)
      return
    }
    let exchange = exchanges.pointer(stream.pointee.exchange)
    if exchange.pointee.flags.contains(.tunnel) {
      tunnelBroke(stream)
      return
    }
    guard stream.pointee.codec.phase == .head else {
      fail(exchange, .responseTruncated)
      return
    }
    if code == HTTP2Error.refusedStream {
      // RFC 9113 section 8.7: the endpoint says that it has not looked at it. When it leaves its connections as servers do after
      // so many requests, or to be restarted, that is no failure of it, and not one that its service pays for.
      let leaves = http2State(parent(stream)).pointee.peerLeaves
      attemptFailed(exchange, .endpointClosed, verdict: .safe(leaves ? .staleConnection : .neverSent))
      return
    }
    let attempt = BrokenAttempt(
      isMethodIdempotent: exchange.pointee.method.isIdempotent,
      // A server that leaves an idle connection says so (GOAWAY). One that breaks is a failure, of all its streams at once: they
      // do not go on for nothing.
      isConnectionReused: false,
      progress: exchange.pointee.flags.contains(.requestStarted) ? .partlySent : .nothingSent,
      sawResponseByte: exchange.pointee.flags.contains(.responseStarted),
      isBodyReplayable: !exchange.pointee.flags.contains(.cannotReplay))
    attemptFailed(exchange, .endpointClosed, verdict: RetryVerdict(of: attempt))
  }

  /// Connecting failed: every stream that waited for it tries elsewhere.
  func multiplexedConnectFailed(_ connection: ConnectionPointer, _ error: ProxyError) {
    let h2 = http2State(connection)
    h2.pointee.isLeaving = true
    while h2.pointee.firstStream != noSlot {
      let stream = connections.pointer(h2.pointee.firstStream)
      forgetNumber(stream, h2)
      if stream.pointee.exchange != noSlot {
        attemptFailed(exchanges.pointer(stream.pointee.exchange), error, verdict: .safe(.neverSent))
      }
      close(stream)
      if h2.pointee.firstStream == stream.pointee.index { unlinkStream(stream) }
    }
    close(connection)
  }

  // MARK: Giving back

  /// A stream towards an endpoint is over: its connection has room for who waits, and ages while it has none.
  func forgetUpstreamStream(_ stream: ConnectionPointer, _ connection: ConnectionPointer) {
    if stream.pointee.exchange != noSlot {
      let exchange = exchanges.pointer(stream.pointee.exchange)
      exchange.pointee.upstream = noSlot
      stream.pointee.exchange = noSlot
      if exchange.pointee.flags.contains(.tunnel) { tunnelLostUpstream(exchange) }
    }
    guard connection.pointee.flags.isDisjoint(with: .closing) else { return }
    // While it connects its timer is that of connecting.
    if connection.pointee.flags.isDisjoint(with: .connecting) { restMultiplexed(connection) }
    let service = services.service(connection.pointee.origin)
    if service.pointee.pendingHead != noSlot {
      retryPending(service)
    } else if isIdleMultiplexed(connection), service.pointee.shared.pointee.connectionWaiters.value > 0 {
      // Its place is worth more than itself: somebody waits on another shard.
      close(connection)
    }
  }

  /// A connection has lost a stream, or has just been made, and perhaps for nobody: without a stream it ages.
  func restMultiplexed(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    guard h2.pointee.streamCount == 0 else { return }
    let service = services.service(connection.pointee.origin)
    let endpoint = service.pointee.endpoints + Int(connection.pointee.endpoint)
    if endpoint.pointee.state == .draining || h2.pointee.isLeaving {
      retireHTTP2(connection)
    } else {
      h2.pointee.idleSince = state.pointee.now
      armMultiplexed(connection)
    }
  }

  /// An endpoint is gone from discovery: its connections end when their streams have.
  func retireMultiplexed(_ pool: UnsafeMutablePointer<ShardEndpoint>) {
    var link = pool.pointee.multiplexedHead
    while link != noSlot {
      let connection = connections.pointer(link)
      link = connection.pointee.next
      if !http2State(connection).pointee.isLeaving { retireHTTP2(connection) }
    }
  }

  /// A connection with streams is being closed.
  func leaveMultiplexed(_ connection: ConnectionPointer, _ pool: UnsafeMutablePointer<ShardEndpoint>) {
    let (previous, next) = (connection.pointee.previous, connection.pointee.next)
    if previous != noSlot {
      connections.pointer(previous).pointee.next = next
    } else if pool.pointee.multiplexedHead == connection.pointee.index {
      pool.pointee.multiplexedHead = next
    }
    if next != noSlot { connections.pointer(next).pointee.previous = previous }
    connection.pointee.previous = noSlot
    connection.pointee.next = noSlot
    services.service(connection.pointee.origin).pointee.multiplexedCount &-= 1
  }
}
