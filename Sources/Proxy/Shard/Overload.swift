// Too much to do: each shard judges its own lag, and the node's memory, ten times a second, and refuses of what is new as much as
// the judgement says, by what workloads ask for against their weight (`SheddingPlan`). Idle connections go, too: they are what
// memory can be had back from.

import Base
import Configuration
import Policy

extension Shard {
  /// Whether a request is one of those to refuse now.
  func isShed(_ downstream: ConnectionPointer) -> Bool {
    guard sharing.pointee.plan.refuses(downstream.pointee.workload, random: &state.pointee.random) else { return false }
    statistics.workloads.countShed(downstream.pointee.workload, sharing.pointee.overload.reason)
    return true
  }

  /// A turn is over: judges, when it is time.
  func watchLoad(turnNanoseconds: UInt64) {
    let now = state.pointee.now
    guard sharing.pointee.lag.turned(nanoseconds: turnNanoseconds, now: now) else { return }
    let mark = limits.loopLagMarkNanoseconds
    let changed = sharing.pointee.overload.update(
      lagPressure: mark == 0 ? 0 : Double(sharing.pointee.lag.nanoseconds) / Double(mark),
      memoryPressure: node.memoryPressure, now: now)
    let severity = sharing.pointee.overload.severity
    sharing.pointee.plan.renew(severity: severity)
    statistics.countOverload(sharing.pointee.overload, changed: changed)
    if sharing.pointee.overload.state == .shedding { shedIdleConnections() }
  }

  /// Closes some that rest, on both sides: few each time, so that it takes little of what there is too little of. Also for their
  /// descriptors, where those have run out.
  func shedIdleConnections() {
    giveUpIdleConnections()
    var next = state.pointee.downstreamHead
    var left = 64
    for _ in 0..<1024 where next != noSlot && left > 0 {
      let connection = connections.pointer(next)
      next = connection.pointee.next
      guard isResting(connection) else { continue }
      if connection.pointee.wire == .multiplexed { endIdleMultiplexed(connection) } else { closeAfterFlush(connection) }
      left -= 1
    }
  }

  /// Whether a client's connection has been without anything in progress for a while.
  private func isResting(_ connection: ConnectionPointer) -> Bool {
    guard connection.pointee.isServing, connection.pointee.unsentByteCount == 0, connection.pointee.requestCount > 0,
      state.pointee.now.nanoseconds(since: connection.pointee.activeAt) > 1_000_000_000
    else { return false }
    if connection.pointee.wire == .multiplexed {
      let h2 = http2State(connection)
      return h2.pointee.streamCount == 0 && !h2.pointee.isLeaving
    }
    return connection.pointee.wire == .http1 && connection.pointee.exchange == noSlot
      && connection.pointee.codec.assembly == 0 && connection.pointee.input.isEmpty
  }
}
