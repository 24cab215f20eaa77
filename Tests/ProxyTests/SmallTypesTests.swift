// Small pieces of the data plane that stand alone: lists of slots, counts against a limit, addresses of peers.

import Base
import Glibc
import TestSupport
import Testing

@testable import Proxy

@Suite("SlotList")
struct SlotListTests {
  @Test("entries stay in order while the list grows, and what was appended meanwhile moves to the front")
  func keepsOrder() {
    var list = SlotList()
    defer { list.destroy() }
    for number in 0..<UInt32(1000) { list.append(number, number &* 7) }
    #expect(list.count == 1000)
    for number in 0..<1000 {
      #expect(list[number].index == UInt32(number))
      #expect(list[number].generation == UInt32(number) &* 7)
    }
    list.removeFirst(0)
    #expect(list.count == 1000)
    list.removeFirst(998)
    #expect(list.count == 2)
    #expect(list[0].index == 998)
    list.append(5, 6)
    #expect(list[2].index == 5 && list[2].generation == 6)
    list.removeFirst(3)
    #expect(list.count == 0)
  }
}

@Suite("LimitCell")
struct LimitCellTests {
  @Test("a limit is reached and not passed")
  func counts() {
    let cell = LimitCell()
    // Not inside #expect, which would copy the cell.
    func takes(_ limit: Int) -> Bool { cell.tryAdd(limit: limit) }
    #expect(!takes(0))
    #expect(cell.value == 0)
    for _ in 0..<3 { #expect(takes(3)) }
    #expect(!takes(3))
    #expect(cell.value == 3)
    cell.subtract()
    #expect(takes(3))
    cell.add()
    #expect(cell.value == 4)
  }

  @Test("several threads together never hold more than the limit, and leave nothing behind")
  func severalThreads() {
    let limit = 5
    let shared = Shared()
    let threads = (0..<8).map { _ in
      BackgroundThread {
        for _ in 0..<20_000 where shared.cell.tryAdd(limit: limit) {
          shared.held.add()
          if shared.held.value > limit { shared.exceeded.add() }
          shared.held.subtract()
          shared.cell.subtract()
          shared.taken.add()
        }
      }
    }
    for thread in threads { #expect(thread.join()) }
    #expect(shared.exceeded.value == 0)
    #expect(shared.taken.value > 0)
    #expect(shared.cell.value == 0)
    #expect(shared.held.value == 0)
  }

  private final class Shared: Sendable {
    let cell = LimitCell()
    let held = LimitCell()
    let exceeded = LimitCell()
    let taken = LimitCell()
  }
}

@Suite("PeerAddress")
struct PeerAddressTests {
  static let addresses = [
    "127.0.0.1:80", "255.255.255.255:65535", "10.1.2.3:4140", "0.0.0.0:1", "[::1]:80", "[2001:db8::1234:5678]:443",
    "[fe80::1]:1", "[ff02::fb]:5353", "[1::]:9",
  ]

  @Test("a socket address survives the way into a peer address and back", arguments: addresses)
  func roundTrip(text: String) throws {
    let address = try SocketAddress(parsing: text)
    let kernel = EndpointSocketAddress(address)
    #expect(kernel.peer.port == address.port)
    #expect(kernel.peer.socketAddress == address)
    #expect(SocketAddress(kernel.storage, length: kernel.length) == address)
  }

  @Test("a mapped IPv4 address is the IPv4 address it stands for")
  func mapped() throws {
    let kernel = EndpointSocketAddress(try SocketAddress(parsing: "[::ffff:1.2.3.4]:80"))
    #expect(kernel.peer.socketAddress?.description == "1.2.3.4:80")
    #expect(kernel.family == AF_INET6)
  }

  @Test("a Unix socket has no address, and connects to its path")
  func unix() throws {
    let path = "/run/" + String(repeating: "x", count: SocketAddress.longestPath - 5)
    let kernel = EndpointSocketAddress(.unix(path: path))
    #expect(kernel.peer.socketAddress == nil)
    #expect(kernel.family == AF_UNIX)
    #expect(SocketAddress(kernel.storage, length: kernel.length) == .unix(path: path))
  }

  @Test("no address at all is none")
  func none() {
    #expect(PeerAddress().socketAddress == nil)
    #expect(EndpointSocketAddress(.unix(path: "/nowhere")).peer.socketAddress == nil)
  }
}
