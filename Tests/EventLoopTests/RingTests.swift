// The ring against the real kernel: every operation the proxy uses, over socket pairs and the loopback.

import CFairlead
import Glibc
import TestSupport
import Testing

@testable import EventLoop

@Suite("Ring")
struct RingTests {
  // MARK: Receiving

  @Test("one arming of a multishot receive brings every message, then the peer's end")
  func multishotReceive() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 7))
    for message in ["one", "two", "three"] {
      try pair.write(message)
      let completion = try loop.next()
      #expect(completion.tag == tag(.receive, 7))
      #expect(completion.hasMore)
      #expect(try loop.text(of: completion) == message)
    }
    pair.closePeer()
    let last = try loop.next()
    #expect(last.result == 0)
    #expect(!last.hasMore)
    #expect(last.buffer == nil)
    #expect(loop.pool.inUse == 0)
  }

  @Test("a single receive brings one buffer and leaves the rest until it is armed again")
  func singleReceive() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    try pair.write(String(repeating: "a", count: ReceiveBufferPool.bufferSize) + "rest")
    loop.ring.receive(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    let first = try loop.next()
    #expect(Int(first.result) == ReceiveBufferPool.bufferSize)
    #expect(!first.hasMore)
    _ = try loop.text(of: first)
    #expect(loop.isQuiet())
    loop.ring.receive(pair.ours, group: loop.pool.group, tag: tag(.receive, 2))
    let second = try loop.next()
    #expect(second.tag == tag(.receive, 2))
    #expect(try loop.text(of: second) == "rest")
  }

  @Test("a receive without a free buffer ends with ENOBUFS and goes on once one came back")
  func noBuffers() throws {
    let loop = try Loop(initial: 2, limit: 2, window: 2)
    let pair = try SocketPair()
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    var held: [UInt16] = []
    for message in ["one", "two"] {
      try pair.write(message)
      let buffer = try #require(try loop.next().buffer)
      loop.pool.take(buffer)
      held.append(buffer)
    }
    #expect(Set(held).count == 2)
    #expect(!loop.pool.canServe)
    try pair.write("three")
    let shortage = try loop.next()
    #expect(shortage.result == -ENOBUFS)
    #expect(!shortage.hasMore)
    for buffer in held { loop.pool.release(buffer) }
    #expect(loop.pool.canServe)
    loop.pool.publish()
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 2))
    #expect(try loop.text(of: try loop.next()) == "three")
  }

  // MARK: Sending

  @Test("a send completes when all bytes are taken, however slowly they are read")
  func sendsAll() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    let count = 4 << 20
    let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 9) }
    let theirs = pair.theirs
    let received = Monitor<[UInt8]>([])
    let reader = BackgroundThread {
      var all: [UInt8] = []
      var block = [UInt8](repeating: 0, count: 10_007)
      while all.count < count {
        let got = Glibc.read(theirs, &block, block.count)
        if got <= 0 { break }
        all += block[..<got]
      }
      received.with { $0 = all }
    }
    try bytes.withUnsafeBytes { buffer in
      let start = try #require(buffer.baseAddress)
      loop.ring.send(pair.ours, start, count: buffer.count, tag: tag(.send, 3))
      let completion = try loop.next()
      #expect(completion.tag == tag(.send, 3))
      #expect(Int(completion.result) == count)
    }
    #expect(reader.join())
    #expect(received.with { $0 == bytes })
  }

  @Test("a vectored send keeps the vectors' order")
  func sendsVectors() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    var parts: [[UInt8]] = (0..<16).map { number in Array("part \(number);".utf8) }
    let whole = Array(parts.joined())
    let vectors = UnsafeMutablePointer<iovec>.allocate(capacity: parts.count)
    let memory = parts.map { part in
      let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: part.count, alignment: 1)
      copy.copyBytes(from: part)
      return copy
    }
    parts.removeAll()
    let message = UnsafeMutablePointer<msghdr>.allocate(capacity: 1)
    message.initialize(to: msghdr())
    defer {
      vectors.deallocate()
      message.deallocate()
      for copy in memory { copy.deallocate() }
    }
    for (position, copy) in memory.enumerated() {
      (vectors + position).initialize(to: iovec(iov_base: copy.baseAddress, iov_len: copy.count))
    }
    message.pointee.msg_iov = vectors
    message.pointee.msg_iovlen = memory.count
    loop.ring.sendMessage(pair.ours, message, tag: tag(.send, 4))
    #expect(Int(try loop.next().result) == whole.count)
    #expect(pair.read() == whole)
  }

  @Test("a send to a peer that is gone fails with EPIPE and raises no signal")
  func sendsToNobody() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    pair.closePeer()
    let bytes: [UInt8] = [1, 2, 3]
    try bytes.withUnsafeBytes { buffer in
      let start = try #require(buffer.baseAddress)
      loop.ring.send(pair.ours, start, count: buffer.count, tag: tag(.send, 5))
      #expect(try loop.next().result == -EPIPE)
    }
  }

  // MARK: Connecting and accepting

  @Test("one arming of a multishot accept brings every connection")
  func accepts() throws {
    let loop = try Loop()
    let listener = try Listener()
    defer { listener.close() }
    loop.ring.acceptMultishot(listener.descriptor, tag: tag(.accept, 1))
    for slot in UInt32(10)..<13 {
      let client = socket(AF_INET, fl_sock_stream | fl_sock_cloexec, 0)
      defer { close(client) }
      listener.withAddress { loop.ring.connect(client, $0, length: $1, tag: tag(.connect, slot)) }
      // The address goes out of scope only after the completion.
      let completions = try loop.next(2)
      #expect(completions[tag(.connect, slot).rawValue]?.result == 0)
      let accepted = try #require(completions[tag(.accept, 1).rawValue])
      #expect(accepted.hasMore)
      #expect(accepted.result >= 0)
      let flags = fcntl(accepted.result, F_GETFD)
      #expect(flags & FD_CLOEXEC != 0, "an accepted descriptor must not leak into children")
      close(accepted.result)
    }
  }

  @Test("a connect to a port nobody listens on is refused")
  func connectIsRefused() throws {
    let loop = try Loop()
    let refusing = try RefusingAddress()
    let client = socket(AF_INET, fl_sock_stream | fl_sock_cloexec, 0)
    defer { close(client) }
    let listener = LoopbackTarget(port: refusing.address.port)
    listener.withAddress { loop.ring.connect(client, $0, length: $1, tag: tag(.connect, 1)) }
    #expect(try loop.next().result == -ECONNREFUSED)
    listener.deallocate()
  }

  // MARK: Cancelling

  @Test("a cancelled receive ends with ECANCELED, the cancel itself with 0")
  func cancels() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    #expect(loop.isQuiet())
    loop.ring.cancel(tag(.receive, 1), tag: tag(.cancel, 2))
    let completions = try loop.next(2)
    #expect(completions[tag(.cancel, 2).rawValue]?.result == 0)
    let receive = try #require(completions[tag(.receive, 1).rawValue])
    #expect(receive.result == -ECANCELED)
    #expect(!receive.hasMore)
  }

  @Test("a cancel of what is not in flight finds nothing")
  func cancelsNothing() throws {
    let loop = try Loop()
    loop.ring.cancel(tag(.receive, 99), tag: tag(.cancel, 2))
    #expect(try loop.next().result == -ENOENT)
  }

  @Test("a cancel by descriptor ends all that is in flight on it, and nothing else")
  func cancelsByDescriptor() throws {
    let loop = try Loop()
    let (pair, other) = (try SocketPair(), try SocketPair())
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    loop.ring.receiveMultishot(other.ours, group: loop.pool.group, tag: tag(.receive, 2))
    let bytes = UnsafeMutableRawPointer.allocate(byteCount: 8 << 20, alignment: 16)
    defer { bytes.deallocate() }
    memset(bytes, 1, 8 << 20)
    // Nobody reads: the send fills the socket's buffer and waits.
    loop.ring.send(pair.ours, bytes, count: 8 << 20, tag: tag(.send, 3))
    #expect(loop.isQuiet())
    loop.ring.cancelAll(on: pair.ours, tag: tag(.cancel, 4))
    let completions = try loop.next(3)
    #expect(completions[tag(.receive, 1).rawValue]?.result == -ECANCELED)
    let sent = try #require(completions[tag(.send, 3).rawValue]?.result)
    #expect(sent == -ECANCELED || sent > 0 && sent < 8 << 20, "a send that is cut tells how far it came: \(sent)")
    #expect(completions[tag(.cancel, 4).rawValue]?.result == 2)
    try other.write("still armed")
    #expect(try loop.text(of: try loop.next()) == "still armed")
  }

  // MARK: Waiting

  @Test("a wait returns without a completion once its time is over")
  func timesOut() throws {
    let loop = try Loop()
    let pair = try SocketPair()
    loop.ring.receiveMultishot(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    let begin = monotonicSeconds()
    #expect(loop.isQuiet())
    #expect(monotonicSeconds() - begin >= 0.009)
  }

  @Test("an eventfd written by another thread ends a wait that has no limit")
  func wakesUp() throws {
    let loop = try Loop()
    let descriptor = fl_eventfd()
    defer { close(descriptor) }
    let counter = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
    counter.initialize(to: 0)
    defer { counter.deallocate() }
    loop.ring.readCounter(descriptor, into: counter, tag: tag(.wakeup, 0))
    let other = BackgroundThread { fl_eventfd_signal(descriptor) }
    loop.ring.submitAndWait(timeoutNanoseconds: nil)
    let completion = try loop.next()
    #expect(completion.tag == tag(.wakeup, 0))
    #expect(completion.result == 8)
    #expect(counter.pointee == 1)
    #expect(other.join())
  }

  @Test("more operations than the queue has entries are all carried out, each once")
  func overflowsTheQueue() throws {
    let loop = try Loop(submissionEntries: 8, completionEntries: 1024)
    let descriptor = fl_eventfd()
    defer { close(descriptor) }
    let count = 600
    for slot in 0..<UInt32(count) { loop.ring.cancel(tag(.receive, 1_000_000), tag: tag(.cancel, slot)) }
    let completions = try loop.next(count)
    #expect(completions.count == count)
    for slot in 0..<UInt32(count) { #expect(completions[tag(.cancel, slot).rawValue]?.result == -ENOENT) }
    #expect(loop.isQuiet())
  }

  @Test("completions are taken up to the room there is, none lost or twice", arguments: [1, 63, 64, 65, 200])
  func takesInPieces(capacity: Int) throws {
    let loop = try Loop(submissionEntries: 256, completionEntries: 1024)
    let count = 200
    for slot in 0..<UInt32(count) { loop.ring.cancel(tag(.receive, 1_000_000), tag: tag(.cancel, slot)) }
    loop.ring.submitAndWait(timeoutNanoseconds: 1_000_000_000)
    let batch = UnsafeMutablePointer<Completion>.allocate(capacity: capacity)
    defer { batch.deallocate() }
    var slots: [UInt32] = []
    while slots.count < count {
      let taken = loop.ring.takeCompletions(into: batch, capacity: capacity)
      try #require(taken > 0 && taken <= capacity)
      slots += (0..<taken).map { batch[$0].tag.slot }
    }
    #expect(slots == Array(0..<UInt32(count)))
  }

  // MARK: Setting up

  @Test("the flags a ring was set up with are one of our choices, the richest first")
  func flags() throws {
    let loop = try Loop()
    #expect(Ring.flagChoices.contains(loop.ring.setUpFlags))
    let counts = Ring.flagChoices.map { $0.nonzeroBitCount }
    #expect(counts == counts.sorted(by: >))
  }

  @Test("a size the kernel does not take is an error that says so")
  func badSize() {
    #expect(throws: RingError.setUp(errno: EINVAL)) { _ = try Ring(submissionEntries: 1 << 20) }
    #expect(throws: RingError.setUp(errno: EINVAL)) {
      _ = try Ring(submissionEntries: 64, completionEntries: 8)
    }
  }

  @Test("a second pool of the same group is an error that says so")
  func groupTaken() throws {
    let loop = try Loop()
    #expect(throws: RingError.bufferRing(errno: EEXIST)) { _ = try ReceiveBufferPool(ring: loop.ring) }
    let other = try ReceiveBufferPool(ring: loop.ring, group: 1, initial: 4, limit: 4, window: 4)
    #expect(other.group == 1)
  }
}

/// 127.0.0.1 and a port in memory that stays while a connect is in flight.
private struct LoopbackTarget {
  let storage: UnsafeMutablePointer<sockaddr_in>

  init(port: UInt16) {
    storage = .allocate(capacity: 1)
    storage.initialize(to: sockaddr_in())
    storage.pointee.sin_family = sa_family_t(AF_INET)
    storage.pointee.sin_port = port.bigEndian
    storage.pointee.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
  }

  func deallocate() { storage.deallocate() }

  func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Void) {
    let length = socklen_t(MemoryLayout<sockaddr_in>.size)
    storage.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
  }
}

/// A listening socket on a free port of the loopback.
private struct Listener {
  let descriptor: Int32
  private let target: LoopbackTarget

  init() throws {
    descriptor = socket(AF_INET, fl_sock_stream | fl_sock_cloexec, 0)
    target = LoopbackTarget(port: 0)
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let done = target.storage.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, length) == 0 && listen(descriptor, 16) == 0 && getsockname(descriptor, $0, &length) == 0
    }
    guard done else { throw HarnessError("no listener") }
  }

  func withAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Void) { target.withAddress(body) }

  func close() {
    Glibc.close(descriptor)
    target.deallocate()
  }
}
