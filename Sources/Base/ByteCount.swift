// A size in bytes, and its text as configurations write it: `512`, `64KiB`, `1MiB`, `2GiB`.

/// A number of bytes, never negative.
public struct ByteCount: Hashable, Comparable, Sendable {
  public let bytes: Int

  /// - Parameter bytes: below zero counts as zero.
  public init(bytes: Int) { self.bytes = max(0, bytes) }

  public static func kibibytes(_ count: Int) -> ByteCount { ByteCount(bytes: saturating(count, 1 << 10)) }
  public static func mebibytes(_ count: Int) -> ByteCount { ByteCount(bytes: saturating(count, 1 << 20)) }

  public static func < (a: ByteCount, b: ByteCount) -> Bool { a.bytes < b.bytes }

  private static func saturating(_ count: Int, _ unit: Int) -> Int {
    let (product, overflow) = count.multipliedReportingOverflow(by: unit)
    return overflow ? (count < 0 ? 0 : Int.max) : product
  }
}

// MARK: Text

extension ByteCount: CustomStringConvertible {
  /// Reads a whole number with an optional binary unit, such as `512`, `512B`, `64KiB` or `1MiB`.
  public init(parsing text: some StringProtocol) throws(TextError) {
    let characters = Array(text.utf8)
    let digits = characters.prefix { $0 >= 0x30 && $0 <= 0x39 }
    guard !digits.isEmpty else { throw TextError("a size is a whole number of bytes, or one with KiB, MiB or GiB") }
    guard let count = digits.decimalValue(upTo: UInt64(Int.max)) else { throw TextError("the size is too large") }
    let unit = String(decoding: characters.dropFirst(digits.count), as: UTF8.self)
    guard let factor = Self.units.first(where: { $0.name == unit })?.bytes else {
      throw TextError(Self.reason(unknown: unit))
    }
    let (product, overflow) = Int(count).multipliedReportingOverflow(by: factor)
    guard !overflow else { throw TextError("the size is too large") }
    self.init(bytes: product)
  }

  /// The largest unit that divides the size: reads back as the same value.
  public var description: String {
    for unit in Self.units.reversed() where unit.bytes > 1 && bytes > 0 && bytes % unit.bytes == 0 {
      return "\(bytes / unit.bytes)\(unit.name)"
    }
    return "\(bytes)"
  }

  private static let units: [(name: String, bytes: Int)] = [
    ("", 1), ("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30),
  ]

  private static func reason(unknown unit: String) -> String {
    if unit.hasPrefix(".") { return "a size is a whole number; choose a smaller unit" }
    switch unit.lowercased().first {
    case "k": return "'\(unit)' is not a unit of size; write KiB (1024 bytes)"
    case "m": return "'\(unit)' is not a unit of size; write MiB (1024 KiB)"
    case "g": return "'\(unit)' is not a unit of size; write GiB (1024 MiB)"
    default: return "'\(unit)' is not a unit of size; the units are B, KiB, MiB and GiB"
    }
  }
}
