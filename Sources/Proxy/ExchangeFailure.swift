// What becomes of an exchange that fails, or whose time is over. Before a response head was passed on, the attempt is repeated
// elsewhere where that is safe, and else answered by ourselves; after it, a failure can only end the client's connection, so
// that a part is never taken for the whole.

import Base
import Policy
import Telemetry

extension Shard {
  /// The attempt has failed before any part of a response was passed on: repeat it where that is safe, else answer.
  func attemptFailed(_ exchange: ExchangePointer, _ error: ProxyError, verdict: RetryVerdict) {
    // A pooled connection that went stale says nothing about the endpoint; a new one will.
    if verdict != .safe(.staleConnection) { observeAttempt(exchange, status: nil) }
    exchange.pointee.failedEndpoint = exchange.pointee.endpoint
    let isExhausted = Int(exchange.pointee.attempts) >= attemptLimit(exchange, error, verdict)
    guard !isExhausted, isRepeatable(exchange), takeBackRequest(exchange) else {
      if isExhausted, case .safe = verdict {
        services.service(exchange.pointee.service).pointee.cells.exhaustedRetries.add(1)
      }
      fail(exchange, error)
      return
    }
    statistics.countRetry(services.service(exchange.pointee.service), error)
    dispatch(exchange)
  }

  /// Whether all that was sent can be sent again; of a stream that has not begun that is nothing.
  private func isRepeatable(_ exchange: ExchangePointer) -> Bool {
    !exchange.pointee.flags.contains(.cannotReplay) || exchange.pointee.flags.contains(.stream)
  }

  /// How many attempts a request may have: one where repeating is not safe; three where the endpoint may have worked on it,
  /// for a request that kills its endpoint must not kill them all; else enough to find one that lives. An original destination
  /// is one endpoint: what it refuses once, it refuses; but the packet that asks may have been lost, which takes as long to
  /// repair as a connect may take; and of its idle connections several may have gone stale.
  private func attemptLimit(_ exchange: ExchangePointer, _ error: ProxyError, _ verdict: RetryVerdict) -> Int {
    switch verdict {
    case .unsafe: 1
    case .safe(.neverSent) where exchange.pointee.pinned != noSlot: error == .connectTimeout ? 3 : 1
    case .safe(.staleConnection) where exchange.pointee.pinned != noSlot: 4
    case .safe(.idempotent): 3
    case .safe(.neverSent), .safe(.staleConnection):
      min(services.service(exchange.pointee.service).pointee.liveCount + 2, 10)
    }
  }

  /// Ends an exchange that cannot succeed: with an answer of our own where that is still possible, else by breaking the
  /// client's connection off.
  func fail(_ exchange: ExchangePointer, _ error: ProxyError) {
    exchange.pointee.errorCode = error.code
    statistics.countError(error)
    let downstream = connections.pointer(exchange.pointee.downstream)
    let isStream = exchange.pointee.flags.contains(.stream)
    let answers = exchange.pointee.phase != .responding && !isStream
    if answers { exchange.pointee.status = error.status }
    let requestComplete = exchange.pointee.flags.contains(.requestComplete)
    let service = exchange.pointee.service
    finish(exchange)
    if downstream.pointee.flags.contains(.closing) { return }
    if answers {
      sendLocalResponse(downstream, error, service: service, requestComplete: requestComplete)
    } else {
      close(downstream, abort: true)
    }
  }

  /// The client is gone. The endpoint's connection cannot be kept: a response is still to come on it.
  func downstreamGone(_ exchange: ExchangePointer) {
    exchange.pointee.errorCode = ProxyError.clientGone.code
    statistics.countError(.clientGone)
    finish(exchange)
  }

  /// The exchange's time is over.
  func exchangeExpired(_ exchange: ExchangePointer) {
    if exchange.pointee.phase == .naming {
      fail(exchange, .nameTimeout)
      return
    }
    if isMoving(exchange) {
      extendDeadline(exchange)
      return
    }
    if exchange.pointee.flags.contains(.tunnel) {
      closeTunnel(exchange)
      return
    }
    // A request that is not complete stalls by the client's doing, or by the endpoint's if that does not take it.
    let isClientsTurn =
      !exchange.pointee.flags.contains(.stream) && exchange.pointee.phase != .responding
      && !exchange.pointee.flags.contains(.requestComplete)
      && requestBacklog(exchange) <= unsentByteLimit
    if isClientsTurn {
      fail(exchange, .bodyTimeout)
    } else {
      observeAttempt(exchange, status: nil)
      fail(exchange, exchange.pointee.phase == .responding ? .responseTruncated : .requestTimeout)
    }
  }

  /// Whether what looks like silence is a peer that takes its time: a client the response, an endpoint the request.
  private func isMoving(_ exchange: ExchangePointer) -> Bool {
    if exchange.pointee.phase == .responding, isStillTaking(connections.pointer(exchange.pointee.downstream)) {
      return true
    }
    return exchange.pointee.upstream != noSlot && isStillTaking(connections.pointer(exchange.pointee.upstream))
  }
}
