// A request's next attempt: whether it gets one, and when. Safety is judged by Policy (`RetryVerdict`, `ResponseClassifier`);
// here the request's own limit and its service's budget have their say, and the exchange waits.
//
//   an attempt fails ──► safe? ──► under its limit? ──► in the budget? ──► backing off ──► dispatch
//                          └──────────────┴──────────────────┴──────────► the answer, or an error of ours
//
// An answer that is worth another try is thrown away: what is short is read to its end, and the connection serves on.

import Base
import Configuration
import HTTP
import Policy
import Telemetry

/// Why there was another attempt, as metrics have it.
enum RetryReason: String, CaseIterable {
  /// Connecting failed or took too long.
  case unreachable
  /// The connection ended before there was an answer.
  case closed
  /// The answer's status.
  case status
  /// The attempt took too long.
  case timeout

  init(_ error: ProxyError) {
    switch error {
    case .endpointUnreachable, .connectTimeout: self = .unreachable
    case .attemptTimeout: self = .timeout
    default: self = .closed
    }
  }
}

/// A service's policy of retries in the units the shard counts in.
struct RetryPolicy {
  let classifier: ResponseClassifier
  let budget: RetryBudget.Terms
  let backoff: Backoff
  /// Attempts after the first.
  let limit: Int

  init(_ retries: ServicePolicy.Retries) {
    classifier = retries.classifier
    budget = retries.budgetTerms
    backoff = retries.backoff.backoff
    limit = retries.limit
  }

  /// This policy with what a rule says laid over it. The budget stays the service's.
  init(_ policy: RetryPolicy, overriddenBy route: RouteRetries) {
    classifier = route.classifier ?? policy.classifier
    budget = policy.budget
    backoff = Backoff(
      minimumNanoseconds: route.minimumNanoseconds ?? policy.backoff.minimumNanoseconds,
      maximumNanoseconds: route.maximumNanoseconds ?? policy.backoff.maximumNanoseconds,
      isJittered: route.isJittered ?? policy.backoff.isJittered)
    limit = route.limit ?? policy.limit
  }
}

/// What a rule says of retries; nil leaves it to the service. Trivial.
struct RouteRetries {
  let classifier: ResponseClassifier?
  let limit: Int?
  let minimumNanoseconds: UInt64?
  let maximumNanoseconds: UInt64?
  let isJittered: Bool?

  init(_ retries: Configuration.Retries) {
    classifier = retries.classifier
    limit = retries.limit
    minimumNanoseconds = retries.backoff.min?.wholeNanoseconds
    maximumNanoseconds = retries.backoff.max?.wholeNanoseconds
    isJittered = retries.backoff.kind.map { $0 == .jittered }
  }
}

extension Shard {
  // MARK: Attempts that failed

  /// The attempt has failed before any part of a response was passed on: repeat it where that is safe, else answer.
  func attemptFailed(_ exchange: ExchangePointer, _ error: ProxyError, verdict: RetryVerdict) {
    // A pooled connection that went stale says nothing about the endpoint; a new one will.
    if verdict != .safe(.staleConnection) { observeAttempt(exchange, status: nil) }
    exchange.pointee.failedEndpoint = exchange.pointee.endpoint
    if attemptLost(exchange) { return }
    guard case .safe = verdict, isRepeatable(exchange),
      isAllowed(exchange, limit: attemptLimit(exchange, error, verdict), isCharged: verdict.chargesBudget),
      takeBackRequest(exchange)
    else {
      fail(exchange, error)
      return
    }
    repeatAttempt(exchange, RetryReason(error), waits: waits(exchange, verdict))
  }

  /// The attempt has taken longer than it may.
  func attemptExpired(_ exchange: ExchangePointer) {
    let upstream = connections.pointer(exchange.pointee.upstream)
    let nothingSent = !exchange.pointee.flags.contains(.requestStarted) && !upstream.pointee.flags.contains(.sending)
    noteLatency(exchange)
    let attempt = BrokenAttempt(
      isMethodIdempotent: exchange.pointee.method.isIdempotent,
      // However often it was used before: a connection that is silent is not one that was closed meanwhile.
      isConnectionReused: false,
      progress: nothingSent ? .nothingSent : .partlySent,
      sawResponseByte: exchange.pointee.flags.contains(.responseStarted),
      isBodyReplayable: !exchange.pointee.flags.contains(.cannotReplay))
    attemptFailed(exchange, .attemptTimeout, verdict: RetryVerdict(of: attempt))
  }

  /// Whether all that was sent can be sent again; of a stream that has not begun that is nothing.
  private func isRepeatable(_ exchange: ExchangePointer) -> Bool {
    !exchange.pointee.flags.contains(.cannotReplay) || exchange.pointee.flags.contains(.stream)
  }

  /// Whether the request may have another attempt, and its service pays for it. Counts those that would be safe and may not.
  private func isAllowed(_ exchange: ExchangePointer, limit: Int, isCharged: Bool) -> Bool {
    let service = services.service(exchange.pointee.service)
    let isWithinLimit = Int(exchange.pointee.attempts) < limit
    if isWithinLimit, !isCharged { return true }
    if isWithinLimit,
      service.pointee.shared.pointee.budget.withdraw(service.pointee.policy.retries.budget, now: state.pointee.now)
    {
      return true
    }
    service.pointee.cells.exhaustedRetries.add(1)
    return false
  }

  /// How many attempts a request may have: the configured number where the endpoint may have worked on it, for a request that
  /// kills its endpoint must not kill them all; else enough to find one that lives. An original destination is one endpoint:
  /// what it refuses once, it refuses; but the packet that asks may have been lost, which takes as long to repair as a connect
  /// may take; and of its idle connections several may have gone stale.
  private func attemptLimit(_ exchange: ExchangePointer, _ error: ProxyError, _ verdict: RetryVerdict) -> Int {
    let service = services.service(exchange.pointee.service)
    let configured = retries(exchange, service).limit + 1
    let enough = min(service.pointee.liveCount + 2, 10)
    switch verdict {
    case .unsafe: return 1
    case .safe(.staleConnection): return exchange.pointee.pinned == noSlot ? enough : 4
    case .safe(.idempotent): return configured
    case .safe(.neverSent) where configured == 1: return 1
    case .safe(.neverSent) where exchange.pointee.pinned != noSlot: return error == .connectTimeout ? 3 : 1
    case .safe(.neverSent): return max(configured, enough)
    }
  }

  /// Whether the next attempt waits: not while there may be an endpoint that has not been asked and nothing says that the
  /// service has too much to do.
  private func waits(_ exchange: ExchangePointer, _ verdict: RetryVerdict) -> Bool {
    switch verdict {
    case .safe(.staleConnection), .unsafe: false
    case .safe(.idempotent): true
    case .safe(.neverSent):
      Int(exchange.pointee.attempts) >= services.service(exchange.pointee.service).pointee.liveCount
    }
  }

  // MARK: The next one

  /// The exchange has its request back and no connection: the next attempt, after a while where it waits.
  private func repeatAttempt(_ exchange: ExchangePointer, _ reason: RetryReason, waits: Bool) {
    let service = services.service(exchange.pointee.service)
    statistics.countRetry(service, reason)
    exchange.pointee.phase = .backingOff
    if waits {
      let failures = UInt32(exchange.pointee.attempts &- 1)
      let drawn = retries(exchange, service).backoff.fullJitter(
        afterFailures: failures, random: &state.pointee.random)
      // At the end of its time a request still gets the attempt it was promised.
      let wait = min(drawn, exchange.pointee.expiresAt.nanoseconds(since: state.pointee.now) / 2)
      // The timers are that coarse: what is shorter is nothing, what is longer comes late.
      if wait > shortestWaitNanoseconds {
        exchangeTimers.schedule(exchange.pointee.index, deadline: deadline(after: wait))
        return
      }
    }
    // At the end of the turn: what has just been thrown away may free the connection for it, and many that fail in one turn
    // do not call each other.
    state.pointee.repeated.append(exchange.pointee.index, exchanges.generation(exchange.pointee.index))
  }

  /// Begins the attempts that wait for nothing.
  func beginRepeated() {
    let count = state.pointee.repeated.count
    for position in 0..<count {
      let entry = state.pointee.repeated[position]
      guard exchanges.isAllocated(entry.index), exchanges.generation(entry.index) == entry.generation else { continue }
      let exchange = exchanges.pointer(entry.index)
      if exchange.pointee.phase == .backingOff { backoffEnded(exchange) }
    }
    state.pointee.repeated.removeFirst(count)
  }

  /// The wait before the next attempt is over.
  func backoffEnded(_ exchange: ExchangePointer) {
    exchange.pointee.phase = .dispatching
    armTimer(exchange)
    dispatch(exchange)
  }

  private var shortestWaitNanoseconds: UInt64 { 8_000_000 }

  // MARK: Answers worth another try

  /// Whether the answer whose head has just come is thrown away and the request sent again. The codec stands behind the head.
  ///
  /// - Parameter grpc: how a gRPC call ended with this head.
  func repeatsAnswered(
    _ exchange: ExchangePointer, _ connection: ConnectionPointer, status: UInt16, grpc: GRPCStatus? = nil
  ) -> Bool {
    let service = services.service(exchange.pointee.service)
    let retries = retries(exchange, service)
    guard
      grpc.map(retries.classifier.isRetryable)
        ?? retries.classifier.isRetryable(exchange.pointee.method, status: status),
      // Of an original destination nobody has said what may be done to it twice.
      exchange.pointee.pinned == noSlot, exchange.pointee.phase == .waiting, exchange.pointee.interimCount == 0,
      exchange.pointee.flags.contains(.requestComplete),
      exchange.pointee.flags.isDisjoint(with: [.cannotReplay, .stream]),
      connection.pointee.unsentByteCount == 0, !exchange.pointee.replay.isEmpty,
      isAllowed(exchange, limit: retries.limit + 1, isCharged: true)
    else { return false }
    observeAttempt(exchange, status: grpc?.httpStatus ?? status)
    exchange.pointee.failedEndpoint = exchange.pointee.endpoint
    endLoad(exchange)
    segments.moveAll(from: &exchange.pointee.replay, to: &exchange.pointee.request)
    exchange.pointee.upstream = noSlot
    connection.pointee.exchange = noSlot
    beginDiscard(connection)
    repeatAttempt(exchange, .status, waits: true)
    return true
  }

  // MARK: Throwing an answer away

  /// The rest of the answer is nobody's: read to its end where that is near, so that the connection can serve again.
  func beginDiscard(_ connection: ConnectionPointer) {
    let isShort: Bool
    switch connection.pointee.codec.framing {
    case .none, .chunked: isShort = true
    case .length(let length): isShort = length <= UInt64(discardLimit)
    case .untilClose: isShort = false
    }
    guard isShort, connection.pointee.codec.flags.contains(.keepAlive) else {
      close(connection)
      return
    }
    connection.pointee.flags.insert(.discarding)
    connection.pointee.codec.lingerBudget = discardLimit
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: discardNanoseconds))
  }

  /// Takes bytes of an answer that is thrown away; returns how many.
  func discard(_ connection: ConnectionPointer, _ bytes: UnsafeMutableRawPointer, _ count: Int) -> Int {
    guard connection.pointee.codec.phase == .body else {
      // A trailer section is not worth a parser, and what follows the end is not worth anything.
      close(connection)
      return count
    }
    guard case .chunked = connection.pointee.codec.framing else {
      let used = Int(min(UInt64(count), connection.pointee.codec.remaining))
      connection.pointee.codec.remaining -= UInt64(used)
      if connection.pointee.codec.remaining == 0 { connection.pointee.codec.phase = .complete }
      return used
    }
    let received = UnsafeRawBufferPointer(start: bytes, count: count)
    var offset = 0
    while offset < count {
      switch connection.pointee.codec.chunks.next(received, from: offset) {
      case .data(let range):
        offset = range.upperBound
        guard range.count <= Int(connection.pointee.codec.lingerBudget) else {
          close(connection)
          return count
        }
        connection.pointee.codec.lingerBudget -= UInt32(range.count)
      case .needMore: return count
      case .end(at: let end):
        connection.pointee.codec.phase = .complete
        return end
      case .trailers, .refused:
        close(connection)
        return count
      }
    }
    return offset
  }

  /// After bytes were taken: a connection whose answer has been thrown away whole is free.
  func discardProcessed(_ connection: ConnectionPointer) {
    guard connection.pointee.codec.phase == .complete, connection.pointee.isServing else { return }
    connection.pointee.flags.remove(.discarding)
    if connection.pointee.flags.contains(.peerFinished) {
      close(connection)
    } else {
      release(connection)
    }
  }

  private var discardLimit: UInt32 { 65_536 }
  private var discardNanoseconds: UInt64 { 1_000_000_000 }
}
