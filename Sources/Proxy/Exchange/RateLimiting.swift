// Rates: so many requests, or connections, in a time, of a workload, by a rule and to a service. The cells are the node's, one word
// each (`RateCell`); a shard asks before anything is done for the request. Whoever is refused is told when to come again.

import Base
import Policy
import Telemetry

extension Shard {
  /// Why a request is not taken on, whatever it asks for: its workload has sent too many, or there is too much to do.
  func limitRefusal(_ downstream: ConnectionPointer) -> ProxyError? {
    if isShed(downstream) { return .overloaded }
    let workload = downstream.pointee.workload
    let own = sharing.pointee.workloads + Int(workload)
    guard let limit = own.pointee.requests else { return nil }
    if pass(own.pointee.requestCell.pointee.take(limit, now: state.pointee.now)) { return nil }
    statistics.workloads.countRateLimited(workload)
    return .rateLimited(.workload)
  }

  /// Why a request may not go on by its rule, or to its service, now: that has had too many. It counts against nobody then.
  func rateRefusal(_ exchange: ExchangePointer, _ downstream: ConnectionPointer) -> ProxyError? {
    let rule = rate(exchange)
    if let rule, let cell = rule.pointee.cell, !pass(cell.pointee.take(rule.pointee.limit, now: state.pointee.now)) {
      rule.pointee.refused?[index].add(1)
      giveBack(workloadOf: downstream)
      return .rateLimited(.route)
    }
    let service = services.service(exchange.pointee.service)
    guard let limit = service.pointee.policy.rate else { return nil }
    if pass(service.pointee.shared.pointee.rate.take(limit, now: state.pointee.now)) { return nil }
    service.pointee.cells.rateLimited.add(1)
    if let rule { rule.pointee.cell?.pointee.giveBack(rule.pointee.limit) }
    giveBack(workloadOf: downstream)
    return .rateLimited(.service)
  }

  /// A request that was let through for its workload is refused after all.
  private func giveBack(workloadOf downstream: ConnectionPointer) {
    let own = sharing.pointee.workloads + Int(downstream.pointee.workload)
    if let limit = own.pointee.requests { own.pointee.requestCell.pointee.giveBack(limit) }
  }

  /// Whether a fresh connection is one too many of its workload: then it has been answered, and is ending.
  func refuseConnection(_ connection: ConnectionPointer, isStream: Bool) -> Bool {
    let workload = connection.pointee.workload
    let own = sharing.pointee.workloads + Int(workload)
    guard let limit = own.pointee.connections else { return false }
    if pass(own.pointee.connectionCell.pointee.take(limit, now: state.pointee.now)) { return false }
    statistics.workloads.countConnectionRateLimited(workload)
    if isStream {
      statistics.countError(.connectionRateLimited)
      close(connection, abort: true)
    } else {
      respondWithoutExchange(connection, .connectionRateLimited)
      armReceive(connection)
    }
    return true
  }

  private func pass(_ decision: RateDecision) -> Bool {
    if decision == .admitted { return true }
    sharing.pointee.retryAfterSeconds = UInt32(clamping: decision.retryAfterSeconds)
    return false
  }

  /// What an answer says when to come again; nil for nothing.
  func takeRetryAfter(_ error: ProxyError) -> UInt32? {
    switch error {
    case .rateLimited, .connectionRateLimited: max(sharing.pointee.retryAfterSeconds, 1)
    case .tooManyConnections, .tooManyRequests, .nodeFull, .overloaded: 1
    default: nil
    }
  }
}
