// What a completion belongs to: the 64 bits of user data that travel with every operation through the ring.
//
//    63            32 31             8 7        0
//   +----------------+----------------+----------+
//   |   slot index   |   generation   |   kind   |
//   +----------------+----------------+----------+
//
// The generation is the slot's at submission. A completion whose generation is no longer the slot's own is stale and is
// dropped, so that a late completion can never touch the connection that took the slot over.

/// The user data of one operation. A plain value; any thread.
@frozen public struct OperationTag: Equatable, Sendable {
  public var rawValue: UInt64

  @inlinable public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// `generation` is cut to 24 bits: a slot would have to be reused 16 million times while one operation is in flight to
  /// be mistaken.
  @inlinable public init(kind: OperationKind, slot: UInt32, generation: UInt32) {
    rawValue = UInt64(slot) << 32 | UInt64(generation & 0xFF_FFFF) << 8 | UInt64(kind.rawValue)
  }

  @inlinable public var kind: OperationKind? { OperationKind(rawValue: UInt8(truncatingIfNeeded: rawValue)) }
  @inlinable public var slot: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 32) }
  @inlinable public var generation: UInt32 { UInt32(truncatingIfNeeded: rawValue >> 8) & 0xFF_FFFF }
}

/// What an operation does. `cancel` is the cancelling request's own completion, which nobody waits for.
@frozen public enum OperationKind: UInt8, Sendable {
  case receive = 1
  case send
  case connect
  case accept
  case cancel
  case wakeup
}
