// Where a piece of a head lies. Names, values and targets are never copied out of the bytes they arrived in:
// a head is those bytes plus a table of these ranges. Who owns the bytes is the caller's business.

/// A run of bytes inside the bytes of one head: an offset from their first byte, and a length, both in bytes.
public struct ByteRange: Equatable, Hashable, Sendable {
  public var offset: UInt32
  public var length: UInt32

  @inlinable public init(offset: UInt32, length: UInt32) {
    self.offset = offset
    self.length = length
  }

  /// The bytes from `start` up to and without `end`. Parsers cap what they look at well below 4 GiB.
  @inlinable @inline(__always) init(_ start: Int, _ end: Int) {
    offset = UInt32(truncatingIfNeeded: start)
    length = UInt32(truncatingIfNeeded: end &- start)
  }

  /// The range of nothing, at the start.
  @inlinable public static var empty: ByteRange { ByteRange(offset: 0, length: 0) }

  @inlinable public var isEmpty: Bool { length == 0 }
  @inlinable public var start: Int { Int(offset) }
  @inlinable public var end: Int { Int(offset) &+ Int(length) }
  @inlinable public var count: Int { Int(length) }

  /// The part of `bytes` this range names; empty when it does not lie inside them.
  @inlinable public func slice(of bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    guard let base = bytes.baseAddress, end <= bytes.count else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(start: base + start, count: count)
  }
}
