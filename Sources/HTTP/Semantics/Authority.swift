// `host[:port]` as Host, absolute-form and authority-form carry it (RFC 3986 section 3.2). What a route is chosen by
// must be beyond doubt, so this is stricter than the grammar: no user information, no comma (a joined duplicate), no
// IPvFuture, and a port is a number up to 65535.

/// The two parts of a valid authority.
struct Authority {
  /// The host; an IPv6 address without its brackets.
  var host: ByteRange
  /// The port; 0 when none was given.
  var port: UInt16

  /// Nil when `range` is not a valid authority; an empty host is not.
  init?(_ view: ByteView, _ range: ByteRange) {
    guard let end = Authority.endOfHost(view, range) else { return nil }
    let isLiteral = view[range.start] == UInt8(ascii: "[")
    host = isLiteral ? ByteRange(range.start &+ 1, end &- 1) : ByteRange(range.start, end)
    port = 0
    if end == range.end { return }
    guard view[end] == UInt8(ascii: ":") else { return nil }
    var number: UInt32 = 0
    for index in (end &+ 1)..<range.end {
      let digit = view[index] &- 0x30
      // Six digits at the most get here before the bound stops them: no overflow.
      guard digit < 10, number <= 6553 else { return nil }
      number = number &* 10 &+ UInt32(digit)
    }
    guard number <= 65535 else { return nil }
    port = UInt16(truncatingIfNeeded: number)
  }

  private static func endOfHost(_ view: ByteView, _ range: ByteRange) -> Int? {
    if view[range.start] == UInt8(ascii: "["), !range.isEmpty { return endOfLiteral(view, range) }
    var index = range.start
    while index < range.end {
      let byte = view[index]
      if isRegisteredName(byte) {
        index &+= 1
      } else if byte == UInt8(ascii: "%"), index &+ 2 < range.end,
        hexDigit(view[index &+ 1]) < 16, hexDigit(view[index &+ 2]) < 16
      {
        index &+= 3
      } else {
        break
      }
    }
    return index == range.start ? nil : index
  }

  /// `[` IPv6address `]`; the index after the bracket.
  private static func endOfLiteral(_ view: ByteView, _ range: ByteRange) -> Int? {
    var close = range.start &+ 1
    while close < range.end, view[close] != UInt8(ascii: "]") { close &+= 1 }
    guard close < range.end, isIPv6Address(view, range.start &+ 1, close) else { return nil }
    return close &+ 1
  }

  private static func isIPv6Address(_ view: ByteView, _ start: Int, _ end: Int) -> Bool {
    var groups = 0
    var isShortened = false
    var index = start
    if view[index] == UInt8(ascii: ":") {
      guard view[index &+ 1] == UInt8(ascii: ":") else { return false }
      isShortened = true
      index &+= 2
      if index == end { return true }
    }
    while index < end {
      var digits = 0
      while index &+ digits < end, hexDigit(view[index &+ digits]) < 16 { digits &+= 1 }
      if view[index &+ digits] == UInt8(ascii: "."), index &+ digits < end {
        guard isIPv4Address(view, index, end) else { return false }
        groups &+= 2
        return isShortened ? groups < 8 : groups == 8
      }
      guard digits >= 1, digits <= 4 else { return false }
      groups &+= 1
      index &+= digits
      if index == end { break }
      guard view[index] == UInt8(ascii: ":"), index &+ 1 < end, groups < 8 else { return false }
      index &+= 1
      if view[index] == UInt8(ascii: ":") {
        guard !isShortened else { return false }
        isShortened = true
        index &+= 1
      }
    }
    return isShortened ? groups < 8 : groups == 8
  }

  private static func isIPv4Address(_ view: ByteView, _ start: Int, _ end: Int) -> Bool {
    var index = start
    for part in 0..<4 {
      var digits = 0
      var number = 0
      while index < end, digits < 4, view[index] &- 0x30 < 10 {
        number = number &* 10 &+ Int(view[index] &- 0x30)
        digits &+= 1
        index &+= 1
      }
      guard digits >= 1, digits <= 3, number <= 255 else { return false }
      if part < 3 {
        guard index < end, view[index] == UInt8(ascii: ".") else { return false }
        index &+= 1
      }
    }
    return index == end
  }

  /// unreserved and sub-delims without the comma, as two 64-bit sets.
  @inline(__always) private static func isRegisteredName(_ byte: UInt8) -> Bool {
    let low: UInt64 = 0x2BFF_6FD2_0000_0000
    let high: UInt64 = 0x47FF_FFFE_87FF_FFFE
    let set = byte < 64 ? low : high
    return byte < 128 && (set >> UInt64(byte & 63)) & 1 != 0
  }
}

/// The value of a hexadecimal digit; 16 or more for any other byte.
@inline(__always) func hexDigit(_ byte: UInt8) -> UInt8 {
  let digit = byte &- 0x30
  if digit < 10 { return digit }
  let letter = (byte | 0x20) &- 0x61
  return letter < 6 ? letter &+ 10 : 255
}
