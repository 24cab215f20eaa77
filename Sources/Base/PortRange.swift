// Ports as configurations and rule sets write them: one, or a range with both ends in it.

/// One port or several in a row, never port 0.
public struct PortRange: Hashable, Sendable {
  public let lower: UInt16
  /// At least `lower`, and in the range.
  public let upper: UInt16

  /// One port; nil for 0.
  public init?(_ port: UInt16) { self.init(from: port, through: port) }

  /// Nil when the ends are the wrong way round or the first is 0.
  public init?(from lower: UInt16, through upper: UInt16) {
    guard lower > 0, lower <= upper else { return nil }
    self.lower = lower
    self.upper = upper
  }

  public func contains(_ port: UInt16) -> Bool { port >= lower && port <= upper }

  /// Is there a port in both?
  public func overlaps(_ other: PortRange) -> Bool { lower <= other.upper && other.lower <= upper }

  /// How many ports.
  public var count: Int { Int(upper) - Int(lower) + 1 }
}

extension PortRange: LosslessStringConvertible {
  /// Reads `80` or `9000-9100`.
  public init(parsing text: some StringProtocol) throws(TextError) {
    let parts = text.split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, !first.isEmpty, !text.utf8.contains(0x3A) else { throw TextError(Self.howToWrite) }
    let lower = try Self.port(first)
    let upper = parts.count == 2 ? try Self.port(parts[1]) : lower
    guard let range = PortRange(from: lower, through: upper) else {
      throw TextError("the range ends before it begins; did you mean \(upper)-\(lower)?")
    }
    self = range
  }

  public init?(_ description: String) {
    guard let range = try? PortRange(parsing: description) else { return nil }
    self = range
  }

  public var description: String { lower == upper ? "\(lower)" : "\(lower)-\(upper)" }

  private static func port(_ text: some StringProtocol) throws(TextError) -> UInt16 {
    guard let number = Array(text.utf8).decimalValue(upTo: 65535), number > 0 else {
      throw TextError("a port is a number between 1 and 65535, not '\(text)'")
    }
    return UInt16(truncatingIfNeeded: number)
  }

  private static let howToWrite = "write a port, such as 80, or a range, such as 9000-9100"
}
