// When a silent endpoint is asked whether it is there, and when it is given up, on a clock that the test moves.

import Base
import Testing

@testable import Proxy

@Suite("HTTP2KeepAlive")
struct HTTP2KeepAliveTests {
  private static let terms = HTTP2KeepAlive.Terms(intervalNanoseconds: 30 << 30, timeoutNanoseconds: 10 << 30)

  private func at(_ seconds: UInt64) -> MonotonicInstant { MonotonicInstant(nanoseconds: (1000 + seconds) << 30) }

  private func action(
    _ keepAlive: inout HTTP2KeepAlive, now: UInt64, activeAt: UInt64, isTaking: Bool = false
  ) -> HTTP2KeepAlive.Action {
    keepAlive.action(now: at(now), activeAt: at(activeAt), Self.terms, isTaking: { isTaking })
  }

  @Test("after the interval it is asked, and after the timeout it is given up")
  func silence() {
    var keepAlive = HTTP2KeepAlive()
    keepAlive.heard(now: at(0))
    #expect(action(&keepAlive, now: 0, activeAt: 0) == .look(at: at(30)))
    #expect(action(&keepAlive, now: 29, activeAt: 0) == .look(at: at(30)))
    #expect(action(&keepAlive, now: 30, activeAt: 0) == .ping)
    #expect(action(&keepAlive, now: 30, activeAt: 30) == .look(at: at(40)))
    #expect(action(&keepAlive, now: 39, activeAt: 30) == .look(at: at(40)))
    #expect(action(&keepAlive, now: 40, activeAt: 30) == .giveUp)
  }

  @Test("who still takes what is sent is given time, once for each time")
  func taking() {
    var keepAlive = HTTP2KeepAlive()
    keepAlive.heard(now: at(0))
    #expect(action(&keepAlive, now: 30, activeAt: 0) == .ping)
    #expect(action(&keepAlive, now: 40, activeAt: 30, isTaking: true) == .look(at: at(50)))
    #expect(action(&keepAlive, now: 50, activeAt: 30, isTaking: true) == .look(at: at(60)))
    #expect(action(&keepAlive, now: 60, activeAt: 30) == .giveUp)
  }

  @Test("whatever comes is an answer; who was only asked is not asked again soon, who has something to answer is")
  func politeness() {
    var keepAlive = HTTP2KeepAlive()
    keepAlive.heard(now: at(0))
    #expect(action(&keepAlive, now: 30, activeAt: 0) == .ping)
    keepAlive.heard(now: at(31))
    // Nothing but its answer: five minutes, as servers of gRPC want it.
    guard case .look(let next) = action(&keepAlive, now: 31, activeAt: 31) else {
      Issue.record("asked at once")
      return
    }
    #expect(next.nanoseconds(since: at(31)) >= 300_000_000_000)
    // A request was sent, and nothing has come for it.
    #expect(action(&keepAlive, now: 40, activeAt: 40) == .look(at: at(70)))
    #expect(action(&keepAlive, now: 70, activeAt: 40) == .ping)
    // A response: from then on it is silent anew.
    keepAlive.heard(now: at(71))
    keepAlive.heardMore()
    #expect(action(&keepAlive, now: 71, activeAt: 71) == .look(at: at(101)))
    #expect(action(&keepAlive, now: 101, activeAt: 71) == .ping)
  }
}
