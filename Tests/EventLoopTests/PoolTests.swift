// The two pools of buffers: who holds what, and that everything comes back.

import Base
import EventLoop
import Glibc
import Testing

@Suite("ReceiveBufferPool")
struct ReceiveBufferPoolTests {
  @Test("a new pool has given its window to the kernel and lent nothing")
  func fresh() throws {
    let loop = try Loop(initial: 20, limit: 64, window: 8)
    #expect(loop.pool.total == 20)
    #expect(loop.pool.inUse == 0)
    #expect(loop.pool.canServe)
  }

  @Test("a buffer is free again with its last reference, not before")
  func references() throws {
    let loop = try Loop()
    let buffer = try receive("x", loop)
    #expect(loop.pool.inUse == 1)
    loop.pool.retain(buffer)
    loop.pool.retain(buffer)
    loop.pool.release(buffer)
    loop.pool.release(buffer)
    #expect(loop.pool.inUse == 1)
    loop.pool.release(buffer)
    #expect(loop.pool.inUse == 0)
  }

  @Test("the pool grows while all its buffers are held, and never past its limit")
  func grows() throws {
    let loop = try Loop(initial: 4, limit: 100, window: 4)
    var held: [UInt16] = []
    let pair = try SocketPair()
    while loop.pool.canServe {
      try pair.write("x")
      loop.ring.receive(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
      let completion = try loop.next()
      let buffer = try #require(completion.buffer, "\(held.count) held of \(loop.pool.total): \(completion.result)")
      loop.pool.take(buffer)
      held.append(buffer)
      loop.pool.publish()
      try #require(held.count <= 100)
    }
    #expect(loop.pool.total == 100)
    #expect(held.count == 100)
    #expect(Set(held).count == 100)
    #expect(loop.pool.inUse == 100)
    let addresses = held.map { UInt(bitPattern: loop.pool.pointer($0)) }.sorted()
    for (one, next) in zip(addresses, addresses.dropFirst()) {
      #expect(next - one >= UInt(ReceiveBufferPool.bufferSize), "buffers overlap")
    }
    for buffer in held { loop.pool.release(buffer) }
    #expect(loop.pool.inUse == 0)
    loop.pool.publish()
    #expect(loop.pool.canServe)
  }

  @Test("after a random life every buffer is free again, and none was given out while held")
  func randomLife() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("ReceiveBufferPoolTests.randomLife seed \(seed)")
    var random = RandomSource(seed: seed)
    let loop = try Loop(initial: 4, limit: 48, window: 8)
    let pair = try SocketPair()
    var held: [(buffer: UInt16, references: Int, text: String)] = []
    for step in 0..<4_000 {
      if loop.pool.canServe, random.next(below: 5) < 2 {
        loop.pool.publish()
        let text = "step \(step)"
        try pair.write(text)
        loop.ring.receive(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
        let completion = try loop.next()
        let buffer = try #require(completion.buffer)
        #expect(!held.contains { $0.buffer == buffer })
        loop.pool.take(buffer)
        held.append((buffer, 1, text))
      } else if !held.isEmpty {
        let position = Int(random.next(below: UInt32(held.count)))
        let content = UnsafeRawBufferPointer(
          start: loop.pool.pointer(held[position].buffer), count: held[position].text.utf8.count)
        #expect(String(decoding: content, as: UTF8.self) == held[position].text)
        if random.next(below: 3) == 0 {
          loop.pool.retain(held[position].buffer)
          held[position].references += 1
        } else {
          loop.pool.release(held[position].buffer)
          held[position].references -= 1
          if held[position].references == 0 { held.remove(at: position) }
        }
      }
      #expect(loop.pool.inUse == held.count)
    }
    for one in held { for _ in 0..<one.references { loop.pool.release(one.buffer) } }
    #expect(loop.pool.inUse == 0)
    #expect(loop.pool.total <= 48)
  }

  private func receive(_ text: String, _ loop: Loop) throws -> UInt16 {
    let pair = try SocketPair()
    try pair.write(text)
    loop.ring.receive(pair.ours, group: loop.pool.group, tag: tag(.receive, 1))
    let buffer = try #require(try loop.next().buffer)
    loop.pool.take(buffer)
    return buffer
  }
}

@Suite("ChunkPool")
struct ChunkPoolTests {
  @Test("a chunk has room for what was asked and is its caller's alone", arguments: [0, 1, 100, 2000])
  func allocates(count: Int) {
    let pool = ChunkPool()
    let chunk = pool.allocate(count)
    #expect(chunk.capacity == ChunkPool.capacity)
    #expect(pool.isUnique(chunk))
    #expect(pool.oversized == 0)
    #expect(Chunk(address: chunk.address) == chunk)
    memset(chunk.bytes, 0xEE, chunk.capacity)
    pool.release(chunk)
  }

  @Test("no chunk has the address 0")
  func nullChunk() { #expect(Chunk(address: 0) == nil) }

  @Test("the chunk freed last is handed out first")
  func lastInFirstOut() {
    let pool = ChunkPool()
    let (first, second) = (pool.allocate(), pool.allocate())
    pool.release(first)
    pool.release(second)
    #expect(pool.allocate() == second)
    #expect(pool.allocate() == first)
  }

  @Test("what is too long for a chunk gets a piece of its own that goes back to the heap")
  func oversized() {
    let pool = ChunkPool()
    for count in [ChunkPool.capacity + 1, 20_000, 1 << 20] {
      let chunk = pool.allocate(count)
      #expect(chunk.capacity >= count)
      #expect(pool.oversized == 1)
      memset(chunk.bytes, 0xEE, chunk.capacity)
      pool.retain(chunk)
      #expect(!pool.isUnique(chunk))
      pool.release(chunk)
      #expect(pool.oversized == 1)
      pool.release(chunk)
      #expect(pool.oversized == 0)
    }
    #expect(pool.total == 0)
  }

  @Test("after a random life no new chunk is made for as many as there were, and no two shared a byte")
  func randomLife() {
    let seed = UInt64.random(in: 0 ... .max)
    print("ChunkPoolTests.randomLife seed \(seed)")
    var random = RandomSource(seed: seed)
    let pool = ChunkPool()
    var held: [(chunk: Chunk, references: Int, mark: UInt8)] = []
    for _ in 0..<20_000 {
      let choice = random.next(below: 4)
      if held.isEmpty || choice == 0 && held.count < 150 {
        let count = random.next(below: 20) == 0 ? ChunkPool.capacity + 500 : Int(random.next(below: 2000))
        let mark = UInt8(truncatingIfNeeded: random.next())
        let chunk = pool.allocate(count)
        memset(chunk.bytes, Int32(mark), chunk.capacity)
        held.append((chunk, 1, mark))
        continue
      }
      let position = Int(random.next(below: UInt32(held.count)))
      let (chunk, references, mark) = held[position]
      #expect(pool.isUnique(chunk) == (references == 1))
      if choice == 1 {
        pool.retain(chunk)
        held[position].references += 1
      } else {
        let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: chunk.capacity)
        #expect(bytes.first == mark && bytes.last == mark && bytes[bytes.count / 2] == mark)
        pool.release(chunk)
        held[position].references -= 1
        if references == 1 { held.remove(at: position) }
      }
    }
    for one in held { for _ in 0..<one.references { pool.release(one.chunk) } }
    #expect(pool.oversized == 0)
    let total = pool.total
    let all = (0..<total).map { _ in pool.allocate() }
    #expect(pool.total == total, "a chunk was lost")
    #expect(Set(all.map(\.address)).count == total, "a chunk was free twice")
  }
}
