// The slab: addresses that stay, slots that are reused last-freed first, generations that tell owners apart.

import Base
import Testing

@Suite struct SlabTests {
  @Test("indices grow from zero and the pointers stay where they were")
  func growth() throws {
    let slab = try Slab<UInt64>(capacity: 10_000)
    defer { slab.destroy() }
    var pointers: [UnsafeMutablePointer<UInt64>] = []
    for expected in 0..<10_000 as Range<UInt32> {
      let index = try #require(slab.allocate())
      #expect(index == expected)
      slab.pointer(index).initialize(to: UInt64(index) * 7)
      pointers.append(slab.pointer(index))
    }
    #expect(slab.allocate() == nil)
    #expect(slab.count == 10_000)
    #expect(slab.highWater == 10_000)
    for index in 0..<10_000 {
      #expect(slab.pointer(UInt32(index)) == pointers[index])
      #expect(pointers[index].pointee == UInt64(index) * 7)
    }
  }

  @Test("an address is told for a slot's when it is where one begins")
  func addresses() throws {
    let slab = try Slab<UInt64>(capacity: 4)
    defer { slab.destroy() }
    let first = try #require(slab.allocate())
    let second = try #require(slab.allocate())
    #expect(slab.index(of: slab.pointer(first)) == first)
    #expect(slab.index(of: slab.pointer(second)) == second)
    let address = UnsafeRawPointer(slab.pointer(first))
    #expect(
      slab.index(of: address + 1) == nil && slab.index(of: address + 16) == nil && slab.index(of: address - 8) == nil)
  }

  @Test("the slot freed last is handed out first, with the next generation")
  func reuse() throws {
    let slab = try Slab<UInt32>(capacity: 4)
    defer { slab.destroy() }
    let first = try #require(slab.allocate())
    let second = try #require(slab.allocate())
    let generation = slab.generation(first)
    slab.free(second)
    slab.free(first)
    #expect(slab.count == 0)
    #expect(slab.highWater == 2)
    #expect(slab.allocate() == first)
    #expect(slab.generation(first) == generation &+ 1)
    #expect(slab.allocate() == second)
    #expect(slab.allocate() == 2)
  }

  @Test("a late completion finds nothing once its slot was freed, nor after it was taken again")
  func lateCompletion() throws {
    let slab = try Slab<UInt32>(capacity: 4)
    defer { slab.destroy() }
    let index = try #require(slab.allocate())
    let generation = slab.generation(index)
    #expect(slab.pointer(index, generation: generation) == slab.pointer(index))
    slab.free(index)
    #expect(slab.pointer(index, generation: generation) == nil)
    #expect(slab.allocate() == index)
    #expect(slab.pointer(index, generation: generation) == nil)
    #expect(slab.pointer(index, generation: generation &+ 1) != nil)
    #expect(slab.pointer(index, generation: 0x1_0001 &+ generation, mask: 0xFFFF) != nil)
    #expect(slab.pointer(3, generation: 0) == nil)
    #expect(slab.pointer(.max, generation: 0) == nil)
    #expect(!slab.isAllocated(.max))
  }

  @Test("copies of the handle are the same slab")
  func handleCopies() throws {
    let slab = try Slab<UInt32>(capacity: 4)
    defer { slab.destroy() }
    let copy = slab
    #expect(slab.allocate() == 0)
    #expect(copy.allocate() == 1)
    #expect(slab.count == 2)
  }

  @Test("elements that cannot be copied live in a slab")
  func noncopyable() throws {
    let slab = try Slab<Owner>(capacity: 2)
    defer { slab.destroy() }
    let index = try #require(slab.allocate())
    slab.pointer(index).initialize(to: Owner(number: 5))
    slab.pointer(index).pointee.number += 1
    #expect(slab.pointer(index).pointee.number == 6)
    slab.pointer(index).deinitialize(count: 1)
    slab.free(index)
  }

  @Test("a slab beyond any address space is refused, and says so")
  func tooLarge() {
    struct Page { var bytes: InlineArray<65_536, UInt8> }
    let error = #expect(throws: MappingError.self) { try Slab<Page>(capacity: 1 << 31) }
    #expect(error?.description.contains("cannot reserve") == true)
  }

  @Test("random use agrees with a model")
  func model() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("SlabTests.model seed \(seed)")
    var random = RandomSource(seed: seed)
    let slab = try Slab<UInt64>(capacity: 64)
    defer { slab.destroy() }
    var live: [UInt32: (value: UInt64, generation: UInt32)] = [:]
    var freed: [(index: UInt32, generation: UInt32)] = []
    for step in 0..<20_000 as Range<UInt64> {
      if random.next(below: 2) == 0 {
        guard let index = slab.allocate() else {
          #expect(live.count == 64)
          continue
        }
        #expect(live[index] == nil, "a slot was handed out twice, seed \(seed)")
        slab.pointer(index).initialize(to: step)
        live[index] = (step, slab.generation(index))
      } else if let index = live.keys.sorted().randomElement(using: &random), let entry = live[index] {
        #expect(slab.pointer(index, generation: entry.generation)?.pointee == entry.value, "seed \(seed)")
        slab.free(index)
        live[index] = nil
        freed.append((index, entry.generation))
      }
      #expect(Int(slab.count) == live.count)
    }
    for (index, generation) in freed { #expect(slab.pointer(index, generation: generation) == nil, "seed \(seed)") }
  }
}

private struct Owner: ~Copyable {
  var number: Int
}
