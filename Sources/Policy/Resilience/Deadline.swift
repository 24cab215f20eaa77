// The instant by which a caller wants its answer, as it travels from proxy to proxy: Linkerd 1's `l5d-ctx-deadline`, two
// numbers of nanoseconds since 1970 with a space between them, when it was set and when it is over.
//
//     l5d-ctx-deadline: 1700000000000000000 1700000002500000000
//
// Hosts' clocks differ, and the header trusts that they do not by much; what a wrong clock can do is bounded on both sides,
// for a deadline only ever shortens what this node's own timeouts allow.

public import Base

/// What is left of a caller's time.
@frozen public struct Deadline: Hashable, Sendable {
  /// When it is over, in nanoseconds since 1970.
  public let wallNanoseconds: UInt64

  @inlinable public init(wallNanoseconds: UInt64) { self.wallNanoseconds = wallNanoseconds }

  /// Reads a header's value; nil for what is none: other than two unsigned numbers that fit 63 bits, with blanks around them
  /// and between them, the first not after the second.
  public init?(parsing value: UnsafeRawBufferPointer) {
    var position = 0
    guard let set = Self.number(value, &position), position < value.count, Self.isBlank(value[position]),
      let over = Self.number(value, &position), set <= over
    else { return nil }
    while position < value.count {
      guard Self.isBlank(value[position]) else { return nil }
      position += 1
    }
    wallNanoseconds = over
  }

  /// The stricter of two: a request may carry several.
  @inlinable public func combined(with other: Deadline) -> Deadline {
    Deadline(wallNanoseconds: min(wallNanoseconds, other.wallNanoseconds))
  }

  /// What is left of it, zero when it is over.
  @inlinable public func remainingNanoseconds(wallNow: UInt64) -> UInt64 {
    wallNanoseconds > wallNow ? wallNanoseconds &- wallNow : 0
  }

  /// The same on this host's monotonic clock.
  @inlinable public func instant(wallNow: UInt64, now: MonotonicInstant) -> MonotonicInstant {
    let (sum, overflow) = now.nanoseconds.addingReportingOverflow(remainingNanoseconds(wallNow: wallNow))
    return MonotonicInstant(nanoseconds: overflow ? .max : sum)
  }

  /// The most a value takes: twice twenty digits and the blank.
  public static var encodedByteCount: Int { 41 }

  private static var space: UInt8 { 0x20 }
  private static func isBlank(_ byte: UInt8) -> Bool { byte == space || byte == 0x09 }

  /// Digits from `position` on, after blanks.
  private static func number(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
    while position < bytes.count, isBlank(bytes[position]) { position += 1 }
    let start = position
    var value: UInt64 = 0
    while position < bytes.count, case let digit = bytes[position] &- 0x30, digit <= 9 {
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(digit))
      guard !overflow, !carry, sum <= UInt64(Int64.max) else { return nil }
      value = sum
      position += 1
    }
    return position > start ? value : nil
  }
}
