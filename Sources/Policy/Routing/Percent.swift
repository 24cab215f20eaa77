// Shares of requests: 1, 0.5, 100. Kept as a whole number, so that equal texts are equal values, and drawn with one
// comparison.

public import Base

/// A share between 0 and 100 percent, in steps of 0.0001.
public struct Percent: Hashable, Sendable, CustomStringConvertible {
  /// Parts of a million.
  public let millionths: UInt32

  public static let all = Percent(millionths: 1_000_000)

  private init(millionths: UInt32) { self.millionths = millionths }

  /// Reads `0`, `1`, `0.5`, `99.9999`; a `%` sign is not part of it.
  public init(parsing text: String) throws(TextError) {
    let parts = text.utf8.split(separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
    let fraction = parts.count > 1 ? Array(parts[1]) : []
    let isNumber =
      !parts[0].isEmpty && parts[0].allSatisfy(Self.isDigit) && fraction.allSatisfy(Self.isDigit)
      && (parts.count == 1 || !fraction.isEmpty)
    guard isNumber else { throw TextError("write a number between 0 and 100, such as 5 or 0.5") }
    guard fraction.count <= 4 else { throw TextError("it has more than four decimal places") }
    guard let whole = UInt32(String(decoding: parts[0], as: UTF8.self)), whole <= 100 else {
      throw TextError("it is more than 100")
    }
    var millionths = whole * 10_000
    var place: UInt32 = 1_000
    for digit in fraction {
      millionths += UInt32(digit - 0x30) * place
      place /= 10
    }
    guard millionths <= 1_000_000 else { throw TextError("it is more than 100") }
    self.millionths = millionths
  }

  private static func isDigit(_ byte: UInt8) -> Bool { byte >= 0x30 && byte <= 0x39 }

  public var description: String {
    let rest = millionths % 10_000
    guard rest > 0 else { return "\(millionths / 10_000)" }
    let digits = String(rest)
    var fraction = String(repeating: "0", count: 4 - digits.count) + digits
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return "\(millionths / 10_000).\(fraction)"
  }

  /// Of 2^32 draws so many fall into the share.
  var threshold: UInt64 { (UInt64(millionths) << 32) / 1_000_000 }
}

/// A `Percent` to draw from. Trivial.
@frozen public struct Share: Sendable {
  @usableFromInline let threshold: UInt64

  init(_ percent: Percent?) { threshold = percent?.threshold ?? 0 }

  /// Whether there is anything to draw: at 0 percent no randomness is spent.
  @inlinable public var isEmpty: Bool { threshold == 0 }

  /// True as often as the share says.
  @inlinable public func draw(_ random: inout RandomSource) -> Bool {
    threshold != 0 && (random.next() >> 32) < threshold
  }
}
