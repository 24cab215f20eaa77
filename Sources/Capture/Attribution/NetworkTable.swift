// Which of many networks an address is in. The networks are laid out once as ranges that do not overlap, so that a look-up
// is one binary search however deeply they are nested: 11 steps for 1,000 networks.

public import Base

/// Networks and a number for each, immutable. An address gets the number of the longest prefix it has; of one network
/// that is there twice, the first counts.
public struct NetworkTable: Sendable {
  /// Where ranges begin, in ascending order; a range ends where the next begins. IPv4 addresses are mapped.
  private let starts: [UInt128]
  private let values: [UInt16]

  /// - Parameter networks: with numbers over 0; 0 is what an address in none of them gets.
  public init(_ networks: [(network: IPNetwork, value: UInt16)]) {
    var entries: [Entry] = []
    var seen: Set<IPNetwork> = []
    for (network, value) in networks where seen.insert(network).inserted { entries.append(Entry(network, value)) }
    if let all = IPNetwork("0.0.0.0/0"), seen.insert(all).inserted {
      // IPv4 is no part of an IPv6 network, though its addresses stand among the mapped ones here.
      entries.append(Entry(all, 0))
    }
    // Outer networks before those in them.
    entries.sort { $0.first != $1.first ? $0.first < $1.first : $0.last > $1.last }

    var starts: [UInt128] = []
    var values: [UInt16] = []
    func begin(_ start: UInt128, _ value: UInt16) {
      if starts.last == start {
        values[values.count - 1] = value
      } else if values.last != value {
        starts.append(start)
        values.append(value)
      }
    }
    begin(0, 0)
    // The networks that the sweep stands in, the innermost last.
    var open: [Entry] = []
    func close(before limit: UInt128?) {
      while let inner = open.last, limit.map({ inner.last < $0 }) ?? true {
        open.removeLast()
        if inner.last < .max { begin(inner.last + 1, open.last?.value ?? 0) }
      }
    }
    for entry in entries {
      close(before: entry.first)
      begin(entry.first, entry.value)
      open.append(entry)
    }
    close(before: nil)
    self.starts = starts
    self.values = values
  }

  /// The number of the longest network the address is in, or 0. IPv4 addresses are looked for as mapped ones.
  public func value(of address: IPv6Address) -> UInt16 {
    let key = Self.key(address)
    var (low, high) = (0, starts.count)
    // The last start that is not over the key; the first is 0.
    while high - low > 1 {
      let middle = (low + high) / 2
      if starts[middle] <= key { low = middle } else { high = middle }
    }
    return values[low]
  }

  /// An address as a number: the order of numbers is that of addresses.
  static func key(_ address: IPv6Address) -> UInt128 { UInt128(address.high) << 64 | UInt128(address.low) }

  private struct Entry {
    let first: UInt128
    let last: UInt128
    let value: UInt16

    init(_ network: IPNetwork, _ value: UInt16) {
      self.value = value
      let hostBits: Int
      switch network.address {
      case .v4(let address):
        first = NetworkTable.key(IPv6Address(mapping: address))
        hostBits = 32 - network.prefixLength
      case .v6(let address):
        first = NetworkTable.key(address)
        hostBits = 128 - network.prefixLength
      }
      last = first | (hostBits == 128 ? .max : (1 << UInt128(hostBits)) - 1)
    }
  }
}
