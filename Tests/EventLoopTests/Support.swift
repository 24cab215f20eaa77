// A ring with a buffer pool on the test's own thread, and pairs of connected sockets to work on.

import CFairlead
import EventLoop
import Glibc
import TestSupport

/// An enabled ring and its pool. It belongs to the thread that made it: a test stays synchronous while it has one.
final class Loop {
  let ring: Ring
  let pool: ReceiveBufferPool
  private let batch: UnsafeMutablePointer<Completion>
  private var waiting: [Completion] = []
  static let batchCapacity = 256

  init(
    submissionEntries: UInt32 = 64, completionEntries: UInt32 = 1024, initial: Int = 8, limit: Int = 64,
    window: Int = 8
  ) throws {
    ring = try Ring(submissionEntries: submissionEntries, completionEntries: completionEntries)
    try ring.enable()
    pool = try ReceiveBufferPool(ring: ring, initial: initial, limit: limit, window: window)
    batch = .allocate(capacity: Loop.batchCapacity)
  }

  deinit {
    ring.destroy()
    pool.destroy()
    batch.deallocate()
  }

  /// The next completion; throws when none comes in time.
  func next(seconds: Double = 10) throws -> Completion {
    let deadline = monotonicSeconds() + seconds
    while waiting.isEmpty {
      ring.submitAndWait(timeoutNanoseconds: 1_000_000_000)
      let count = ring.takeCompletions(into: batch, capacity: Loop.batchCapacity)
      waiting += (0..<count).map { batch[$0] }
      if waiting.isEmpty, monotonicSeconds() > deadline { throw HarnessError("no completion within \(seconds) s") }
    }
    return waiting.removeFirst()
  }

  /// The next `count` completions by their tag, in whatever order they come. Each tag may come once.
  func next(_ count: Int) throws -> [UInt64: Completion] {
    var result: [UInt64: Completion] = [:]
    for _ in 0..<count {
      let completion = try next()
      guard result.updateValue(completion, forKey: completion.tag.rawValue) == nil else {
        throw HarnessError("\(completion.tag) completed twice")
      }
    }
    return result
  }

  /// Whether nothing is there to be reaped, without waiting for long.
  func isQuiet() -> Bool {
    ring.submitAndWait(timeoutNanoseconds: 10_000_000)
    return waiting.isEmpty && ring.takeCompletions(into: batch, capacity: 1) == 0
  }

  /// The text a receive brought; its buffer goes back to the pool.
  func text(of completion: Completion) throws -> String {
    guard completion.result >= 0, let buffer = completion.buffer else {
      throw HarnessError("a receive without bytes: \(completion.result)")
    }
    pool.take(buffer)
    defer { pool.release(buffer) }
    return String(
      decoding: UnsafeRawBufferPointer(start: pool.pointer(buffer), count: Int(completion.result)), as: UTF8.self)
  }
}

/// Two connected stream sockets: one for the ring, one for the test.
final class SocketPair {
  let ours: Int32
  let theirs: Int32
  private var isPeerClosed = false

  init() throws {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, fl_sock_stream | fl_sock_cloexec, 0, &pair) == 0 else {
      throw HarnessError("no socket pair")
    }
    (ours, theirs) = (pair[0], pair[1])
  }

  deinit {
    close(ours)
    closePeer()
  }

  func write(_ text: String) throws {
    let bytes = Array(text.utf8)
    guard Glibc.send(theirs, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count else {
      throw HarnessError("short write")
    }
  }

  func read(_ capacity: Int = 65_536) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: capacity)
    let count = Glibc.read(theirs, &bytes, capacity)
    return Array(bytes.prefix(max(count, 0)))
  }

  func closePeer() {
    if isPeerClosed { return }
    isPeerClosed = true
    close(theirs)
  }
}

func tag(_ kind: OperationKind, _ slot: UInt32) -> OperationTag {
  OperationTag(kind: kind, slot: slot, generation: 1)
}
