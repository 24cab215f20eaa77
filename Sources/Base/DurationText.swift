// Durations as configurations write them: a whole number and a unit, `250ms`, `2s`, `5m`, `1h`.
// The value is the standard library's Duration; hot paths take it as whole nanoseconds, once, when they are set up.

extension Duration {
  /// Reads a whole number with one of the units us, ms, s, m, h. At most 10 000 hours.
  public init(parsing text: some StringProtocol) throws(TextError) {
    let characters = Array(text.utf8)
    let digits = characters.prefix { $0 >= 0x30 && $0 <= 0x39 }
    let unit = String(decoding: characters.dropFirst(digits.count), as: UTF8.self)
    guard !digits.isEmpty else {
      throw TextError("a duration is a whole number with a unit, such as 250ms, 2s, 5m or 1h")
    }
    guard !unit.isEmpty else { throw TextError("it has no unit; write \(text)s or \(text)ms") }
    guard let nanosecondsEach = Self.textUnits.first(where: { $0.name == unit })?.nanoseconds else {
      if unit.hasPrefix(".") { throw TextError("a duration is a whole number; choose a smaller unit") }
      throw TextError("'\(unit)' is not a unit of time; the units are us, ms, s, m and h")
    }
    guard let count = digits.decimalValue(upTo: UInt64(Self.longestText / nanosecondsEach)) else {
      throw TextError("the duration is longer than 10000h")
    }
    self = .nanoseconds(Int64(count) * nanosecondsEach)
  }

  /// The text in the largest unit that divides the duration; below a microsecond it is rounded down.
  public var shortText: String {
    let nanoseconds = Int64(clamping: wholeNanoseconds)
    for unit in Self.textUnits.reversed() where nanoseconds != 0 && nanoseconds % unit.nanoseconds == 0 {
      return "\(nanoseconds / unit.nanoseconds)\(unit.name)"
    }
    return nanoseconds == 0 ? "0s" : "\(nanoseconds / 1000)us"
  }

  /// The duration in nanoseconds, rounded down; below zero is zero, and what does not fit is the greatest value.
  public var wholeNanoseconds: UInt64 {
    let (seconds, attoseconds) = components
    guard seconds >= 0, attoseconds >= 0 else { return 0 }
    let (product, overflow) = UInt64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    let (sum, carry) = product.addingReportingOverflow(UInt64(attoseconds / 1_000_000_000))
    return overflow || carry ? UInt64.max : sum
  }

  private static var textUnits: [(name: String, nanoseconds: Int64)] {
    [
      ("us", 1_000), ("ms", 1_000_000), ("s", 1_000_000_000), ("m", 60_000_000_000), ("h", 3_600_000_000_000),
    ]
  }

  /// 10 000 hours in nanoseconds: far from overflow, longer than anything a proxy waits for.
  private static var longestText: Int64 { 10_000 * 3_600_000_000_000 }
}
