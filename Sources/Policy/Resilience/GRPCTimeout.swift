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
}
