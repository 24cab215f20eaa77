// What a peer's conduct on an HTTP/2 connection costs it, and when it is sent away.

import Base
import Testing

@testable import Proxy

@Suite("HTTP2Conduct")
struct HTTP2ConductTests {
  @Test("what nobody needs ends a connection at its 513th time")
  func limit() {
    var conduct = HTTP2Conduct()
    var count = 1
    while conduct.lose() { count += 1 }
    #expect(count == 513)
  }

  @Test("requests that are served make up for it")
  func earning() {
    var conduct = HTTP2Conduct()
    for _ in 0..<10_000 {
      for _ in 0..<4 { _ = conduct.lose() }
      conduct.earn()
    }
    #expect(conduct.points == 0)
  }

  @Test("what comes now and then never adds up: pings for days")
  func forgiving() {
    var conduct = HTTP2Conduct()
    for second in UInt64(1)...100_000 {
      conduct.forgive(now: MonotonicInstant(nanoseconds: second * 10_000_000_000))
      _ = conduct.lose()
    }
    #expect(conduct.points == 1)
  }

  @Test("credit that is given for what was sent costs nothing, credit for nothing does")
  func updates() {
    var conduct = HTTP2Conduct()
    for _ in 0..<10_000 {
      _ = conduct.send(16_384, isCut: false)
      for _ in 0..<8 { _ = conduct.takeUpdate() }
    }
    #expect(conduct.points == 0)
    var count = 0
    while conduct.takeUpdate() { count += 1 }
    #expect(count <= 2048)
  }

  @Test("who has a frame made for each byte is sent away, who reads slowly is not")
  func dribble() {
    var slow = HTTP2Conduct()
    for _ in 0..<10_000 { _ = slow.send(1000, isCut: true) }
    #expect(slow.points == 0)
    var conduct = HTTP2Conduct()
    var count = 0
    while conduct.send(1, isCut: true) { count += 1 }
    #expect(count == 512)
  }
}
