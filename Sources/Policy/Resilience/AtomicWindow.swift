// A sliding time window that all shards write: ten slices of a tenth each, every one a single word, so that a slice that
// has grown old is emptied and written in one step and no lock is needed.
//
//     slice:  number of the slice in time, lower 24 bits | 40 bits that its user gives a meaning
//
// What is summed up is between nine tenths of the window and the whole of it: the slice that is being written is not full.

import Base
import Synchronization

/// The last ten slices of time, reached through a pointer that all threads share.
///
/// Threads take their time from their own last turn, so a few milliseconds lie between their clocks: a slice may be written
/// by one thread just before another begins the next, or just after. Both are counted. A slice that nobody touches for 2^24
/// slices, half a year of a window of ten seconds, is taken for present once, for ten slices.
struct AtomicWindow: ~Copyable, Sendable {
  private let slices: InlineArray<10, Atomic<UInt64>>

  init() { slices = InlineArray { _ in Atomic(0) } }

  static var sliceCount: UInt64 { 10 }
  /// The bits that the user of the window has in each slice.
  static var payloadMask: UInt64 { (1 << 40) - 1 }

  /// How long a slice of a window is; at least a nanosecond.
  static func sliceNanoseconds(ofWindow nanoseconds: UInt64) -> UInt64 { max(nanoseconds / sliceCount, 1) }

  /// Replaces the present slice's bits by what `change` makes of them; zero in a slice that has just begun.
  @inline(__always)
  borrowing func update(_ now: MonotonicInstant, sliceNanoseconds: UInt64, _ change: (UInt64) -> UInt64) {
    let number = now.nanoseconds / max(sliceNanoseconds, 1)
    let place = Int(truncatingIfNeeded: number % Self.sliceCount)
    let stamp = Self.stamp(number)
    var seen = slices[place].load(ordering: .relaxed)
    while true {
      let isPresent = seen >> Self.stampShift == stamp
      let bits = change(isPresent ? seen & Self.payloadMask : 0) & Self.payloadMask
      let (done, original) = slices[place].weakCompareExchange(
        expected: seen, desired: stamp << Self.stampShift | bits, ordering: .relaxed)
      if done { return }
      seen = original
    }
  }

  /// Gives the bits of every slice that lies in the window to `body`, in no particular order.
  @inline(__always)
  borrowing func forEach(_ now: MonotonicInstant, sliceNanoseconds: UInt64, _ body: (UInt64) -> Void) {
    let number = now.nanoseconds / max(sliceNanoseconds, 1)
    let stamp = Self.stamp(number)
    for place in 0..<Int(Self.sliceCount) {
      let word = slices[place].load(ordering: .relaxed)
      if word == 0 { continue }
      let age = (stamp &- (word >> Self.stampShift)) & Self.stampMask
      // One slice ahead of this thread's clock is another thread's present.
      if age < Self.sliceCount || age == Self.stampMask { body(word & Self.payloadMask) }
    }
  }

  /// Empties the window. What is written at the same moment may stay.
  borrowing func clear() {
    for place in 0..<Int(Self.sliceCount) { slices[place].store(0, ordering: .relaxed) }
  }

  private static var stampShift: UInt64 { 40 }
  private static var stampMask: UInt64 { (1 << 24) - 1 }
  private static func stamp(_ number: UInt64) -> UInt64 { number & stampMask }
}
