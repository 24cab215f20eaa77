// Copies of requests, sent elsewhere while nobody waits for what comes of them. A copy is an exchange like any other, with its
// own service, limits and connection; in the place of a client it has a sink: a downstream connection without a socket, which
// takes the response and throws it away. It never slows its original: a copy is dropped, and counted, when too many are
// under way or when the body is longer than what is kept.
//
//   startMirror   the original's head is written    → the copy has it, too
//   mirrorBody    body bytes go to the endpoint     → and into the copy, up to 64 KiB
//   sendMirror    the original's request is whole   → the copy goes out

import Base
import Configuration
import EventLoop
import HTTP
import Policy

extension Shard {
  // MARK: Gathering

  /// The request of `exchange` is about to go out, its head written: begins a copy where the rule wants one.
  func startMirror(_ exchange: ExchangePointer) {
    guard let routes = exchange.pointee.route.routes, let plan = exchange.pointee.route.plan,
      plan.pointee.mirrorShare.draw(&state.pointee.random), !exchange.pointee.flags.contains(.expectsUpgrade)
    else { return }
    if case .length(let length) = requestHead.pointee.framing, length > UInt64(heldByteCount) {
      statistics.routing.countMirror(.body)
      return
    }
    guard state.pointee.mirrorCount < mirrorLimit, let mirror = makeMirror(of: exchange) else {
      statistics.routing.countMirror(.limit)
      return
    }
    guard segments.share(exchange.pointee.request, to: &mirror.pointee.request) else {
      endMirror(mirror, .limit)
      return
    }
    routes.pointee.exchangeCount += 1
    mirror.pointee.route.routes = routes
    mirror.pointee.route.number = exchange.pointee.route.number
    if !routes.pointee.isRetired {
      mirror.pointee.route.target = routes.pointee.firstTarget + plan.pointee.mirrorDestination
    }
    exchange.pointee.route.mirror = mirror.pointee.index
    if exchange.pointee.flags.contains(.requestComplete) { sendMirror(of: exchange) }
  }

  private func makeMirror(of exchange: ExchangePointer) -> ExchangePointer? {
    guard let index = exchanges.allocate() else { return nil }
    guard let slot = connections.allocate() else {
      exchanges.free(index)
      return nil
    }
    let original = connections.pointer(exchange.pointee.downstream)
    let sink = connections.pointer(slot)
    sink.initialize(
      to: Connection(
        index: slot, generation: connections.generation(slot), descriptor: -1, role: .downstream,
        origin: original.pointee.origin, openedAt: state.pointee.now, peer: PeerAddress()))
    sink.pointee.flags = [.sink]
    sink.pointee.workload = original.pointee.workload
    sink.pointee.codec.phase = .complete
    if exchange.pointee.method == .head { sink.pointee.codec.flags.insert(.headRequest) }
    // How its body is framed where that goes in HTTP/1, and what `protocol: same` means for it.
    sink.pointee.codec.framing = requestHead.pointee.framing
    if original.pointee.wire == .http2 { sink.pointee.codec.flags.insert(.cameInHTTP2) }
    let mirror = exchanges.pointer(index)
    mirror.initialize(
      to: Exchange(
        index: index, method: exchange.pointee.method, listener: exchange.pointee.listener, downstream: slot,
        startedAt: state.pointee.now, attemptStartedAt: state.pointee.now, firstByteAt: state.pointee.now))
    mirror.pointee.phase = .naming
    mirror.pointee.hashKey = exchange.pointee.hashKey
    mirror.pointee.route.flags = [.isMirror]
    mirror.pointee.requestHeadByteCount = exchange.pointee.requestHeadByteCount
    sink.pointee.exchange = index
    state.pointee.mirrorCount += 1
    return mirror
  }

  /// Body bytes of a request that has a copy. They are kept without a framing: what is spoken where the copy goes is known only
  /// when it goes.
  func mirrorBody(
    _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    let mirror = exchanges.pointer(exchange.pointee.route.mirror)
    let fits = Int(mirror.pointee.request.byteCount) + count <= heldByteCount
    if fits, appendBody(&mirror.pointee.request, .untilClose, bytes, count, owner) { return }
    exchange.pointee.route.mirror = noSlot
    endMirror(mirror, .body)
  }

  /// The trailer section of a request that has a copy.
  func mirrorTrailers(_ exchange: ExchangePointer, _ trailers: UnsafeRawBufferPointer?) {
    keepTrailers(exchanges.pointer(exchange.pointee.route.mirror), trailers)
  }

  /// A copy has its service: it goes there in HTTP/2, or its body gets HTTP/1's framing. False when that cannot be.
  private func frameMirror(_ mirror: ExchangePointer) -> Bool {
    let sink = connections.pointer(mirror.pointee.downstream)
    switch services.service(mirror.pointee.service).pointee.policy.protocol {
    case .http2: mirror.pointee.flags.insert(.http2)
    case .same where sink.pointee.codec.flags.contains(.cameInHTTP2): mirror.pointee.flags.insert(.http2)
    case .http1, .same: break
    }
    guard !mirror.pointee.flags.contains(.http2), case .chunked = sink.pointee.codec.framing else { return true }
    var body = SegmentQueue()
    segments.moveAll(from: &mirror.pointee.request, to: &body)
    defer { segments.releaseAll(&body) }
    let head = Int(mirror.pointee.requestHeadByteCount)
    let bodyCount = Int(body.byteCount) - head
    guard bodyCount >= 0, segments.move(head, from: &body, to: &mirror.pointee.request) else { return false }
    if bodyCount > 0 {
      let hasHeader = withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { line in
        guard let count = HTTP1Serializer.writeChunkHeader(bodyCount, into: line), let start = line.baseAddress else {
          return false
        }
        return segments.appendCopy(&mirror.pointee.request, start, count)
      }
      guard hasHeader, segments.move(bodyCount, from: &body, to: &mirror.pointee.request),
        appendText(&mirror.pointee.request, "\r\n")
      else { return false }
    }
    let trailers = UnsafeRawBufferPointer(
      start: Chunk(address: mirror.pointee.trailers).map { UnsafeRawPointer($0.bytes) },
      count: Int(mirror.pointee.trailersByteCount))
    return appendLastChunk(&mirror.pointee.request, trailers.isEmpty ? nil : trailers) == nil
  }

  /// The original ends before its request was whole.
  func dropMirror(of exchange: ExchangePointer) {
    let mirror = exchanges.pointer(exchange.pointee.route.mirror)
    exchange.pointee.route.mirror = noSlot
    endMirror(mirror, .unfinished)
  }

  // MARK: Sending

  /// The request is whole: its copy goes its own way.
  func sendMirror(of exchange: ExchangePointer) {
    let mirror = exchanges.pointer(exchange.pointee.route.mirror)
    exchange.pointee.route.mirror = noSlot
    mirror.pointee.flags.insert(.requestComplete)
    exchangeTimers.schedule(mirror.pointee.index, deadline: deadline(after: mirrorTimeoutNanoseconds))
    guard let routes = mirror.pointee.route.routes, let plan = mirror.pointee.route.plan else { return }
    if !routes.pointee.isRetired, let resolution = resolve(target: mirror.pointee.route.target) {
      mirrorNamed(mirror, resolution)
      return
    }
    let name = routes.pointee.table._withUnsafeGuaranteedRef { $0.destinations[Int(plan.pointee.mirrorDestination)] }
    if !ask(mirror, .name(name)) { endMirror(mirror, .limit) }
  }

  /// It is known where a copy goes.
  func mirrorNamed(_ mirror: ExchangePointer, _ resolution: Resolution) {
    mirror.pointee.phase = .dispatching
    guard case .service(let number) = settled(resolution), give(mirror, number), frameMirror(mirror) else {
      endMirror(mirror, .failed)
      return
    }
    // From its first byte to the last of its response: nobody would miss what takes longer.
    let limit = services.service(number).pointee.policy.requestTimeoutNanoseconds
    mirror.pointee.expiresAt = deadline(after: min(limit, mirrorTimeoutNanoseconds))
    armTimer(mirror)
    admit(mirror)
  }

  /// A copy is over, whatever came of it.
  func endMirror(_ mirror: ExchangePointer, _ outcome: RoutingCells.MirrorOutcome) {
    statistics.routing.countMirror(outcome)
    let sink = connections.pointer(mirror.pointee.downstream)
    finish(mirror)
    close(sink)
  }

  // MARK: The sink

  /// What came for a sink is thrown away, and its upstream read on.
  func discard(_ sink: ConnectionPointer) {
    let wasFull = sink.pointee.unsentByteCount > unsentByteLimit
    segments.releaseAll(&sink.pointee.output)
    if wasFull { outputDrained(sink) }
  }

  /// A sink is being closed.
  func forgetSink(_ sink: ConnectionPointer) {
    state.pointee.mirrorCount -= 1
    if sink.pointee.exchange != noSlot {
      statistics.routing.countMirror(.failed)
      finish(exchanges.pointer(sink.pointee.exchange))
    }
  }

  /// Copies under way on one shard.
  private var mirrorLimit: Int { 1024 }
  /// The longest a copy may take, whatever its service allows.
  private var mirrorTimeoutNanoseconds: UInt64 { 60_000_000_000 }
}
