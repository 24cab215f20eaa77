// Bytes on their way: runs of bytes in lent buffers, queued on connections. Bodies are never copied unless they are
// short enough to travel beside a head; what is queued here is a pointer, a length, and who must get the buffer back.

import Base
import EventLoop
import Glibc

/// Who owns the memory under a segment. One word: an odd value is a receive buffer's number, an even one a chunk.
struct BufferOwner {
  let word: UInt

  init(receiveBuffer: UInt16) { word = UInt(receiveBuffer) << 1 | 1 }
  init(chunk: Chunk) { word = chunk.address }

  var receiveBuffer: UInt16? { word & 1 != 0 ? UInt16(truncatingIfNeeded: word >> 1) : nil }
  var chunk: Chunk? { word & 1 == 0 ? Chunk(address: word) : nil }
}

/// A run of bytes. It holds one reference on its owner.
struct Segment {
  var bytes: UnsafeMutableRawPointer
  var count: UInt32
  /// The next segment of the queue, plus one; 0 ends it.
  var next: UInt32
  var owner: BufferOwner
}

/// A first-in, first-out list of segments. All bits zero is an empty queue.
struct SegmentQueue {
  /// First and last segment, plus one; 0 is none.
  fileprivate(set) var head: UInt32 = 0
  fileprivate(set) var tail: UInt32 = 0
  /// Bytes queued. Bounded by the marks of back-pressure and the longest head, far below 2^32.
  fileprivate(set) var byteCount: UInt32 = 0

  var isEmpty: Bool { head == 0 }
  var isSingle: Bool { head != 0 && head == tail }
}

/// One shard's segments and the buffers under them. A trivial handle; only the shard's thread.
struct SegmentStore {
  private let slab: Slab<Segment>
  let receiveBuffers: ReceiveBufferPool
  let chunks: ChunkPool

  /// Segments of 24 bytes: 512 Ki of them are 12 MiB of address space, committed only as far as used.
  static let capacity: UInt32 = 512 * 1024

  init(receiveBuffers: ReceiveBufferPool) throws(MappingError) {
    slab = try Slab(capacity: SegmentStore.capacity)
    self.receiveBuffers = receiveBuffers
    chunks = ChunkPool()
  }

  func destroy() { slab.destroy() }

  // MARK: Owners

  @inline(__always) func retain(_ owner: BufferOwner) {
    if let buffer = owner.receiveBuffer {
      receiveBuffers.retain(buffer)
    } else if let chunk = owner.chunk {
      chunks.retain(chunk)
    }
  }

  @inline(__always) func release(_ owner: BufferOwner) {
    if let buffer = owner.receiveBuffer {
      receiveBuffers.release(buffer)
    } else if let chunk = owner.chunk {
      chunks.release(chunk)
    }
  }

  // MARK: Queues

  @inline(__always) func segment(_ link: UInt32) -> UnsafeMutablePointer<Segment> { slab.pointer(link &- 1) }

  /// Queues bytes whose reference the caller hands over. False when no segment is left: the reference is then released
  /// and the bytes are lost, so that the caller must give the connection up.
  func append(
    _ queue: inout SegmentQueue, _ bytes: UnsafeMutableRawPointer, _ count: Int, owner: BufferOwner
  ) -> Bool {
    guard let index = slab.allocate() else {
      release(owner)
      return false
    }
    slab.pointer(index).initialize(
      to: Segment(bytes: bytes, count: UInt32(truncatingIfNeeded: count), next: 0, owner: owner))
    if queue.tail == 0 {
      queue.head = index &+ 1
    } else {
      segment(queue.tail).pointee.next = index &+ 1
    }
    queue.tail = index &+ 1
    queue.byteCount &+= UInt32(truncatingIfNeeded: count)
    return true
  }

  /// Room for `count` more bytes behind the last ones, if those are in a chunk that is nobody else's.
  @inline(__always)
  func roomAtTail(_ queue: SegmentQueue, _ count: Int) -> UnsafeMutableRawPointer? {
    if queue.tail == 0 { return nil }
    let last = segment(queue.tail)
    guard let chunk = last.pointee.owner.chunk, chunks.isUnique(chunk) else { return nil }
    let end = last.pointee.bytes + Int(last.pointee.count)
    return end + count <= chunk.bytes + chunk.capacity ? end : nil
  }

  /// Counts bytes written into the room `roomAtTail` gave.
  @inline(__always)
  func extendTail(_ queue: inout SegmentQueue, _ count: Int) {
    segment(queue.tail).pointee.count &+= UInt32(truncatingIfNeeded: count)
    queue.byteCount &+= UInt32(truncatingIfNeeded: count)
  }

  /// Copies bytes to the queue's end, into the last chunk where there is room. False as for `append`.
  func appendCopy(_ queue: inout SegmentQueue, _ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
    if let room = roomAtTail(queue, count) {
      memcpy(room, bytes, count)
      extendTail(&queue, count)
      return true
    }
    let chunk = chunks.allocate(count)
    memcpy(chunk.bytes, bytes, count)
    return append(&queue, chunk.bytes, count, owner: BufferOwner(chunk: chunk))
  }

  /// Drops `count` bytes from the front, releasing what they were in.
  func consume(_ queue: inout SegmentQueue, _ count: Int) {
    var left = UInt32(truncatingIfNeeded: min(count, Int(queue.byteCount)))
    queue.byteCount &-= left
    while left > 0, queue.head != 0 {
      let first = segment(queue.head)
      if first.pointee.count > left {
        first.pointee.bytes += Int(left)
        first.pointee.count &-= left
        return
      }
      left &-= first.pointee.count
      removeFirst(&queue)
    }
  }

  func releaseAll(_ queue: inout SegmentQueue) {
    while queue.head != 0 { removeFirst(&queue) }
    queue = SegmentQueue()
  }

  /// Moves everything from one queue to the end of the other.
  func moveAll(from source: inout SegmentQueue, to target: inout SegmentQueue) {
    if source.head == 0 { return }
    if target.tail == 0 {
      target.head = source.head
    } else {
      segment(target.tail).pointee.next = source.head
    }
    target.tail = source.tail
    target.byteCount &+= source.byteCount
    source = SegmentQueue()
  }

  /// Queues everything of `source` in `target` as well, without copying bytes. False when no segment is left.
  func share(_ source: SegmentQueue, to target: inout SegmentQueue) -> Bool {
    var link = source.head
    while link != 0 {
      let one = segment(link).pointee
      retain(one.owner)
      guard append(&target, one.bytes, Int(one.count), owner: one.owner) else { return false }
      link = one.next
    }
    return true
  }

  /// Moves the first `count` bytes to the end of the other queue; a segment that is cut stands in both. False when no segment
  /// is left: what could not be moved is dropped.
  func move(_ count: Int, from source: inout SegmentQueue, to target: inout SegmentQueue) -> Bool {
    var left = min(count, Int(source.byteCount))
    while left > 0, source.head != 0 {
      let first = segment(source.head)
      let length = Int(first.pointee.count)
      if length <= left {
        moveFirst(from: &source, to: &target)
        left -= length
        continue
      }
      retain(first.pointee.owner)
      guard append(&target, first.pointee.bytes, left, owner: first.pointee.owner) else {
        consume(&source, left)
        return false
      }
      consume(&source, left)
      left = 0
    }
    return true
  }

  /// Copies the first `count` bytes to the end of the other queue and drops them here. False as for `append`.
  func copy(_ count: Int, from source: inout SegmentQueue, to target: inout SegmentQueue) -> Bool {
    var left = min(count, Int(source.byteCount))
    while left > 0, source.head != 0 {
      let first = segment(source.head)
      let length = min(left, Int(first.pointee.count))
      guard appendCopy(&target, first.pointee.bytes, length) else { return false }
      consume(&source, length)
      left -= length
    }
    return true
  }

  /// Queues the first `count` bytes of `source` in `target` as well, without copying them. False when no segment is left.
  func share(_ source: SegmentQueue, first count: Int, to target: inout SegmentQueue) -> Bool {
    var (link, left) = (source.head, count)
    while link != 0, left > 0 {
      let one = segment(link).pointee
      let length = min(left, Int(one.count))
      retain(one.owner)
      guard append(&target, one.bytes, length, owner: one.owner) else { return false }
      link = one.next
      left -= length
    }
    return true
  }

  /// Moves the first segment to the end of the other queue.
  func moveFirst(from source: inout SegmentQueue, to target: inout SegmentQueue) {
    let link = source.head
    if link == 0 { return }
    let first = segment(link)
    source.head = first.pointee.next
    if source.head == 0 { source.tail = 0 }
    source.byteCount &-= first.pointee.count
    first.pointee.next = 0
    if target.tail == 0 {
      target.head = link
    } else {
      segment(target.tail).pointee.next = link
    }
    target.tail = link
    target.byteCount &+= first.pointee.count
  }

  private func removeFirst(_ queue: inout SegmentQueue) {
    let link = queue.head
    let first = segment(link)
    release(first.pointee.owner)
    queue.head = first.pointee.next
    if queue.head == 0 { queue.tail = 0 }
    slab.free(link &- 1)
  }
}
