// What the node's judgement of endpoints means for one shard: who may be chosen, whose turn it is to probe, and what an
// attempt's outcome tells. The judgement itself is Policy's (`FailureAccrual`), in one cell of each endpoint for all shards.

import Base
import Policy

extension Shard {
  /// The endpoint that the next attempt may go to; negative when there is none. One that is out and due for its probe gets one
  /// request of the whole node.
  func endpointForAttempt(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) -> Int32 {
    let picked = pickEndpoint(exchange, service)
    if picked < 0 || isAdmitted(exchange, service, picked) { return picked }
    // Another request is the probe: whoever is left.
    let failed = exchange.pointee.failedEndpoint
    exchange.pointee.failedEndpoint = UInt32(bitPattern: picked)
    let other = pickEndpoint(exchange, service)
    exchange.pointee.failedEndpoint = failed
    return other < 0 || isAdmitted(exchange, service, other) ? other : -1
  }

  private func isAdmitted(
    _ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>, _ slot: Int32
  ) -> Bool {
    guard let gate = service.pointee.loads[Int(slot)].gate, !gate.isHealthy else { return true }
    // What has not been heard of a second after its time was over is lost, and another may try.
    let longest =
      service.pointee.policy.attemptTimeoutNanoseconds ?? service.pointee.policy.requestTimeoutNanoseconds
    switch gate.admit(now: state.pointee.now, probeUntil: deadline(after: longest &+ 1_000_000_000)) {
    case .ordinary: return true
    case .probe:
      exchange.pointee.probe = UInt32(bitPattern: slot)
      return true
    case .refused: return service.pointee.isPanicking
    }
  }

  /// The exchange's attempt is over, or never came to be, and its probe has told nothing: the next request may try.
  func abandonProbe(_ exchange: ExchangePointer) {
    guard exchange.pointee.probe != noSlot else { return }
    let service = services.service(exchange.pointee.service)
    service.pointee.endpoints[Int(exchange.pointee.probe)].accrual?.pointee.probeAbandoned(now: state.pointee.now)
    exchange.pointee.probe = noSlot
  }

  /// Tells the node's judgement what came of the exchange's attempt.
  func judge(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>, failed: Bool) {
    let endpoint = service.pointee.endpoints + Int(exchange.pointee.endpoint)
    guard let accrual = endpoint.pointee.accrual, endpoint.pointee.state == .live else { return }
    let isProbe = exchange.pointee.probe == exchange.pointee.endpoint
    let change: FailureAccrual.Change
    if failed {
      change = accrual.pointee.failed(
        isProbe: isProbe, policy: service.pointee.policy.accrual, ejections: service.pointee.shared.pointee.ejections,
        limit: EjectionCount.limit(
          endpointCount: service.pointee.liveCount, mostPercent: service.pointee.policy.mostOutPercent),
        now: state.pointee.now, random: &state.pointee.random)
    } else {
      change = accrual.pointee.succeeded(
        isProbe: isProbe, startedAt: exchange.pointee.attemptStartedAt, policy: service.pointee.policy.accrual,
        ejections: service.pointee.shared.pointee.ejections, now: state.pointee.now)
    }
    if isProbe { exchange.pointee.probe = noSlot }
    switch change {
    case .nothing, .stayedOut: break
    case .wentOut, .cameBack, .becameUnhealthy:
      service.pointee.healthEpoch.bump()
      node.healthChanged(of: service.pointee.number)
    }
  }

  /// For a client that is told that every endpoint is out: when the first of them is probed. Rounded up.
  func secondsUntilProbe(_ error: ProxyError, _ number: ServiceNumber) -> UInt32? {
    guard error == .endpointsOut, let service = services.find(number) else { return nil }
    var soonest: MonotonicInstant?
    for slot in 0..<service.pointee.endpointCount where service.pointee.endpoints[slot].state == .live {
      guard case .out(let until)? = service.pointee.endpoints[slot].accrual?.pointee.state else { continue }
      soonest = min(soonest ?? until, until)
    }
    return soonest.map { UInt32(clamping: $0.nanoseconds(since: state.pointee.now) / 1_000_000_000 + 1) }
  }
}
