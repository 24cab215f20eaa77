// Sets of addresses as networks (10.0.0.0/8) and sets of ports as ranges (9000-9100), as configurations and rule sets
// write them. Tables that look many networks up at once are not here: they belong to who asks.

/// An IP address of either family.
public enum IPAddress: Hashable, Sendable {
  case v4(IPv4Address)
  case v6(IPv6Address)

  /// The same address with an IPv4-mapped one (::ffff:a.b.c.d) as IPv4: sockets that take both families show IPv4
  /// peers so.
  @inlinable public var unmapped: IPAddress {
    if case .v6(let address) = self, let mapped = address.mappedIPv4 { return .v4(mapped) }
    return self
  }

  /// Reaches only the host itself; IPv4-mapped addresses count as IPv4.
  public var isLoopback: Bool {
    switch unmapped {
    case .v4(let address): address.isLoopback
    case .v6(let address): address.isLoopback
    }
  }
}

extension IPAddress: LosslessStringConvertible {
  public init?(_ text: String) {
    if let address = IPv4Address(text) {
      self = .v4(address)
    } else if let address = IPv6Address(text) {
      self = .v6(address)
    } else {
      return nil
    }
  }

  public var description: String {
    switch self {
    case .v4(let address): address.description
    case .v6(let address): address.description
    }
  }
}

// MARK: Networks

/// The addresses that begin with the same bits (RFC 4632, RFC 4291 section 2.3). No bit of `address` is set behind the
/// first `prefixLength`, so that equal networks are equal values.
public struct IPNetwork: Hashable, Sendable {
  /// The first address of the network.
  public let address: IPAddress
  /// At most 32 for IPv4 and 128 for IPv6.
  public let prefixLength: Int

  /// The network of one address; an IPv4-mapped one is an IPv4 network.
  public init(_ address: IPAddress) {
    self.address = address.unmapped
    prefixLength = Self.width(of: self.address)
  }

  /// The network that `address` is in; a length out of range is the nearest one in it.
  public init(containing address: IPAddress, prefixLength: Int) {
    let length = min(max(0, prefixLength), Self.width(of: address))
    self.prefixLength = length
    switch address {
    case .v4(let address):
      self.address = .v4(IPv4Address(value: address.value & Self.mask(length)))
    case .v6(let address):
      self.address = .v6(
        IPv6Address(high: address.high & Self.mask(length), low: address.low & Self.mask(length - 64)))
    }
  }

  /// An IPv4-mapped address is in the IPv4 networks, and in no IPv6 one.
  public func contains(_ address: IPAddress) -> Bool {
    switch (self.address, address.unmapped) {
    case (.v4(let network), .v4(let address)):
      address.value & Self.mask(prefixLength) == network.value
    case (.v6(let network), .v6(let address)):
      address.high & Self.mask(prefixLength) == network.high
        && address.low & Self.mask(prefixLength - 64) == network.low
    case (.v4, .v6), (.v6, .v4):
      false
    }
  }

  /// Is there an address in both?
  public func overlaps(_ other: IPNetwork) -> Bool {
    prefixLength <= other.prefixLength ? contains(other.address) : other.contains(address)
  }

  /// One address only?
  public var isSingleAddress: Bool { prefixLength == Self.width(of: address) }

  public var isIPv4: Bool {
    if case .v4 = address { true } else { false }
  }

  private static func width(of address: IPAddress) -> Int {
    switch address {
    case .v4: 32
    case .v6: 128
    }
  }

  /// A word with its first `length` bits set; lengths below zero and over the width count as these.
  private static func mask<Word: FixedWidthInteger & UnsignedInteger>(_ length: Int) -> Word {
    // Swift's shift of a whole width or more gives zero, unlike the processor's.
    length <= 0 ? 0 : Word.max << (Word.bitWidth - min(length, Word.bitWidth))
  }
}

extension IPNetwork: LosslessStringConvertible {
  /// Reads `10.0.0.0/8`, `2001:db8::/32`, or an address alone, which is a network of one.
  ///
  /// An address inside a network (`10.0.0.1/8`) is refused: either the length or the address is a mistake, and only who
  /// wrote it knows which. So is an IPv4-mapped IPv6 network, which would say the same as an IPv4 one.
  public init(parsing text: some StringProtocol) throws(TextError) {
    let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let written = String(parts.first ?? "")
    guard let address = IPAddress(written) else {
      throw TextError(
        written.isEmpty || parts.count == 1
          ? Self.howToWrite : "'\(written)' is not an IP address; \(Self.howToWrite)")
    }
    let width = Self.width(of: address)
    var length = width
    if parts.count == 2 {
      guard parts[1].utf8.first != 0x30 || parts[1].utf8.count == 1,
        let number = Array(parts[1].utf8).decimalValue(upTo: UInt64(width))
      else { throw TextError("after '/' stands a number of bits between 0 and \(width), not '\(parts[1])'") }
      length = Int(number)
    }
    self.init(containing: address, prefixLength: length)
    guard self.address == address else {
      throw TextError("\(address) has bits set behind the first \(length); did you mean \(self)?")
    }
    if case .v6(let mapped) = address, let inner = mapped.mappedIPv4, length >= 96 {
      let plain = IPNetwork(containing: .v4(inner), prefixLength: length - 96)
      throw TextError("IPv4 addresses are written without ::ffff:; did you mean \(plain)?")
    }
  }

  public init?(_ description: String) {
    guard let network = try? IPNetwork(parsing: description) else { return nil }
    self = network
  }

  /// With its length, except for a single address.
  public var description: String { isSingleAddress ? address.description : cidr }

  /// Always with its length, as the kernel's tools print it: `10.0.0.1/32`.
  public var cidr: String { "\(address)/\(prefixLength)" }

  private static let howToWrite = "write 10.0.0.0/8, 2001:db8::/32 or one address"
}
