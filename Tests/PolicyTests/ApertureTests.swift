// A node's slice of the endpoints: that all nodes together load every endpoint by its weight, and what a slice does when its
// endpoints fail.

import Base
import Testing

@testable import Policy

@Suite struct ApertureTests {
  private func members(_ weights: [Double]) -> [BalancerMember] {
    weights.indices.map { BalancerMember(weight: weights[$0], identity: identity($0)) }
  }

  private func settings(_ aperture: Aperture, metric: LoadMetric = .inFlight) -> BalancerSettings {
    BalancerSettings(kind: .aperture, metric: metric, aperture: aperture)
  }

  @Test(
    "nodes that know each other load every endpoint by its weight, exactly",
    arguments: [(37, 10, 5), (100, 7, 12), (10, 3, 1), (1_000, 64, 12), (5, 40, 2), (12, 12, 1)], [false, true])
  func even(_ set: (endpoints: Int, peers: Int, size: Int), weighted: Bool) {
    var random = RandomSource(seed: 11)
    let weights = (0..<set.endpoints).map { _ in weighted ? Double(1 + random.next() % 5) : 1 }
    let total = weights.reduce(0, +)
    var load = [Double](repeating: 0, count: set.endpoints)
    for position in 0..<set.peers {
      let aperture = Aperture(size: set.size, peers: set.peers, position: position)
      let coverage = aperture.coverage(of: members(weights), weights: weights)
      let parts = zip(coverage, weights).map { $0 * $1 }
      let own = parts.reduce(0, +)
      // Slices are long enough, and no longer than a gap between two nodes more.
      #expect(own / total * Double(set.endpoints) >= Double(set.size) - 1e-6)
      #expect(own / total <= Double(set.size) / Double(set.endpoints) + 1 / Double(set.peers) + 1e-6)
      for (endpoint, part) in parts.enumerated() { load[endpoint] += part / own }
    }
    for (endpoint, load) in load.enumerated() {
      #expect(abs(load / Double(set.peers) - weights[endpoint] / total) < 1e-4, "\(endpoint)")
    }
  }

  @Test("nodes that know their names only load endpoints alike on the whole")
  func hashed() {
    let weights = [Double](repeating: 1, count: 50)
    var load = [Double](repeating: 0, count: 50)
    for node in 0..<500 {
      let aperture = Aperture(size: 12, name: Aperture.name("node-\(node).example"))
      let coverage = aperture.coverage(of: members(weights), weights: weights)
      #expect(coverage.count { $0 > 0 } <= 13)
      for (endpoint, part) in coverage.enumerated() { load[endpoint] += part / 12 }
    }
    // The mean is 10; slices of a quarter of the circle, 500 of them, stay within a fourth of it.
    #expect(load.allSatisfy { $0 > 7.5 && $0 < 12.5 }, "\(load)")
  }

  @Test("the order in which discovery names endpoints does not matter, and one more moves little")
  func stable() {
    let weights = [Double](repeating: 1, count: 40)
    let aperture = Aperture(size: 10, peers: 8, position: 3)
    let all = members(weights)
    let used = { (members: [BalancerMember]) -> Set<UInt64> in
      let coverage = aperture.coverage(of: members, weights: members.map { _ in 1 })
      return Set(zip(members, coverage).filter { $1 > 0 }.map(\.0.identity))
    }
    let before = used(all)
    #expect(before == used(all.reversed()))
    let after = used(all + [BalancerMember(identity: identity(99))])
    #expect(before.intersection(after).count >= before.count - 2, "\(before.count)")
  }

  @Test("picks stay in the slice and follow the parts, whatever is compared", arguments: Metric.allCases)
  func picks(_ metric: Metric) {
    let aperture = Aperture(size: 5, peers: 7, position: 2)
    let service = TestService(20, settings(aperture, metric: metric.loadMetric), seed: freshSeed("picks"))
    let coverage = aperture.coverage(of: service.members, weights: [Double](repeating: 1, count: 20))
    let own = coverage.reduce(0, +)
    let shares = service.shares(100_000)
    for (endpoint, share) in shares.enumerated() {
      // 100,000 draws: five standard deviations of a share of 0.2.
      #expect(abs(share - coverage[endpoint] / own) < 0.0065, "\(endpoint): \(share) for \(coverage[endpoint] / own)")
    }
  }

  @Test("a slice that is not well spills over to the others, and one that is down leaves them everything")
  func spillOver() {
    let aperture = Aperture(size: 10, peers: 4, position: 0)
    let service = TestService(40, settings(aperture))
    let coverage = aperture.coverage(of: service.members, weights: [Double](repeating: 1, count: 40))
    let slice = coverage.indices.filter { coverage[$0] > 0 }
    #expect(slice.count == 10)
    let outside = { (shares: [Double]) in coverage.indices.filter { coverage[$0] == 0 }.map { shares[$0] }.reduce(0, +)
    }
    #expect(outside(service.shares(10_000)) == 0)
    service.close(slice.prefix(3))
    #expect(outside(service.shares(10_000, now: start.advanced(byNanoseconds: second))) == 0)
    // Five of ten are well: they keep 0.5 / 0.7 of the requests.
    service.close(slice.prefix(5))
    #expect(abs(outside(service.shares(40_000, now: start.advanced(byNanoseconds: 2 * second))) - 0.286) < 0.02)
    service.close(slice)
    #expect(outside(service.shares(10_000, now: start.advanced(byNanoseconds: 3 * second))) > 0.999)
  }

  @Test("few endpoints are all used, none is nothing, and nonsense is no trap")
  func corners() {
    for (count, aperture) in [
      (3, Aperture()), (12, Aperture()), (1, Aperture(size: 1, peers: 1)), (0, Aperture()),
      (4, Aperture(size: .max, peers: .max, position: .max)),
    ] {
      let service = TestService(count, settings(aperture))
      let shares = service.shares(1_000)
      #expect(shares.allSatisfy { $0 > 0 }, "\(count)")
      #expect(service.pick() >= (count == 0 ? -1 : 0))
    }
    let odd = Aperture(size: .min, peers: 0, position: .min)
    #expect(TestService(5, settings(odd)).pick() >= 0)
    #expect(TestService(5, weights: [0, 0, .infinity, .nan, -1], settings(Aperture(size: 2))).pick() >= 0)
  }
}
