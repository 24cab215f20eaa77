// A hash that every node computes alike, today and in the next version: consistent hashing rests on it, so its values are part
// of what nodes of one mesh agree upon. It is fast and spreads well; against one who looks for collisions it is not meant.

import Base

/// What a hash balancer chooses by: made of a header, a cookie or an address.
@frozen public struct HashKey: Hashable, Sendable {
  public let rawValue: UInt64

  @inlinable init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Nothing to choose by.
  public static var none: HashKey { @inlinable get { HashKey(rawValue: 0) } }

  /// Of bytes as they stand; the same for none at all as for `none`.
  public init(hashing bytes: UnsafeRawBufferPointer) {
    self.init(rawValue: bytes.isEmpty ? 0 : max(StableHash.hash(bytes), 1))
  }

  /// Of an IP address without a port: an IPv6 one in two words, an IPv4 one as it is mapped into IPv6.
  public init(high: UInt64, low: UInt64) {
    self.init(rawValue: max(StableHash.mix(StableHash.mix(high) ^ low), 1))
  }
}

enum StableHash {
  /// SplitMix64's finalizer: every bit of the input changes half of the output's.
  @inline(__always) static func mix(_ value: UInt64) -> UInt64 {
    var z = value &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }

  /// Eight bytes at a time, little-endian whatever the machine.
  static func hash(_ bytes: UnsafeRawBufferPointer) -> UInt64 {
    var state = UInt64(bytes.count) &* 0x9E37_79B9_7F4A_7C15
    var offset = 0
    while bytes.count &- offset >= 8 {
      let word = UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      state = step(state, word)
      offset &+= 8
    }
    var rest: UInt64 = 0
    var shift: UInt64 = 0
    while offset < bytes.count {
      rest |= UInt64(bytes[offset]) << shift
      shift &+= 8
      offset &+= 1
    }
    return mix(step(state, rest))
  }

  /// Of where an endpoint is. An interface's number is this host's own and does not count.
  static func identity(of address: SocketAddress) -> UInt64 {
    switch address {
    case .v4(let ip, let port): identity(0, 0xFFFF << 32 | UInt64(ip.value), port)
    case .v6(let ip, let port, _): identity(ip.high, ip.low, port)
    case .unix(let path): Array(path.utf8).withUnsafeBytes { hash($0) }
    }
  }

  private static func identity(_ high: UInt64, _ low: UInt64, _ port: UInt16) -> UInt64 {
    mix(mix(mix(high) ^ low) ^ UInt64(port))
  }

  @inline(__always) private static func step(_ state: UInt64, _ word: UInt64) -> UInt64 {
    let product = (state ^ word) &* 0xD6E8_FEB8_6659_FD93
    return product ^ (product >> 32)
  }
}
