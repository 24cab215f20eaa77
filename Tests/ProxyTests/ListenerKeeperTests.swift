// Sockets that are passed from one process to the next: which are taken, by which shard, and which must not go on listening.

import Base
import Configuration
import Glibc
import Telemetry
import TestSupport
import Testing

@testable import Proxy

/// Keeps copies, as the service manager does, and passes them on.
private final class FakeKeeper: ListenerKeeper {
  private(set) var kept: [(name: String, descriptor: Int32)] = []
  private(set) var forgotten: [String] = []
  private var passed: [PassedSocket]
  private let room: Int

  init(passing passed: [PassedSocket] = [], room: Int = 100) {
    self.passed = passed
    self.room = room
  }

  deinit { for (_, descriptor) in kept { close(descriptor) } }

  func takePassed() -> [PassedSocket] {
    defer { passed = [] }
    return passed
  }

  func keep(_ descriptor: Int32, as name: String) -> Bool {
    guard kept.count < room else { return false }
    kept.append((name, dup(descriptor)))
    return true
  }

  func forget(_ name: String) {
    forgotten.append(name)
    for (_, descriptor) in kept.filter({ $0.name == name }) { close(descriptor) }
    kept.removeAll { $0.name == name }
  }

  /// What the next process is passed.
  func passOn() -> [PassedSocket] {
    defer { kept = [] }
    return kept.map { PassedSocket(name: $0.name, descriptor: $0.descriptor) }
  }
}

private func isListening(_ descriptor: Int32) -> Bool { ListeningSocket.boundAddress(descriptor) != nil }

private func listener(_ name: String, _ address: SocketAddress) -> Configuration.Listener {
  Configuration.Listener(name: name, address: address)
}

@Suite("ListenerKeeper")
struct ListenerKeeperTests {
  @Test(
    "the number of a kept socket's name",
    arguments: [
      ("outbound.0", 0), ("outbound.17", 17), ("a.b.3", 3), ("outbound", nil), ("outbound.", nil), ("outbound.x", nil),
      ("outbound.-1", nil), ("outbound.9999999999", nil), ("", nil), (".", nil), ("outbound.1٣", nil),
    ] as [(String, Int?)])
  func number(_ name: String, _ expected: Int?) {
    #expect(PassedListeners.number(of: name) == expected)
  }

  @Test("a socket is taken where name and address are a listener's, and no other descriptor ever is")
  func sorts() throws {
    let (first, address) = try ListeningSocket.open(loopback(0), name: "outbound")
    let (second, _) = try ListeningSocket.open(address, name: "outbound")
    let (other, otherAddress) = try ListeningSocket.open(loopback(0), name: "other")
    let datagram = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    let unconnected = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { for descriptor in [first, second, other, datagram, unconnected] { close(descriptor) } }
    let sockets = [
      PassedSocket(name: "outbound.1", descriptor: second), PassedSocket(name: "outbound.0", descriptor: first),
      PassedSocket(name: "outbound.2", descriptor: other), PassedSocket(name: "activated", descriptor: other),
      PassedSocket(name: "outbound", descriptor: datagram), PassedSocket(name: "outbound.3", descriptor: unconnected),
      PassedSocket(name: "outbound.4", descriptor: -1), PassedSocket(name: "renamed.0", descriptor: first),
    ]
    let passed = PassedListeners(sockets, for: [listener("outbound", address), listener("activated", otherAddress)])
    #expect(passed.sockets(of: 0).map(\.name) == ["outbound.0", "outbound.1"])
    #expect(passed.sockets(of: 0).map(\.number) == [0, 1])
    #expect(passed.sockets(of: 1).map(\.name) == ["activated"])
    #expect(passed.sockets(of: 1).map(\.number) == [nil])
    #expect(passed.rejected.map(\.name) == ["outbound.2", "outbound", "outbound.3", "outbound.4", "renamed.0"])
    #expect(passed.count == 3)
  }

  @Test("a listener with port 0 keeps the port that the kernel chose for its predecessor")
  func keepsChosenPort() throws {
    let (descriptor, address) = try ListeningSocket.open(loopback(0), name: "outbound")
    defer { close(descriptor) }
    let passed = PassedListeners(
      [PassedSocket(name: "outbound.0", descriptor: descriptor)], for: [listener("outbound", loopback(0))])
    #expect(passed.sockets(of: 0).first?.address == address)
  }

  @Test("a path whose file is gone is no longer this socket's")
  func pathGone() throws {
    let directory = try TemporaryDirectory()
    let address = SocketAddress.unix(path: directory.path("s"))
    let (descriptor, _) = try ListeningSocket.open(address, name: "local")
    defer { close(descriptor) }
    let socket = PassedSocket(name: "local.0", descriptor: descriptor)
    #expect(PassedListeners([socket], for: [listener("local", address)]).count == 1)
    unlink(directory.path("s"))
    #expect(PassedListeners([socket], for: [listener("local", address)]).rejected.count == 1)
  }

  // MARK: A whole node

  private func start(_ shards: Int, _ keeper: FakeKeeper, address: SocketAddress, upstream: ScriptedUpstream) throws
    -> Node
  {
    let configuration = try Configuration.straight(
      listen: address, to: [endpoint(upstream.address.port)], adminSocket: nil, nodeName: "node-a")
    return try Node.start(
      configuration, shardCount: shards, registry: Registry(shardCount: shards), names: NameTable(), accessRings: [],
      loop: controlLoop,
      keeper: keeper)
  }

  @Test("a connection that waits while one node ends and a smaller one begins is answered by that")
  func passesOn() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let tests = ListenerKeeperTests()
      let first = FakeKeeper()
      let old = try tests.start(3, first, address: loopback(0), upstream: upstream)
      let address = try #require(old.listenerAddresses.first)
      #expect(first.kept.map(\.name) == ["outbound.0", "outbound.1", "outbound.2"])
      old.drain()
      let shut = Gate()
      old.ping { shut.open() }
      #expect(shut.wait())
      // Nobody accepts now: these wait with the sockets that were kept, whichever of the three they hash to.
      let port = try #require(address.port)
      let clients = try (0..<16).map { _ in try RawClient(LoopbackAddress(port: port)) }
      for client in clients { try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n") }
      old.stop()

      let second = FakeKeeper(passing: first.passOn())
      let new = try tests.start(1, second, address: address, upstream: upstream)
      #expect(second.kept.count == 3)
      let metrics = String(decoding: new.registry.render(.prometheus), as: UTF8.self)
      #expect(metrics.contains("fairlead_listening_sockets{listener=\"outbound\",source=\"kept\"} 3"))
      #expect(metrics.contains("fairlead_listening_sockets{listener=\"outbound\",source=\"opened\"} 0"))
      for client in clients { #expect(try client.readResponse().status == 200) }
      clients.forEach { $0.close() }
      new.drain(forGood: true)
      #expect(eventually { (try? RawClient(LoopbackAddress(port: port))) == nil }, "a copy goes on listening")
      new.stop()
    }
  }

  @Test("a kept socket with another address is shut down in the keeper's hands, too")
  func rejects() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let (stale, staleAddress) = try ListeningSocket.open(loopback(0), name: "outbound")
      let copy = dup(stale)
      let keeper = FakeKeeper(passing: [PassedSocket(name: "gone.0", descriptor: stale)])
      let node = try ListenerKeeperTests().start(2, keeper, address: loopback(0), upstream: upstream)
      #expect(!isListening(copy))
      #expect(keeper.forgotten == ["gone.0"])
      #expect(node.listenerAddresses.first != staleAddress)
      #expect(node.listenerNotes.count == 1)
      node.stop()
      close(copy)
    }
  }

  @Test("a socket that somebody else opened is served, and left alone at the end")
  func activated() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let configuration = try Configuration.straight(
        listen: loopback(0), to: [endpoint(upstream.address.port)], adminSocket: nil, nodeName: "node-a")
      let name = try #require(configuration.listeners.first?.name)
      let (descriptor, address) = try ListeningSocket.open(loopback(0), name: name)
      let copy = dup(descriptor)
      let keeper = FakeKeeper(passing: [PassedSocket(name: name, descriptor: descriptor)])
      let node = try ListenerKeeperTests().start(2, keeper, address: loopback(0), upstream: upstream)
      #expect(node.listenerAddresses == [address])
      #expect(keeper.kept.isEmpty)
      let port = try #require(address.port)
      for _ in 0..<8 {
        let client = try RawClient(LoopbackAddress(port: port))
        #expect(try client.get().status == 200)
        client.close()
      }
      node.drain(forGood: true)
      node.stop()
      #expect(isListening(copy))
      close(copy)
    }
  }

  @Test("where there is no room to keep a socket, what waits there at drain is answered by the one that ends")
  func noRoom() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let keeper = FakeKeeper(room: 0)
      let node = try ListenerKeeperTests().start(1, keeper, address: loopback(0), upstream: upstream)
      let port = try #require(node.listenerAddresses.first?.port)
      node.drain()
      #expect(eventually { (try? RawClient(LoopbackAddress(port: port))) == nil })
      node.stop()
    }
  }
}
