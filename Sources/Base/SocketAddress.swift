// Where a socket listens or connects to: an IP address with a port, or a path on this host.
//
// Host names are no addresses: turning a name into addresses is discovery's work.

import Glibc

/// The address of a socket. `init(parsing:)` and `description` are each other's inverse.
public enum SocketAddress: Hashable, Sendable {
  case v4(IPv4Address, port: UInt16)
  /// `scope` is the index of the interface a link-local address belongs to, otherwise 0.
  case v6(IPv6Address, port: UInt16, scope: UInt32 = 0)
  /// A path in the file system; empty for a socket without a name, such as most clients of a Unix socket.
  case unix(path: String)

  /// The greatest length of a path in bytes: `sun_path` less its ending NUL.
  public static let longestPath = 107

  /// Nil for a Unix socket.
  public var port: UInt16? {
    switch self {
    case .v4(_, let port), .v6(_, let port, _): port
    case .unix: nil
    }
  }

  /// The same address with another port; a Unix socket has none and stays as it is.
  public func withPort(_ port: UInt16) -> SocketAddress {
    switch self {
    case .v4(let address, _): .v4(address, port: port)
    case .v6(let address, _, let scope): .v6(address, port: port, scope: scope)
    case .unix: self
    }
  }

  /// 0.0.0.0 or ::, which a listener takes for "every address" and nobody can connect to.
  public var isUnspecified: Bool {
    switch self {
    case .v4(let address, _): address == .unspecified
    case .v6(let address, _, _): address == .unspecified
    case .unix: false
    }
  }

  /// Can only this host reach it?
  public var isLocal: Bool {
    switch self {
    case .v4(let address, _): address.isLoopback
    case .v6(let address, _, _): address.isLoopback || address.mappedIPv4?.isLoopback == true
    case .unix: true
    }
  }
}

// MARK: Text

extension SocketAddress: LosslessStringConvertible {
  /// Reads `1.2.3.4:80`, `[::1]:80`, `[fe80::1%2]:80`, `unix:/path`, and `:80`, which is `[::]:80`: a listener there
  /// takes both families.
  public init(parsing text: some StringProtocol) throws(TextError) {
    let characters = Array(text.utf8)
    if characters.starts(with: "unix:".utf8) {
      self = try .unix(path: Self.path(characters.dropFirst(5)))
    } else if characters.first == 0x5B {
      self = try Self.bracketed(characters)
    } else {
      self = try Self.plain(characters)
    }
  }

  public init?(_ description: String) {
    guard let address = try? SocketAddress(parsing: description) else { return nil }
    self = address
  }

  public var description: String {
    switch self {
    case .v4(let address, let port): "\(address):\(port)"
    case .v6(let address, let port, 0): "[\(address)]:\(port)"
    case .v6(let address, let port, let scope): "[\(address)%\(scope)]:\(port)"
    case .unix(let path): "unix:\(path)"
    }
  }

  private static func path(_ characters: ArraySlice<UInt8>) throws(TextError) -> String {
    guard characters.first == 0x2F else { throw TextError("a Unix socket is written unix:/path, with a full path") }
    guard characters.count <= longestPath else {
      throw TextError("the path has \(characters.count) bytes; a Unix socket's has at most \(longestPath)")
    }
    guard !characters.contains(0) else { throw TextError("the path holds a NUL character") }
    return String(decoding: characters, as: UTF8.self)
  }

  private static func bracketed(_ characters: [UInt8]) throws(TextError) -> SocketAddress {
    guard let end = characters.firstIndex(of: 0x5D) else { throw TextError("the closing ']' is missing") }
    let parts = characters[1..<end].split(separator: 0x25, maxSplits: 1, omittingEmptySubsequences: false)
    guard let first = parts.first, let address = IPv6Address(first) else {
      throw TextError("'\(String(decoding: characters[1..<end], as: UTF8.self))' is not an IPv6 address")
    }
    var scope: UInt32 = 0
    if parts.count == 2 {
      guard let number = parts[1].decimalValue(upTo: UInt64(UInt32.max)), number > 0 else {
        throw TextError("after '%' stands the number of the interface (`ip link` lists it)")
      }
      scope = UInt32(number)
    }
    let rest = characters[(end + 1)...]
    guard rest.first == 0x3A else { throw TextError("the port is missing; write [address]:port") }
    return try .v6(address, port: number(rest.dropFirst()), scope: scope)
  }

  private static func plain(_ characters: [UInt8]) throws(TextError) -> SocketAddress {
    guard let colon = characters.lastIndex(of: 0x3A) else {
      let isAddress = IPv4Address(characters[...]) != nil
      throw TextError(isAddress ? "the port is missing; write address:port" : howToWrite)
    }
    let host = characters[..<colon]
    if host.contains(0x3A) {
      let isAddress = IPv6Address(host) != nil || IPv6Address(characters[...]) != nil
      throw TextError(isAddress ? "an IPv6 address stands in brackets; write [address]:port" : howToWrite)
    }
    if host.isEmpty { return try .v6(.unspecified, port: number(characters[(colon + 1)...])) }
    guard let address = IPv4Address(host) else {
      if host.allSatisfy({ ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2E }) {
        throw TextError("'\(String(decoding: host, as: UTF8.self))' is not an IPv4 address")
      }
      if host.allSatisfy(Self.isHostNameByte) {
        throw TextError("a host name is no address; write an IP address, such as 127.0.0.1:80")
      }
      throw TextError(howToWrite)
    }
    return try .v4(address, port: number(characters[(colon + 1)...]))
  }

  private static func number(_ digits: ArraySlice<UInt8>) throws(TextError) -> UInt16 {
    guard let port = digits.decimalValue(upTo: 65535) else {
      if digits.isEmpty { throw TextError("the port is missing after ':'") }
      throw TextError("the port must be a number between 0 and 65535, not '\(String(decoding: digits, as: UTF8.self))'")
    }
    return UInt16(port)
  }

  private static func isHostNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
    default: false
    }
  }

  private static let howToWrite = "write 1.2.3.4:80, [::1]:80, :80 or unix:/path"
}

// MARK: The kernel's form

extension SocketAddress {
  /// Calls `body` with the address as the kernel takes it. The pointer is good until `body` returns; a path longer
  /// than `longestPath` is cut there (parsing refuses it).
  public func withSockaddr<R, E: Error>(
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(E) -> R
  ) throws(E) -> R {
    switch self {
    case .v4(let address, let port):
      var kernel = sockaddr_in()
      kernel.sin_family = sa_family_t(AF_INET)
      kernel.sin_port = port.bigEndian
      kernel.sin_addr.s_addr = address.value.bigEndian
      return try Self.withKernelForm(&kernel, MemoryLayout<sockaddr_in>.size, body)
    case .v6(let address, let port, let scope):
      var kernel = sockaddr_in6()
      kernel.sin6_family = sa_family_t(AF_INET6)
      kernel.sin6_port = port.bigEndian
      kernel.sin6_scope_id = scope
      withUnsafeMutableBytes(of: &kernel.sin6_addr) {
        $0.storeBytes(of: address.high.bigEndian, toByteOffset: 0, as: UInt64.self)
        $0.storeBytes(of: address.low.bigEndian, toByteOffset: 8, as: UInt64.self)
      }
      return try Self.withKernelForm(&kernel, MemoryLayout<sockaddr_in6>.size, body)
    case .unix(let path):
      var kernel = sockaddr_un()
      kernel.sun_family = sa_family_t(AF_UNIX)
      var length = 0
      withUnsafeMutableBytes(of: &kernel.sun_path) { buffer in
        for byte in path.utf8.prefix(min(Self.longestPath, buffer.count - 1)) {
          buffer[length] = byte
          length += 1
        }
      }
      let size = Self.pathOffset + (length == 0 ? 0 : length + 1)
      return try Self.withKernelForm(&kernel, size, body)
    }
  }

  /// The address in what accept, getsockname and their like filled in; nil for other families and short answers.
  public init?(_ storage: sockaddr_storage, length: socklen_t) {
    let address = withUnsafeBytes(of: storage) { SocketAddress(kernelForm: $0, length: length) }
    guard let address else { return nil }
    self = address
  }

  /// The address in `length` bytes at the start of `bytes`, in the kernel's form.
  public init?(kernelForm bytes: UnsafeRawBufferPointer, length: socklen_t) {
    let bytes = UnsafeRawBufferPointer(rebasing: bytes.prefix(Int(length)))
    guard bytes.count >= MemoryLayout<sa_family_t>.size else { return nil }
    switch Int32(bytes.loadUnaligned(as: sa_family_t.self)) {
    case AF_INET where bytes.count >= MemoryLayout<sockaddr_in>.size:
      let kernel = bytes.loadUnaligned(as: sockaddr_in.self)
      let address = IPv4Address(value: UInt32(bigEndian: kernel.sin_addr.s_addr))
      self = .v4(address, port: UInt16(bigEndian: kernel.sin_port))
    case AF_INET6 where bytes.count >= MemoryLayout<sockaddr_in6>.size:
      let kernel = bytes.loadUnaligned(as: sockaddr_in6.self)
      let address = withUnsafeBytes(of: kernel.sin6_addr) {
        IPv6Address(
          high: UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 0, as: UInt64.self)),
          low: UInt64(bigEndian: $0.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
      }
      self = .v6(address, port: UInt16(bigEndian: kernel.sin6_port), scope: kernel.sin6_scope_id)
    case AF_UNIX:
      // An abstract name begins with NUL and is shown as a socket without one: nothing here makes or meets them.
      let path = bytes.dropFirst(Self.pathOffset).prefix { $0 != 0 }
      self = .unix(path: String(decoding: path, as: UTF8.self))
    default:
      return nil
    }
  }

  private static func withKernelForm<K, R, E: Error>(
    _ kernel: inout K, _ size: Int, _ body: (UnsafePointer<sockaddr>, socklen_t) throws(E) -> R
  ) throws(E) -> R {
    try withUnsafePointer(to: &kernel) { (pointer) throws(E) -> R in
      // Every kernel form begins with the family and may be read as the plain `sockaddr`: what C does with a cast.
      try pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { (plain) throws(E) -> R in
        try body(plain, socklen_t(size))
      }
    }
  }

  /// Where the path begins in a `sockaddr_un`.
  private static var pathOffset: Int { MemoryLayout<sa_family_t>.size }
}
