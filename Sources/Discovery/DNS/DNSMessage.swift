// The answer of a name server as it is on the wire (RFC 1035 section 4), read for the little that is asked of it here.
//
//     header (12 bytes): id | flags, rcode | questions | answers | authorities | additionals
//     question:          name | type | class
//     record:            name | type | class | TTL | length | data
//
// Whoever answers may lie: every count and length is checked against the bytes that are there, names are followed backwards
// only (so they end), and a record that makes no sense is passed over. What cannot be read to its end is no answer at all.

import Base

/// The types of records that matter here.
package enum DNSType: UInt16, Sendable {
  case a = 1
  case cname = 5
  case soa = 6
  case aaaa = 28
  case srv = 33
}

/// One record, its names in lower case and without the final dot.
package struct DNSRecord: Equatable {
  package enum Content: Equatable {
    case v4(IPv4Address)
    case v6(IPv6Address)
    case alias(String)
    case service(priority: UInt16, weight: UInt16, port: UInt16, target: String)
  }

  package let name: String
  package let ttlSeconds: UInt32
  package let content: Content
}

/// An answer.
package struct DNSMessage: Equatable {
  var responseCode: UInt8
  package var answers: [DNSRecord] = []
  package var additionals: [DNSRecord] = []
  /// How long it may be believed that a name or its records are not there (RFC 2308 section 5); nil when it is not said.
  var negativeTTLSeconds: UInt32?
  /// Records that made no sense.
  var ignoredCount = 0

  static let noError: UInt8 = 0
  static let nameError: UInt8 = 3

  /// Nil for what is no message.
  package init?(_ bytes: [UInt8]) {
    var reader = Reader(bytes: bytes)
    guard reader.uint16() != nil, let flags = reader.uint16(), let questions = reader.uint16(),
      let answerCount = reader.uint16(), let authorityCount = reader.uint16(), let additionalCount = reader.uint16()
    else { return nil }
    responseCode = UInt8(flags & 0xF)
    for _ in 0..<questions {
      guard reader.skipName(), reader.uint16() != nil, reader.uint16() != nil else { return nil }
    }
    for _ in 0..<answerCount {
      guard let raw = reader.record() else { return nil }
      if let record = Self.record(raw, &reader) { answers.append(record) } else { ignoredCount += 1 }
    }
    for _ in 0..<authorityCount {
      guard let raw = reader.record() else { return nil }
      guard raw.type == DNSType.soa.rawValue, let minimum = reader.lastUInt32(of: raw) else { continue }
      negativeTTLSeconds = min(raw.ttlSeconds, minimum, negativeTTLSeconds ?? .max)
    }
    for _ in 0..<additionalCount {
      // What is added is a courtesy: cut off, it costs nothing else.
      guard let raw = reader.record() else { break }
      if let record = Self.record(raw, &reader) { additionals.append(record) }
    }
  }

  private static func record(_ raw: Reader.RawRecord, _ reader: inout Reader) -> DNSRecord? {
    guard raw.recordClass == 1, let name = raw.name, let type = DNSType(rawValue: raw.type) else { return nil }
    func record(_ content: DNSRecord.Content) -> DNSRecord {
      DNSRecord(name: name, ttlSeconds: raw.ttlSeconds, content: content)
    }
    var data = Reader(bytes: reader.bytes, place: raw.data.lowerBound)
    switch type {
    case .a:
      guard raw.data.count == 4, let value = data.uint32() else { return nil }
      return record(.v4(IPv4Address(value: value)))
    case .aaaa:
      guard raw.data.count == 16, let high = data.uint64(), let low = data.uint64() else { return nil }
      return record(.v6(IPv6Address(high: high, low: low)))
    case .cname:
      guard let target = data.name(), data.place == raw.data.upperBound else { return nil }
      return record(.alias(target))
    case .srv:
      guard let priority = data.uint16(), let weight = data.uint16(), let port = data.uint16(),
        let target = data.name(allowingRoot: true), data.place == raw.data.upperBound
      else { return nil }
      return record(.service(priority: priority, weight: weight, port: port, target: target))
    case .soa: return nil
    }
  }
}

/// Reads numbers and names, in network order, and never past the end.
private struct Reader {
  struct RawRecord {
    /// Nil for a name that no host can have.
    let name: String?
    let type: UInt16
    let recordClass: UInt16
    let ttlSeconds: UInt32
    let data: Range<Int>
  }

  let bytes: [UInt8]
  var place = 0

  mutating func uint16() -> UInt16? {
    guard place <= bytes.count - 2 else { return nil }
    defer { place += 2 }
    return UInt16(bytes[place]) << 8 | UInt16(bytes[place + 1])
  }

  mutating func uint32() -> UInt32? {
    guard let high = uint16(), let low = uint16() else { return nil }
    return UInt32(high) << 16 | UInt32(low)
  }

  mutating func uint64() -> UInt64? {
    guard let high = uint32(), let low = uint32() else { return nil }
    return UInt64(high) << 32 | UInt64(low)
  }

  mutating func record() -> RawRecord? {
    let start = place
    guard skipName() else { return nil }
    var names = Reader(bytes: bytes, place: start)
    guard let type = uint16(), let recordClass = uint16(), let ttl = uint32(), let length = uint16(),
      Int(length) <= bytes.count - place
    else { return nil }
    let data = place..<(place + Int(length))
    place = data.upperBound
    // A time to live with its highest bit set counts as zero (RFC 2181 section 8).
    return RawRecord(
      name: names.name(), type: type, recordClass: recordClass, ttlSeconds: ttl >> 31 == 0 ? ttl : 0, data: data)
  }

  /// The last four bytes of a record's data.
  func lastUInt32(of raw: RawRecord) -> UInt32? {
    guard raw.data.count >= 4 else { return nil }
    var reader = Reader(bytes: bytes, place: raw.data.upperBound - 4)
    return reader.uint32()
  }

  mutating func skipName() -> Bool {
    while place < bytes.count {
      let length = bytes[place]
      switch length >> 6 {
      case 0:
        place += 1 + Int(length)
        if length == 0 { return true }
      case 3:
        place += 2
        return place <= bytes.count
      default: return false
      }
    }
    return false
  }

  /// A name (section 4.1.4) of labels that hosts have; afterwards the place is behind it. Nil for any other, and the place is
  /// anywhere.
  mutating func name(allowingRoot: Bool = false) -> String? {
    var text: [UInt8] = []
    var from = place
    // Each pointer leads to before the place it is read from, so this ends.
    var limit = place
    var jumps = 0
    var isMoved = false
    while from < bytes.count {
      let length = Int(bytes[from])
      switch length >> 6 {
      case 0:
        if length == 0 {
          if !isMoved { place = from + 1 }
          return text.isEmpty && !allowingRoot ? nil : String(decoding: text, as: UTF8.self)
        }
        guard length < bytes.count - from, text.count + length < 255 else { return nil }
        if !text.isEmpty { text.append(UInt8(ascii: ".")) }
        for byte in bytes[(from + 1)...(from + length)] {
          guard let plain = Self.plain(byte) else { return nil }
          text.append(plain)
        }
        from += 1 + length
      case 3:
        guard from + 1 < bytes.count else { return nil }
        let target = (length & 0x3F) << 8 | Int(bytes[from + 1])
        guard target < limit, jumps < Self.maximumJumps else { return nil }
        jumps += 1
        if !isMoved { place = from + 2 }
        isMoved = true
        limit = target
        from = target
      default: return nil
      }
    }
    return nil
  }

  /// As many as a name can have labels: who writes one has no use for more. An answer has room for thousands, in each of whose
  /// names all would be followed.
  private static let maximumJumps = 127

  /// A letter, a digit, `-` or `_`, in lower case.
  private static func plain(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"): byte | 0x20
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "_"):
      byte
    default: nil
    }
  }
}
