// The memory of HTTP/2 sessions: nghttp2 asks for a little with every stream and every head, and gives it back soon after. A
// shard keeps what was given back, by size, so that a busy shard asks the heap for nothing.
//
// Two blocks of a session are large and of no use while it is idle: the one a frame is put together in, and the table of its
// streams. They stand on pages of their own, which an idle session gives back (`rest`) and finds zeroed when it goes on.

import Base
import CNGHTTP2
import Glibc

/// One shard's pool. A handle; only its thread. Sessions made with it must be gone before it is destroyed.
public struct HTTP2Memory {
  struct State {
    var hooks = nghttp2_mem()
    let frames: Slab<FrameBlock>
    let tables: Slab<TableBlock>
    /// What was handed out of them last.
    var latest = Pages()
    /// First free block of each class; each block's first word is the next.
    var free = InlineArray<10, UInt>(repeating: 0)
    var kept = 0
  }

  /// The blocks of a session that stand on pages of their own; nil for one that got it from the heap.
  struct Pages {
    var frame: UnsafeMutableRawPointer?
    var table: UnsafeMutableRawPointer?
  }

  /// Whole pages each.
  typealias FrameBlock = InlineArray<2560, UInt64>
  typealias TableBlock = InlineArray<512, UInt64>

  /// What a session asks for to put a frame together: the largest payload, the header, and a pad length. Its size is what it is
  /// known by; with a library that asks for another, that block is like any other.
  private static let frameByteCount = 16_384 + 9 + 1
  /// 256 places of 16 bytes.
  private static let tableByteCount = 4096

  let state: UnsafeMutablePointer<State>

  /// Before each block: its class, or that it has none.
  private static let headerSize = 16
  /// Classes are powers of two from 32 bytes to 8 KiB, and 3 KiB, which a session itself takes; what is larger goes to the heap
  /// each time.
  private static let smallest = 32
  private static let powerCount = 9
  private static let sessionPlace = 9
  private static let sessionByteCount = 3072
  /// What is kept in all.
  private static let keptLimit = 4 << 20

  /// - Parameter sessions: how many at once have pages of their own to give back; more are served from the heap.
  public init(sessions: UInt32) throws(MappingError) {
    let frames = try Slab<FrameBlock>(capacity: sessions)
    let tables: Slab<TableBlock>
    do {
      tables = try Slab<TableBlock>(capacity: sessions)
    } catch {
      frames.destroy()
      throw error
    }
    state = .allocate(capacity: 1)
    state.initialize(to: State(frames: frames, tables: tables))
    state.pointee.hooks = nghttp2_mem(
      mem_user_data: UnsafeMutableRawPointer(state),
      malloc: { size, context in context.flatMap { HTTP2Memory.allocate(size, $0) } },
      free: { block, context in if let block, let context { HTTP2Memory.release(block, context) } },
      calloc: { count, size, context in
        let (bytes, overflow) = count.multipliedReportingOverflow(by: size)
        guard !overflow, let context,
          let block = HTTP2Memory.allocate(bytes, isTable: bytes == HTTP2Memory.tableByteCount, context)
        else { return nil }
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
    state.pointee.frames.destroy()
    state.pointee.tables.destroy()
    for place in 0...HTTP2Memory.sessionPlace {
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

  // MARK: Sessions

  /// What was handed out since the last call: a session's, when it has just been made.
  func takeLatest() -> Pages {
    defer { state.pointee.latest = Pages() }
    return state.pointee.latest
  }

  /// Gives back the pages of a session that has no stream and nothing to send. What it keeps there is gone: a frame that was
  /// sent, and a table of streams that is given back only when it holds none.
  static func rest(_ pages: Pages) {
    if let frame = pages.frame { madvise(frame, MemoryLayout<FrameBlock>.stride, MADV_DONTNEED) }
    guard let table = pages.table else { return }
    let words = table.assumingMemoryBound(to: UInt64.self)
    for index in 0..<(tableByteCount / 8) where words[index] != 0 { return }
    madvise(table, tableByteCount, MADV_DONTNEED)
  }

  // MARK: Blocks

  /// The class of a block of `size` bytes; nil for what is not kept.
  private static func place(_ size: Int) -> Int? {
    if size <= smallest { return 0 }
    let place = Int.bitWidth - (size - 1).leadingZeroBitCount - 5
    if place == 7, size <= sessionByteCount { return sessionPlace }
    return place < powerCount ? place : nil
  }

  private static func capacity(_ place: Int) -> Int {
    place == sessionPlace ? sessionByteCount : smallest << place
  }

  private static func allocate(
    _ size: Int, isTable: Bool = false, _ context: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer? {
    let state = context.assumingMemoryBound(to: State.self)
    if size == frameByteCount, let index = state.pointee.frames.allocate() {
      state.pointee.latest.frame = UnsafeMutableRawPointer(state.pointee.frames.pointer(index))
      return state.pointee.latest.frame
    }
    if isTable, let index = state.pointee.tables.allocate() {
      state.pointee.latest.table = UnsafeMutableRawPointer(state.pointee.tables.pointer(index))
      return state.pointee.latest.table
    }
    guard let place = place(size) else {
      guard size < Int.max - headerSize, let block = malloc(size + headerSize) else { return nil }
      block.storeBytes(of: -1, as: Int.self)
      block.storeBytes(of: size, toByteOffset: 8, as: Int.self)
      return block + headerSize
    }
    let capacity = capacity(place)
    if let block = UnsafeMutableRawPointer(bitPattern: state.pointee.free[place]) {
      state.pointee.free[place] = block.load(fromByteOffset: headerSize, as: UInt.self)
      state.pointee.kept -= capacity
      return block + headerSize
    }
    guard let block = malloc(capacity + headerSize) else { return nil }
    block.storeBytes(of: place, as: Int.self)
    block.storeBytes(of: capacity, toByteOffset: 8, as: Int.self)
    return block + headerSize
  }

  private static func release(_ memory: UnsafeMutableRawPointer, _ context: UnsafeMutableRawPointer) {
    let state = context.assumingMemoryBound(to: State.self)
    if let index = state.pointee.frames.index(of: memory) {
      state.pointee.frames.free(index)
      return
    }
    if let index = state.pointee.tables.index(of: memory) {
      state.pointee.tables.free(index)
      return
    }
    let block = memory - headerSize
    let place = block.load(as: Int.self)
    guard place >= 0, state.pointee.kept < keptLimit else {
      Glibc.free(block)
      return
    }
    memory.storeBytes(of: state.pointee.free[place], as: UInt.self)
    state.pointee.free[place] = UInt(bitPattern: block)
    state.pointee.kept += capacity(place)
  }

  private static func resize(
    _ memory: UnsafeMutableRawPointer, _ size: Int, _ context: UnsafeMutableRawPointer
  ) -> UnsafeMutableRawPointer? {
    let state = context.assumingMemoryBound(to: State.self)
    let capacity: Int
    if state.pointee.frames.index(of: memory) != nil {
      capacity = frameByteCount
    } else if state.pointee.tables.index(of: memory) != nil {
      capacity = tableByteCount
    } else {
      capacity = (memory - headerSize).load(fromByteOffset: 8, as: Int.self)
    }
    if size <= capacity { return memory }
    guard let larger = allocate(size, context) else { return nil }
    memcpy(larger, memory, capacity)
    release(memory, context)
    return larger
  }
}
