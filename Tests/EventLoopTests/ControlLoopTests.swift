// The control thread's loop: order, timers, and handlers that change the loop under its own feet.

import Base
import Glibc
import Synchronization
import Testing

import class TestSupport.BackgroundThread

@testable import EventLoop

@Suite struct ControlLoopTests {
  @Test("what is posted from other threads runs in order, and stop ends the loop")
  func posting() throws {
    let loop = try ControlLoop()
    let seen = Mutex<[Int]>([])
    let worker = BackgroundThread { loop.run() }
    for number in 0..<1000 { loop.post { seen.withLock { $0.append(number) } } }
    loop.post { loop.stop() }
    worker.join()
    #expect(seen.withLock { $0 } == Array(0..<1000))
  }

  @Test("timers fire in the order of their deadlines, once, and not when cancelled")
  func timers() throws {
    let loop = try ControlLoop()
    var fired: [String] = []
    let now = MonotonicInstant.now()
    loop.schedule(at: now.advanced(byNanoseconds: 2_000_000)) { fired.append("second") }
    loop.schedule(at: now.advanced(byNanoseconds: 1_000_000)) { fired.append("first") }
    let cancelled = loop.schedule(at: now) { fired.append("cancelled") }
    loop.cancel(cancelled)
    loop.schedule(at: now.advanced(byNanoseconds: 3_000_000)) {
      fired.append("last")
      loop.stop()
    }
    loop.run()
    #expect(fired == ["first", "second", "last"])
  }

  @Test("a timer that sets itself again does not hold the turn")
  func recurringTimer() throws {
    let loop = try ControlLoop()
    var count = 0
    func again() {
      count += 1
      loop.schedule(at: .now(), again)
    }
    again()
    loop.turn(maximumWaitMilliseconds: 0)
    #expect(count == 2)
  }

  @Test("a timer may cancel another that is due in the same turn")
  func cancelDue() throws {
    let loop = try ControlLoop()
    var fired = 0
    var other: UInt64 = 0
    let now = MonotonicInstant.now()
    loop.schedule(at: now) { loop.cancel(other) }
    other = loop.schedule(at: now) { fired += 1 }
    loop.turn(maximumWaitMilliseconds: 0)
    loop.turn(maximumWaitMilliseconds: 0)
    #expect(fired == 0)
  }

  @Test("a descriptor unwatched, or replaced by one of the same number, is not told the old one's events")
  func unwatching() throws {
    let loop = try ControlLoop()
    let (first, second) = (try Pair(), try Pair())
    var calls: [String] = []
    // Whichever comes first takes the other one away; the watch that replaces it must not hear this turn's news.
    func replace(_ pair: Pair) {
      loop.unwatch(pair.near)
      loop.watch(pair.near, events: Int16(POLLOUT)) { _ in calls.append("replaced") }
    }
    loop.watch(first.near, events: Int16(POLLIN)) { _ in
      calls.append("original")
      replace(second)
    }
    loop.watch(second.near, events: Int16(POLLIN)) { _ in
      calls.append("original")
      replace(first)
    }
    first.write()
    second.write()
    loop.turn(maximumWaitMilliseconds: 1000)
    #expect(calls == ["original"])
  }

  @Test("a descriptor watched for nothing is left alone until it is watched for something")
  func pausing() throws {
    let loop = try ControlLoop()
    let pair = try Pair()
    var calls = 0
    loop.watch(pair.near, events: 0) { _ in calls += 1 }
    pair.write()
    loop.turn(maximumWaitMilliseconds: 0)
    #expect(calls == 0)
    loop.setEvents(pair.near, Int16(POLLIN))
    loop.turn(maximumWaitMilliseconds: 1000)
    #expect(calls == 1)
  }

  private final class Pair {
    let near: Int32
    private let far: Int32

    init() throws {
      var descriptors: [Int32] = [-1, -1]
      try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &descriptors) == 0)
      (near, far) = (descriptors[0], descriptors[1])
    }

    deinit {
      close(near)
      close(far)
    }

    func write() {
      var byte: UInt8 = 1
      _ = Glibc.write(far, &byte, 1)
    }
  }
}
