// Listening sockets, and the one line that says why one could not be had.

import Base
import CFairlead
import Glibc

/// Opens sockets that accept connections. Control thread, before the shards run.
enum ListeningSocket {
  /// Connections the kernel keeps until a shard accepts them; cut to net.core.somaxconn.
  private static let backlog: Int32 = 4096

  /// Refuses an address that another process listens on. The shards' sockets share a port (SO_REUSEPORT), so the kernel
  /// would let two daemons of one user share it as well, each taking a part of the connections.
  static func checkFree(_ address: SocketAddress, name: String) throws(NodeError) {
    if case .unix(let path) = address {
      try clearStaleSocket(path, address, name)
      return
    }
    if address.port == 0 { return }
    let descriptor = try bind(address, name: name, sharesPort: false)
    close(descriptor)
  }

  /// A listening socket that shares its port with those of the other shards, and the address it really has.
  ///
  /// - Parameter isTransparent: also takes connections to other hosts' addresses that a TPROXY rule leads here.
  static func open(
    _ address: SocketAddress, name: String, isTransparent: Bool = false
  ) throws(NodeError) -> (Int32, SocketAddress) {
    let descriptor = try bind(address, name: name, sharesPort: true)
    do throws(NodeError) {
      try prepare(descriptor, address, name: name, isTransparent: isTransparent)
    } catch {
      close(descriptor)
      throw error
    }
    guard address.port == 0, let port = boundAddress(descriptor)?.port else { return (descriptor, address) }
    return (descriptor, address.withPort(port))
  }

  /// Makes a bound socket listen the way ours do; also one that listens already.
  static func prepare(
    _ descriptor: Int32, _ address: SocketAddress, name: String, isTransparent: Bool
  ) throws(NodeError) {
    if isTransparent {
      var family = AF_INET
      address.withSockaddr { pointer, _ in family = Int32(pointer.pointee.sa_family) }
      let reason = fl_set_transparent(descriptor, family)
      guard reason == 0 else {
        throw NodeError(
          description: "listener '\(name)' cannot take what TPROXY leads to it (\(String(cString: strerror(reason)))): "
            + "give the daemon CAP_NET_ADMIN (AmbientCapabilities= in its unit), or use capture: redirect")
      }
    }
    fl_prepare_stream(descriptor)
    guard Glibc.listen(descriptor, backlog) == 0 else { throw failure(address, name, errno) }
  }

  private static func bind(_ address: SocketAddress, name: String, sharesPort: Bool) throws(NodeError) -> Int32 {
    var family = AF_UNIX
    address.withSockaddr { pointer, _ in family = Int32(pointer.pointee.sa_family) }
    let descriptor = socket(family, fl_sock_stream | fl_sock_cloexec, 0)
    guard descriptor >= 0 else { throw failure(address, name, errno) }
    var on: Int32 = 1
    let size = socklen_t(MemoryLayout<Int32>.size)
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &on, size)
    if sharesPort { setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, &on, size) }
    if family == AF_INET6 {
      // `[::]` takes IPv4 as well, whatever net.ipv6.bindv6only says.
      var off: Int32 = 0
      setsockopt(descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, size)
    }
    var result: Int32 = -1
    address.withSockaddr { pointer, length in result = Glibc.bind(descriptor, pointer, length) }
    // With port sharing off, only listening tells whether somebody listens already.
    if result == 0, !sharesPort { result = Glibc.listen(descriptor, 1) }
    guard result == 0 else {
      let reason = errno
      close(descriptor)
      throw failure(address, name, reason)
    }
    return descriptor
  }

  /// A socket file that nobody listens on any more is left over from a daemon that was killed.
  private static func clearStaleSocket(_ path: String, _ address: SocketAddress, _ name: String) throws(NodeError) {
    var status = stat()
    guard lstat(path, &status) == 0 else { return }
    // To connect to any other file is refused with the same errno, and it is not ours to remove.
    guard status.st_mode & S_IFMT == S_IFSOCK else { throw failure(address, name, EEXIST) }
    let descriptor = socket(AF_UNIX, fl_sock_stream | fl_sock_cloexec, 0)
    guard descriptor >= 0 else { throw failure(address, name, errno) }
    defer { close(descriptor) }
    var result: Int32 = -1
    address.withSockaddr { pointer, length in result = Glibc.connect(descriptor, pointer, length) }
    if result == 0 { throw failure(address, name, EADDRINUSE) }
    if errno == ECONNREFUSED { unlink(path) }
  }

  private static func failure(_ address: SocketAddress, _ name: String, _ reason: Int32) -> NodeError {
    let what = "listener '\(name)' cannot listen on \(address): "
    switch reason {
    case EADDRINUSE:
      if case .unix = address {
        return NodeError(description: what + "another process listens there; stop it, or choose another path")
      }
      let port = address.port.map { " (ss -ltnp 'sport = :\($0)' shows which)" } ?? ""
      return NodeError(description: what + "another process uses this port\(port); stop it, or choose another address")
    case EEXIST:
      return NodeError(description: what + "a file that is no socket is there; remove it, or choose another path")
    case EACCES:
      return NodeError(
        description: what + "permission denied; ports under 1024 want CAP_NET_BIND_SERVICE, a path wants a directory "
          + "that this user may write to")
    case EADDRNOTAVAIL:
      return NodeError(description: what + "this host has no such address; 'ip address' lists those it has")
    case ENOENT: return NodeError(description: what + "its directory does not exist; create it first")
    default: return NodeError(description: what + String(cString: strerror(reason)))
    }
  }
}

func errnoText() -> String { String(cString: strerror(errno)) }

/// The CPUs this process may run on.
enum CPUs {
  static func allowed() -> [Int] {
    var numbers = [Int32](repeating: 0, count: 1024)
    let count = numbers.withUnsafeMutableBufferPointer { fl_allowed_cpus($0.baseAddress, Int32($0.count)) }
    return numbers.prefix(Int(max(count, 0))).map(Int.init)
  }
}
