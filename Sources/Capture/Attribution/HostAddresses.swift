// The addresses of this host: a connection from one of them may be from a process of the host itself, and only then is the
// kernel asked whose it is.

public import Base
import Glibc

/// The addresses of all interfaces at one moment, immutable.
public struct HostAddresses: Sendable, Equatable {
  /// Ascending; IPv4 addresses are mapped.
  private let keys: [UInt128]

  public init(_ addresses: some Sequence<IPv6Address>) {
    keys = Set(addresses.map(NetworkTable.key)).sorted()
  }

  /// Those that the kernel lists now; only loopback when it does not. For the control thread.
  public static func current() -> HostAddresses {
    var list: UnsafeMutablePointer<ifaddrs>?
    guard getifaddrs(&list) == 0 else { return HostAddresses([]) }
    defer { freeifaddrs(list) }
    var addresses: [IPv6Address] = []
    var next = list
    while let entry = next, addresses.count < mostAddresses {
      next = entry.pointee.ifa_next
      guard let pointer = entry.pointee.ifa_addr else { continue }
      let size = Int32(pointer.pointee.sa_family) == AF_INET6 ? MemoryLayout<sockaddr_in6>.size : 16
      let bytes = UnsafeRawBufferPointer(start: pointer, count: size)
      switch SocketAddress(kernelForm: bytes, length: socklen_t(size)) {
      case .v4(let address, _): addresses.append(IPv6Address(mapping: address))
      case .v6(let address, _, _): addresses.append(address)
      case .unix, nil: continue
      }
    }
    return HostAddresses(addresses)
  }

  /// Is it an address of this host? Loopback always is.
  public func contains(_ address: IPv6Address) -> Bool {
    if IPAddress.v6(address).isLoopback { return true }
    let key = NetworkTable.key(address)
    var (low, high) = (0, keys.count)
    while low < high {
      let middle = (low + high) / 2
      if keys[middle] < key { low = middle + 1 } else { high = middle }
    }
    return low < keys.count && keys[low] == key
  }

  private static let mostAddresses = 65_536
}
