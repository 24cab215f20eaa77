// A second attempt for a request whose first one is slow: sent to another endpoint when the answer is later than most of the
// service's recent ones, paid for by the retry budget, one for a request. The first of both to answer well has the exchange, and
// the other's connection is closed (HTTP/2: its stream is reset).
//
//   attach          the first attempt goes out       → its time is set, if the request is one that may go twice
//   hedgeIsDue      no answer after that time        → a *hedge*: an exchange of its own, without a client, with the same
//                                                      request, whose attempt has its own endpoint, load and probe
//   chooseAttempt   a head comes on either           → a failure is thrown away while the other is still under way; else the
//                                                      winner's attempt is the original's, and the hedge ends with the loser
//   attemptLost     an attempt ends without a head   → the other goes on alone
//
// An exchange without a hedge pays for all this with a look at its service's policy and at one word.

import Base
import HTTP
import Policy

/// What came of a hedge, as metrics have it.
enum HedgeOutcome: String, CaseIterable {
  /// It answered first, or was left when the first attempt had failed.
  case won
  /// The first attempt answered first.
  case lost
  /// It failed while the first attempt was under way, found no connection, or ended with its request.
  case failed
  /// It was due, and the service's retry budget was used up.
  case refused
}

extension Shard {
  // MARK: When

  /// The request may get a hedge, and when: its first attempt has been given a connection, or has just become whole.
  func armHedge(_ exchange: ExchangePointer) {
    let service = services.service(exchange.pointee.service)
    guard let hedging = service.pointee.policy.hedging, let latencies = service.pointee.latencies,
      exchange.pointee.attempts == 1, exchange.pointee.flags.contains(.requestComplete),
      exchange.pointee.flags.isDisjoint(with: [.cannotReplay, .stream, .expectsUpgrade, .hedged]),
      exchange.pointee.method.isIdempotent, exchange.pointee.trailersByteCount == 0,
      exchange.pointee.pinned == noSlot, exchange.pointee.route.flags.isDisjoint(with: [.isMirror, .isHedge]),
      service.pointee.liveCount > 1, let delay = latencies.delay(hedging, now: state.pointee.now)
    else { return }
    exchange.pointee.flags.insert(.hedgeTimed)
    hedgeTimers.schedule(exchange.pointee.index, deadline: Self.hedgeTime(deadline(after: delay)))
  }

  /// The wheel's ticks are made for time-outs: told sixteen times the time, it has ticks of a millisecond.
  static func hedgeTime(_ instant: MonotonicInstant) -> MonotonicInstant {
    MonotonicInstant(nanoseconds: instant.nanoseconds << hedgeTimeShift)
  }

  /// When to look at the hedges' timers again; nil when there are none.
  func nextHedge(after now: MonotonicInstant) -> MonotonicInstant? {
    hedgeTimers.nextWake(after: Self.hedgeTime(now)).map {
      // Rounded up: a moment too early is a turn in vain.
      MonotonicInstant(nanoseconds: ($0.nanoseconds >> Self.hedgeTimeShift) &+ 1)
    }
  }

  private static var hedgeTimeShift: UInt64 { 4 }

  /// An answer's head has come, or was given up to a hedge: what its time says of the service. Later attempts do not count:
  /// what went before them has made them few, and late.
  func noteLatency(_ exchange: ExchangePointer) {
    let service = services.service(exchange.pointee.service)
    guard let latencies = service.pointee.latencies, exchange.pointee.attempts == 1,
      exchange.pointee.flags.isDisjoint(with: [.hedgeWon, .stream]),
      exchange.pointee.route.flags.isDisjoint(with: .isHedge)
    else { return }
    latencies.record(
      nanoseconds: state.pointee.now.nanoseconds(since: exchange.pointee.attemptStartedAt), now: state.pointee.now)
  }

  // MARK: Sending

  /// The first attempt has had its time.
  func hedgeIsDue(_ exchange: ExchangePointer) {
    exchange.pointee.flags.remove(.hedgeTimed)
    guard exchange.pointee.phase == .waiting, exchange.pointee.attempts == 1, exchange.pointee.interimCount == 0,
      exchange.pointee.flags.isDisjoint(with: [.cannotReplay, .responseStarted, .hedged]),
      let hedge = makeHedge(of: exchange)
    else { return }
    let service = services.service(exchange.pointee.service)
    let endpoint = endpointForAttempt(hedge, service)
    guard endpoint >= 0, UInt32(endpoint) != exchange.pointee.endpoint, shareRequest(of: exchange, with: hedge) else {
      endHedge(hedge, nil)
      return
    }
    guard service.pointee.shared.pointee.budget.withdraw(service.pointee.policy.retries.budget, now: state.pointee.now)
    else {
      endHedge(hedge, .refused)
      return
    }
    exchange.pointee.flags.insert(.hedged)
    switch acquireConnection(hedge, service, UInt32(endpoint)) {
    case .connection(let upstream): attach(hedge, upstream)
    case .wait, .failed: endHedge(hedge, .failed)
    }
  }

  private func makeHedge(of exchange: ExchangePointer) -> ExchangePointer? {
    guard let index = exchanges.allocate() else { return nil }
    let hedge = exchanges.pointer(index)
    hedge.initialize(
      to: Exchange(
        index: index, method: exchange.pointee.method, listener: exchange.pointee.listener,
        downstream: exchange.pointee.downstream, startedAt: state.pointee.now, attemptStartedAt: state.pointee.now,
        firstByteAt: state.pointee.now))
    hedge.pointee.flags = exchange.pointee.flags.intersection([.requestComplete, .http2, .grpc])
    hedge.pointee.route.flags = [.isHedge]
    hedge.pointee.hashKey = exchange.pointee.hashKey
    hedge.pointee.failedEndpoint = exchange.pointee.endpoint
    hedge.pointee.requestHeadByteCount = exchange.pointee.requestHeadByteCount
    guard give(hedge, exchange.pointee.service) else {
      exchanges.free(index)
      return nil
    }
    hedge.pointee.partner = exchange.pointee.index
    exchange.pointee.partner = index
    return hedge
  }

  /// All of the request, sent or not, for the hedge as well. Copies nothing.
  private func shareRequest(of exchange: ExchangePointer, with hedge: ExchangePointer) -> Bool {
    guard exchange.pointee.upstream != noSlot else { return false }
    let upstream = connections.pointer(exchange.pointee.upstream)
    return segments.share(exchange.pointee.replay, to: &hedge.pointee.request)
      && segments.share(upstream.pointee.inFlight, to: &hedge.pointee.request)
      && segments.share(upstream.pointee.output, to: &hedge.pointee.request) && !hedge.pointee.request.isEmpty
  }

  // MARK: Whose answer it is

  /// A final head has come, the codec stands behind it: for a request with two attempts under way, this one is chosen, or, a
  /// failure while the other may still do better, thrown away. The exchange that has the answer, nil where nobody has.
  func chooseAttempt(_ exchange: ExchangePointer, _ connection: ConnectionPointer, status: UInt16) -> ExchangePointer? {
    guard exchange.pointee.partner != noSlot else { return exchange }
    let partner = exchanges.pointer(exchange.pointee.partner)
    let isHedge = exchange.pointee.route.flags.contains(.isHedge)
    let (original, hedge) = isHedge ? (partner, exchange) : (exchange, partner)
    guard ResponseClass(status: status) == .failure else {
      if isHedge { handOver(from: hedge, to: original) }
      endHedge(hedge, isHedge ? .won : .lost)
      return original
    }
    observeAttempt(exchange, status: status)
    if !isHedge {
      original.pointee.failedEndpoint = original.pointee.endpoint
      handOver(from: hedge, to: original)
    }
    endLoad(hedge)
    hedge.pointee.upstream = noSlot
    connection.pointee.exchange = noSlot
    if connection.pointee.unsentByteCount == 0 { beginDiscard(connection) } else { close(connection) }
    endHedge(hedge, isHedge ? .failed : .won)
    return nil
  }

  /// One of two attempts has ended without an answer; what it tells of its endpoint has been noted. The other goes on.
  /// False where there was only one.
  func attemptLost(_ exchange: ExchangePointer) -> Bool {
    guard exchange.pointee.partner != noSlot else { return false }
    if exchange.pointee.route.flags.contains(.isHedge) {
      endHedge(exchange, .failed)
      return true
    }
    let hedge = exchanges.pointer(exchange.pointee.partner)
    handOver(from: hedge, to: exchange)
    endHedge(hedge, .won)
    armTimer(exchange)
    return true
  }

  /// The hedge's attempt becomes the original's, and the other way round.
  private func handOver(from hedge: ExchangePointer, to original: ExchangePointer) {
    noteLatency(original)
    original.pointee.flags.insert(.hedgeWon)
    swap(&original.pointee.upstream, &hedge.pointee.upstream)
    swap(&original.pointee.endpoint, &hedge.pointee.endpoint)
    swap(&original.pointee.probe, &hedge.pointee.probe)
    swap(&original.pointee.attemptStartedAt, &hedge.pointee.attemptStartedAt)
    swap(&original.pointee.request, &hedge.pointee.request)
    swap(&original.pointee.replay, &hedge.pointee.replay)
    let ofAttempt: ExchangeFlags = [.responseStarted, .requestStarted, .loaded, .cannotReplay]
    let flags = original.pointee.flags.intersection(ofAttempt)
    original.pointee.flags = original.pointee.flags.subtracting(ofAttempt)
      .union(hedge.pointee.flags.intersection(ofAttempt))
    hedge.pointee.flags = hedge.pointee.flags.subtracting(ofAttempt).union(flags)
    takeUpstream(original)
    takeUpstream(hedge)
  }

  private func takeUpstream(_ exchange: ExchangePointer) {
    guard exchange.pointee.upstream != noSlot else { return }
    connections.pointer(exchange.pointee.upstream).pointee.exchange = exchange.pointee.index
  }

  /// A hedge is over, with whichever attempt it has now.
  func endHedge(_ hedge: ExchangePointer, _ outcome: HedgeOutcome?) {
    if let outcome { services.service(hedge.pointee.service).pointee.cells.countHedge(outcome) }
    observeGivenUp(hedge)
    exchanges.pointer(hedge.pointee.partner).pointee.partner = noSlot
    hedge.pointee.partner = noSlot
    finish(hedge)
  }

  /// An attempt is given up that might have been answered yet: it has taken at least as long as it had. That is news where the
  /// endpoint is thought to be faster, and no failure.
  private func observeGivenUp(_ exchange: ExchangePointer) {
    guard exchange.pointee.flags.contains(.loaded) else { return }
    let service = services.service(exchange.pointee.service)
    let load = service.pointee.loads + Int(exchange.pointee.endpoint)
    let elapsed = state.pointee.now.nanoseconds(since: exchange.pointee.attemptStartedAt)
    if load.pointee.brokenCount == 0, Double(elapsed) > load.pointee.costNanoseconds {
      service.pointee.ewma.observe(&load.pointee, sampleNanoseconds: elapsed, now: state.pointee.now)
    }
  }
}
