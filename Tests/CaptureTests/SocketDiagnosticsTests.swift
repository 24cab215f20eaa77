// The messages of socket diagnosis: what is sent byte for byte, and replies that are right, cut short, or hostile.

import Base
import Glibc
import Testing

@testable import Capture

@Suite("Socket diagnosis messages")
struct SocketDiagnosticsTests {
  static let four = AddressPair(
    client: IPv6Address(mapping: IPv4Address(10, 0, 0, 1)), clientPort: 0x1234,
    destination: IPv6Address(mapping: IPv4Address(10, 0, 0, 2)), destinationPort: 0x5678)
  static let six = AddressPair(
    client: IPv6Address(high: 0xFE80 << 48, low: 1), clientPort: 1,
    destination: IPv6Address(high: 0xFE80 << 48, low: 2),
    destinationPort: 2, interface: 7)

  private func request(_ pair: AddressPair) -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: SocketDiagnostics.requestByteCount)
    bytes.withUnsafeMutableBytes { SocketDiagnostics.write(pair, sequence: 0x0102_0304, into: $0) }
    return bytes
  }

  private func read(_ bytes: [UInt8], _ pair: AddressPair, sequence: UInt32 = 9) -> DiagnosticReply {
    bytes.withUnsafeBytes { SocketDiagnostics.read($0, pair: pair, sequence: sequence) }
  }

  /// A reply as the kernel writes it. The machines here are little-endian, and so is this test.
  private func reply(
    _ pair: AddressPair, family: UInt8 = 2, state: UInt8 = 1, user: UInt8 = 33, inode: UInt8 = 5,
    attributes: [UInt8] = []
  ) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 88) + attributes
    bytes[0] = UInt8(bytes.count)
    bytes[4] = 20
    bytes[8] = 9
    (bytes[16], bytes[17]) = (family, state)
    (bytes[20], bytes[21]) = (UInt8(pair.clientPort >> 8), UInt8(pair.clientPort & 0xFF))
    (bytes[22], bytes[23]) = (UInt8(pair.destinationPort >> 8), UInt8(pair.destinationPort & 0xFF))
    for (offset, address) in [(24, pair.client), (40, pair.destination)] {
      for position in 0..<8 where family == 10 {
        bytes[offset + position] = UInt8(truncatingIfNeeded: address.high >> UInt64(56 - 8 * position))
        bytes[offset + 8 + position] = UInt8(truncatingIfNeeded: address.low >> UInt64(56 - 8 * position))
      }
      for position in 0..<4 where family == 2 {
        bytes[offset + position] = UInt8(truncatingIfNeeded: address.low >> UInt64(24 - 8 * position))
      }
    }
    (bytes[80], bytes[84]) = (user, inode)
    return bytes
  }

  /// A mark (15), which only privileged askers get, and a cgroup (21).
  private static let attributes: [UInt8] = [8, 0, 15, 0, 1, 0, 0, 0, 12, 0, 21, 0, 0x44, 1, 0, 0, 0, 0, 0, 0]

  @Test("the request for an IPv4 connection, mapped or not, is what the kernel reads")
  func requestFour() {
    let bytes = request(Self.four)
    #expect(Array(bytes[0..<16]) == [72, 0, 0, 0, 20, 0, 1, 0, 4, 3, 2, 1, 0, 0, 0, 0])
    #expect(Array(bytes[16..<24]) == [2, 6, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])
    #expect(Array(bytes[24..<28]) == [0x12, 0x34, 0x56, 0x78])
    #expect(Array(bytes[28..<44]) == [10, 0, 0, 1] + [UInt8](repeating: 0, count: 12))
    #expect(Array(bytes[44..<60]) == [10, 0, 0, 2] + [UInt8](repeating: 0, count: 12))
    #expect(Array(bytes[60..<72]) == [0, 0, 0, 0] + [UInt8](repeating: 0xFF, count: 8))
  }

  @Test("the request for an IPv6 connection has its interface")
  func requestSix() {
    let bytes = request(Self.six)
    #expect(bytes[16] == 10 && Array(bytes[28..<30]) == [0xFE, 0x80] && bytes[43] == 1 && bytes[59] == 2)
    #expect(Array(bytes[60..<64]) == [7, 0, 0, 0])
  }

  @Test("a reply names user and cgroup, also where a dual-stack socket answers for an IPv4 connection")
  func owners() {
    let owner = SocketOwner(user: 33, cgroup: 0x144)
    #expect(read(reply(Self.four, attributes: Self.attributes), Self.four) == .owner(owner))
    #expect(read(reply(Self.four, family: 10, attributes: Self.attributes), Self.four) == .owner(owner))
    #expect(read(reply(Self.six, family: 10, attributes: Self.attributes), Self.six) == .owner(owner))
    #expect(read(reply(Self.four), Self.four) == .owner(SocketOwner(user: 33, cgroup: nil)))
  }

  @Test("a socket that no process has any more has no user, whatever the kernel writes there")
  func orphans() {
    #expect(read(reply(Self.four, user: 0, inode: 0), Self.four) == .owner(SocketOwner(user: nil, cgroup: nil)))
  }

  @Test(
    "a listener, a connection in TIME_WAIT and a closed one are not the client", arguments: [3, 6, 7, 10, 12, 40, 255])
  func states(state: UInt8) {
    #expect(read(reply(Self.four, state: state), Self.four) == .absent)
  }

  @Test("a socket with other addresses or ports is not the client")
  func others() {
    let pair = Self.four
    let elsewhere = AddressPair(
      client: pair.client, clientPort: pair.clientPort, destination: pair.client, destinationPort: pair.destinationPort)
    #expect(read(reply(elsewhere), pair) == .absent)
    #expect(read(reply(pair), elsewhere) == .absent)
    let otherPort = AddressPair(
      client: pair.client, clientPort: 1, destination: pair.destination, destinationPort: pair.destinationPort)
    #expect(read(reply(pair), otherPort) == .absent)
    #expect(read(reply(pair, family: 1), pair) == .absent)
  }

  @Test("a refusal is told by its number; none of this kind is no such socket")
  func refusals() {
    func refusal(_ code: Int32) -> [UInt8] {
      var bytes = [UInt8](repeating: 0, count: 36)
      (bytes[0], bytes[4], bytes[8]) = (36, 2, 9)
      bytes.withUnsafeMutableBytes { $0.storeBytes(of: code, toByteOffset: 16, as: Int32.self) }
      return bytes
    }
    #expect(read(refusal(-ENOENT), Self.four) == .absent)
    #expect(read(refusal(-EPERM), Self.four) == .refused(EPERM))
    for code in [0, 1, Int32.max, Int32.min, -5000] { #expect(read(refusal(code), Self.four) == .malformed) }
  }

  @Test("answers to other questions are passed over")
  func sequence() {
    #expect(read(reply(Self.four), Self.four, sequence: 10) == .unrelated)
    var other = reply(Self.four)
    other[4] = 3
    #expect(read(other, Self.four) == .unrelated)
  }

  @Test("a reply that is cut anywhere is malformed, or says what its whole part says")
  func truncated() {
    let whole = reply(Self.four, attributes: Self.attributes)
    for count in 0..<whole.count {
      var cut = Array(whole[..<count])
      // The length it claims is more than there is.
      #expect(read(cut, Self.four) == .malformed, "\(count) bytes")
      guard count > 0 else { continue }
      cut[0] = UInt8(count)
      switch read(cut, Self.four) {
      case .malformed: break
      case .owner(let owner): #expect(count >= 88 && owner.cgroup == nil, "\(count) bytes")
      default: Issue.record("\(count) bytes")
      }
    }
  }

  @Test(
    "attributes that lie about their length are malformed",
    arguments: [[0, 0, 21, 0], [3, 0, 21, 0], [5, 0, 21, 0], [255, 255, 21, 0], [4, 0, 1, 0, 200, 0, 21, 0]])
  func hostileAttributes(bytes: [UInt8]) {
    #expect(read(reply(Self.four, attributes: bytes), Self.four) == .malformed)
  }

  @Test("a cgroup that is too short is none, a nested flag and an odd length do no harm")
  func oddAttributes() {
    let owner = SocketOwner(user: 33, cgroup: nil)
    #expect(read(reply(Self.four, attributes: [8, 0, 21, 0, 1, 2, 3, 4]), Self.four) == .owner(owner))
    #expect(read(reply(Self.four, attributes: [1, 2, 3]), Self.four) == .owner(owner))
    let flagged: [UInt8] = [5, 0, 9, 0, 1, 0, 0, 0, 12, 0, 21, 0x80, 3, 0, 0, 0, 0, 0, 0, 0]
    #expect(
      read(reply(Self.four, attributes: flagged), Self.four) == .owner(SocketOwner(user: 33, cgroup: 3)))
  }

  @Test("random bytes never trap")
  func fuzz() {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    for _ in 0..<50_000 {
      var bytes = reply(Self.four, attributes: Self.attributes)
      for _ in 0..<Int(random.next() % 8) {
        bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
      }
      bytes.removeLast(Int(random.next() % 30))
      _ = read(bytes, Self.four)
    }
  }
}
