// Listening sockets: what is taken, what is refused, and that the refusal says in one line what to do.

import Base
import Glibc
import TestSupport
import Testing

@testable import Proxy

@Suite("ListeningSocket")
struct ListeningSocketTests {
  private func message(_ body: () throws(NodeError) -> Void) -> String? {
    do throws(NodeError) {
      try body()
      return nil
    } catch {
      #expect(!error.description.contains("\n"))
      return error.description
    }
  }

  @Test("port 0 becomes a port of the kernel's choice, which further sockets share")
  func sharesPort() throws {
    let (first, address) = try ListeningSocket.open(loopback(0), name: "outbound")
    defer { close(first) }
    let port = try #require(address.port)
    #expect(port != 0)
    let (second, again) = try ListeningSocket.open(address, name: "outbound")
    defer { close(second) }
    #expect(again == address)
    let client = try RawClient(LoopbackAddress(port: port))
    client.close()
  }

  @Test("both descriptors of a shared port close on exec")
  func closesOnExec() throws {
    let (descriptor, _) = try ListeningSocket.open(loopback(0), name: "outbound")
    defer { close(descriptor) }
    #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0)
  }

  @Test(
    "a port that somebody listens on is refused in one line with the command that shows who, shared or not",
    arguments: [true, false])
  func portInUse(shared: Bool) throws {
    let descriptor: Int32
    let address: SocketAddress
    if shared {
      (descriptor, address) = try ListeningSocket.open(loopback(0), name: "other")
    } else {
      descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
      address = try bindAndListen(descriptor)
    }
    defer { close(descriptor) }
    let port = try #require(address.port)
    let text = message { () throws(NodeError) in try ListeningSocket.checkFree(address, name: "outbound") }
    #expect(
      text == "listener 'outbound' cannot listen on 127.0.0.1:\(port): another process uses this port "
        + "(ss -ltnp 'sport = :\(port)' shows which); stop it, or choose another address")
    if !shared {
      let opened = message { () throws(NodeError) in _ = try ListeningSocket.open(address, name: "outbound") }
      #expect(opened == text)
    }
  }

  @Test("a port whose last connections are still in TIME-WAIT is free")
  func timeWait() throws {
    let (descriptor, address) = try ListeningSocket.open(loopback(0), name: "outbound")
    let client = try RawClient(LoopbackAddress(port: try #require(address.port)))
    let accepted = accept(descriptor, nil, nil)
    try #require(accepted >= 0)
    // Our side ends first, so ours is the side that waits.
    close(accepted)
    _ = try client.readToEnd()
    client.close()
    close(descriptor)
    #expect(message { () throws(NodeError) in try ListeningSocket.checkFree(address, name: "outbound") } == nil)
  }

  @Test("an address this host does not have is refused with the command that lists those it has")
  func foreignAddress() {
    let address = SocketAddress.v4(IPv4Address(value: 0xC000_0201), port: 4140)
    let text = message { () throws(NodeError) in try ListeningSocket.checkFree(address, name: "outbound") }
    #expect(
      text == "listener 'outbound' cannot listen on 192.0.2.1:4140: this host has no such address; 'ip address' "
        + "lists those it has")
  }

  @Test("[::] takes connections of both families")
  func bothFamilies() throws {
    let any = try SocketAddress(parsing: "[::]:0")
    let (descriptor, address) = try ListeningSocket.open(any, name: "outbound")
    defer { close(descriptor) }
    let client = try RawClient(LoopbackAddress(port: try #require(address.port)))
    client.close()
  }

  // MARK: Unix sockets

  @Test("a socket file that nobody listens on any more is replaced")
  func staleSocket() throws {
    let directory = try TemporaryDirectory()
    let address = SocketAddress.unix(path: directory.path("s"))
    let (first, _) = try ListeningSocket.open(address, name: "outbound")
    close(first)
    #expect(access(directory.path("s"), F_OK) == 0)
    try ListeningSocket.checkFree(address, name: "outbound")
    let (second, bound) = try ListeningSocket.open(address, name: "outbound")
    defer { close(second) }
    #expect(bound == address)
  }

  @Test("a path that somebody listens on is refused and stays as it is")
  func liveSocket() throws {
    let directory = try TemporaryDirectory()
    let address = SocketAddress.unix(path: directory.path("s"))
    let (first, _) = try ListeningSocket.open(address, name: "other")
    defer { close(first) }
    let text = message { () throws(NodeError) in try ListeningSocket.checkFree(address, name: "outbound") }
    #expect(
      text == "listener 'outbound' cannot listen on \(address): another process listens there; stop it, or choose "
        + "another path")
    #expect(access(directory.path("s"), F_OK) == 0)
  }

  /// To connect to a regular file is refused just as to a socket that nobody listens on.
  @Test("a file that is no socket is never removed")
  func regularFile() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.write("precious", "keep me")
    let address = SocketAddress.unix(path: file)
    let refused = message { () throws(NodeError) in
      try ListeningSocket.checkFree(address, name: "outbound")
      let (descriptor, _) = try ListeningSocket.open(address, name: "outbound")
      close(descriptor)
    }
    #expect(refused != nil)
    #expect(readFile(file) == "keep me")
  }

  @Test("a directory that does not exist is named as the reason")
  func missingDirectory() throws {
    let directory = try TemporaryDirectory()
    let address = SocketAddress.unix(path: directory.path("none/s"))
    let text = message { () throws(NodeError) in _ = try ListeningSocket.open(address, name: "outbound") }
    #expect(
      text == "listener 'outbound' cannot listen on \(address): its directory does not exist; create it first")
  }

  @Test("a directory one may not write to is refused with what it wants", .timeLimit(.minutes(1)))
  func noPermission() async {
    // In a process of its own, which gives its rights up: root may write anywhere.
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      if geteuid() == 0 {
        try #require(setegid(65534) == 0 && seteuid(65534) == 0)
      } else {
        try #require(chmod(directory.path, 0o500) == 0)
      }
      defer { if getuid() == 0 { _ = seteuid(0) } }
      let address = SocketAddress.unix(path: directory.path("s"))
      do throws(NodeError) {
        let (descriptor, _) = try ListeningSocket.open(address, name: "outbound")
        close(descriptor)
        Issue.record("the socket was made")
      } catch {
        #expect(
          error.description == "listener 'outbound' cannot listen on \(address): permission denied; ports under 1024 "
            + "want CAP_NET_BIND_SERVICE, a path wants a directory that this user may write to")
      }
    }
  }

  /// Listens on a free port of the loopback without sharing it.
  private func bindAndListen(_ descriptor: Int32) throws -> SocketAddress {
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let done = loopback(0).withSockaddr { bind(descriptor, $0, $1) == 0 } && listen(descriptor, 1) == 0
    try #require(done)
    withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(descriptor, $0, &length) }
    }
    return try #require(SocketAddress(storage, length: length))
  }
}
