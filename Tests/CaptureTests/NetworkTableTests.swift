// The longest of many prefixes, checked against looking at each of them.

import Base
import Capture
import Testing

@Suite("Networks to workloads")
struct NetworkTableTests {
  private func table(_ networks: [(String, UInt16)]) throws -> NetworkTable {
    NetworkTable(try networks.map { (try IPNetwork(parsing: $0.0), $0.1) })
  }

  private func mapped(_ text: String) throws -> IPv6Address {
    switch try #require(IPAddress(text)) {
    case .v4(let address): IPv6Address(mapping: address)
    case .v6(let address): address
    }
  }

  @Test(
    "the longest prefix wins, wherever it stands in the configuration",
    arguments: [
      ("10.0.0.0", 1), ("10.255.255.255", 1), ("10.1.0.0", 2), ("10.1.255.255", 2), ("10.1.2.3", 3), ("10.1.2.4", 2),
      ("9.255.255.255", 0), ("11.0.0.0", 0), ("255.255.255.255", 4), ("255.255.255.254", 0), ("0.0.0.0", 0),
      ("2001:db8::1", 5), ("2001:db8:1::1", 6), ("2001:db8:2::", 5), ("2001:db9::", 0), ("::1", 7), ("::2", 0),
      ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8), ("ffff::", 0), ("::", 0),
    ])
  func nested(address: String, value: UInt16) throws {
    let networks: [(String, UInt16)] = [
      ("10.1.2.3", 3), ("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("255.255.255.255", 4), ("2001:db8:1::/48", 6),
      ("2001:db8::/32", 5), ("::1", 7), ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8),
    ]
    #expect(try table(networks).value(of: mapped(address)) == value)
    #expect(try table(networks.reversed()).value(of: mapped(address)) == value)
  }

  @Test("of one network that is there twice, the first counts")
  func order() throws {
    let table = try table([("10.0.0.0/8", 2), ("10.0.0.0/8", 1)])
    #expect(try table.value(of: mapped("10.9.9.9")) == 2)
  }

  @Test("everything is one network of each family, and IPv4 is not in the IPv6 one")
  func everything() throws {
    let six = try table([("::/0", 1)])
    #expect(try six.value(of: mapped("::")) == 1 && six.value(of: mapped("ffff::")) == 1)
    #expect(try six.value(of: mapped("0.0.0.0")) == 0 && six.value(of: mapped("255.255.255.255")) == 0)
    let four = try table([("0.0.0.0/0", 1)])
    #expect(try four.value(of: mapped("::ffff:1.2.3.4")) == 1 && four.value(of: mapped("::1")) == 0)
    #expect(try four.value(of: mapped("0.0.0.0")) == 1 && four.value(of: mapped("::1:0:0:0")) == 0)
    let both = try table([("::/0", 1), ("0.0.0.0/0", 2), ("10.0.0.0/8", 3)])
    #expect(try both.value(of: mapped("9.0.0.1")) == 2 && both.value(of: mapped("10.0.0.1")) == 3)
    #expect(try both.value(of: mapped("::1")) == 1 && NetworkTable([]).value(of: mapped("::1")) == 0)
  }

  @Test("1,000 random networks give for any address what looking at each of them gives")
  func random() throws {
    let seed = UInt64.random(in: .min ... .max)
    print("NetworkTableTests.random seed \(seed)")
    var random = RandomSource(seed: seed)
    // Few different bits, so that networks nest and addresses hit them.
    func word() -> UInt64 { random.next() & 0x8001_8001_8001_8001 }
    func address() -> IPAddress {
      random.next() % 2 == 0
        ? .v4(IPv4Address(value: UInt32(truncatingIfNeeded: word() >> 16)))
        : .v6(IPv6Address(high: word(), low: word()))
    }
    var networks: [(IPNetwork, UInt16)] = []
    for number in 1...UInt16(1_000) {
      networks.append((IPNetwork(containing: address(), prefixLength: Int(random.next() % 129)), number))
    }
    let table = NetworkTable(networks)
    for _ in 0..<5_000 {
      let wanted = address()
      var best: (length: Int, value: UInt16) = (-1, 0)
      for (network, value) in networks where network.contains(wanted) && network.prefixLength > best.length {
        best = (network.prefixLength, value)
      }
      let key: IPv6Address =
        switch wanted {
        case .v4(let address): IPv6Address(mapping: address)
        case .v6(let address): address
        }
      #expect(table.value(of: key) == best.value, "seed \(seed): \(wanted)")
    }
  }
}

@Suite("Numbers to workloads")
struct NumberTableTests {
  @Test("what was put in is found, and nothing else")
  func found() {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    var entries: [UInt64: UInt16] = [0: 7, 1: 0, .max - 1: 9]
    for number in 0..<UInt16(3_000) { entries[random.next() >> (random.next() % 60)] = number }
    entries[.max] = nil
    let table = NumberTable(entries)
    for (key, value) in entries { #expect(table.value(of: key) == value, "seed \(seed)") }
    for _ in 0..<3_000 {
      let key = random.next() >> (random.next() % 60)
      #expect(table.value(of: key) == entries[key], "seed \(seed)")
    }
  }

  @Test("an empty table, and the key that has no place")
  func edges() {
    #expect(NumberTable().value(of: 0) == nil && NumberTable([.max: 1]).value(of: .max) == nil)
    #expect(NumberTable([5: 1, 6: 2]) == NumberTable([6: 2, 5: 1]) && NumberTable([5: 1]) != NumberTable([5: 2]))
  }
}
