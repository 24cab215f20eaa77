// Making sockets on the loopback. All of them close on exec: a child that kept a copy would hide an end of stream.

import Glibc

/// `127.0.0.1` and a port, the only kind of address the tests use besides Unix sockets.
public struct LoopbackAddress: Sendable, Hashable, CustomStringConvertible {
  public let port: UInt16

  public init(port: UInt16) { self.port = port }

  /// Parses `127.0.0.1:4140`.
  public init?(_ text: String) {
    guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]) else { return nil }
    self.port = port
  }

  public var description: String { "127.0.0.1:\(port)" }

  fileprivate var raw: sockaddr_in {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return address
  }
}

private let closeOnExec: Int32 = 0o2_000_000

/// Linux's accept with flags, which the Glibc module leaves out.
@_silgen_name("accept4")
private func accept4(
  _ listener: Int32, _ address: UnsafeMutableRawPointer?, _ length: UnsafeMutableRawPointer?, _ flags: Int32
) -> Int32

/// A TCP connection to `address`. A small receive buffer must be set before connecting, to bound the window.
/// Small segments make the other side's send buffer fill soon.
///
/// - Parameter source: the address to connect from, such as 127.0.0.2; nil for what the kernel chooses.
func connectTCP(
  _ address: LoopbackAddress, receiveBufferBytes: Int32? = nil, segmentBytes: Int32? = nil, source: String? = nil
) throws -> Int32 {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | closeOnExec, 0)
  guard descriptor >= 0 else { throw HarnessError("socket: \(lastError())") }
  narrow(descriptor, receiveBufferBytes, segmentBytes)
  if let source {
    var own = sockaddr_in()
    own.sin_family = sa_family_t(AF_INET)
    guard inet_pton(AF_INET, source, &own.sin_addr) == 1 else { throw HarnessError("\(source) is no address") }
    _ = withUnsafePointer(to: &own) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
  }
  var raw = address.raw
  let result = withUnsafePointer(to: &raw) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  guard result == 0 else {
    let reason = lastError()
    close(descriptor)
    throw HarnessError("connect \(address): \(reason)")
  }
  return descriptor
}

/// Sets what bounds a socket's window; must come before it connects or listens.
private func narrow(_ descriptor: Int32, _ receiveBufferBytes: Int32?, _ segmentBytes: Int32?) {
  if var bytes = receiveBufferBytes {
    setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
  }
  if var bytes = segmentBytes {
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_MAXSEG, &bytes, socklen_t(MemoryLayout<Int32>.size))
  }
}

/// A connection to the Unix socket at `path`.
func connectUnix(_ path: String) throws -> Int32 {
  let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | closeOnExec, 0)
  guard descriptor >= 0 else { throw HarnessError("socket: \(lastError())") }
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let capacity = MemoryLayout.size(ofValue: address.sun_path)
  guard path.utf8.count < capacity else {
    close(descriptor)
    throw HarnessError("\(path): too long for a Unix socket")
  }
  withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
  let result = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
    }
  }
  guard result == 0 else {
    let reason = lastError()
    close(descriptor)
    throw HarnessError("connect \(path): \(reason)")
  }
  return descriptor
}

/// A listening socket on the loopback; port 0 takes any free one.
func listenTCP(
  port: UInt16 = 0, backlog: Int32 = 1024, receiveBufferBytes: Int32? = nil, segmentBytes: Int32? = nil
) throws -> (descriptor: Int32, address: LoopbackAddress) {
  let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | closeOnExec, 0)
  guard descriptor >= 0 else { throw HarnessError("socket: \(lastError())") }
  var enabled: Int32 = 1
  setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &enabled, socklen_t(MemoryLayout<Int32>.size))
  narrow(descriptor, receiveBufferBytes, segmentBytes)
  var raw = LoopbackAddress(port: port).raw
  var length = socklen_t(MemoryLayout<sockaddr_in>.size)
  let bound = withUnsafeMutablePointer(to: &raw) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(descriptor, $0, length) == 0 && listen(descriptor, backlog) == 0
        && getsockname(descriptor, $0, &length) == 0
    }
  }
  guard bound else {
    let reason = lastError()
    close(descriptor)
    throw HarnessError("listen on port \(port): \(reason)")
  }
  return (descriptor, LoopbackAddress(port: UInt16(bigEndian: raw.sin_port)))
}

/// The next connection of a listening socket, or nil when it was shut down.
func acceptTCP(_ listener: Int32) -> Int32? {
  while true {
    let descriptor = accept4(listener, nil, nil, closeOnExec)
    if descriptor >= 0 { return descriptor }
    if errno == EINTR || errno == ECONNABORTED { continue }
    if errno == EMFILE || errno == ENFILE {
      usleep(1_000)
      continue
    }
    return nil
  }
}

/// An address on which nothing listens: a connection to it is refused. The port stays bound while the value lives, so
/// nobody else can take it.
public final class RefusingAddress: Sendable {
  private let descriptor: Int32
  public let address: LoopbackAddress

  public init() throws {
    descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | closeOnExec, 0)
    guard descriptor >= 0 else { throw HarnessError("socket: \(lastError())") }
    var raw = LoopbackAddress(port: 0).raw
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let descriptor = descriptor
    let bound = withUnsafeMutablePointer(to: &raw) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, length) == 0 && getsockname(descriptor, $0, &length) == 0
      }
    }
    guard bound else { throw HarnessError("bind: \(lastError())") }
    address = LoopbackAddress(port: UInt16(bigEndian: raw.sin_port))
  }

  deinit { close(descriptor) }
}

/// A port that was free a moment ago, outside the range from which the kernel takes ports by itself. For servers that
/// cannot report which port they got; start again with another one when it was taken in between.
public func probablyFreePort() throws -> UInt16 {
  for _ in 0..<200 {
    let port = UInt16.random(in: 20_000..<32_000)
    if let listener = try? listenTCP(port: port) {
      close(listener.descriptor)
      return port
    }
  }
  throw HarnessError("no free port between 20000 and 32000")
}
