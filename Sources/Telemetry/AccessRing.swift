// The way of access records from one shard to the thread that writes the log: a bounded ring with one producer and one
// consumer. The producer never waits: with the ring full, a record is dropped and counted.
//
//   shard                                        writer
//   if let slot = ring.reserve() {               while let record = ring.front() {
//     slot.pointee.reset(); fill it in             format it
//     if ring.commit() { wake the writer }         ring.pop()
//   }                                            }
//
// A producer that finds the ring half full is told to wake the consumer; otherwise the consumer comes by on its own.

import Synchronization

/// A single-producer, single-consumer ring of access records. The slots are allocated once.
public final class AccessRing: @unchecked Sendable {
  // Producer and consumer each have a cache line pair of their own: a position that the other side reads, and a private
  // copy of the other side's position, so that a push reads foreign memory only once in a while.
  @usableFromInline let slots: UnsafeMutablePointer<AccessRecord>
  @usableFromInline let lines: UnsafeMutablePointer<Atomic<UInt64>>
  /// Records the ring holds at most: a power of two.
  public let capacity: Int

  /// - Parameter capacity: rounded up to a power of two between 2 and 2^20. A slot is 320 bytes; untouched ones cost nothing.
  public init(capacity: Int = 4096) {
    var size = 2
    while size < capacity && size < 1 << 20 { size <<= 1 }
    self.capacity = size
    slots = UnsafeMutableRawPointer.allocate(
      byteCount: size * MemoryLayout<AccessRecord>.stride, alignment: lineBytes
    ).bindMemory(to: AccessRecord.self, capacity: size)
    lines = UnsafeMutableRawPointer.allocate(byteCount: 3 * lineBytes, alignment: lineBytes)
      .bindMemory(to: Atomic<UInt64>.self, capacity: 3 * wordsPerLine)
    for word in 0..<(3 * wordsPerLine) { (lines + word).initialize(to: Atomic(0)) }
  }

  deinit {
    UnsafeMutableRawPointer(slots).deallocate()
    UnsafeMutableRawPointer(lines).deallocate()
  }

  /// A slot to fill in, or nil when the ring is full (the loss is counted). What the slot holds is an older record: `reset()`
  /// it. Nothing is passed on before `commit()`. The producer's thread only.
  @inlinable public func reserve() -> UnsafeMutablePointer<AccessRecord>? {
    let position = head.pointee.load(ordering: .relaxed)
    if position &- tailSeen.pointee.load(ordering: .relaxed) >= UInt64(truncatingIfNeeded: capacity) {
      tailSeen.pointee.store(tail.pointee.load(ordering: .acquiring), ordering: .relaxed)
      if position &- tailSeen.pointee.load(ordering: .relaxed) >= UInt64(truncatingIfNeeded: capacity) {
        dropped.pointee.store(dropped.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
        return nil
      }
    }
    return slots + Int(truncatingIfNeeded: position & UInt64(truncatingIfNeeded: capacity &- 1))
  }

  /// Passes the reserved slot on. The producer's thread only.
  ///
  /// - Returns: true when the ring has just become half full: time to wake the consumer.
  @inlinable @discardableResult public func commit() -> Bool {
    let position = head.pointee.load(ordering: .relaxed) &+ 1
    head.pointee.store(position, ordering: .releasing)
    let half = UInt64(truncatingIfNeeded: capacity) / 2
    if position &- tailSeen.pointee.load(ordering: .relaxed) != half { return false }
    let consumed = tail.pointee.load(ordering: .acquiring)
    tailSeen.pointee.store(consumed, ordering: .relaxed)
    return position &- consumed >= half
  }

  /// The oldest record, or nil. It stays valid until `pop()`. The consumer's thread only.
  @inlinable public func front() -> UnsafePointer<AccessRecord>? {
    let position = tail.pointee.load(ordering: .relaxed)
    if headSeen.pointee.load(ordering: .relaxed) == position {
      headSeen.pointee.store(head.pointee.load(ordering: .acquiring), ordering: .relaxed)
      if headSeen.pointee.load(ordering: .relaxed) == position { return nil }
    }
    return UnsafePointer(slots + Int(truncatingIfNeeded: position & UInt64(truncatingIfNeeded: capacity &- 1)))
  }

  /// Gives the oldest record's slot back. After a `front()` that was not nil. The consumer's thread only.
  @inlinable public func pop() {
    tail.pointee.store(tail.pointee.load(ordering: .relaxed) &+ 1, ordering: .releasing)
  }

  /// Records lost because the ring was full. Any thread.
  @inlinable public var droppedCount: UInt64 { dropped.pointee.load(ordering: .relaxed) }

  /// Records passed on so far. Any thread.
  @inlinable public var committedCount: UInt64 { head.pointee.load(ordering: .relaxed) }

  // The producer's line: where it writes next, what it last saw of the consumer, what it lost.
  @inlinable var head: CellWord { lines }
  @inlinable var tailSeen: CellWord { lines + 1 }
  @inlinable var dropped: CellWord { lines + 2 }
  // The consumer's.
  @inlinable var tail: CellWord { lines + 16 }
  @inlinable var headSeen: CellWord { lines + 17 }
}

/// Two cache lines: the adjacent-line prefetcher pulls them in pairs.
private let lineBytes = 128
private let wordsPerLine = lineBytes / MemoryLayout<UInt64>.stride
