// A byte sequence of any length that can be checked at any place without keeping it: the same block over and over, of a
// length that divides no buffer size, so that a lost, doubled or swapped buffer shows.

import Glibc

/// The test pattern.
public enum Pattern {
  /// A prime, so no power of two hides a shift.
  private static let period = 65_521

  private static let block: [UInt8] = {
    var state: UInt32 = 0x9e37_79b9
    return (0..<period * 2).map { index in
      if index == period { state = 0x9e37_79b9 }
      state = state &* 1_664_525 &+ 1_013_904_223
      return UInt8(truncatingIfNeeded: state >> 24)
    }
  }()

  /// `count` bytes of the pattern from `offset` on.
  public static func bytes(_ offset: Int, _ count: Int) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(count)
    while result.count < count {
      let start = (offset + result.count) % period
      result += block[start..<start + min(period, count - result.count)]
    }
    return result
  }

  /// Checks bytes that arrive piece by piece.
  public struct Check {
    public private(set) var count = 0
    /// Where the first wrong byte was seen, about.
    public private(set) var wrongAt: Int?
    public var isGood: Bool { wrongAt == nil }

    public init() {}

    public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
      guard let base = bytes.baseAddress else { return }
      var position = 0
      while position < bytes.count {
        let start = (count + position) % period
        let length = min(period, bytes.count - position)
        let same = block[start..<start + length].withUnsafeBytes { expected in
          expected.baseAddress.map { memcmp($0, base + position, length) == 0 } ?? false
        }
        if !same, wrongAt == nil { wrongAt = count + position }
        position += length
      }
      count += bytes.count
    }
  }
}
