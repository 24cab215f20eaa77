// The receive buffers of one shard, lent to the kernel through a provided-buffer ring.
//
// A buffer's life: free → in the kernel's ring → holds received bytes (one reference) → perhaps lent to sends as body
// (one reference each) → free. The kernel takes ring entries in order, so the pool keeps only a window of them there and
// refills it from a last-in-first-out list: the bytes just read are the next to be written, still in cache.

import CLiburing
import Glibc

/// A handle to one shard's pool; copying it does not copy the pool. Only the shard's thread may call it.
public struct ReceiveBufferPool {
  struct State {
    var memory: UnsafeMutableRawPointer
    var ring: UnsafeMutablePointer<io_uring_buf_ring>
    var references: UnsafeMutablePointer<UInt16>
    var free: UnsafeMutablePointer<UInt16>
    var freeCount: Int
    /// Buffers that exist; grows up to `limit`.
    var total: Int
    /// Buffers now in the kernel's ring.
    var atKernel: Int
  }

  let state: UnsafeMutablePointer<State>
  /// The group number operations name.
  public let group: UInt16
  let limit: Int
  let window: Int

  /// Bytes a buffer holds: a 16 KiB body with its head in one piece, and so in one receive and one send. Half of what one
  /// direction of an exchange may hold, so that one buffer can be sent while the next is received.
  public static let bufferSize = 32 * 1024
  /// Distance between buffers. A few cache lines more than the size, so that the first lines of the buffers, the only
  /// ones a small request touches, do not all fall into the same cache sets.
  static let stride = bufferSize + 320
  /// Buffers in use from which on their bytes had better be copied out: 16 MiB.
  public static let scarceCount = 512
  static let growthStep = 64
  static let ringEntries = 4096

  /// - Parameters:
  ///   - initial: buffers made, and touched, at once, so that memory use is known from the start.
  ///   - limit: the most buffers there may ever be (at most 4096).
  public init(ring: Ring, group: UInt16 = 0, initial: Int = 64, limit: Int = 4096, window: Int = 96)
    throws(RingError)
  {
    let limit = min(limit, ReceiveBufferPool.ringEntries)
    let ringBytes = ReceiveBufferPool.ringEntries * MemoryLayout<io_uring_buf>.stride
    guard
      let ringMemory = mmap(nil, ringBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
      ringMemory != MAP_FAILED,
      let memory = mmap(
        nil, limit * ReceiveBufferPool.stride, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
        0),
      memory != MAP_FAILED
    else { throw .bufferRing(errno: errno) }
    var registration = io_uring_buf_reg()
    registration.ring_addr = UInt64(UInt(bitPattern: ringMemory))
    registration.ring_entries = UInt32(ReceiveBufferPool.ringEntries)
    registration.bgid = group
    let result = io_uring_register_buf_ring(ring.raw, &registration, 0)
    guard result == 0 else { throw .bufferRing(errno: -result) }
    let bufferRing = ringMemory.assumingMemoryBound(to: io_uring_buf_ring.self)
    io_uring_buf_ring_init(bufferRing)
    self.group = group
    self.limit = limit
    self.window = window
    state = .allocate(capacity: 1)
    let references = UnsafeMutablePointer<UInt16>.allocate(capacity: limit)
    references.initialize(repeating: 0, count: limit)
    let free = UnsafeMutablePointer<UInt16>.allocate(capacity: limit)
    free.initialize(repeating: 0, count: limit)
    state.initialize(
      to: State(
        memory: memory, ring: bufferRing, references: references, free: free, freeCount: 0, total: 0, atKernel: 0))
    grow(by: initial)
    memset(memory, 0, initial * ReceiveBufferPool.stride)
    publish()
  }

  /// Buffers in existence, and how many of them hold bytes now.
  public var total: Int { state.pointee.total }
  public var inUse: Int { state.pointee.total - state.pointee.freeCount - state.pointee.atKernel }

  /// Whether the kernel can have a buffer, now or at the next `publish`.
  public var canServe: Bool {
    state.pointee.atKernel > 0 || state.pointee.freeCount > 0 || state.pointee.total < limit
  }

  @inline(__always)
  public func pointer(_ buffer: UInt16) -> UnsafeMutableRawPointer {
    state.pointee.memory + Int(buffer) &* ReceiveBufferPool.stride
  }

  /// The kernel has filled `buffer`: the caller holds its one reference.
  public func take(_ buffer: UInt16) {
    state.pointee.atKernel &-= 1
    state.pointee.references[Int(buffer)] = 1
  }

  public func retain(_ buffer: UInt16) { state.pointee.references[Int(buffer)] &+= 1 }

  public func release(_ buffer: UInt16) {
    let left = state.pointee.references[Int(buffer)] &- 1
    state.pointee.references[Int(buffer)] = left
    if left == 0 {
      state.pointee.free[state.pointee.freeCount] = buffer
      state.pointee.freeCount &+= 1
    }
  }

  /// Refills the kernel's ring up to the window, making more buffers when all are in use. Once a turn.
  public func publish() {
    var needed = window - state.pointee.atKernel
    if needed <= window / 4 { return }
    if state.pointee.freeCount == 0 { grow(by: ReceiveBufferPool.growthStep) }
    needed = min(needed, state.pointee.freeCount)
    let mask = io_uring_buf_ring_mask(UInt32(ReceiveBufferPool.ringEntries))
    for offset in 0..<needed {
      state.pointee.freeCount &-= 1
      let buffer = state.pointee.free[state.pointee.freeCount]
      io_uring_buf_ring_add(
        state.pointee.ring, pointer(buffer), UInt32(ReceiveBufferPool.bufferSize), buffer, mask, Int32(offset))
    }
    io_uring_buf_ring_advance(state.pointee.ring, Int32(needed))
    state.pointee.atKernel &+= needed
  }

  private func grow(by count: Int) {
    let count = min(count, limit - state.pointee.total)
    for _ in 0..<count {
      state.pointee.free[state.pointee.freeCount] = UInt16(truncatingIfNeeded: state.pointee.total)
      state.pointee.freeCount &+= 1
      state.pointee.total &+= 1
    }
  }

  /// Gives the memory back. The ring must have been destroyed before.
  public func destroy() {
    munmap(state.pointee.memory, limit * ReceiveBufferPool.stride)
    munmap(state.pointee.ring, ReceiveBufferPool.ringEntries * MemoryLayout<io_uring_buf>.stride)
    state.pointee.references.deallocate()
    state.pointee.free.deallocate()
    state.deallocate()
  }
}
