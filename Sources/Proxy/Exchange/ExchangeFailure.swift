// What becomes of an exchange that fails, or whose time is over. Before a response head was passed on, the attempt is repeated
// elsewhere where that is safe (Retrying.swift), and else answered by ourselves; after it, a failure can only end the client's
// connection, so that a part is never taken for the whole.

import Base
import Policy
import Telemetry

extension Shard {
  /// Ends an exchange that cannot succeed: with an answer of our own where that is still possible, else by breaking the
  /// client's connection off.
  func fail(_ exchange: ExchangePointer, _ error: ProxyError) {
    if exchange.pointee.route.flags.contains(.isMirror) {
      endMirror(exchange, .failed)
      return
    }
    if exchange.pointee.route.flags.contains(.isHedge) {
      endHedge(exchange, .failed)
      return
    }
    if endBrokenCall(exchange, error) { return }
    exchange.pointee.errorCode = error.code
    statistics.countError(error)
    let downstream = connections.pointer(exchange.pointee.downstream)
    let isStream = exchange.pointee.flags.isStreamAlone
    let answers = exchange.pointee.phase != .responding && !isStream
    if answers { exchange.pointee.status = error.status }
    if exchange.pointee.flags.contains(.grpc) {
      exchange.pointee.grpcStatus = answers ? error.grpcStatus : .unavailable
    }
    if !answers { judgeEnd(exchange, failed: error != .clientGone) }
    let requestComplete = exchange.pointee.flags.contains(.requestComplete)
    let service = exchange.pointee.service
    finish(exchange)
    if downstream.pointee.flags.contains(.closing) { return }
    if answers {
      sendLocalResponse(downstream, error, service: service, requestComplete: requestComplete)
    } else {
      sendRest(downstream)
      close(downstream, abort: true)
    }
  }

  /// The client is gone. The endpoint's connection cannot be kept: a response is still to come on it.
  func downstreamGone(_ exchange: ExchangePointer) {
    exchange.pointee.errorCode = ProxyError.clientGone.code
    statistics.countError(.clientGone)
    if exchange.pointee.flags.contains(.grpc) { exchange.pointee.grpcStatus = .cancelled }
    finish(exchange)
  }

  /// The exchange's time is over.
  func exchangeExpired(_ exchange: ExchangePointer) {
    let isOver = exchange.pointee.expiresAt <= state.pointee.now
    if exchange.pointee.route.flags.contains(.isMirror), isOver || exchange.pointee.phase == .naming {
      endMirror(exchange, .failed)
      return
    }
    switch exchange.pointee.phase {
    case .naming where isPastDeadline(exchange):
      fail(exchange, .deadlineExceeded)
      return
    case .naming where exchange.pointee.route.flags.contains(.delayed):
      delayEnded(exchange)
      return
    case .naming:
      fail(exchange, .nameTimeout)
      return
    case .backingOff where !isOver:
      backoffEnded(exchange)
      return
    case .ready where !isOver, .queued where !isOver, .dispatching where !isOver, .pending where !isOver:
      armTimer(exchange)
      return
    default: break
    }
    if exchange.pointee.phase == .queued, !isPastDeadline(exchange) {
      fail(exchange, noPlaceError(services.service(exchange.pointee.service)))
      return
    }
    if isMoving(exchange), !isPastDeadline(exchange) {
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
    if isClientsTurn, !isPastDeadline(exchange) {
      if isOver {
        fail(exchange, .bodyTimeout)
      } else {
        // The attempt's time runs from the last byte of the request.
        exchangeTimers.schedule(exchange.pointee.index, deadline: exchange.pointee.expiresAt)
      }
    } else if exchange.pointee.phase == .waiting, !isOver {
      attemptExpired(exchange)
    } else {
      observeAttempt(exchange, status: nil)
      if exchange.pointee.phase == .responding {
        fail(exchange, .responseTruncated)
      } else {
        fail(exchange, isPastDeadline(exchange) ? .deadlineExceeded : .requestTimeout)
      }
    }
  }

  /// Whether the caller has stopped waiting.
  private func isPastDeadline(_ exchange: ExchangePointer) -> Bool {
    exchange.pointee.callersDeadline <= state.pointee.now && exchange.pointee.phase != .responding
  }

  /// Whether what looks like silence is a peer that takes its time: a client the response, an endpoint the request.
  private func isMoving(_ exchange: ExchangePointer) -> Bool {
    if exchange.pointee.phase == .responding, isStillTaking(connections.pointer(exchange.pointee.downstream)) {
      return true
    }
    return exchange.pointee.upstream != noSlot && isStillTaking(connections.pointer(exchange.pointee.upstream))
  }
}
