// How long the caller of a gRPC call waits: `grpc-timeout: 100m` is 100 milliseconds ("gRPC over HTTP2", Timeout).

/// A gRPC timeout.
public enum GRPCTimeout {
  /// Nanoseconds; nil for what is no timeout. At most eight digits and a unit: hours, minutes, seconds, milli-, micro-,
  /// nanoseconds.
  public static func parse(_ value: UnsafeRawBufferPointer) -> UInt64? {
    guard value.count >= 2, value.count <= 9, let last = value.last else { return nil }
    let unit: UInt64
    switch last {
    case UInt8(ascii: "H"): unit = 3_600_000_000_000
    case UInt8(ascii: "M"): unit = 60_000_000_000
    case UInt8(ascii: "S"): unit = 1_000_000_000
    case UInt8(ascii: "m"): unit = 1_000_000
    case UInt8(ascii: "u"): unit = 1_000
    case UInt8(ascii: "n"): unit = 1
    default: return nil
    }
    var count: UInt64 = 0
    for byte in value.dropLast() {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      count = count * 10 + UInt64(byte &- 0x30)
    }
    let (nanoseconds, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow ? .max : nanoseconds
  }
  /// The longest there is: eight digits and a unit.
  public static let encodedByteCount = 9

  /// Writes a timeout in the finest unit in which it takes eight digits at most, rounded down, but never zero: who has nothing left
  /// has no call to make. Returns the number of bytes.
  ///
  /// - Parameter output: at least `encodedByteCount` bytes.
  public static func write(_ nanoseconds: UInt64, into output: UnsafeMutableRawBufferPointer) -> Int {
    guard output.count >= encodedByteCount else { return 0 }
    let units: StaticString = "numSMH"
    var (left, unit) = (max(nanoseconds, 1), 0)
    while left > 99_999_999 {
      left /= unit < 3 ? 1000 : 60
      unit += 1
    }
    var count = 0
    repeat {
      output[count] = UInt8(truncatingIfNeeded: 0x30 + left % 10)
      left /= 10
      count += 1
    } while left > 0
    var digits = output[..<count]
    digits.reverse()
    output[count] = units.utf8Start[min(unit, 5)]
    return count + 1
  }
}
