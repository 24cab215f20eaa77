// The kernel asked for real: connections over loopback, of this process and of another user's.

import Base
import Glibc
import Testing

@testable import Capture

@Suite("Socket owners")
struct SocketOwnersTests {
  /// A connection over loopback: both ends, and their addresses.
  private final class Connection {
    let client: Int32
    let server: Int32
    let pair: AddressPair

    /// - Parameter dualStack: the client's socket is an IPv6 one that connects to a mapped address.
    init(_ text: String, dualStack: Bool = false) throws {
      let address = try SocketAddress(parsing: text)
      func family(_ address: SocketAddress) -> Int32 {
        address.withSockaddr { pointer, _ in Int32(pointer.pointee.sa_family) }
      }
      let listener = socket(AF_INET6, Int32(SOCK_STREAM.rawValue), 0)
      defer { close(listener) }
      var off: Int32 = 0
      setsockopt(listener, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &off, 4)
      let any = SocketAddress.v6(.unspecified, port: 0)
      try #require(any.withSockaddr { bind(listener, $0, $1) } == 0 && listen(listener, 1) == 0)
      let port = try #require(Self.name(listener, getsockname)).1
      var target = address.withPort(port)
      if dualStack, case .v4(let v4, _) = target { target = .v6(IPv6Address(mapping: v4), port: port) }
      let descriptor = socket(family(target), Int32(SOCK_STREAM.rawValue), 0)
      try #require(target.withSockaddr { connect(descriptor, $0, $1) } == 0)
      client = descriptor
      server = accept(listener, nil, nil)
      guard server >= 0 else { throw TextError("accept") }
      let peer = try #require(Self.name(server, getpeername))
      let own = try #require(Self.name(server, getsockname))
      pair = AddressPair(client: peer.0, clientPort: peer.1, destination: own.0, destinationPort: own.1)
    }

    deinit {
      close(client)
      close(server)
    }

    private static func name(
      _ descriptor: Int32, _ call: (Int32, UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32
    ) -> (IPv6Address, UInt16)? {
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let result = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { call(descriptor, $0, &length) }
      }
      guard result == 0 else { return nil }
      switch SocketAddress(storage, length: length) {
      case .v4(let address, let port): return (IPv6Address(mapping: address), port)
      case .v6(let address, let port, _): return (address, port)
      default: return nil
      }
    }
  }

  @Test("the client of a connection is this process's user, over IPv4, IPv6 and a mapped address")
  func ownConnections() throws {
    var owners = try SocketOwners()
    for (text, dualStack) in [("127.0.0.1:0", false), ("127.0.0.1:0", true), ("[::1]:0", false)] {
      let connection = try Connection(text, dualStack: dualStack)
      guard case .owner(let owner) = owners.owner(of: connection.pair) else {
        Issue.record("\(text): no owner")
        continue
      }
      #expect(owner.user == geteuid() && owner.cgroup != nil, "\(text)")
    }
  }

  @Test("a connection that does not exist has no owner, and a listener is not taken for one")
  func absent() throws {
    var owners = try SocketOwners()
    let connection = try Connection("127.0.0.1:0")
    let pair = connection.pair
    let nobody = AddressPair(
      client: pair.client, clientPort: pair.clientPort, destination: pair.destination, destinationPort: 1)
    let nobodyAnswer = owners.owner(of: nobody)
    #expect(nobodyAnswer == .absent)
    let listening = AddressPair(
      client: pair.destination, clientPort: pair.destinationPort, destination: pair.client, destinationPort: 1)
    let listeningAnswer = owners.owner(of: listening)
    #expect(listeningAnswer == .absent)
    let mixed = AddressPair(client: pair.client, clientPort: 1, destination: .loopback, destinationPort: 1)
    let mixedAnswer = owners.owner(of: mixed)
    #expect(mixedAnswer == .absent)
  }

  @Test("a client that has closed is asked for without harm, and the next one is found again")
  func closed() throws {
    var owners = try SocketOwners()
    let connection = try Connection("127.0.0.1:0")
    shutdown(connection.client, Int32(SHUT_RDWR))
    _ = owners.owner(of: connection.pair)
    let next = try Connection("127.0.0.1:0")
    let found = owners.owner(of: next.pair)
    #expect(found != .absent)
  }
}
