// A slab: a fixed number of slots whose addresses never change, handed out by index and taken back by index.
// Connections, exchanges and requests live in slabs and are reached through `pointer(_:)`, which costs an
// addition: a struct reached through a pointer pays no exclusivity check and no reference counting.
//
// What a slot holds is the caller's business: `allocate` gives uninitialised memory, and the caller has
// deinitialised it before `free`. Each slot has a generation that `free` bumps, so that a completion which
// arrives for a former owner is told from one for the present owner.

import Glibc

/// A trivial handle to the slots: copy it freely, all copies are the same slab. The owner (one thread) calls
/// `destroy()` once at the end; nothing else manages its life. Not thread-safe.
///
///     mapping:  | elements … | generations (UInt32) … | links (UInt32) … |
///
/// `links[i]` is `occupied` while slot i is handed out, else the next free slot plus one (0 ends the list).
/// Slots never handed out yet are those from `highWater` on: memory is committed lowest index first.
@frozen public struct Slab<Element: ~Copyable> {
  @usableFromInline struct State {
    @usableFromInline var freeHead: UInt32 = 0
    @usableFromInline var highWater: UInt32 = 0
    @usableFromInline var count: UInt32 = 0
    @usableFromInline init() {}
  }

  @usableFromInline let elements: UnsafeMutablePointer<Element>
  @usableFromInline let generations: UnsafeMutablePointer<UInt32>
  @usableFromInline let links: UnsafeMutablePointer<UInt32>
  @usableFromInline let state: UnsafeMutablePointer<State>
  @usableFromInline let memory: MappedMemory
  /// How many slots there are at most.
  public let capacity: UInt32

  /// Reserves address space for `capacity` slots (at least 1, at most 2^31) and commits none of it.
  public init(capacity: UInt32) throws(MappingError) {
    let slots = min(max(capacity, 1), 1 << 31)
    let elementBytes = try MappedMemory.pageRounded(count: Int(slots), stride: MemoryLayout<Element>.stride)
    let wordBytes = try MappedMemory.pageRounded(count: Int(slots), stride: MemoryLayout<UInt32>.stride)
    let (total, overflow) = elementBytes.addingReportingOverflow(wordBytes * 2)
    guard !overflow else { throw MappingError(byteCount: Int.max, errnoValue: EOVERFLOW) }
    precondition(MemoryLayout<Element>.alignment <= MappedMemory.pageByteCount)
    memory = try MappedMemory(byteCount: total)
    elements = memory.base.assumingMemoryBound(to: Element.self)
    generations = (memory.base + elementBytes).assumingMemoryBound(to: UInt32.self)
    links = (memory.base + elementBytes + wordBytes).assumingMemoryBound(to: UInt32.self)
    state = .allocate(capacity: 1)
    state.initialize(to: State())
    self.capacity = slots
  }

  /// Gives the memory back. Elements still in their slots are not deinitialised: empty the slab first.
  public func destroy() {
    state.deallocate()
    memory.unmap()
  }

  /// Slots handed out now.
  @inlinable public var count: UInt32 { state.pointee.count }

  /// One above the highest index ever handed out: loops over all slots end here.
  @inlinable public var highWater: UInt32 { state.pointee.highWater }

  /// Hands out a slot with uninitialised memory: the one freed last (still warm), else the lowest never used.
  /// nil when all are taken.
  @inlinable public func allocate() -> UInt32? {
    let index: UInt32
    let head = state.pointee.freeHead
    if head != 0 {
      index = head &- 1
      state.pointee.freeHead = links[Int(index)]
    } else {
      index = state.pointee.highWater
      if index == capacity { return nil }
      state.pointee.highWater = index &+ 1
    }
    links[Int(index)] = Self.occupied
    state.pointee.count &+= 1
    return index
  }

  /// Takes a slot back, whose element the caller has deinitialised, and bumps its generation.
  /// Freeing a free slot would hand one slot to two owners: that bug of ours stops the process.
  @inlinable public func free(_ index: UInt32) {
    precondition(isAllocated(index), "slab slot freed twice")
    links[Int(index)] = state.pointee.freeHead
    generations[Int(index)] &+= 1
    state.pointee.freeHead = index &+ 1
    state.pointee.count &-= 1
  }

  /// The slot's memory; stable until `destroy()`. The index must be one that was handed out (checked in debug).
  @inlinable public func pointer(_ index: UInt32) -> UnsafeMutablePointer<Element> {
    assert(index < state.pointee.highWater)
    return elements + Int(index)
  }

  /// The slot whose memory begins at `address`, whether it is handed out or not; nil for what is no slot's.
  @inlinable public func index(of address: UnsafeRawPointer) -> UInt32? {
    let distance = address - UnsafeRawPointer(elements)
    guard distance >= 0, distance < Int(state.pointee.highWater) &* MemoryLayout<Element>.stride else { return nil }
    return distance % MemoryLayout<Element>.stride == 0 ? UInt32(distance / MemoryLayout<Element>.stride) : nil
  }

  /// How often the slot has been freed, wrapping.
  @inlinable public func generation(_ index: UInt32) -> UInt32 {
    assert(index < state.pointee.highWater)
    return generations[Int(index)]
  }

  /// Whether the slot is handed out now. Any number may be asked for.
  @inlinable public func isAllocated(_ index: UInt32) -> Bool {
    index < state.pointee.highWater && links[Int(index)] == Self.occupied
  }

  /// The slot's memory if it is handed out and still of that generation: what a late completion asks.
  /// `mask` says which bits of the generation the caller kept (completions have no room for all).
  @inlinable public func pointer(
    _ index: UInt32, generation: UInt32, mask: UInt32 = .max
  ) -> UnsafeMutablePointer<Element>? {
    guard isAllocated(index), (generations[Int(index)] ^ generation) & mask == 0 else { return nil }
    return elements + Int(index)
  }

  /// Marks a slot that is handed out; no link can have this value since indices stay below 2^31.
  @usableFromInline static var occupied: UInt32 { @inlinable get { .max } }
}
