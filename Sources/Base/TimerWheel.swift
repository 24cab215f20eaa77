// A coarse timer wheel: one deadline per index of a slab, thousands of them moved on every request.
// It is made for time-outs that almost never fire: moving a deadline later is one store, and the wheel sorts
// it out when the old place comes round. It never fires early, and late by about one tick.
//
// It knows indices and ticks only; who owns an index and what its deadline means is the caller's business.

/// A trivial handle to one wheel: copies are the same wheel, the owner calls `destroy()` once. Not thread-safe.
///
/// One level of 4096 slots, each a doubly linked list of the nodes queued for one tick of 2^24 ns (16.8 ms),
/// so a turn is 68.7 s; a later deadline parks in the furthest slot and is queued again when that comes round.
///
///     node, 16 bytes:  prev + 1 (32) | next + 1 (32) | deadline tick (48) | 3 unused | queued (1) | slot (12)
///
/// All bits zero is a node that was never scheduled, so fresh memory needs no set-up. Every queued node's tick
/// lies in `current ... current + 4095`, which is why its slot alone tells its tick.
@frozen public struct TimerWheel {
  @usableFromInline struct Node {
    @usableFromInline var previous: UInt32
    @usableFromInline var next: UInt32
    @usableFromInline var word: UInt64
  }

  @usableFromInline struct State {
    /// The first tick whose slot has not been emptied yet.
    @usableFromInline var current: UInt64
    /// The first tick a node may be queued for: past the instant of the last `popExpired`, so that an owner
    /// who schedules into the past while timers fire cannot keep that loop running for ever.
    @usableFromInline var floor: UInt64
    /// Bit i tells whether `occupancy[i]` has a bit.
    @usableFromInline var summary: UInt64 = 0

    @usableFromInline init(current: UInt64) {
      self.current = current
      floor = current
    }
  }

  @usableFromInline let nodes: UnsafeMutablePointer<Node>
  /// First node of each slot, plus one; 0 is none.
  @usableFromInline let heads: UnsafeMutablePointer<UInt32>
  /// One bit for each slot that has a node.
  @usableFromInline let occupancy: UnsafeMutablePointer<UInt64>
  @usableFromInline let state: UnsafeMutablePointer<State>
  @usableFromInline let memory: MappedMemory
  /// Indices run below this.
  public let capacity: UInt32

  /// A wheel for indices below `capacity` (at most 2^31) whose time starts at `now`.
  public init(capacity: UInt32, now: MonotonicInstant) throws(MappingError) {
    let count = min(max(capacity, 1), 1 << 31)
    let nodeBytes = try MappedMemory.pageRounded(count: Int(count), stride: MemoryLayout<Node>.stride)
    memory = try MappedMemory(byteCount: nodeBytes)
    nodes = memory.base.assumingMemoryBound(to: Node.self)
    heads = .allocate(capacity: Self.slotCount)
    heads.initialize(repeating: 0, count: Self.slotCount)
    occupancy = .allocate(capacity: Self.slotCount / 64)
    occupancy.initialize(repeating: 0, count: Self.slotCount / 64)
    state = .allocate(capacity: 1)
    state.initialize(to: State(current: Self.tick(atOrBefore: now) &+ 1))
    self.capacity = count
  }

  /// Gives the memory back.
  public func destroy() {
    heads.deallocate()
    occupancy.deallocate()
    state.deallocate()
    memory.unmap()
  }

  // MARK: Scheduling

  /// Sets the index's deadline, replacing any it had. Moving it later, the way of every request, stores the new
  /// deadline and leaves the node where it is; moving it earlier re-queues it.
  @inlinable public func schedule(_ index: UInt32, deadline: MonotonicInstant) {
    assert(index < capacity)
    let tick = Self.tick(atOrAfter: deadline)
    let node = nodes + Int(index)
    let target = placement(of: tick)
    let word = node.pointee.word
    if word & Self.queuedFlag != 0 {
      let queuedTick = state.pointee.current &+ ((word &- state.pointee.current) & Self.slotMask)
      if queuedTick <= target {
        node.pointee.word = (tick << Self.deadlineShift) | (word & Self.placeMask)
        return
      }
      unlink(index)
    }
    link(index, at: target, deadline: tick)
  }

  /// Takes the deadline away with one store; the node leaves its list when its slot comes round.
  @inlinable public func cancel(_ index: UInt32) {
    assert(index < capacity)
    nodes[Int(index)].word |= Self.never << Self.deadlineShift
  }

  /// Takes the deadline away and the node out of its list: for an index whose slab slot is being freed for long.
  @inlinable public func remove(_ index: UInt32) {
    assert(index < capacity)
    if nodes[Int(index)].word & Self.queuedFlag != 0 { unlink(index) }
    nodes[Int(index)].word = Self.never << Self.deadlineShift
  }

  /// Whether the index has a deadline that has not fired.
  @inlinable public func isScheduled(_ index: UInt32) -> Bool {
    assert(index < capacity)
    let word = nodes[Int(index)].word
    return word & Self.queuedFlag != 0 && word >> Self.deadlineShift != Self.never
  }

  // MARK: Firing

  /// The next index whose deadline has passed at `now`, in no particular order; nil when there is none left.
  /// Call it until it gives nil. The index's deadline is gone when it is returned; it may be scheduled again at
  /// once. A call looks at each slot at most once however far the clock has jumped.
  @inlinable public func popExpired(_ now: MonotonicInstant) -> UInt32? {
    let nowTick = Self.tick(atOrBefore: now)
    if state.pointee.current > nowTick { return nil }
    return popExpired(throughTick: nowTick)
  }

  /// When to look again: the earliest slot that holds a node, and not before `now`; nil when the wheel is empty.
  /// A node moved later or cancelled wakes in vain at its old place, once.
  @inlinable public func nextWake(after now: MonotonicInstant) -> MonotonicInstant? {
    guard let distance = nextOccupied() else { return nil }
    let wake = MonotonicInstant(nanoseconds: (state.pointee.current &+ distance) << Self.tickShift)
    return max(wake, now)
  }

  @usableFromInline func popExpired(throughTick nowTick: UInt64) -> UInt32? {
    state.pointee.floor = max(state.pointee.floor, nowTick &+ 1)
    if nowTick &- state.pointee.current >= Self.slotMask {
      // More than a turn has passed: one more turn visits every slot there is. Slots keep their nodes, and
      // only stand for later ticks than before.
      state.pointee.current = nowTick &- Self.slotMask
    }
    while let distance = nextOccupied(), state.pointee.current &+ distance <= nowTick {
      state.pointee.current &+= distance
      let slot = Int(state.pointee.current & Self.slotMask)
      while heads[slot] != 0 {
        let index = heads[slot] &- 1
        let deadline = nodes[Int(index)].word >> Self.deadlineShift
        unlink(index)
        if deadline <= nowTick { return index }
        if deadline != Self.never { link(index, at: placement(of: deadline), deadline: deadline) }
      }
      state.pointee.current &+= 1
    }
    state.pointee.current = nowTick &+ 1
    return nil
  }

  // MARK: Lists

  /// The tick to queue a deadline for: itself where the wheel reaches so far.
  @inlinable func placement(of tick: UInt64) -> UInt64 {
    min(max(tick, state.pointee.floor), state.pointee.current &+ Self.slotMask)
  }

  @usableFromInline func link(_ index: UInt32, at tick: UInt64, deadline: UInt64) {
    let slot = Int(tick & Self.slotMask)
    let head = heads[slot]
    nodes[Int(index)] = Node(
      previous: 0, next: head,
      word: (deadline << Self.deadlineShift) | Self.queuedFlag | UInt64(slot))
    if head != 0 { nodes[Int(head &- 1)].previous = index &+ 1 }
    heads[slot] = index &+ 1
    occupancy[slot >> 6] |= 1 << UInt64(slot & 63)
    state.pointee.summary |= 1 << UInt64(slot >> 6)
  }

  /// Takes a queued node out of its slot; its deadline becomes never.
  @usableFromInline func unlink(_ index: UInt32) {
    let node = nodes[Int(index)]
    assert(node.word & Self.queuedFlag != 0)
    nodes[Int(index)].word = Self.never << Self.deadlineShift
    if node.next != 0 { nodes[Int(node.next &- 1)].previous = node.previous }
    if node.previous != 0 {
      nodes[Int(node.previous &- 1)].next = node.next
      return
    }
    let slot = Int(node.word & Self.slotMask)
    heads[slot] = node.next
    guard node.next == 0 else { return }
    occupancy[slot >> 6] &= ~(1 << UInt64(slot & 63))
    if occupancy[slot >> 6] == 0 { state.pointee.summary &= ~(1 << UInt64(slot >> 6)) }
  }

  /// How many ticks after `current` the first non-empty slot stands; nil when all are empty.
  @usableFromInline func nextOccupied() -> UInt64? {
    let summary = state.pointee.summary
    if summary == 0 { return nil }
    let start = state.pointee.current & Self.slotMask
    let startWord = Int(start >> 6)
    let inWord = occupancy[startWord] >> (start & 63)
    if inWord != 0 { return UInt64(inWord.trailingZeroBitCount) }
    // Words after the starting one first, then round again up to and with the starting one's lower bits.
    let after = startWord == 63 ? 0 : summary & (~0 << UInt64(startWord + 1))
    let word = (after != 0 ? after : summary).trailingZeroBitCount
    let slot = UInt64(word << 6) &+ UInt64(occupancy[word].trailingZeroBitCount)
    return (slot &- start) & Self.slotMask
  }

  // MARK: Ticks

  /// Ticks are 2^24 ns, 16.8 ms: coarse enough to cost nothing, fine enough for time-outs of 100 ms and more,
  /// and a power of two so that no deadline is ever divided.
  @usableFromInline static var tickShift: UInt64 { @inlinable get { 24 } }
  @usableFromInline static var slotCount: Int { @inlinable get { 4096 } }
  @usableFromInline static var slotMask: UInt64 { @inlinable get { 4095 } }
  @usableFromInline static var queuedFlag: UInt64 { @inlinable get { 1 << 12 } }
  @usableFromInline static var placeMask: UInt64 { @inlinable get { 0xFFFF } }
  @usableFromInline static var deadlineShift: UInt64 { @inlinable get { 16 } }
  /// No tick of a 64-bit nanosecond clock reaches this: those have 40 bits.
  @usableFromInline static var never: UInt64 { @inlinable get { (1 << 48) - 1 } }

  @inlinable static func tick(atOrBefore instant: MonotonicInstant) -> UInt64 {
    instant.nanoseconds >> tickShift
  }

  @inlinable static func tick(atOrAfter instant: MonotonicInstant) -> UInt64 {
    let whole = instant.nanoseconds >> tickShift
    return whole &+ (instant.nanoseconds & ((1 << tickShift) &- 1) == 0 ? 0 : 1)
  }
}
