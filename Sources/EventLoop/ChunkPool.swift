// Small send buffers of one shard: serialized heads and bodies short enough to be copied beside them.
//
// Chunks of one size come from a last-in-first-out free list. A head that needs more gets a larger piece, of which a few are
// kept for the next one. A reference count lets a sent chunk stay for a retry.

import Glibc

/// A chunk: its first 16 bytes are its header, then `capacity` bytes for the caller.
public struct Chunk: Equatable {
  let header: UnsafeMutableRawPointer

  init(header: UnsafeMutableRawPointer) { self.header = header }

  /// The chunk as one word, to be stored beside other buffer references.
  @inline(__always) public var address: UInt { UInt(bitPattern: header) }

  /// `address` must come from a live chunk's `address`.
  @inline(__always) public init?(address: UInt) {
    guard let header = UnsafeMutableRawPointer(bitPattern: address) else { return nil }
    self.header = header
  }

  @inline(__always) public var bytes: UnsafeMutableRawPointer { header + Chunk.headerSize }
  @inline(__always) public var capacity: Int { Int(header.load(as: UInt32.self)) }
  @inline(__always) var references: UInt32 {
    get { header.load(fromByteOffset: 4, as: UInt32.self) }
    nonmutating set { header.storeBytes(of: newValue, toByteOffset: 4, as: UInt32.self) }
  }
  /// The next chunk in the free list.
  @inline(__always) var next: UInt {
    get { header.load(fromByteOffset: 8, as: UInt.self) }
    nonmutating set { header.storeBytes(of: newValue, toByteOffset: 8, as: UInt.self) }
  }

  static let headerSize = 16
}

/// A handle to one shard's pool; copying it does not copy the pool. Only the shard's thread may call it.
public struct ChunkPool {
  struct State {
    var free: UInt
    var total: Int
    var oversized: Int
    /// Larger pieces kept for the next long head, by size.
    var spare: (UInt, UInt) = (0, 0)
    var spareCount: (Int, Int) = (0, 0)
  }

  let state: UnsafeMutablePointer<State>

  /// Bytes of a pooled chunk with its header; the odd cache lines spread the chunks over the cache's sets.
  static let size = 2048 + 192
  public static let capacity = size - Chunk.headerSize
  /// Chunks made at a time.
  static let growthStep = 32
  /// Larger pieces come in two sizes: heads with a long cookie, and heads of any length allowed by default. What is longer
  /// still comes from the heap and goes back there.
  static let largeCapacities = (8 * 1024, 40 * 1024)
  /// Spare pieces kept of each.
  static let spareLimit = 32

  public init() {
    state = .allocate(capacity: 1)
    state.initialize(to: State(free: 0, total: 0, oversized: 0))
  }

  /// Chunks in existence, and pieces of more than a chunk's size now in use.
  public var total: Int { state.pointee.total }
  public var oversized: Int { state.pointee.oversized }

  /// A chunk with room for at least `count` bytes and one reference.
  public func allocate(_ count: Int = ChunkPool.capacity) -> Chunk {
    if count > ChunkPool.capacity { return allocateOversized(count) }
    if state.pointee.free == 0 { grow() }
    guard let chunk = Chunk(address: state.pointee.free) else { return allocateOversized(count) }
    state.pointee.free = chunk.next
    chunk.references = 1
    return chunk
  }

  @inline(__always) public func retain(_ chunk: Chunk) { chunk.references &+= 1 }

  /// Whether the caller's reference is the only one, so that the chunk may still be written.
  @inline(__always) public func isUnique(_ chunk: Chunk) -> Bool { chunk.references == 1 }

  public func release(_ chunk: Chunk) {
    let left = chunk.references &- 1
    chunk.references = left
    if left != 0 { return }
    if chunk.capacity != ChunkPool.capacity {
      releaseOversized(chunk)
      return
    }
    chunk.next = state.pointee.free
    state.pointee.free = chunk.address
  }

  private func allocateOversized(_ count: Int) -> Chunk {
    state.pointee.oversized &+= 1
    var capacity = count
    if count <= ChunkPool.largeCapacities.0 {
      capacity = ChunkPool.largeCapacities.0
      if let spare = ChunkPool.take(&state.pointee.spare.0, &state.pointee.spareCount.0) { return spare }
    } else if count <= ChunkPool.largeCapacities.1 {
      capacity = ChunkPool.largeCapacities.1
      if let spare = ChunkPool.take(&state.pointee.spare.1, &state.pointee.spareCount.1) { return spare }
    }
    let header = UnsafeMutableRawPointer.allocate(byteCount: capacity + Chunk.headerSize, alignment: 16)
    header.storeBytes(of: UInt32(truncatingIfNeeded: capacity), as: UInt32.self)
    let chunk = Chunk(header: header)
    chunk.references = 1
    return chunk
  }

  private func releaseOversized(_ chunk: Chunk) {
    state.pointee.oversized &-= 1
    let kept =
      switch chunk.capacity {
      case ChunkPool.largeCapacities.0: ChunkPool.keep(chunk, &state.pointee.spare.0, &state.pointee.spareCount.0)
      case ChunkPool.largeCapacities.1: ChunkPool.keep(chunk, &state.pointee.spare.1, &state.pointee.spareCount.1)
      default: false
      }
    if !kept { chunk.header.deallocate() }
  }

  private static func take(_ list: inout UInt, _ count: inout Int) -> Chunk? {
    guard let chunk = Chunk(address: list) else { return nil }
    list = chunk.next
    count -= 1
    chunk.references = 1
    return chunk
  }

  private static func keep(_ chunk: Chunk, _ list: inout UInt, _ count: inout Int) -> Bool {
    if count >= spareLimit { return false }
    chunk.next = list
    list = chunk.address
    count += 1
    return true
  }

  /// Pooled memory is kept for the life of the process: it is bounded by the most requests ever in flight at once.
  private func grow() {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: ChunkPool.size * ChunkPool.growthStep, alignment: 64)
    for index in 0..<ChunkPool.growthStep {
      let header = memory + index * ChunkPool.size
      header.storeBytes(of: UInt32(ChunkPool.capacity), as: UInt32.self)
      let chunk = Chunk(header: header)
      chunk.references = 0
      chunk.next = state.pointee.free
      state.pointee.free = chunk.address
    }
    state.pointee.total &+= ChunkPool.growthStep
  }
}
