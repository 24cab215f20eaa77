// The PROXY protocol: what headers say, cut short at every byte; what is wrong; and what we write ourselves.

import Base
import Capture
import Testing

private func parse(_ bytes: [UInt8]) -> ProxyHeader.Outcome {
  // A copy of exactly these bytes, so that what is read beyond them is found out.
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return ProxyHeader.parse(UnsafeRawBufferPointer(copy))
}

private func parse(_ text: String) -> ProxyHeader.Outcome { parse(Array(text.utf8)) }

private func ends(_ source: String, _ sourcePort: UInt16, _ destination: String, _ destinationPort: UInt16)
  -> ProxiedEnds
{
  func address(_ text: String) -> IPv6Address {
    IPv4Address(text).map { IPv6Address(mapping: $0) } ?? IPv6Address(text) ?? .unspecified
  }
  return ProxiedEnds(
    source: address(source), sourcePort: sourcePort, destination: address(destination), destinationPort: destinationPort
  )
}

private let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

private func binary(_ command: UInt8, _ family: UInt8, _ content: [UInt8], length: Int? = nil) -> [UInt8] {
  let length = length ?? content.count
  return signature + [command, family, UInt8(length >> 8), UInt8(length & 0xFF)] + content
}

private let ipv4: [UInt8] = [10, 0, 0, 1, 192, 0, 2, 7, 0x1F, 0x90, 0x01, 0xBB]
private let ipv6: [UInt8] =
  [0xFD] + [UInt8](repeating: 0, count: 14) + [1] + [0xFD] + [UInt8](repeating: 0, count: 14) + [2] + [1, 0, 2, 0]

@Suite("PROXY protocol headers")
struct ProxyHeaderTests {
  struct Case: Sendable {
    let bytes: [UInt8]
    let ends: ProxiedEnds?

    init(_ text: String, _ ends: ProxiedEnds?) { (bytes, self.ends) = (Array(text.utf8), ends) }
    init(_ bytes: [UInt8], _ ends: ProxiedEnds?) { (self.bytes, self.ends) = (bytes, ends) }
  }

  static let good: [Case] = [
    .init("PROXY TCP4 10.0.0.1 192.0.2.7 8080 443\r\n", ends("10.0.0.1", 8080, "192.0.2.7", 443)),
    .init(
      "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
      ends("255.255.255.255", 65535, "255.255.255.255", 65535)),
    .init("PROXY TCP4 0.0.0.0 1.2.3.4 0 1\r\n", ends("0.0.0.0", 0, "1.2.3.4", 1)),
    .init("PROXY TCP6 fd00::1 fd00::2 256 512\r\n", ends("fd00::1", 256, "fd00::2", 512)),
    .init("PROXY TCP6 ::ffff:10.0.0.1 ::1 1 2\r\n", ends("10.0.0.1", 1, "::1", 2)),
    .init(
      "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
      ends("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)),
    .init("PROXY UNKNOWN\r\n", nil), .init("PROXY UNKNOWN ffff:: what ever 1 2\r\n", nil),
    .init("PROXY UNKNOWN" + String(repeating: "x", count: 0) + String(repeating: " a", count: 46) + "\r\n", nil),
    .init(binary(0x21, 0x11, ipv4), ends("10.0.0.1", 8080, "192.0.2.7", 443)),
    .init(binary(0x21, 0x21, ipv6), ends("fd00::1", 256, "fd00::2", 512)),
    // With TLVs, up to the limit.
    .init(binary(0x21, 0x11, ipv4 + [3, 0, 4, 1, 2, 3, 4]), ends("10.0.0.1", 8080, "192.0.2.7", 443)),
    .init(binary(0x21, 0x11, ipv4 + [UInt8](repeating: 4, count: 508)), ends("10.0.0.1", 8080, "192.0.2.7", 443)),
    // A balancer's own check, and what tells of no TCP connection.
    .init(binary(0x20, 0x00, []), nil), .init(binary(0x20, 0x11, ipv4), nil), .init(binary(0x20, 0x11, []), nil),
    .init(binary(0x21, 0x00, []), nil), .init(binary(0x21, 0x00, [1, 2, 3]), nil), .init(binary(0x21, 0x12, ipv4), nil),
    .init(binary(0x21, 0x22, ipv6), nil), .init(binary(0x21, 0x31, [UInt8](repeating: 47, count: 216)), nil),
    .init(binary(0x21, 0x32, [UInt8](repeating: 47, count: 216)), nil),
  ]

  @Test("what they say, whatever follows, and cut short at every byte", arguments: good.indices)
  func headers(_ number: Int) {
    let (bytes, ends) = (Self.good[number].bytes, Self.good[number].ends)
    let header = ProxyHeader(ends: ends, byteCount: bytes.count)
    #expect(parse(bytes) == .complete(header))
    #expect(parse(bytes + Array("GET / HTTP/1.1\r\n".utf8)) == .complete(header))
    for count in 0..<bytes.count { #expect(parse(Array(bytes[..<count])) == .incomplete, "\(count) bytes") }
  }

  @Test(
    "what is no header is seen with the first byte that differs",
    arguments: [
      "GET / HTTP/1.1\r\n", "PROXZ", "PROXYTCP4", "proxy TCP4", " PROXY", "\r\n\r\nGET", "\r\nG", "\u{16}\u{3}\u{1}",
      "P\0",
    ])
  func absent(_ text: String) { #expect(parse(text) == .absent) }

  @Test(
    "wrong lines",
    arguments: [
      ("PROXY TCP4 10.0.0.1 192.0.2.7 8080 443\rx", .badLine), ("PROXY TCP4 10.0.0.1 192.0.2.7 8080\r\n", .badLine),
      ("PROXY TCP4 10.0.0.1 192.0.2.7 8080 443 \r\n", .badLine),
      ("PROXY TCP4 10.0.0.1 192.0.2.7 8080 443 5\r\n", .badLine),
      ("PROXY TCP4\r\n", .badLine), ("PROXY TCP5 10.0.0.1 192.0.2.7 1 2\r\n", .badProtocol),
      ("PROXY \r\n", .badProtocol),
      ("PROXY  TCP4 10.0.0.1 192.0.2.7 1 2\r\n", .badProtocol), ("PROXY UDP4 10.0.0.1 192.0.2.7 1 2\r\n", .badProtocol),
      ("PROXY tcp4 10.0.0.1 192.0.2.7 1 2\r\n", .badProtocol),
      ("PROXY TCP4  10.0.0.1 192.0.2.7 1\r\n", .badAddress), ("PROXY TCP4 10.0.0.01 192.0.2.7 1 2\r\n", .badAddress),
      ("PROXY TCP4 10.0.0 192.0.2.7 1 2\r\n", .badAddress), ("PROXY TCP4 10.0.0.256 192.0.2.7 1 2\r\n", .badAddress),
      ("PROXY TCP4 fd00::1 192.0.2.7 1 2\r\n", .badAddress), ("PROXY TCP6 10.0.0.1 fd00::1 1 2\r\n", .badAddress),
      ("PROXY TCP6 fd00::1\0 fd00::1 1 2\r\n", .badAddress), ("PROXY TCP6 fd00::1%lo fd00::1 1 2\r\n", .badAddress),
      ("PROXY TCP4 10.0.0.1 192.0.2.7 65536 1\r\n", .badPort), ("PROXY TCP4 10.0.0.1 192.0.2.7 1 01\r\n", .badPort),
      ("PROXY TCP4 10.0.0.1 192.0.2.7 -1 1\r\n", .badPort), ("PROXY TCP4 10.0.0.1 192.0.2.7 1 123456\r\n", .badPort),
      ("PROXY UNKNOWN" + String(repeating: "x", count: 100), .tooLong),
      ("PROXY UNKNOWN " + String(repeating: "x", count: 92) + "\r\n", .tooLong),
    ] as [(String, ProxyHeaderError)])
  func wrongLines(_ text: String, _ error: ProxyHeaderError) { #expect(parse(text) == .refused(error)) }

  @Test("wrong binary headers")
  func wrongBinary() {
    for (bytes, error) in [
      (binary(0x11, 0x11, ipv4), .badVersion), (binary(0x31, 0x11, ipv4), .badVersion),
      (binary(0x22, 0x11, ipv4), .badCommand),
      (binary(0x2F, 0x11, ipv4), .badCommand), (binary(0x21, 0x13, ipv4), .badFamily),
      (binary(0x21, 0x01, ipv4), .badFamily),
      (binary(0x21, 0x41, ipv6), .badFamily), (binary(0x21, 0xFF, ipv6), .badFamily),
      (binary(0x21, 0x11, Array(ipv4.dropLast())), .shortAddresses), (binary(0x21, 0x21, ipv4), .shortAddresses),
      (binary(0x21, 0x31, ipv6), .shortAddresses), (binary(0x21, 0x11, ipv4, length: 0), .shortAddresses),
      (binary(0x21, 0x11, ipv4, length: 521), .tooLong), (binary(0x20, 0x00, [], length: 0xFFFF), .tooLong),
    ] as [([UInt8], ProxyHeaderError)] { #expect(parse(bytes) == .refused(error), "\(bytes)") }
  }

  @Test(
    "what we write is what we would read, and what the specification shows", arguments: ProxyHeader.Version.allCases)
  func writing(_ version: ProxyHeader.Version) {
    for wanted in [
      ends("10.0.0.1", 8080, "192.0.2.7", 443), ends("fd00::1", 1, "fd00::2", 65535), ends("10.0.0.1", 0, "fd00::2", 9),
      nil,
    ] {
      let bytes = ProxyHeader.bytes(version, wanted)
      #expect(parse(bytes) == .complete(ProxyHeader(ends: wanted, byteCount: bytes.count)))
    }
    switch version {
    case .v1:
      #expect(
        String(decoding: ProxyHeader.bytes(.v1, ends("10.0.0.1", 8080, "192.0.2.7", 443)), as: UTF8.self)
          == "PROXY TCP4 10.0.0.1 192.0.2.7 8080 443\r\n")
    case .v2:
      #expect(ProxyHeader.bytes(.v2, ends("10.0.0.1", 8080, "192.0.2.7", 443)) == binary(0x21, 0x11, ipv4))
      #expect(ProxyHeader.bytes(.v2, nil) == binary(0x20, 0, []))
    }
  }
}
