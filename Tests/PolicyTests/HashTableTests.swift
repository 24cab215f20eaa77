// What consistent hashing promises: one answer everywhere, and few keys that move.

import Base
import Policy
import Testing

@Suite struct HashTableTests {
  static let kinds: [BalancerKind] = [.ringHash, .maglev]
  private static let keyCount = 20_000

  private func owners(_ members: [BalancerMember], _ kind: BalancerKind) -> [UInt64] {
    let service = TestService(members, BalancerSettings(kind: kind), seed: .random(in: 0 ... .max))
    return (0..<HashTableTests.keyCount).map { members[service.pick(key: service.key($0))].identity }
  }

  private func members(_ numbers: some Sequence<Int>) -> [BalancerMember] {
    numbers.map { BalancerMember(weight: 1 + Double($0 % 3), identity: identity($0)) }
  }

  @Test("endpoints in another order give the same answers", arguments: kinds)
  func order(kind: BalancerKind) {
    let members = members(0..<40)
    #expect(owners(members, kind) == owners(members.reversed(), kind))
  }

  @Test(
    "when one of n endpoints goes or comes, its own keys move and hardly any other", arguments: kinds, [4, 5, 10, 100])
  func removal(kind: BalancerKind, count: Int) {
    let before = owners(members(0..<count), kind)
    let gone = identity(1)
    let after = owners(members((0..<count).filter { $0 != 1 }), kind)
    let moved = zip(before, after).count { $0 != $1 }
    let own = before.count { $0 == gone }
    // The ring moves nothing else. In Maglev's table some entries of the others change hands, too.
    let others = kind == .ringHash ? 0.0 : 0.06
    #expect(Double(moved - own) <= others * Double(HashTableTests.keyCount), "\(moved) moved, \(own) of its own")
    #expect(after.allSatisfy { $0 != gone })
  }

  @Test("the keys of an endpoint that is out spread over all others and come back to it", arguments: kinds)
  func spread(kind: BalancerKind) {
    let service = TestService(10, BalancerSettings(kind: kind))
    let before = (0..<HashTableTests.keyCount).map { service.pick(key: service.key($0)) }
    service.close([4])
    let out = (0..<HashTableTests.keyCount).map {
      service.pick(key: service.key($0), now: start.advanced(byNanoseconds: millisecond))
    }
    var heirs: [Int: Int] = [:]
    for (first, second) in zip(before, out) {
      if first == 4 { heirs[second, default: 0] += 1 } else { #expect(first == second) }
    }
    #expect(heirs.count == 9 && heirs[4] == nil)
    let orphans = Double(heirs.values.reduce(0, +))
    for (heir, count) in heirs {
      #expect(Double(count) < orphans * 0.3, "\(heir) inherits \(count) of \(orphans)")
    }
    service.close([4], until: nil)
    let back = (0..<HashTableTests.keyCount).map {
      service.pick(key: service.key($0), now: start.advanced(byNanoseconds: second))
    }
    #expect(before == back)
  }

  @Test("weights from the smallest to the largest make tables within their limits", arguments: kinds)
  func extremes(kind: BalancerKind) {
    for weights in [[0.001, 1000], Array(repeating: 1000, count: 2_000), Array(repeating: 0.001, count: 500)]
      as [[Double]]
    {
      let service = TestService(weights.count, weights: weights, BalancerSettings(kind: kind, tableSize: 1_000))
      let shares = service.shares(20_000, keyed: true)
      #expect(abs(shares.reduce(0, +) - 1) < 1e-9)
    }
    #expect(TestService(1, BalancerSettings(kind: kind)).pick(key: HashKey(high: 1, low: 2)) == 0)
  }

  @Test("hashes are those that other nodes and versions compute")
  func pinned() throws {
    func key(_ text: String) -> UInt64 {
      Array(text.utf8).withUnsafeBytes { HashKey(hashing: $0).rawValue }
    }
    #expect(key("") == 0)
    #expect(key("a") == 0xE8FB_0D1C_C103_FB43)
    #expect(key("alice") == 0x1BE4_0705_417B_F15D)
    #expect(key("a key of more than sixteen bytes") == 0x2B93_8078_0F94_B031)
    #expect(HashKey(high: 0, low: 0xFFFF_7F00_0001).rawValue == 0x228D_5B5D_61FC_2162)
    #expect(try Endpoint(parsing: "127.0.0.1:9001 * 3 @ a").identity == 0x5DB9_1BB9_0005_F6AD)
    #expect(try Endpoint(parsing: "unix:/run/a.sock").identity == 0x87DB_80D0_824E_62E4)
    #expect(try Endpoint(parsing: "[::1]:80").identity != Endpoint(parsing: "[::1]:81").identity)
  }
}
