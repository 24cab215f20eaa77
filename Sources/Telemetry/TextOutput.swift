// Text as bytes: the little that the exposition and the access log need to print numbers, times and addresses exactly,
// without Foundation. Nothing here fails.

import Glibc

/// A growing piece of text. One owner; a buffer that is reused keeps its memory.
public struct TextOutput: Sendable {
  public private(set) var bytes: [UInt8] = []

  public init(reserving capacity: Int = 0) { bytes.reserveCapacity(capacity) }

  /// Empties it, keeping its memory.
  public mutating func clear() { bytes.removeAll(keepingCapacity: true) }

  /// The text as a string; what is not UTF-8 is replaced.
  public var string: String { String(decoding: bytes, as: UTF8.self) }

  mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }

  mutating func append(byte: UInt8) { bytes.append(byte) }

  mutating func append(_ number: UInt64) {
    guard number != 0 else { return bytes.append(0x30) }
    var rest = number
    let start = bytes.count
    while rest != 0 {
      bytes.append(0x30 &+ UInt8(truncatingIfNeeded: rest % 10))
      rest /= 10
    }
    bytes[start...].reverse()
  }

  mutating func append(_ number: Int64) {
    if number < 0 { bytes.append(0x2D) }
    append(number.magnitude)
  }

  /// A decimal fraction: `value` / 10^`digits`, without trailing zeros but, when `keepsPoint`, with at least one digit
  /// behind the point.
  mutating func append(_ value: UInt64, digits: Int, keepsPoint: Bool = false) {
    var divisor: UInt64 = 1
    for _ in 0..<digits { divisor *= 10 }
    append(value / divisor)
    var fraction = value % divisor
    if fraction == 0 {
      if keepsPoint { append(".0") }
      return
    }
    bytes.append(0x2E)
    while fraction != 0 {
      divisor /= 10
      bytes.append(0x30 &+ UInt8(truncatingIfNeeded: fraction / divisor))
      fraction %= divisor
    }
  }

  /// A number padded with zeros on the left.
  mutating func append(_ value: Int, width: Int) {
    let text = String(value)
    for _ in 0..<max(0, width - text.utf8.count) { bytes.append(0x30) }
    append(text)
  }

  /// Bytes of unknown origin inside a JSON string, quotes included. What is not UTF-8 becomes U+FFFD.
  mutating func append(jsonString text: UnsafeRawBufferPointer) {
    bytes.append(0x22)
    var index = 0
    while index < text.count {
      let byte = text[index]
      if byte >= 0x80 {
        let length = utf8SequenceLength(text, index)
        if length == 0 {
          append("\u{FFFD}")
          index += 1
        } else if length == 2, byte == 0xC2, text[index + 1] < 0xA0 {
          // The C1 control characters, which some terminals obey.
          append("\\u00")
          appendHexadecimal(text[index + 1])
          index += 2
        } else {
          for offset in 0..<length { bytes.append(text[index + offset]) }
          index += length
        }
        continue
      }
      switch byte {
      case 0x22, 0x5C:
        bytes.append(0x5C)
        bytes.append(byte)
      case 0x0A: append("\\n")
      case 0x0D: append("\\r")
      case 0x09: append("\\t")
      case 0..<0x20, 0x7F:
        append("\\u00")
        appendHexadecimal(byte)
      default: bytes.append(byte)
      }
      index += 1
    }
    bytes.append(0x22)
  }

  mutating func append(jsonString text: String) {
    var text = text
    text.withUTF8 { append(jsonString: UnsafeRawBufferPointer($0)) }
  }

  /// Bytes of unknown origin inside a quoted field of a text log: whatever could end the field or the line, or move a
  /// terminal's cursor, is written as \xHH.
  mutating func append(logText text: UnsafeRawBufferPointer) {
    for byte in text {
      if byte < 0x20 || byte >= 0x7F || byte == 0x22 || byte == 0x5C {
        append("\\x")
        appendHexadecimal(byte)
      } else {
        bytes.append(byte)
      }
    }
  }

  mutating func append(logText text: String) {
    var text = text
    text.withUTF8 { append(logText: UnsafeRawBufferPointer($0)) }
  }

  mutating func appendHexadecimal(_ byte: UInt8) {
    for digit in [byte >> 4, byte & 15] { bytes.append(digit < 10 ? 0x30 &+ digit : 0x57 &+ digit) }
  }

  /// `1.2.3.4:80`, `[::1]:80`.
  mutating func append(_ address: RecordedAddress) {
    if address.high == 0 && address.low >> 32 == 0xFFFF {
      for shift in stride(from: UInt64(24), through: 0, by: -8) {
        append((address.low >> shift) & 255)
        if shift > 0 { bytes.append(0x2E) }
      }
    } else {
      var network = in6_addr()
      withUnsafeMutableBytes(of: &network) {
        $0.storeBytes(of: address.high.bigEndian, as: UInt64.self)
        $0.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
      }
      withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(INET6_ADDRSTRLEN)) { text in
        guard inet_ntop(AF_INET6, &network, text.baseAddress, socklen_t(text.count)) != nil else { return }
        bytes.append(0x5B)
        for byte in text {
          if byte == 0 { break }
          bytes.append(UInt8(bitPattern: byte))
        }
        bytes.append(0x5D)
      }
    }
    bytes.append(0x3A)
    append(UInt64(address.port))
  }
}

/// The length of the well-formed UTF-8 sequence at `index` (RFC 3629), 0 when there is none.
private func utf8SequenceLength(_ text: UnsafeRawBufferPointer, _ index: Int) -> Int {
  let lead = text[index]
  let (length, lowest, highest): (Int, UInt8, UInt8)
  switch lead {
  case 0xC2...0xDF: (length, lowest, highest) = (2, 0x80, 0xBF)
  case 0xE0: (length, lowest, highest) = (3, 0xA0, 0xBF)
  case 0xED: (length, lowest, highest) = (3, 0x80, 0x9F)
  case 0xE1...0xEF: (length, lowest, highest) = (3, 0x80, 0xBF)
  case 0xF0: (length, lowest, highest) = (4, 0x90, 0xBF)
  case 0xF1...0xF3: (length, lowest, highest) = (4, 0x80, 0xBF)
  case 0xF4: (length, lowest, highest) = (4, 0x80, 0x8F)
  default: return 0
  }
  guard index + length <= text.count, (lowest...highest).contains(text[index + 1]) else { return 0 }
  for offset in 2..<max(2, length) where text[index + offset] & 0xC0 != 0x80 { return 0 }
  return length
}

/// A moment in UTC, taken apart.
struct CalendarTime {
  var year: Int
  var month: Int
  var day: Int
  var hour: Int
  var minute: Int
  var second: Int

  /// From seconds since 1970, for the years 1970 to 9999 and beyond. Counts eras of 400 years from a March, so that the leap
  /// day is the last of its year.
  init(secondsSince1970 seconds: UInt64) {
    let (days, ofDay) = Int(min(seconds, 253_402_300_799)).quotientAndRemainder(dividingBy: 86_400)
    (hour, minute, second) = (ofDay / 3600, ofDay / 60 % 60, ofDay % 60)
    let fromMarch0000 = days + 719_468
    let (era, dayOfEra) = fromMarch0000.quotientAndRemainder(dividingBy: 146_097)
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  }
}
