// The PROXY protocol: what a load balancer says of its client in front of all other bytes of a connection, so that it is
// known further on who is calling. Read and written here, as bytes; who may say it is for others to decide.
//
// The specification is HAProxy's doc/proxy-protocol.txt (2020/03/05), versions 1 and 2.

public import Base
import Glibc

/// The two ends of the connection that a header tells of; IPv4 is mapped into IPv6.
public struct ProxiedEnds: Equatable, Sendable {
  public var source: IPv6Address
  public var destination: IPv6Address
  public var sourcePort: UInt16
  public var destinationPort: UInt16

  public init(source: IPv6Address, sourcePort: UInt16, destination: IPv6Address, destinationPort: UInt16) {
    self.source = source
    self.sourcePort = sourcePort
    self.destination = destination
    self.destinationPort = destinationPort
  }

}

/// Why bytes that begin as a header are none.
public enum ProxyHeaderError: Error, CaseIterable, Sendable {
  /// Longer than a header may be: 107 bytes in version 1, 536 in version 2.
  case tooLong
  // Version 1.
  case badLine
  case badProtocol
  case badAddress
  case badPort
  // Version 2.
  case badVersion
  case badCommand
  case badFamily
  case shortAddresses
}

/// A header.
///
///     version 1   "PROXY" SP "TCP4" SP source SP destination SP source-port SP destination-port CRLF       section 2.1
///                 "PROXY" SP "TCP6" …          the same
///                 "PROXY" SP "UNKNOWN" … CRLF  whatever stands there
///     version 2   signature(12) = 0D 0A 0D 0A 00 0D 0A 51 55 49 54 0A                                      section 2.2
///                 version(4 bits) = 2, command(4 bits) = 0 LOCAL, 1 PROXY
///                 family(4 bits), transport(4 bits): 11 TCP over IPv4, 21 TCP over IPv6, 00, 12, 22, 31, 32 others
///                 length(2) of all that follows
///                 source(4 or 16), destination(4 or 16), source port(2), destination port(2), then TLVs
///
/// TLVs are passed over. Headers that tell of no TCP connection (LOCAL, UNKNOWN, UNSPEC, datagrams, Unix sockets) are right, and
/// say that the connection is to be taken for what it is.
public struct ProxyHeader: Equatable, Sendable {
  public enum Outcome: Equatable, Sendable {
    case complete(ProxyHeader)
    /// It may become one with more bytes.
    case incomplete
    /// Something else.
    case absent
    case refused(ProxyHeaderError)
  }

  public enum Version: String, CaseIterable, Hashable, Sendable {
    case v1
    case v2
  }

  /// Nil where the connection is to be taken for what it is.
  public let ends: ProxiedEnds?
  /// What follows belongs to the connection.
  public let byteCount: Int

  public init(ends: ProxiedEnds?, byteCount: Int) {
    self.ends = ends
    self.byteCount = byteCount
  }

  /// Looks at the first bytes of a connection, with all that has come. Allocates nothing.
  public static func parse(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    switch begins(bytes) {
    case nil: .absent
    case .some(.incomplete): .incomplete
    case .some(.version(.v1)): parseLine(bytes)
    case .some(.version(.v2)): parseBinary(bytes)
    }
  }

  /// What the first bytes of a connection begin to be.
  public enum Beginning: Equatable, Sendable {
    /// Too few to tell.
    case incomplete
    case version(Version)
  }

  /// Whether bytes begin as a header does; nil for something else. 12 bytes are always enough.
  public static func begins(_ bytes: UnsafeRawBufferPointer) -> Beginning? {
    for (version, start) in [(Version.v1, word), (.v2, signature)] {
      let wanted = UnsafeRawBufferPointer(start: start.utf8Start, count: start.utf8CodeUnitCount)
      guard zip(bytes, wanted).allSatisfy({ $0 == $1 }) else { continue }
      return bytes.count >= wanted.count ? .version(version) : .incomplete
    }
    return nil
  }

  // MARK: Version 1

  private static func parseLine(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    let line = UnsafeRawBufferPointer(rebasing: bytes.prefix(longestLine))
    guard let end = line.firstIndex(of: UInt8(ascii: "\r")) else {
      return bytes.count >= longestLine ? .refused(.tooLong) : .incomplete
    }
    guard end + 1 < line.count else { return line.count == longestLine ? .refused(.tooLong) : .incomplete }
    guard line[end + 1] == UInt8(ascii: "\n") else { return .refused(.badLine) }
    do throws(ProxyHeaderError) {
      let ends = try ends(ofLine: UnsafeRawBufferPointer(rebasing: line[word.utf8CodeUnitCount..<end]))
      return .complete(ProxyHeader(ends: ends, byteCount: end + 2))
    } catch {
      return .refused(error)
    }
  }

  /// Reads what follows `PROXY `, up to the end of the line.
  private static func ends(ofLine text: UnsafeRawBufferPointer) throws(ProxyHeaderError) -> ProxiedEnds? {
    var rest = text[...]
    let kind = next(&rest)
    if kind.elementsEqual("UNKNOWN".utf8) { return nil }
    let isIPv4 = kind.elementsEqual("TCP4".utf8)
    guard isIPv4 || kind.elementsEqual("TCP6".utf8) else { throw .badProtocol }
    let words = (next(&rest), next(&rest), next(&rest), next(&rest))
    guard rest.isEmpty, !words.3.isEmpty, text.last != UInt8(ascii: " ") else { throw .badLine }
    guard let source = address(words.0, isIPv4: isIPv4), let destination = address(words.1, isIPv4: isIPv4) else {
      throw .badAddress
    }
    guard let sourcePort = port(words.2), let destinationPort = port(words.3) else { throw .badPort }
    return ProxiedEnds(
      source: source, sourcePort: sourcePort, destination: destination, destinationPort: destinationPort)
  }

  /// The bytes up to the next space, which goes with them.
  private static func next(_ rest: inout Slice<UnsafeRawBufferPointer>) -> Slice<UnsafeRawBufferPointer> {
    let end = rest.firstIndex(of: UInt8(ascii: " ")) ?? rest.endIndex
    defer { rest = rest[min(end + 1, rest.endIndex)...] }
    return rest[..<end]
  }

  private static func address(_ text: Slice<UnsafeRawBufferPointer>, isIPv4: Bool) -> IPv6Address? {
    guard (2...45).contains(text.count) else { return nil }
    return withUnsafeTemporaryAllocation(byteCount: 64, alignment: 8) { buffer in
      buffer.copyBytes(from: text)
      buffer[text.count] = 0
      guard let start = buffer.baseAddress else { return nil }
      // What stands behind the first zero byte would not be looked at.
      guard !text.contains(0) else { return nil }
      if isIPv4 {
        var value = in_addr()
        guard inet_pton(AF_INET, start.assumingMemoryBound(to: CChar.self), &value) == 1 else { return nil }
        return IPv6Address(mapping: IPv4Address(value: UInt32(bigEndian: value.s_addr)))
      }
      var value = in6_addr()
      guard inet_pton(AF_INET6, start.assumingMemoryBound(to: CChar.self), &value) == 1 else { return nil }
      return withUnsafeBytes(of: value) { IPv6Address($0, at: 0) }
    }
  }

  /// Without zeros in front, so that none is taken for octal.
  private static func port(_ text: Slice<UnsafeRawBufferPointer>) -> UInt16? {
    guard (1...5).contains(text.count), text.count == 1 || text.first != UInt8(ascii: "0") else { return nil }
    var value: UInt32 = 0
    for byte in text {
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
      value = value * 10 + UInt32(byte - UInt8(ascii: "0"))
    }
    return UInt16(exactly: value)
  }

  // MARK: Version 2

  private static func parseBinary(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    let fixed = signature.utf8CodeUnitCount + 4
    if bytes.count > 12 {
      if bytes[12] >> 4 != 2 { return .refused(.badVersion) }
      if bytes[12] & 0xF > 1 { return .refused(.badCommand) }
    }
    guard bytes.count >= fixed else { return .incomplete }
    let count = fixed + (Int(bytes[14]) << 8 | Int(bytes[15]))
    let isLocal = bytes[12] & 0xF == 0
    let family = bytes[13]
    guard let addressByteCount = addressByteCount(family) else { return .refused(.badFamily) }
    if count > longestBinary { return .refused(.tooLong) }
    if !isLocal, count < fixed + addressByteCount { return .refused(.shortAddresses) }
    guard bytes.count >= count else { return .incomplete }
    let ends: ProxiedEnds? =
      switch family {
      case _ where isLocal: nil
      case 0x11:
        ProxiedEnds(
          source: IPv6Address(mapping: ipv4(bytes, at: fixed)), sourcePort: port(bytes, at: fixed + 8),
          destination: IPv6Address(mapping: ipv4(bytes, at: fixed + 4)), destinationPort: port(bytes, at: fixed + 10))
      case 0x21:
        ProxiedEnds(
          source: IPv6Address(bytes, at: fixed), sourcePort: port(bytes, at: fixed + 32),
          destination: IPv6Address(bytes, at: fixed + 16), destinationPort: port(bytes, at: fixed + 34))
      default: nil
      }
    return .complete(ProxyHeader(ends: ends, byteCount: count))
  }

  /// How many bytes of addresses a family has; nil for one that the specification does not know.
  private static func addressByteCount(_ family: UInt8) -> Int? {
    switch family {
    case 0x00: 0
    case 0x11, 0x12: 12
    case 0x21, 0x22: 36
    case 0x31, 0x32: 216
    default: nil
    }
  }

  private static func ipv4(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> IPv4Address {
    IPv4Address(value: UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
  }

  private static func port(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt16 {
    UInt16(bytes[offset]) << 8 | UInt16(bytes[offset + 1])
  }

  private static let word: StaticString = "PROXY "
  static let signature: StaticString = "\r\n\r\n\0\r\nQUIT\n"
  /// A line with two of the longest IPv6 addresses, its end included.
  private static let longestLine = 107
  private static let longestBinary = 536
  /// The most bytes that a header has.
  public static let maximumByteCount = 536
  /// So many always tell whether a header begins.
  public static let beginningByteCount = 12
}

extension IPv6Address {
  /// 16 bytes in network order; the caller knows that they are there.
  fileprivate init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    self.init(
      high: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)),
      low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self)))
  }
}
