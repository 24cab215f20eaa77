// The letter-box of a thread: any thread pushes, one thread empties. It carries snapshots, handed-over
// descriptors and control requests, a few a second, and never blocks either side.
//
// It does not know how its reader sleeps: `push` says when the reader has to be woken (through its eventfd).

import Synchronization

/// A bounded, lock-free queue from many producers to one consumer, first in, first out.
///
/// Producers link nodes in front of a list with compare-and-exchange; the consumer takes the whole list with one
/// exchange and turns it round. Nothing is ever popped singly, so a freed node can never be mistaken for the one
/// that took its address (no ABA). One allocation per message.
public final class Mailbox<Message: Sendable>: @unchecked Sendable {
  @usableFromInline struct Node {
    @usableFromInline var message: Message
    @usableFromInline var next: UnsafeMutablePointer<Node>?

    @usableFromInline init(message: Message, next: UnsafeMutablePointer<Node>?) {
      self.message = message
      self.next = next
    }
  }

  /// What became of a message.
  @frozen public enum Push: Sendable, Equatable {
    /// It is in, and the box was empty: the reader may sleep, wake it.
    case wakeReader
    /// It is in behind others: whoever put the first in wakes the reader.
    case queued
    /// The box holds `capacity` messages; this one is not in it.
    case full
  }

  /// The most messages held at a time.
  public let capacity: Int

  @usableFromInline let newest = Atomic<UnsafeMutablePointer<Node>?>(nil)
  @usableFromInline let reserved = Atomic<Int>(0)

  /// An empty box for at most `capacity` messages.
  public init(capacity: Int) { self.capacity = capacity }

  deinit { drain { _ in } }

  /// Puts a message in. Any thread.
  public func push(_ message: Message) -> Push {
    // A place is reserved first, so that the bound holds however many producers race; a reservation that fails
    // is seen by others for a moment, which can refuse one message too early, never accept one too many.
    guard reserved.wrappingAdd(1, ordering: .relaxed).newValue <= capacity else {
      reserved.wrappingSubtract(1, ordering: .relaxed)
      return .full
    }
    let node = UnsafeMutablePointer<Node>.allocate(capacity: 1)
    var seen = newest.load(ordering: .relaxed)
    node.initialize(to: Node(message: message, next: seen))
    while true {
      let (exchanged, original) = newest.weakCompareExchange(
        expected: seen, desired: node, successOrdering: .releasing, failureOrdering: .relaxed)
      if exchanged { return seen == nil ? .wakeReader : .queued }
      seen = original
      node.pointee.next = seen
    }
  }

  /// Whether there is something to take. Any thread; stale as soon as it is read.
  public var isEmpty: Bool { newest.load(ordering: .relaxed) == nil }

  /// Takes all messages that are in, oldest first, and gives each to `body`. Only the reading thread.
  /// Messages pushed meanwhile stay for the next call. Returns how many there were.
  @discardableResult
  @inlinable public func drain(_ body: (Message) -> Void) -> Int {
    guard newest.load(ordering: .relaxed) != nil else { return 0 }
    var rest = newest.exchange(nil, ordering: .acquiring)
    var oldest: UnsafeMutablePointer<Node>?
    while let node = rest {
      rest = node.pointee.next
      node.pointee.next = oldest
      oldest = node
    }
    var count = 0
    while let node = oldest {
      oldest = node.pointee.next
      let message = node.move().message
      node.deallocate()
      reserved.wrappingSubtract(1, ordering: .relaxed)
      body(message)
      count += 1
    }
    return count
  }
}
