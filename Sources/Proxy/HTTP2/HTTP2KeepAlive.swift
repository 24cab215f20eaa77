// Whether the other end of a connection over HTTP/2 is still there, when it has been silent: it is asked by PING (RFC 9113 section 6.7),
// and taken for lost when nothing answers. A host that vanished says no FIN; streams on such a connection, and requests that
// are given to it, would wait for their own timeouts, which a call that streams has none of.
//
//   silence, or something sent and nothing heard, for the interval  →  PING
//   nothing heard for the timeout, and nothing taken either         →  lost (a kernel whose process hangs takes the PING: that makes
//                                                                      it twice the timeout)
//
// Once a silent peer has answered it is asked again every five minutes only, or at the interval when that is longer: servers of
// gRPC take who asks more often for a flood, and end calls that had no more to say than that they are there.

import Base
import CFairlead
import HTTP
import Telemetry

/// The silence of one connection. A plain value; time comes in.
struct HTTP2KeepAlive {
  struct Terms {
    let intervalNanoseconds: UInt64
    let timeoutNanoseconds: UInt64
  }

  enum Action: Equatable {
    case look(at: MonotonicInstant)
    case ping
    case giveUp
  }

  private var heardAt = MonotonicInstant(nanoseconds: 0)
  /// When it was asked what it has not answered yet.
  private var askedAt: MonotonicInstant?
  /// It has answered since it last said something else.
  private var hasAnswered = false

  /// Bytes have come.
  mutating func heard(now: MonotonicInstant) {
    if askedAt != nil { hasAnswered = true }
    heardAt = now
    askedAt = nil
  }

  /// They say something else than that the peer is there.
  mutating func heardMore() { hasAnswered = false }

  /// What to do now, or when to look again.
  ///
  /// - Parameters:
  ///   - activeAt: when bytes last came or went.
  ///   - isTaking: whether the peer's kernel has taken bytes since this was last asked; asked when all depends on it.
  mutating func action(
    now: MonotonicInstant, activeAt: MonotonicInstant, _ terms: Terms, isTaking: () -> Bool
  ) -> Action {
    if let asked = askedAt {
      let end = asked.advanced(byNanoseconds: terms.timeoutNanoseconds)
      if now < end { return .look(at: end) }
      // Behind a long body the question takes its time.
      guard isTaking() else { return .giveUp }
      askedAt = now
      return .look(at: now.advanced(byNanoseconds: terms.timeoutNanoseconds))
    }
    let isOwed = activeAt > heardAt
    let wait =
      hasAnswered && !isOwed
      ? max(terms.intervalNanoseconds, HTTP2KeepAlive.politeNanoseconds) : terms.intervalNanoseconds
    let due = max(activeAt, heardAt).advanced(byNanoseconds: wait)
    if now < due { return .look(at: due) }
    askedAt = now
    return .ping
  }

  /// What gRPC's servers have for their least time between two questions, and a little more.
  private static let politeNanoseconds: UInt64 = 305_000_000_000
}

extension Shard {
  /// When a connection towards an endpoint is to be looked at next: for its idleness, or its silence.
  func armMultiplexed(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    let service = services.service(connection.pointee.origin)
    var end: MonotonicInstant?
    if h2.pointee.streamCount == 0 {
      end = h2.pointee.idleSince.advanced(byNanoseconds: service.pointee.policy.idleTimeoutNanoseconds)
    }
    if let terms = service.pointee.policy.keepAlive {
      let action = h2.pointee.keepAlive.action(
        now: state.pointee.now, activeAt: connection.pointee.activeAt, terms, isTaking: { hasTaken(connection) })
      switch action {
      case .look(let moment): end = min(end ?? moment, moment)
      case .ping:
        h2.pointee.session.ping()
        _ = hasTaken(connection)
        markDirty(connection)
        let answer = deadline(after: terms.timeoutNanoseconds)
        end = min(end ?? answer, answer)
      case .giveUp:
        giveUp(connection)
        return
      }
    }
    if let end { connectionTimers.schedule(connection.pointee.index, deadline: end) }
  }

  /// The time of an endpoint's connection has come for one thing or the other.
  func upstreamMultiplexedExpired(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    if connection.pointee.flags.contains(.finishAfterFlush) {
      close(connection)
      return
    }
    let idle = services.service(connection.pointee.origin).pointee.policy.idleTimeoutNanoseconds
    guard h2.pointee.streamCount == 0, state.pointee.now.nanoseconds(since: h2.pointee.idleSince) >= idle else {
      armMultiplexed(connection)
      return
    }
    h2.pointee.isLeaving = true
    h2.pointee.session.terminate(HTTP2Error.none)
    waitForEnd(connection)
    markDirty(connection)
  }

  /// An endpoint that does not end its side when we have ended ours is not waited for.
  func waitForEnd(_ connection: ConnectionPointer) {
    connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: 2_000_000_000))
  }

  /// Nobody is there: the connection ends, and its requests are sent again where that is safe.
  private func giveUp(_ connection: ConnectionPointer) {
    statistics.unansweredPings.add(1)
    http2State(connection).pointee.isLeaving = true
    loseStreams(connection)
    close(connection, abort: true)
  }

  private func hasTaken(_ connection: ConnectionPointer) -> Bool {
    let acknowledged = fl_acknowledged_bytes(connection.pointee.descriptor)
    defer { connection.pointee.acknowledgedAtExpiry = acknowledged }
    return acknowledged != connection.pointee.acknowledgedAtExpiry
  }
}
