// The memory of HTTP/2 sessions: nghttp2 asks for a little with every stream and every head, and gives it back soon after. A
// shard keeps what was given back, by size, so that a busy shard asks the heap for nothing.

import CNGHTTP2
import Glibc

/// One shard's pool. A handle; only its thread. Sessions made with it must be gone before it is destroyed.
public struct HTTP2Memory {
  struct State {
    var hooks = nghttp2_mem()
    /// First free block of each class; each block's first word is the next.
    var free = InlineArray<9, UInt>(repeating: 0)
    var kept = 0
  }

  let state: UnsafeMutablePointer<State>

  /// Before each block: its class, or that it has none.
  private static let headerSize = 16
  /// Classes are powers of two from 32 bytes to 8 KiB; what is larger goes to the heap each time.
  private static let smallest = 32
  private static let classCount = 9
  /// What is kept in all.
  private static let keptLimit = 4 << 20

  public init() {
    state = .allocate(capacity: 1)
    state.initialize(to: State())
    state.pointee.hooks = nghttp2_mem(
      mem_user_data: UnsafeMutableRawPointer(state),
      malloc: { size, context in context.flatMap { HTTP2Memory.allocate(size, $0) } },
      free: { block, context in if let block, let context { HTTP2Memory.release(block, context) } },
      calloc: { count, size, context in
        let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow, let context, let block = HTTP2Memory.allocate(bytes, context) else { return nil }
        memset(block, 0, bytes)
        return block
      },
      realloc: { block, size, context in
        guard let context else { return nil }
        guard let block else { return HTTP2Memory.allocate(size, context) }
        return HTTP2Memory.resize(block, size, context)
      })
  }

  /// Gives everything kept back to the heap.
  public func destroy() {
    for place in 0..<HTTP2Memory.classCount {
      while let block = UnsafeMutableRawPointer(bitPattern: state.pointee.free[place]) {
        state.pointee.free[place] = block.load(fromByteOffset: HTTP2Memory.headerSize, as: UInt.self)
        Glibc.free(block)
      }
    }
    state.deinitialize(count: 1)
    state.deallocate()
  }

  var hooks: UnsafeMutablePointer<nghttp2_mem> {
    // The hooks are the state's first member, and the state stays where it is.
    UnsafeMutableRawPointer(state).assumingMemoryBound(to: nghttp2_mem.self)
  }

  /// The class of a block of `size` bytes; nil for what is not kept.
  private static func place(_ size: Int) -> Int? {
    if size <= smallest { return 0 }
    let place = Int.bitWidth - (size - 1).leadingZeroBitCount - 5
    return place < classCount ? place : nil
  }

  private static func allocate(_ size: Int, _ context: UnsafeMutableRawPointer) -> UnsafeMutableRawPointer? {
    let state = context.assumingMemoryBound(to: State.self)
    guard let place = place(size) else {
      guard size < Int.max - headerSize, let block = malloc(size + headerSize) else { return nil }
      block.storeBytes(of: -1, as: Int.self)
      block.storeBytes(of: size, toByteOffset: 8, as: Int.self)
      return block + headerSize
    }
    if let block = UnsafeMutableRawPointer(bitPattern: state.pointee.free[place]) {
      state.pointee.free[place] = block.load(fromByteOffset: headerSize, as: UInt.self)
      state.pointee.kept -= smallest << place
      return block + headerSize
    }
    guard let block = malloc(smallest << place + headerSize) else { return nil }
    block.storeBytes(of: place, as: Int.self)
    block.storeBytes(of: smallest << place, toByteOffset: 8, as: Int.self)
    return block + headerSize
  }

  private static func release(_ memory: UnsafeMutableRawPointer, _ context: UnsafeMutableRawPointer) {
    let state = context.assumingMemoryBound(to: State.self)
    let block = memory - headerSize
    let place = block.load(as: Int.self)
    guard place >= 0, state.pointee.kept < keptLimit else {
      Glibc.free(block)
      return
    }
    memory.storeBytes(of: state.pointee.free[place], as: UInt.self)
    state.pointee.free[place] = UInt(bitPattern: block)
    state.pointee.kept += smallest << place
  }

  private static func resize(
    _ memory: UnsafeMutableRawPointer, _ size: Int, _ context: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer? {
    let capacity = (memory - headerSize).load(fromByteOffset: 8, as: Int.self)
    if size <= capacity { return memory }
    guard let larger = allocate(size, context) else { return nil }
    memcpy(larger, memory, capacity)
    release(memory, context)
    return larger
  }
}
