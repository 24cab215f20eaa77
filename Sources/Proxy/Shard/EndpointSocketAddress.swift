// Addresses as the kernel takes them, and as connections keep them.

import Base
import CFairlead
import Glibc

/// An endpoint's address as the kernel takes it.
struct EndpointSocketAddress {
  var storage = sockaddr_storage()
  var length: socklen_t = 0
  var family: Int32 = 0
  var peer = PeerAddress()

  init(_ address: SocketAddress) {
    address.withSockaddr { pointer, count in
      length = count
      family = Int32(pointer.pointee.sa_family)
      withUnsafeMutableBytes(of: &storage) { target in
        target.copyMemory(from: UnsafeRawBufferPointer(start: pointer, count: min(Int(count), target.count)))
      }
    }
    peer = PeerAddress(storage)
  }

  /// IPv4 where the address is one that was mapped.
  init(_ peer: PeerAddress) {
    self.init(peer.socketAddress ?? .v4(.unspecified, port: 0))
  }

  /// Whether it is an address of this host.
  var isLocal: Bool { withSockaddr { fl_is_local_address($0, length) != 0 } }

  /// Binds a socket to it. False when the kernel refuses.
  func bind(_ descriptor: Int32) -> Bool { withSockaddr { Glibc.bind(descriptor, $0, length) == 0 } }

  private func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>) -> Result) -> Result {
    withUnsafePointer(to: storage) { $0.withMemoryRebound(to: sockaddr.self, capacity: 1, body) }
  }
}

extension PeerAddress {
  /// IPv4 is mapped into IPv6; other families have no address.
  init(_ storage: sockaddr_storage) {
    self.init()
    withUnsafeBytes(of: storage) { bytes in
      switch Int32(storage.ss_family) {
      case AF_INET:
        let v4 = bytes.loadUnaligned(as: sockaddr_in.self)
        low = 0xFFFF_0000_0000 | UInt64(UInt32(bigEndian: v4.sin_addr.s_addr))
        port = UInt16(bigEndian: v4.sin_port)
      case AF_INET6:
        let v6 = bytes.loadUnaligned(as: sockaddr_in6.self)
        withUnsafeBytes(of: v6.sin6_addr) { address in
          high = UInt64(bigEndian: address.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
          low = UInt64(bigEndian: address.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        }
        port = UInt16(bigEndian: v6.sin6_port)
      default:
        break
      }
    }
  }
}
