// Addresses: what is read, how it is printed, and the kernel's form, checked against the C library's.

import Base
import Glibc
import Testing

@Suite("Socket addresses")
struct SocketAddressTests {
  @Test(
    "an address is read and printed",
    arguments: [
      ("1.2.3.4:80", SocketAddress.v4(IPv4Address(1, 2, 3, 4), port: 80), "1.2.3.4:80"),
      ("0.0.0.0:0", .v4(.unspecified, port: 0), "0.0.0.0:0"),
      ("255.255.255.255:65535", .v4(IPv4Address(value: .max), port: 65535), "255.255.255.255:65535"),
      ("127.0.0.1:00080", .v4(.loopback, port: 80), "127.0.0.1:80"),
      ("[::1]:80", .v6(.loopback, port: 80), "[::1]:80"),
      (":80", .v6(.unspecified, port: 80), "[::]:80"),
      ("[::]:80", .v6(.unspecified, port: 80), "[::]:80"),
      ("[FE80::1%12]:80", .v6(IPv6Address(high: 0xFE80 << 48, low: 1), port: 80, scope: 12), "[fe80::1%12]:80"),
      ("[::ffff:1.2.3.4]:80", .v6(IPv6Address(high: 0, low: 0xFFFF_0102_0304), port: 80), "[::ffff:1.2.3.4]:80"),
      ("unix:/run/a b.sock", .unix(path: "/run/a b.sock"), "unix:/run/a b.sock"),
    ])
  func text(written: String, address: SocketAddress, printed: String) throws {
    #expect(try SocketAddress(parsing: written) == address)
    #expect(address.description == printed)
    #expect(SocketAddress(printed) == address)
  }

  @Test(
    "what is no address is refused with a reason",
    arguments: [
      ("", "write 1.2.3.4:80, [::1]:80, :80 or unix:/path"),
      (":", "the port is missing after ':'"),
      ("1.2.3.4", "the port is missing; write address:port"),
      ("1.2.3.4:", "the port is missing after ':'"),
      ("1.2.3.4:65536", "the port must be a number between 0 and 65535, not '65536'"),
      ("1.2.3.4:-1", "the port must be a number between 0 and 65535, not '-1'"),
      ("1.2.3.4:+1", "the port must be a number between 0 and 65535, not '+1'"),
      ("1.2.3.4:8 0", "the port must be a number between 0 and 65535, not '8 0'"),
      ("1.2.3.4:99999999999999999999", "the port must be a number between 0 and 65535, not '99999999999999999999'"),
      ("1.2.3:80", "'1.2.3' is not an IPv4 address"),
      ("1.2.3.4.5:80", "'1.2.3.4.5' is not an IPv4 address"),
      ("1.2.3.256:80", "'1.2.3.256' is not an IPv4 address"),
      ("01.2.3.4:80", "'01.2.3.4' is not an IPv4 address"),
      ("2130706433:80", "'2130706433' is not an IPv4 address"),
      ("localhost:80", "a host name is no address; write an IP address, such as 127.0.0.1:80"),
      (" 1.2.3.4:80", "write 1.2.3.4:80, [::1]:80, :80 or unix:/path"),
      ("::1:80", "an IPv6 address stands in brackets; write [address]:port"),
      ("::1", "an IPv6 address stands in brackets; write [address]:port"),
      ("[::1]", "the port is missing; write [address]:port"),
      ("[::1]80", "the port is missing; write [address]:port"),
      ("[::1:80", "the closing ']' is missing"),
      ("[]:80", "'' is not an IPv6 address"),
      ("[::1%eth0]:80", "after '%' stands the number of the interface (`ip link` lists it)"),
      ("[::1%]:80", "after '%' stands the number of the interface (`ip link` lists it)"),
      ("unix:", "a Unix socket is written unix:/path, with a full path"),
      ("unix:run/a", "a Unix socket is written unix:/path, with a full path"),
      ("unix:/\0", "the path holds a NUL character"),
      ("unix:/" + String(repeating: "x", count: 107), "the path has 108 bytes; a Unix socket's has at most 107"),
    ])
  func refused(written: String, reason: String) {
    #expect(throws: TextError(reason)) { try SocketAddress(parsing: written) }
    #expect(SocketAddress(written) == nil)
  }

  @Test(
    "IPv6 text that RFC 4291 does not allow is refused",
    arguments: [
      "", ":", ":::", "1", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "1::2::3",
      "1:2:3:4:5:6:7:", ":1:2:3:4:5:6:7", "12345::", "g::", "::1.2.3", "::1.2.3.4.5", "1.2.3.4::", "::1.2.3.4:5",
      "1:2:3:4:5:6:7:1.2.3.4", "::%1", " ::1", "+1::",
    ])
  func refusedIPv6(text: String) {
    #expect(IPv6Address(text) == nil)
    var reference = in6_addr()
    #expect(inet_pton(AF_INET6, text, &reference) == 0)
  }

  @Test("random addresses are read and printed as the C library does")
  func reference() {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    for _ in 0..<2_000 {
      // Groups of zeros are what compression is about: make them common.
      let mask = random.next()
      var address = in6_addr()
      withUnsafeMutableBytes(of: &address) { bytes in
        for index in bytes.indices where mask >> UInt64(index / 2) & 1 == 1 {
          bytes[index] = UInt8(truncatingIfNeeded: random.next())
        }
      }
      var text = [CChar](repeating: 0, count: 64)
      _ = inet_ntop(AF_INET6, &address, &text, socklen_t(text.count))
      let printed = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      // The C library also writes the deprecated ::a.b.c.d of RFC 4291 section 2.5.5.1; RFC 5952 does not ask for it.
      let isDeprecated = printed.contains(".") && !printed.hasPrefix("::ffff:")
      let read = IPv6Address(printed)
      #expect(isDeprecated || read?.description == printed, "seed \(seed)")
      let kernel = withUnsafeBytes(of: address) { bytes in
        IPv6Address(
          high: UInt64(bigEndian: bytes.loadUnaligned(as: UInt64.self)),
          low: UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
      }
      #expect(read == kernel, "seed \(seed): \(printed)")
    }
  }

  @Test("random text is either refused or reads back as itself, and never more lenient than the C library")
  func fuzz() {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    let alphabet = Array("0123456789abcdefABCDEF::::....[[]]%/unix \u{0}\u{FF}".utf8)
    for _ in 0..<20_000 {
      let length = Int(random.next() % 24)
      let bytes = (0..<length).map { _ in alphabet[Int(random.next() % UInt64(alphabet.count))] }
      let text = String(decoding: bytes, as: UTF8.self)
      if let address = SocketAddress(text) { #expect(SocketAddress(address.description) == address, "seed \(seed)") }
      var reference = in6_addr()
      if !bytes.contains(0) {
        #expect((IPv6Address(text) != nil) == (inet_pton(AF_INET6, text, &reference) == 1), "seed \(seed): \(text)")
      }
    }
  }

  @Test(
    "the kernel's form and back is the same address",
    arguments: [
      SocketAddress.v4(IPv4Address(1, 2, 3, 4), port: 0x1234), .v4(.unspecified, port: 0),
      .v6(IPv6Address(high: 0x2001_0DB8_0102_0304, low: 0x0506_0708_090A_0B0C), port: 443, scope: 7),
      .unix(path: "/run/fairlead/admin.sock"), .unix(path: "/" + String(repeating: "x", count: 106)), .unix(path: ""),
    ])
  func kernelForm(address: SocketAddress) {
    let again = address.withSockaddr { pointer, length in
      SocketAddress(kernelForm: UnsafeRawBufferPointer(start: pointer, count: Int(length)), length: length)
    }
    #expect(again == address)
    address.withSockaddr { pointer, length in
      var storage = sockaddr_storage()
      memcpy(&storage, pointer, Int(length))
      #expect(SocketAddress(storage, length: length) == address)
      #expect(SocketAddress(storage, length: 1) == nil)
      if case .v4 = address { #expect(SocketAddress(storage, length: length - 1) == nil) }
    }
  }

  @Test("a socket that listens on an address answers with that address", arguments: ["127.0.0.1:0", "[::1]:0"])
  func realSocket(text: String) throws {
    let address = try SocketAddress(parsing: text)
    let family = address.withSockaddr { pointer, _ in Int32(pointer.pointee.sa_family) }
    let descriptor = socket(family, Int32(SOCK_STREAM.rawValue), 0)
    try #require(descriptor >= 0)
    defer { close(descriptor) }
    try #require(address.withSockaddr { bind(descriptor, $0, $1) } == 0)
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let result = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    try #require(result == 0)
    let bound = try #require(SocketAddress(storage, length: length))
    #expect(bound.port != 0 && bound.withPort(0) == address)
  }

  @Test("loopback and unspecified addresses are told from others")
  func kinds() throws {
    for text in ["127.0.0.1:1", "127.255.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/a"] {
      #expect(try SocketAddress(parsing: text).isLocal)
    }
    for text in ["128.0.0.1:1", "[::2]:1", "[::ffff:1.0.0.127]:1", ":1"] {
      #expect(try !SocketAddress(parsing: text).isLocal)
    }
    #expect(try SocketAddress(parsing: ":1").isUnspecified && SocketAddress(parsing: "0.0.0.0:1").isUnspecified)
    #expect(try !SocketAddress(parsing: "[::1]:1").isUnspecified && !SocketAddress(parsing: "unix:/a").isUnspecified)
  }
}
