// The memory behind the cells: one arena a shard, so that two shards never write to the same cache line.
// Memory is only ever added, never moved and never given back before the registry goes: a cell's pointer stays good.

import Synchronization

/// All shards' arenas. Taking memory locks; using it does not.
final class CellStorage: Sendable {
  private let arenas: Mutex<[Arena]>

  init(arenaCount: Int) {
    arenas = Mutex((0..<arenaCount).map { _ in Arena() })
  }

  deinit {
    arenas.withLock { arenas in
      for arena in arenas {
        for chunk in arena.chunks { chunk.deallocate() }
      }
    }
  }

  /// Zeroed words for a cell of one shard. Large cells start on a cache line of their own.
  func allocate(words: Int, arena: Int) -> CellWords {
    arenas.withLock { $0[arena].allocate(words: words) }
  }

  /// Bytes taken from the system so far.
  var allocatedBytes: Int { arenas.withLock { $0.reduce(0) { $0 + $1.chunkBytes } } }

  private struct Arena {
    var chunks: [UnsafeMutableRawPointer] = []
    var chunkBytes = 0
    var next: UnsafeMutableRawPointer?
    var left = 0

    mutating func allocate(words: Int) -> CellWords {
      let bytes = words * MemoryLayout<UInt64>.stride
      let alignment = bytes >= cacheLineBytes ? cacheLineBytes : MemoryLayout<UInt64>.alignment
      var padding = next.map { Int(bitPattern: $0.alignedUp(toMultipleOf: alignment)) - Int(bitPattern: $0) } ?? 0
      if next == nil || left < padding + bytes {
        let size = max(chunkByteCount, bytes)
        let chunk = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: pageBytes)
        chunk.initializeMemory(as: UInt8.self, repeating: 0, count: size)
        chunks.append(chunk)
        chunkBytes += size
        next = chunk
        left = size
        padding = 0
      }
      guard let start = next?.advanced(by: padding) else { preconditionFailure("an arena without a chunk") }
      next = start.advanced(by: bytes)
      left -= padding + bytes
      let base = start.bindMemory(to: Atomic<UInt64>.self, capacity: words)
      for word in 0..<words { (base + word).initialize(to: Atomic(0)) }
      return CellWords(base: base)
    }
  }
}

/// A cell's first word, for crossing a lock.
struct CellWords: @unchecked Sendable {
  let base: CellWord

  func load(_ index: Int = 0) -> UInt64 { (base + index).pointee.load(ordering: .relaxed) }
  func clear(_ count: Int) {
    for word in 0..<count { (base + word).pointee.store(0, ordering: .relaxed) }
  }
}

/// x86-64 and the Arm cores this runs on. Chunks are page-aligned, so lines are never shared between arenas.
private let cacheLineBytes = 64
private let pageBytes = 4096
/// Small enough for a node with few services, large enough that a thousand services take a hundred chunks.
private let chunkByteCount = 16 * 1024
