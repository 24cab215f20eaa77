// Slots to come back to before the turn ends: which connections have output, which are closing, which lack a buffer.

import Base

/// A growing list of slots with their generations. It keeps its memory, so that a warm list never allocates; as long as it
/// is bounded by the slots of a slab. Owned by one shard; `destroy` gives the memory back.
struct SlotList {
  struct Entry {
    var index: UInt32
    var generation: UInt32
  }

  private var entries: UnsafeMutablePointer<Entry>
  private var capacity: Int
  private(set) var count = 0

  init() {
    capacity = 256
    entries = .allocate(capacity: capacity)
  }

  func destroy() { entries.deallocate() }

  mutating func append(_ index: UInt32, _ generation: UInt32) {
    if count == capacity { grow() }
    (entries + count).initialize(to: Entry(index: index, generation: generation))
    count &+= 1
  }

  subscript(position: Int) -> Entry {
    precondition(position >= 0 && position < count)
    return entries[position]
  }

  /// Drops the first `taken` entries; those appended meanwhile move to the front.
  mutating func removeFirst(_ taken: Int) {
    for position in taken..<count { entries[position - taken] = entries[position] }
    count -= taken
  }

  private mutating func grow() {
    let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: entries, count: count)
    entries.deallocate()
    entries = larger
    capacity *= 2
  }
}
