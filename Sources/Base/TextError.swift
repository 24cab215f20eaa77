// Why a piece of text could not be read as an address, a size or a duration.
// The reason is written to stand after "'<text>' is not …:" in a message; placing it in a file is left to the caller.

/// The reason a text was refused, in words for the person who wrote it.
public struct TextError: Error, Hashable, Sendable, CustomStringConvertible {
  public let reason: String

  public init(_ reason: String) { self.reason = reason }

  public var description: String { reason }
}

extension Collection<UInt8> {
  /// The value of a run of decimal digits; nil when it is empty, holds anything else or passes `limit`.
  func decimalValue(upTo limit: UInt64) -> UInt64? {
    guard !isEmpty else { return nil }
    var value: UInt64 = 0
    for byte in self {
      guard byte >= 0x30, byte <= 0x39 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(byte &- 0x30))
      guard !overflow, !carry, sum <= limit else { return nil }
      value = sum
    }
    return value
  }
}
