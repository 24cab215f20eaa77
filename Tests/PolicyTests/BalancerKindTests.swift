// Statistics of every kind of balancer, seeded and in virtual time. Bounds are five standard deviations and more of the number
// of draws, so a failure is a fault and not bad luck.

import Base
import Policy
import Testing

@Suite struct BalancerKindTests {
  static let weightings: [[Double]] = [
    [1, 2], [0.95, 0.05], [1, 1, 1, 5], [3, 2, 1, 1, 1], [10, 0, 1], [0.5, 100, 7],
  ]

  @Test(
    "every kind follows weights while loads are alike",
    arguments: [.p2c, .leastLoaded, .roundRobin, .random] as [BalancerKind],
    weightings)
  func weights(kind: BalancerKind, weights: [Double]) {
    let seed = freshSeed("BalancerKindTests.weights")
    let service = TestService(weights.count, weights: weights, BalancerSettings(kind: kind), seed: seed)
    let shares = service.shares(100_000)
    let total = weights.reduce(0, +)
    for (share, weight) in zip(shares, weights) {
      #expect(abs(share - weight / total) < 0.01, "\(shares), seed \(seed)")
      if weight == 0 { #expect(share == 0) }
    }
  }

  @Test("hash kinds follow weights", arguments: [(.ringHash, 0.30), (.maglev, 0.01)] as [(BalancerKind, Double)])
  func hashWeights(kind: BalancerKind, tolerance: Double) {
    for weights in [[1, 1, 1], [1, 2, 4], [0.5, 0.5, 9], Array(repeating: 1, count: 50)] as [[Double]] {
      let service = TestService(weights.count, weights: weights, BalancerSettings(kind: kind))
      let total = weights.reduce(0, +)
      for (share, weight) in zip(service.shares(100_000, keyed: true), weights) {
        // Relative to the share; the keys themselves add five standard deviations.
        let expected = weight / total
        let noise = 5 * (expected / 100_000).squareRoot()
        #expect(abs(share - expected) < expected * tolerance + noise, "\(weights): \(share) for \(expected)")
      }
    }
  }

  @Test(
    "round robin gives each endpoint its turns within one, in any stretch, and none two in a row when there are others")
  func rotation() {
    let seed = freshSeed("BalancerKindTests.rotation")
    let alike = TestService(5, BalancerSettings(kind: .roundRobin), seed: seed)
    let picks = (0..<100).map { _ in alike.pick() }
    for place in 0..<95 { #expect(Set(picks[place..<(place + 5)]).count == 5, "seed \(seed)") }

    let weighted = TestService(3, weights: [5, 1, 1], BalancerSettings(kind: .roundRobin), seed: seed)
    let turns = (0..<700).map { _ in weighted.pick() }
    for place in stride(from: 0, to: 693, by: 7) {
      let stretch = turns[place..<(place + 7)]
      #expect((4...6).contains(stretch.count { $0 == 0 }), "\(stretch), seed \(seed)")
      for other in 1...2 { #expect((0...2).contains(stretch.count { $0 == other }), "\(stretch), seed \(seed)") }
    }
  }

  @Test("least-loaded takes the emptiest for its weight, and a nearly emptiest of many")
  func leastLoaded() {
    let seed = freshSeed("BalancerKindTests.leastLoaded")
    let few = TestService(4, weights: [1, 1, 1, 2], BalancerSettings(kind: .leastLoaded), seed: seed)
    for (index, inFlight) in [3, 2, 4, 3].enumerated() { few.loads[index].inFlight = UInt32(inFlight) }
    for _ in 0..<100 { #expect(few.pick() == 3) }
    for _ in 0..<5_000 { few.loads[few.pick()].attemptStarted() }
    #expect(abs(Int(few.loads[3].inFlight) - 2_005) <= 3 && abs(Int(few.loads[0].inFlight) - 1_002) <= 3)

    let many = TestService(1_000, BalancerSettings(kind: .leastLoaded), seed: seed)
    for index in 0..<1_000 { many.loads[index].inFlight = UInt32(index) }
    let inLightestTenth = (0..<2_000).count { _ in many.pick() < 100 }
    // 1 - 0.9^32 = 96.6 %, standard deviation 0.4 %.
    #expect(inLightestTenth > 1_880, "\(inLightestTenth), seed \(seed)")
  }

  @Test(
    "what cannot be used is never picked, and the rest share by weight",
    arguments: BalancerKind.allCases, [1, 5, 9])
  func outOfService(kind: BalancerKind, out: Int) {
    let seed = freshSeed("BalancerKindTests.outOfService")
    let service = TestService(10, BalancerSettings(kind: kind), seed: seed)
    for index in 0..<out { service.loads[index].flags = .draining }
    let shares = service.shares(40_000, keyed: kind.isByKey)
    let tolerance = kind == .ringHash ? 0.4 / Double(10 - out) : 0.02
    for index in 0..<out { #expect(shares[index] == 0) }
    for index in out..<10 {
      #expect(abs(shares[index] - 1 / Double(10 - out)) < tolerance, "\(shares), seed \(seed)")
    }
    for index in out..<10 { service.loads[index].flags = .draining }
    #expect(service.pick(key: service.key(1)) == -1)
  }

  @Test(
    "the endpoint that failed is avoided, a broken one too, and both are taken where there is no other",
    arguments: BalancerKind.allCases)
  func avoided(kind: BalancerKind) {
    let service = TestService(3, weights: [1, 1000, 1], BalancerSettings(kind: kind))
    func picks(_ count: Int, exclude: Int32) -> Set<Int> {
      Set((0..<count).map { service.pick(key: service.key($0), exclude: exclude) })
    }
    #expect(picks(1_000, exclude: 1) == [0, 2])
    PeakEWMA().observeBroken(&service.loads[0], sampleNanoseconds: millisecond, now: start)
    #expect(picks(1_000, exclude: 1) == [2])
    service.loads[2].flags = .draining
    #expect(picks(100, exclude: 1) == [0])
    service.loads[0].flags = .draining
    #expect(picks(100, exclude: 1) == [1])
    for exclude in [3, 1000, -7, .max, .min] as [Int32] { #expect(picks(10, exclude: exclude) == [1]) }
    service.loads[1].flags = .draining
    #expect(picks(10, exclude: 1) == [-1])
  }

  @Test("the last one left of a thousand is found by every kind", arguments: BalancerKind.allCases)
  func lastOne(kind: BalancerKind) {
    let service = TestService(1_000, weights: (1...1_000).map { Double($0) }, BalancerSettings(kind: kind))
    for index in service.loads.indices where index != 3 { service.loads[index].flags = .draining }
    for number in 0..<100 { #expect(service.pick(key: service.key(number)) == 3) }
  }

  @Test("a hash kind without a key balances by load")
  func keyless() {
    let service = TestService(2, BalancerSettings(kind: .maglev))
    service.loads[0].inFlight = 3
    for _ in 0..<100 { #expect(service.pick() == 1) }
  }

  @Test(
    "one endpoint ten times slower than nine leaves the 99th percentile within 1.5 times", arguments: [5, 20, 60])
  func slowEndpoint(concurrency: Int) {
    let seed = freshSeed("BalancerKindTests.slowEndpoint concurrency \(concurrency)")
    let fast = Array(repeating: 2.0, count: 9)
    // About a hundred thousand requests.
    let virtualSeconds = UInt64(max(4, 200 / concurrency))
    let without = Simulation(seed: seed, concurrency: concurrency, serviceTimes: fast, virtualSeconds: virtualSeconds)
      .run()
    let with = Simulation(
      seed: seed, concurrency: concurrency, serviceTimes: fast + [20], virtualSeconds: virtualSeconds
    ).run()
    let ratio = Double(with.percentile(0.99)) / Double(without.percentile(0.99))
    #expect(ratio < 1.5, "seed \(seed), the slow one's share \(with.shares[9])")
    #expect(with.shares[9] > 0, "seed \(seed)")
  }

  @Test(
    "tables for ten thousand endpoints are made in a moment, and hold every one of them",
    arguments: BalancerKind.allCases)
  func tenThousand(kind: BalancerKind) {
    var seen = Set<Int>()
    let service = TestService(10_000, BalancerSettings(kind: kind, tableSize: 1_000_003))
    for number in 0..<200_000 { seen.insert(service.pick(key: service.key(number))) }
    // Twenty picks for each: e^-20 of them are missed by chance, and a ring's smallest arcs.
    #expect(seen.count >= (kind == .aperture ? 12 : kind == .ringHash ? 9_900 : 10_000 - 2))
  }
}
