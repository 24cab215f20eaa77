// What is due next, out of thousands: a binary heap. Deadlines are not taken out when they move; who pops one looks whether it
// still holds.

import Base

/// Keys by their deadlines, the earliest first.
struct DeadlineQueue<Key> {
  private var heap: [(deadline: MonotonicInstant, key: Key)] = []

  var next: MonotonicInstant? { heap.first?.deadline }
  var count: Int { heap.count }

  mutating func push(_ key: Key, at deadline: MonotonicInstant) {
    heap.append((deadline, key))
    var child = heap.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      if heap[parent].deadline <= heap[child].deadline { break }
      heap.swapAt(parent, child)
      child = parent
    }
  }

  /// The earliest, if it is due.
  mutating func pop(until now: MonotonicInstant) -> Key? {
    guard let first = heap.first, first.deadline <= now else { return nil }
    heap.swapAt(0, heap.count - 1)
    heap.removeLast()
    var parent = 0
    while true {
      var child = 2 * parent + 1
      if child >= heap.count { break }
      if child + 1 < heap.count, heap[child + 1].deadline < heap[child].deadline { child += 1 }
      if heap[parent].deadline <= heap[child].deadline { break }
      heap.swapAt(parent, child)
      parent = child
    }
    return first.key
  }

  mutating func removeAll() { heap = [] }
}
