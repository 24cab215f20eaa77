// The life of a request, from its head to the record that is left of it. It knows no protocol: it pairs a downstream
// stream with an upstream one, and what it asks of them (`sendResponseHead`, `sendRequestBody`, `startUpstreamStream` …) is
// the business of the protocol that is spoken there: HTTP1Downstream.swift, HTTP1Upstream.swift, Tunnel.swift.
//
//   begin     the head is there                       → find its rule (Routing.swift), and the service its name leads to
//                                                       (Naming.swift)
//   turn      it is due                               → limits, a place among its service's requests (FairSharing.swift)
//   dispatch  a service is known                      → pick an endpoint, take or open a connection
//   attach    a connection is there                   → the request goes out
//             a response head comes                   → pass it on; from here nothing can be retried
//             both bodies move, each at the other's pace
//   (again    an attempt has failed, nothing passed on → perhaps wait, and dispatch once more: Retrying.swift)
//   finish    the response has ended, or cannot       → measure, record, give back
//
// What becomes of an exchange that fails or whose time is over stands in ExchangeFailure.swift; the life of a stream, which
// has no head, begins in Tunnel.swift.

import Base
import HTTP
import Policy
import Telemetry

typealias ExchangePointer = UnsafeMutablePointer<Exchange>

/// Where an exchange stands.
enum ExchangePhase: UInt8 {
  /// Waiting to hear what its name leads to. Its head is kept as it came, and the client's input is held.
  case naming
  /// Waiting for its turn on this shard (FairSharing.swift).
  case ready
  /// Waiting for a place among its service's requests.
  case queued
  /// Looking for a service, an endpoint, a connection.
  case dispatching
  /// Waiting in its service's queue for a connection to come free.
  case pending
  /// Waiting for its next attempt; no connection has it.
  case backingOff
  /// Given to a connection; no response head yet.
  case waiting
  /// The response head has been passed on.
  case responding
}

struct ExchangeFlags: OptionSet {
  var rawValue: UInt32

  /// The whole request has been taken from the client.
  static let requestComplete = ExchangeFlags(rawValue: 1 << 0)
  /// The request is longer than we keep for another attempt.
  static let cannotReplay = ExchangeFlags(rawValue: 1 << 1)
  /// Counted among the service's requests.
  static let admitted = ExchangeFlags(rawValue: 1 << 2)
  /// Both sides became a tunnel.
  static let tunnel = ExchangeFlags(rawValue: 1 << 3)
  /// A byte of a response has been seen in this attempt.
  static let responseStarted = ExchangeFlags(rawValue: 1 << 4)
  /// The endpoint's kernel has taken bytes of the request in this attempt.
  static let requestStarted = ExchangeFlags(rawValue: 1 << 5)
  /// The attempt counts in its endpoint's load.
  static let loaded = ExchangeFlags(rawValue: 1 << 6)
  /// Its time may run out only while nothing moves.
  static let streaming = ExchangeFlags(rawValue: 1 << 7)
  /// The request asks for another protocol: a 101 may come.
  static let expectsUpgrade = ExchangeFlags(rawValue: 1 << 8)
  /// A stream without a head from its start: no request, and no answer of our own but a reset.
  static let stream = ExchangeFlags(rawValue: 1 << 9)
  /// Its endpoint is spoken to in HTTP/2: bodies are kept and sent without a framing of their own.
  static let http2 = ExchangeFlags(rawValue: 1 << 10)
  /// A gRPC call: how it ended stands in its trailers.
  static let grpc = ExchangeFlags(rawValue: 1 << 11)
  /// Whether the attempt failed is told by the end of its response, which has not come.
  static let unjudged = ExchangeFlags(rawValue: 1 << 12)
  /// It has had its hedge.
  static let hedged = ExchangeFlags(rawValue: 1 << 13)
  /// Its attempt was its hedge's.
  static let hedgeWon = ExchangeFlags(rawValue: 1 << 14)
  /// The time of its hedge is set.
  static let hedgeTimed = ExchangeFlags(rawValue: 1 << 15)
  /// A stream that a CONNECT request has asked for: its client is told what became of it.
  static let connect = ExchangeFlags(rawValue: 1 << 16)
  /// It asks for WebSocket, and its endpoint may be asked over HTTP/2.
  static let webSocket = ExchangeFlags(rawValue: 1 << 17)
}

extension ExchangeFlags {
  /// A stream that nobody has asked for by a request.
  var isStreamAlone: Bool { contains(.stream) && !contains(.connect) }
}

struct Exchange {
  let index: UInt32
  var phase: ExchangePhase = .dispatching
  var flags: ExchangeFlags = []
  let method: HTTP.Method
  let listener: UInt16
  let downstream: UInt32
  var upstream: UInt32 = noSlot
  /// Set once, and kept until the exchange has finished.
  fileprivate(set) var service: ServiceNumber = noSlot
  var endpoint: UInt32 = noSlot
  /// The slot of its original destination, where it goes there and nowhere else.
  var pinned: UInt32 = noSlot
  /// The endpoint whose attempt failed last: the next attempt avoids it.
  var failedEndpoint: UInt32 = noSlot
  /// What its endpoint is chosen by, where the service goes by a key.
  var hashKey = HashKey.none
  /// The endpoint whose probe the attempt is (`FailureAccrual`).
  var probe: UInt32 = noSlot
  /// Of a request with a second attempt under way the hedge, of a hedge its original (Hedging.swift).
  var partner: UInt32 = noSlot
  var attempts: UInt8 = 0
  /// 1xx heads passed on.
  var interimCount: UInt8 = 0
  var status: UInt16 = 0
  var errorCode: UInt16 = 0
  /// How a gRPC call ended, as far as that is known.
  var grpcStatus: GRPCStatus?
  /// Neighbours in its service's queue for connections.
  var nextPending: UInt32 = noSlot
  var previousPending: UInt32 = noSlot
  var record: UInt32 = noSlot
  let startedAt: MonotonicInstant
  var attemptStartedAt: MonotonicInstant
  /// When the request's time is over, until its response begins; the timer may stand earlier.
  var expiresAt = MonotonicInstant(nanoseconds: 0)
  /// When its caller stops waiting.
  var callersDeadline = MonotonicInstant(nanoseconds: .max)
  /// The same as the caller wrote it, in nanoseconds since 1970; 0 for none.
  var deadlineOfDay: UInt64 = 0
  var firstByteAt: MonotonicInstant
  var requestByteCount: UInt64 = 0
  var responseByteCount: UInt64 = 0
  /// The head as it came, while the name is being asked for: a chunk's address, and how many bytes.
  var head: UInt = 0
  var headByteCount: UInt32 = 0
  /// The rule it goes by.
  var route = ExchangeRoute()
  /// The client's trailer section for an HTTP/2 endpoint: a chunk's address, and how many bytes.
  var trailers: UInt = 0
  var trailersByteCount: UInt32 = 0
  /// The request's head at the start of `request`, or of `replay`.
  var requestHeadByteCount: UInt32 = 0
  /// The request, serialized, while no connection has it.
  var request = SegmentQueue()
  /// What of the request has been sent in this attempt, kept until the response starts.
  var replay = SegmentQueue()
}

extension Shard {
  // MARK: Begin

  /// A request head has come on `downstream`. The head is `requestHead`, over `bytes`; both may be gone after this call.
  func begin(_ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, isComplete: Bool) {
    guard let index = exchanges.allocate() else {
      respondWithoutExchange(downstream, .nodeFull)
      return
    }
    let exchange = exchanges.pointer(index)
    exchange.initialize(
      to: Exchange(
        index: index, method: requestHead.pointee.method,
        listener: UInt16(truncatingIfNeeded: downstream.pointee.origin),
        downstream: downstream.pointee.index, startedAt: state.pointee.now, attemptStartedAt: state.pointee.now,
        firstByteAt: state.pointee.now))
    downstream.pointee.exchange = index
    downstream.pointee.requestCount &+= 1
    if isComplete { exchange.pointee.flags.insert(.requestComplete) }
    if downstream.pointee.codec.flags.contains(.grpc) { exchange.pointee.flags.insert(.grpc) }
    if requestHead.pointee.wantsUpgrade { exchange.pointee.flags.insert(.expectsUpgrade) }
    if accessLog != nil { openRecord(exchange, downstream, bytes) }

    if let error = refusal(downstream, bytes) {
      fail(exchange, error)
    } else if !takeDeadline(exchange, bytes) {
      fail(exchange, .deadlineExceeded)
    } else if requestHead.pointee.method == .connect {
      openTunnel(exchange, downstream, bytes)
    } else {
      route(exchange, downstream, bytes)
    }
  }

  /// Why a request is not served, whatever its name.
  private func refusal(_ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> ProxyError? {
    if let refusal = captureRefusal(downstream) { return refusal }
    if isLooping(bytes) { return .loop }
    guard requestHead.pointee.method == .connect else { return nil }
    // What an extended CONNECT (RFC 8441) asks for is known by its :protocol, and this one by none.
    let isPlain = !downstream.pointee.codec.flags.contains(.otherProtocol)
    return isPlain && listenerPolicies[Int(downstream.pointee.origin)].connects ? nil : .methodNotSupported
  }

  /// It is known what a request's name leads to. The head is `requestHead`, over `bytes`.
  func named(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer,
    _ resolution: Resolution
  ) {
    exchange.pointee.phase = .dispatching
    if let error = bind(exchange, downstream, settled(resolution)) {
      fail(exchange, error)
      return
    }
    if speaksHTTP2(exchange, downstream) {
      if !exchange.pointee.flags.contains(.expectsUpgrade) {
        exchange.pointee.flags.insert(.http2)
      } else if requestHead.pointee.webSocketKey(in: bytes) != nil {
        exchange.pointee.flags.insert(.webSocket)
      }
    }
    let selector = services.service(exchange.pointee.service).pointee.hash
    exchange.pointee.hashKey = selector.key(of: requestHead.pointee, in: bytes, from: downstream.pointee.peer)
    if writeRequestHead(exchange, bytes) {
      exchange.pointee.requestHeadByteCount = exchange.pointee.request.byteCount
      startMirror(exchange)
      extendDeadline(exchange)
      takeTurn(exchange)
    } else {
      fail(exchange, .refused(.headTooLong))
    }
  }

  /// Gives an exchange its service. Returns why it is not served.
  private func bind(
    _ exchange: ExchangePointer, _ downstream: ConnectionPointer, _ resolution: Resolution
  ) -> ProxyError? {
    if !exchange.pointee.route.flags.contains(.named), goesToOriginal(downstream, resolution) {
      if !goToOriginal(exchange, downstream) { return .tooManyDestinations }
    } else {
      switch resolution {
      case .failed(let error): return error
      case .service(let service):
        if !give(exchange, service) { return .unknownName }
      case .tree: return .unknownName
      }
    }
    return nil
  }

  /// Gives an exchange its service. False when that has just been given up.
  func give(_ exchange: ExchangePointer, _ number: ServiceNumber) -> Bool {
    guard let service = services.find(number), !service.pointee.isLeaving else { return false }
    service.pointee.exchangeCount &+= 1
    exchange.pointee.service = number
    return true
  }

  private func isLooping(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard sendsVia else { return false }
    return requestHead.pointee.countVia(pseudonym: viaPseudonym, in: bytes) > limits.viaHops
  }

  // MARK: Dispatch

  /// Finds an endpoint and a connection to it.
  func dispatch(_ exchange: ExchangePointer) {
    exchange.pointee.phase = .dispatching
    let service = services.service(exchange.pointee.service)
    let endpoint =
      exchange.pointee.pinned == noSlot
      ? endpointForAttempt(exchange, service) : Int32(exchange.pointee.pinned)
    guard endpoint >= 0 else {
      fail(exchange, service.pointee.liveCount > 0 ? .endpointsOut : .noEndpoint)
      return
    }
    if leadsBack(exchange, to: Int(endpoint)) {
      fail(exchange, .selfLoop)
      return
    }
    switch acquireConnection(exchange, service, UInt32(endpoint)) {
    case .connection(let upstream): attach(exchange, upstream)
    case .wait:
      abandonProbe(exchange)
      exchange.pointee.phase = .pending
    case .failed(let error): fail(exchange, error)
    }
  }

  /// Gives the request to a connection. One that still connects sends when it is open.
  func attach(_ exchange: ExchangePointer, _ upstream: ConnectionPointer) {
    exchange.pointee.phase = .waiting
    exchange.pointee.attempts &+= 1
    exchange.pointee.upstream = upstream.pointee.index
    exchange.pointee.endpoint = upstream.pointee.endpoint
    // At the service's limit it may have got another endpoint's.
    if exchange.pointee.probe != exchange.pointee.endpoint { abandonProbe(exchange) }
    exchange.pointee.attemptStartedAt = state.pointee.now
    exchange.pointee.flags.subtract([.responseStarted, .requestStarted])
    upstream.pointee.exchange = exchange.pointee.index
    upstream.pointee.requestCount &+= 1
    startLoad(exchange)
    let service = services.service(exchange.pointee.service)
    if service.pointee.policy.attemptTimeoutNanoseconds != nil { armTimer(exchange) }
    if service.pointee.latencies != nil { armHedge(exchange) }
    startUpstreamStream(exchange, upstream)
  }

  // MARK: Request body

  /// Body bytes from the client; the caller keeps its reference on `owner`.
  func requestBody(
    _ exchange: ExchangePointer, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) {
    exchange.pointee.requestByteCount &+= UInt64(count)
    extendDeadline(exchange)
    let downstream = connections.pointer(exchange.pointee.downstream)
    sendRequestBody(exchange, bytes, count, owner)
    // Sending may have ended the exchange.
    guard downstream.pointee.exchange == exchange.pointee.index else { return }
    if requestBacklog(exchange) > unsentByteLimit { pauseReading(downstream) }
  }

  /// The request is complete.
  func requestEnded(_ exchange: ExchangePointer) {
    exchange.pointee.flags.insert(.requestComplete)
    if exchange.pointee.flags.contains(.http2), exchange.pointee.upstream != noSlot {
      endStreamRequest(connections.pointer(exchange.pointee.upstream))
    }
    if exchange.pointee.route.mirror != noSlot { sendMirror(of: exchange) }
    if exchange.pointee.phase == .waiting { armHedge(exchange) }
    extendDeadline(exchange)
  }

  /// Bytes of the request that wait for the upstream to take them.
  func requestBacklog(_ exchange: ExchangePointer) -> Int {
    if exchange.pointee.upstream == noSlot { return Int(exchange.pointee.request.byteCount) }
    return connections.pointer(exchange.pointee.upstream).pointee.unsentByteCount
  }

  /// From now on no other attempt is possible.
  func giveUpReplay(_ exchange: ExchangePointer) {
    exchange.pointee.flags.insert(.cannotReplay)
    segments.releaseAll(&exchange.pointee.replay)
  }

  // MARK: Response

  /// A final response head has come on the upstream. The head is `responseHead`, over `bytes`.
  func responseBegan(_ exchange: ExchangePointer, _ upstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    segments.releaseAll(&exchange.pointee.replay)
    exchange.pointee.phase = .responding
    exchange.pointee.flags.insert(.streaming)
    exchange.pointee.firstByteAt = state.pointee.now
    exchange.pointee.status = responseHead.pointee.status.code
    let downstream = connections.pointer(exchange.pointee.downstream)
    if ResponseClass(status: exchange.pointee.status) == .success { noteLatency(exchange) }
    observeResponse(exchange, upstream, bytes)
    extendDeadline(exchange)
    sendResponseHead(exchange, downstream, bytes)
  }

  /// An interim response (1xx) has come.
  func responseInterim(_ exchange: ExchangePointer, _ upstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    exchange.pointee.interimCount &+= 1
    guard exchange.pointee.interimCount <= interimLimit else {
      observeAttempt(exchange, status: nil)
      fail(exchange, .endpointGarbage(nil))
      return
    }
    // What a hedge has to say before its answer is not the client's while the first attempt is under way.
    if exchange.pointee.route.flags.contains(.isHedge) { return }
    extendDeadline(exchange)
    let downstream = connections.pointer(exchange.pointee.downstream)
    sendInterimHead(exchange, downstream, bytes)
    if downstream.pointee.unsentByteCount > unsentByteLimit { pauseReading(upstream) }
  }

  /// No endpoint has this much to say before it answers.
  private var interimLimit: UInt8 { 64 }

  /// Body bytes from the endpoint; the caller keeps its reference on `owner`.
  func responseBody(
    _ exchange: ExchangePointer, _ upstream: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int,
    _ owner: BufferOwner
  ) {
    exchange.pointee.responseByteCount &+= UInt64(count)
    extendDeadline(exchange)
    let downstream = connections.pointer(exchange.pointee.downstream)
    sendResponseBody(downstream, bytes, count, owner)
    if downstream.pointee.unsentByteCount > unsentByteLimit { pauseReading(upstream) }
  }

  /// The response is complete and `upstream` is free of it.
  func responseEnded(_ exchange: ExchangePointer) {
    if exchange.pointee.route.flags.contains(.isMirror) {
      endMirror(exchange, .answered)
      return
    }
    let downstream = connections.pointer(exchange.pointee.downstream)
    let requestComplete = exchange.pointee.flags.contains(.requestComplete)
    finish(exchange)
    downstreamStreamEnded(downstream, requestComplete: requestComplete)
  }

  // MARK: Finish

  /// The request's time runs from its last byte to the response's head; once bodies move, only silence is limited.
  /// One store: the timer wheel sorts it out.
  func extendDeadline(_ exchange: ExchangePointer) {
    // A copy's time was set when it was sent, once for all.
    if !exchange.pointee.route.flags.isDisjoint(with: [.isMirror, .isHedge]) {
      armTimer(exchange)
      return
    }
    // It is not known where it goes, and its timer is that of finding out, or of a rule's delay.
    if exchange.pointee.service == noSlot { return }
    let service = services.service(exchange.pointee.service)
    let flags = exchange.pointee.flags
    guard flags.contains(.streaming) else {
      // Sending it again is no reason to wait longer.
      if exchange.pointee.attempts <= 1 || !flags.contains(.requestComplete) || flags.contains(.cannotReplay) {
        exchange.pointee.expiresAt = min(
          deadline(after: requestTimeoutNanoseconds(exchange, service)), exchange.pointee.callersDeadline)
      }
      armTimer(exchange)
      return
    }
    exchangeTimers.schedule(
      exchange.pointee.index, deadline: deadline(after: service.pointee.policy.silenceNanoseconds(flags)))
  }

  /// Sets the timer of a request that has no response yet: its own time, or that of its attempt.
  func armTimer(_ exchange: ExchangePointer) {
    // The timer is that of the wait; a hedge has its original's.
    if exchange.pointee.phase == .backingOff || exchange.pointee.route.flags.contains(.isHedge) { return }
    var end = exchange.pointee.expiresAt
    if exchange.pointee.phase == .waiting,
      let attempt = services.service(exchange.pointee.service).pointee.policy.attemptTimeoutNanoseconds
    {
      end = min(end, deadline(after: attempt))
    }
    exchangeTimers.schedule(exchange.pointee.index, deadline: end)
  }

  /// Measures, records, and gives everything back. An upstream connection that still has the exchange is closed: its
  /// response is not over.
  func finish(_ exchange: ExchangePointer) {
    if exchange.pointee.partner != noSlot { endHedge(exchanges.pointer(exchange.pointee.partner), .failed) }
    if exchange.pointee.flags.contains(.hedgeTimed) { hedgeTimers.cancel(exchange.pointee.index) }
    let downstream = connections.pointer(exchange.pointee.downstream)
    // A hedge has its original's client, and leaves it to that.
    if downstream.pointee.exchange == exchange.pointee.index { downstream.pointee.exchange = noSlot }
    endLoad(exchange)
    abandonProbe(exchange)
    leaveWaiting(exchange)
    if exchange.pointee.upstream != noSlot {
      let upstream = connections.pointer(exchange.pointee.upstream)
      exchange.pointee.upstream = noSlot
      upstream.pointee.exchange = noSlot
      // Half a stream must not look like the whole to an endpoint either.
      close(upstream, abort: exchange.pointee.flags.contains(.tunnel))
    }
    segments.releaseAll(&exchange.pointee.request)
    segments.releaseAll(&exchange.pointee.replay)
    releaseTrailers(exchange)
    releaseHead(exchange)
    if exchange.pointee.flags.contains(.admitted) {
      leavePlace(services.service(exchange.pointee.service))
    }
    leaveOriginal(exchange)
    if exchange.pointee.route.mirror != noSlot { dropMirror(of: exchange) }
    leaveRoute(exchange)
    if exchange.pointee.route.flags.isDisjoint(with: [.isMirror, .isHedge]) {
      statistics.countExchange(
        exchange, services, workload: downstream.pointee.workload, now: state.pointee.now)
    }
    if exchange.pointee.record != noSlot { closeRecord(exchange) }
    if exchange.pointee.service != noSlot { services.service(exchange.pointee.service).pointee.exchangeCount &-= 1 }
    exchangeTimers.cancel(exchange.pointee.index)
    exchanges.free(exchange.pointee.index)
  }
}
