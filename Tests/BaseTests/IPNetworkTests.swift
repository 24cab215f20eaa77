// Networks and port ranges: what is read, how it is printed, what is in them.

import Base
import Testing

@Suite("Networks and ports")
struct IPNetworkTests {
  @Test(
    "a network is read and printed",
    arguments: [
      ("10.0.0.0/8", "10.0.0.0/8", 8), ("0.0.0.0/0", "0.0.0.0/0", 0), ("10.1.0.5", "10.1.0.5", 32),
      ("10.1.0.5/32", "10.1.0.5", 32), ("128.0.0.0/1", "128.0.0.0/1", 1), ("::/0", "::/0", 0),
      ("::1/128", "::1", 128), ("::1", "::1", 128), ("2001:DB8::/32", "2001:db8::/32", 32),
      ("2001:db8:0:1::/64", "2001:db8:0:1::/64", 64), ("2001:db8::8000:0:0:0/65", "2001:db8:0:0:8000::/65", 65),
      ("8000::/1", "8000::/1", 1), ("::/96", "::/96", 96), ("::fffe:0:0/95", "::fffe:0:0/95", 95),
    ])
  func text(written: String, printed: String, length: Int) throws {
    let network = try IPNetwork(parsing: written)
    #expect(network.description == printed && network.prefixLength == length)
    #expect(IPNetwork(printed) == network && IPNetwork(network.cidr) == network)
    #expect(network.isSingleAddress == !printed.contains("/"))
  }

  @Test(
    "what is no network is refused with a reason",
    arguments: [
      ("", "write 10.0.0.0/8, 2001:db8::/32 or one address"),
      ("web", "write 10.0.0.0/8, 2001:db8::/32 or one address"),
      ("/8", "write 10.0.0.0/8, 2001:db8::/32 or one address"),
      ("10/8", "'10' is not an IP address; write 10.0.0.0/8, 2001:db8::/32 or one address"),
      ("10.0.0.0/", "after '/' stands a number of bits between 0 and 32, not ''"),
      ("10.0.0.0/33", "after '/' stands a number of bits between 0 and 32, not '33'"),
      ("10.0.0.0/08", "after '/' stands a number of bits between 0 and 32, not '08'"),
      ("10.0.0.0/-1", "after '/' stands a number of bits between 0 and 32, not '-1'"),
      ("10.0.0.0/255.0.0.0", "after '/' stands a number of bits between 0 and 32, not '255.0.0.0'"),
      ("::/129", "after '/' stands a number of bits between 0 and 128, not '129'"),
      ("::/99999999999999999999", "after '/' stands a number of bits between 0 and 128, not '99999999999999999999'"),
      ("10.0.0.1/8", "10.0.0.1 has bits set behind the first 8; did you mean 10.0.0.0/8?"),
      ("10.0.0.1/0", "10.0.0.1 has bits set behind the first 0; did you mean 0.0.0.0/0?"),
      ("2001:db8::1/64", "2001:db8::1 has bits set behind the first 64; did you mean 2001:db8::/64?"),
      ("2001:db8::1/16", "2001:db8::1 has bits set behind the first 16; did you mean 2001::/16?"),
      ("::ffff:10.0.0.0/104", "IPv4 addresses are written without ::ffff:; did you mean 10.0.0.0/8?"),
      ("::ffff:10.0.0.1", "IPv4 addresses are written without ::ffff:; did you mean 10.0.0.1?"),
      ("fe80::1%2/64", "'fe80::1%2' is not an IP address; write 10.0.0.0/8, 2001:db8::/32 or one address"),
    ])
  func refused(written: String, reason: String) {
    #expect(throws: TextError(reason)) { try IPNetwork(parsing: written) }
    #expect(IPNetwork(written) == nil)
  }

  @Test(
    "an address is in its network up to the last one, and the next is not",
    arguments: [
      ("10.0.0.0/8", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
      ("192.168.1.128/25", "192.168.1.128", "192.168.1.255", "192.168.1.127"),
      ("10.1.0.5", "10.1.0.5", "10.1.0.5", "10.1.0.6"),
      ("0.0.0.0/0", "0.0.0.0", "255.255.255.255", "::1"),
      ("2001:db8::/32", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
      ("2001:db8::/64", "2001:db8::", "2001:db8::ffff:ffff:ffff:ffff", "2001:db8:0:1::"),
      ("2001:db8::/65", "2001:db8::", "2001:db8::7fff:ffff:ffff:ffff", "2001:db8::8000:0:0:0"),
      ("::1", "::1", "::1", "::2"),
      ("::/0", "::", "ffff::", "::ffff:1.2.3.4"),
      ("10.0.0.0/8", "::ffff:10.1.2.3", "::ffff:10.255.255.255", "::ffff:11.0.0.0"),
    ])
  func membership(network: String, first: String, last: String, outside: String) throws {
    let network = try IPNetwork(parsing: network)
    #expect(try network.contains(#require(IPAddress(first))) && network.contains(#require(IPAddress(last))))
    #expect(try !network.contains(#require(IPAddress(outside))))
  }

  @Test("every prefix of a random address contains it, and none with that prefix's last bit turned")
  func prefixes() throws {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    for _ in 0..<200 {
      let v4 = IPv4Address(value: UInt32(truncatingIfNeeded: random.next()))
      for length in 1...32 {
        let turned = IPv4Address(value: v4.value ^ UInt32(1) << UInt32(32 - length))
        let network = IPNetwork(containing: .v4(v4), prefixLength: length)
        #expect(network.contains(.v4(v4)) && !network.contains(.v4(turned)), "seed \(seed): \(network)")
        #expect(IPNetwork(network.description) == network, "seed \(seed): \(network)")
      }
      let v6 = IPv6Address(high: random.next() | 1 << 63, low: random.next())
      for length in 1...128 {
        let turned =
          length <= 64
          ? IPv6Address(high: v6.high ^ UInt64(1) << UInt64(64 - length), low: v6.low)
          : IPv6Address(high: v6.high, low: v6.low ^ UInt64(1) << UInt64(128 - length))
        let network = IPNetwork(containing: .v6(v6), prefixLength: length)
        #expect(network.contains(.v6(v6)) && !network.contains(.v6(turned)), "seed \(seed): \(network)")
        #expect(IPNetwork(network.description) == network, "seed \(seed): \(network)")
      }
    }
  }

  @Test("networks overlap when one is in the other")
  func overlaps() throws {
    let wide = try IPNetwork(parsing: "10.0.0.0/8")
    let narrow = try IPNetwork(parsing: "10.1.0.0/16")
    #expect(wide.overlaps(narrow) && narrow.overlaps(wide) && wide.overlaps(wide))
    #expect(try !narrow.overlaps(IPNetwork(parsing: "10.2.0.0/16")) && !wide.overlaps(IPNetwork(parsing: "::/0")))
  }

  @Test("a length out of range is the nearest one in it")
  func clamped() throws {
    let address = try #require(IPAddress("10.0.0.1"))
    #expect(IPNetwork(containing: address, prefixLength: 99) == IPNetwork(address))
    #expect(IPNetwork(containing: address, prefixLength: -1).description == "0.0.0.0/0")
    #expect(try IPNetwork(#require(IPAddress("::ffff:10.0.0.1"))) == IPNetwork(address))
    #expect(try #require(IPAddress("::ffff:127.0.0.1")).isLoopback && !address.isLoopback)
  }

  @Test(
    "a port or a range of ports is read and printed",
    arguments: [
      ("80", UInt16(80), UInt16(80), "80"), ("9000-9100", 9000, 9100, "9000-9100"), ("1-65535", 1, 65535, "1-65535"),
      ("00080", 80, 80, "80"), ("443-443", 443, 443, "443"),
    ])
  func ports(written: String, lower: UInt16, upper: UInt16, printed: String) throws {
    let range = try PortRange(parsing: written)
    #expect(range.lower == lower && range.upper == upper && range.description == printed)
    #expect(range.contains(lower) && range.contains(upper) && !range.contains(lower - 1))
    #expect(!range.contains(upper &+ 1) && range.count == Int(upper - lower) + 1)
  }

  @Test(
    "what is no port or range is refused with a reason",
    arguments: [
      ("", "write a port, such as 80, or a range, such as 9000-9100"),
      ("9000:9100", "write a port, such as 80, or a range, such as 9000-9100"),
      ("-80", "write a port, such as 80, or a range, such as 9000-9100"),
      ("0", "a port is a number between 1 and 65535, not '0'"),
      ("65536", "a port is a number between 1 and 65535, not '65536'"),
      ("80-", "a port is a number between 1 and 65535, not ''"),
      ("80-0", "a port is a number between 1 and 65535, not '0'"),
      ("http", "a port is a number between 1 and 65535, not 'http'"),
      ("80-90-100", "a port is a number between 1 and 65535, not '90-100'"),
      ("9100-9000", "the range ends before it begins; did you mean 9000-9100?"),
    ])
  func wrongPorts(written: String, reason: String) {
    #expect(throws: TextError(reason)) { try PortRange(parsing: written) }
    #expect(PortRange(written) == nil)
  }

  @Test("ranges of ports overlap when they share one")
  func portOverlaps() throws {
    let range = try #require(PortRange(from: 80, through: 90))
    #expect(try range.overlaps(#require(PortRange(90))) && range.overlaps(#require(PortRange(from: 1, through: 80))))
    #expect(try !range.overlaps(#require(PortRange(91))) && PortRange(0) == nil)
    #expect(PortRange(from: 2, through: 1) == nil)
  }
}
