// IPv4 and IPv6 addresses as values, read strictly and printed canonically.
//
// Strict: no octal, no hexadecimal, no missing parts (the C library's inet_aton takes `127.1` and `0177.0.0.1`).

/// An IPv4 address.
public struct IPv4Address: Hashable, Sendable {
  /// 127.0.0.1 is 0x7F000001, on every machine.
  public let value: UInt32

  public init(value: UInt32) { self.value = value }

  public init(_ a: UInt8, _ b: UInt8, _ c: UInt8, _ d: UInt8) {
    value = UInt32(a) << 24 | UInt32(b) << 16 | UInt32(c) << 8 | UInt32(d)
  }

  public static let unspecified = IPv4Address(value: 0)
  public static let loopback = IPv4Address(127, 0, 0, 1)

  /// 127.0.0.0/8.
  public var isLoopback: Bool { value >> 24 == 127 }
}

/// An IPv6 address.
public struct IPv6Address: Hashable, Sendable {
  /// The first and the last eight bytes; ::1 is (0, 1), on every machine.
  public let high: UInt64
  public let low: UInt64

  public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The IPv4-mapped address (::ffff:a.b.c.d) of an IPv4 one.
  @inlinable public init(mapping address: IPv4Address) {
    self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(address.value))
  }

  public static let unspecified = IPv6Address(high: 0, low: 0)
  public static let loopback = IPv6Address(high: 0, low: 1)

  public var isLoopback: Bool { self == .loopback }

  /// The IPv4 address inside an IPv4-mapped one (::ffff:0:0/96, RFC 4291 section 2.5.5.2).
  public var mappedIPv4: IPv4Address? {
    high == 0 && low >> 32 == 0xFFFF ? IPv4Address(value: UInt32(truncatingIfNeeded: low)) : nil
  }

  /// The eight groups of sixteen bits.
  var groups: [UInt16] {
    [48, 32, 16, 0].map { UInt16(truncatingIfNeeded: high >> $0) }
      + [48, 32, 16, 0].map { UInt16(truncatingIfNeeded: low >> $0) }
  }
}

// MARK: IPv4 text

extension IPv4Address: LosslessStringConvertible {
  /// Four decimal numbers of at most 255 without leading zeros (RFC 6943 section 3.1.1, the strict form).
  public init?(_ text: String) { self.init(Array(text.utf8)[...]) }

  init?(_ text: ArraySlice<UInt8>) {
    let parts = text.split(separator: 0x2E, omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    var value: UInt32 = 0
    for part in parts {
      guard part.count == 1 || part.first != 0x30, let number = part.decimalValue(upTo: 255) else { return nil }
      value = value << 8 | UInt32(number)
    }
    self.init(value: value)
  }

  public var description: String {
    "\(value >> 24).\(value >> 16 & 0xFF).\(value >> 8 & 0xFF).\(value & 0xFF)"
  }
}

// MARK: IPv6 text

extension IPv6Address: LosslessStringConvertible {
  /// RFC 4291 section 2.2: groups of one to four hexadecimal digits, one `::`, an IPv4 tail; no zone.
  public init?(_ text: String) { self.init(Array(text.utf8)[...]) }

  init?(_ text: ArraySlice<UInt8>) {
    var front: [UInt16] = []
    var back: [UInt16]? = nil
    var rest = text
    if rest.starts(with: Self.gap) {
      back = []
      rest = rest.dropFirst(2)
    }
    while !rest.isEmpty {
      let part = rest.prefix { $0 != 0x3A }
      rest = rest.dropFirst(part.count)
      guard let groups = Self.groups(part, isLast: rest.isEmpty) else { return nil }
      if back == nil { front += groups } else { back? += groups }
      guard front.count + (back?.count ?? 0) <= 8 else { return nil }
      if rest.starts(with: Self.gap) {
        guard back == nil else { return nil }
        back = []
        rest = rest.dropFirst(2)
      } else if !rest.isEmpty {
        rest = rest.dropFirst()
        guard !rest.isEmpty else { return nil }
      }
    }
    let written = front.count + (back?.count ?? 0)
    guard back == nil ? written == 8 : written < 8 else { return nil }
    let groups = front + Array(repeating: 0, count: 8 - written) + (back ?? [])
    self.init(
      high: groups[..<4].reduce(0) { $0 << 16 | UInt64($1) }, low: groups[4...].reduce(0) { $0 << 16 | UInt64($1) })
  }

  /// One group, or two where the last part is an IPv4 address.
  private static func groups(_ part: ArraySlice<UInt8>, isLast: Bool) -> [UInt16]? {
    if isLast, part.contains(0x2E) {
      guard let tail = IPv4Address(part) else { return nil }
      return [UInt16(tail.value >> 16), UInt16(tail.value & 0xFFFF)]
    }
    guard (1...4).contains(part.count) else { return nil }
    var value: UInt16 = 0
    for byte in part {
      guard let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return nil }
      value = value << 4 | UInt16(digit)
    }
    return [value]
  }

  /// RFC 5952: lower case, the longest run of at least two zero groups (the first of equals) as `::`, and
  /// IPv4-mapped addresses with their dotted tail.
  public var description: String {
    if let mappedIPv4 { return "::ffff:\(mappedIPv4)" }
    let groups = groups
    var gap = 0..<0
    var index = 0
    while index < groups.count {
      var end = index
      while end < groups.count, groups[end] == 0 { end += 1 }
      if end - index > max(1, gap.count) { gap = index..<end }
      index = end + 1
    }
    func text(_ range: some Sequence<UInt16>) -> String {
      range.map { String($0, radix: 16) }.joined(separator: ":")
    }
    if gap.isEmpty { return text(groups) }
    return text(groups[..<gap.lowerBound]) + "::" + text(groups[gap.upperBound...])
  }

  private static let gap: [UInt8] = [0x3A, 0x3A]
}
