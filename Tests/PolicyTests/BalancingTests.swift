// Statistics of the balancer, seeded and in virtual time. Bounds are wide against the standard deviation of the
// number of draws (five of them and more), so a failure is a fault and not bad luck.

import Base
import Policy
import Testing

@Suite struct PowerOfTwoChoicesTests {
  @Test("an empty set gives none, a single endpoint itself unless it is out of service")
  func small() {
    #expect(TestService(0).pick() == -1)
    let one = TestService(1)
    #expect(one.pick() == 0)
    #expect(one.pick(exclude: 0) == 0)
    one.loads[0].flags = .draining
    #expect(one.pick() == -1)
  }

  @Test("of two endpoints the less loaded one is always taken")
  func two() {
    let set = TestService(2, seed: 2)
    set.loads[1].inFlight = 1
    for _ in 0..<100 { #expect(set.pick() == 0) }
    set.loads[0].inFlight = 2
    for _ in 0..<100 { #expect(set.pick() == 1) }
  }

  @Test("endpoints alike share evenly", arguments: [2, 3, 5, 16])
  func even(count: Int) {
    let seed = freshSeed("BalancingTests.even")
    for share in TestService(count, seed: seed).shares(200_000) {
      #expect(abs(share - 1 / Double(count)) < 0.01, "seed \(seed)")
    }
  }

  @Test(
    "weights are followed within three per cent of all while loads are alike",
    arguments: [[1, 2], [0.95, 0.05], [1, 1, 1, 5], [3, 2, 1, 1, 1], [10, 0, 1], [0.5, 100, 7]] as [[Double]])
  func weights(weights: [Double]) {
    let seed = freshSeed("BalancingTests.weights")
    let total = weights.reduce(0, +)
    let shares = TestService(weights.count, weights: weights, seed: seed).shares(300_000)
    for (share, weight) in zip(shares, weights) {
      #expect(abs(share - weight / total) < 0.01, "\(shares), seed \(seed)")
      if weight == 0 { #expect(share == 0) }
    }
  }

  @Test("weights that are all equal, all zero or no numbers need no table and share evenly")
  func uselessWeights() {
    for weights in [[2, 2, 2], [0, 0, 0], [-1, .nan, .infinity]] as [[Double]] {
      let set = TestService(3, weights: weights, seed: 3)
      #expect(WeightTable(weights: weights.map { Float($0) }) == nil)
      for share in set.shares(60_000) { #expect(abs(share - 1.0 / 3) < 0.02) }
    }
    #expect(WeightTable(weights: []) == nil)
  }

  @Test("a canary of five per cent gets no more than ten, however slow the others are")
  func canaryBound() {
    let seed = freshSeed("BalancingTests.canaryBound")
    let set = TestService(2, weights: [95, 5], seed: seed)
    set.loads[0].inFlight = 10_000
    let shares = set.shares(200_000)
    #expect(shares[1] > 0.09 && shares[1] < 0.105, "\(shares), seed \(seed)")
  }

  @Test("with weights and requests queueing, what is in flight follows the weights")
  func weightedQueues() {
    let seed = freshSeed("BalancingTests.weightedQueues")
    let set = TestService(3, weights: [2, 1, 1], seed: seed)
    for _ in 0..<40_000 {
      let index = set.pick()
      #expect(index >= 0)
      set.loads[Int(index)].attemptStarted()
    }
    #expect(abs(Double(set.loads[0].inFlight) - 20_000) < 600, "seed \(seed)")
    #expect(abs(Double(set.loads[1].inFlight) - 10_000) < 300, "seed \(seed)")
  }

  @Test("endpoints out of service are never picked and the rest share evenly", arguments: [1, 5, 9])
  func outOfService(out: Int) {
    let seed = freshSeed("BalancingTests.outOfService")
    let set = TestService(10, seed: seed)
    for index in 0..<out { set.loads[index].flags = .draining }
    let shares = set.shares(100_000)
    for index in 0..<out { #expect(shares[index] == 0) }
    for index in out..<10 { #expect(abs(shares[index] - 1 / Double(10 - out)) < 0.02, "\(shares), seed \(seed)") }
    for index in out..<10 { set.loads[index].flags = .draining }
    #expect(set.pick() == -1)
  }

  @Test("among hundreds out of service the last one left is found")
  func lastOne() {
    let set = TestService(500, weights: (1...500).map { Double($0) }, seed: 4)
    for index in set.loads.indices where index != 3 { set.loads[index].flags = .draining }
    for _ in 0..<200 { #expect(set.pick() == 3) }
  }

  @Test("a retry avoids the endpoint that failed, unless there is no other", arguments: [false, true])
  func exclusion(weighted: Bool) {
    let set = TestService(3, weights: weighted ? [1, 1000, 1] : [], seed: 5)
    for _ in 0..<1000 { #expect(set.pick(exclude: 1) != 1) }
    set.loads[0].flags = .draining
    for _ in 0..<1000 { #expect(set.pick(exclude: 1) == 2) }
    set.loads[2].flags = .draining
    for _ in 0..<100 { #expect(set.pick(exclude: 1) == 1) }
    for exclude in [3, 1000, -7, .max, .min] as [Int32] { #expect(set.pick(exclude: exclude) == 1) }
  }

  @Test("the fullest of many endpoints is less full than under random choice")
  func beatsRandom() {
    let seed = freshSeed("BalancingTests.beatsRandom")
    var random = RandomSource(seed: seed)
    let set = TestService(100, seed: seed)
    var byChance = [Int](repeating: 0, count: 100)
    for _ in 0..<10_000 {
      set.loads[Int(set.pick())].attemptStarted()
      byChance[Int(random.next(below: 100))] += 1
    }
    let fullest = set.loads.map { Int($0.inFlight) }.max() ?? 0
    // A hundred each on average: two choices stay within a handful, chance strays by about 25.
    #expect(fullest <= 106, "seed \(seed)")
    #expect((byChance.max() ?? 0) > fullest + 5, "seed \(seed)")
  }
}

@Suite struct PeakEWMATests {
  private let average = PeakEWMA()

  @Test("the first answer replaces the guess, a slower one raises the average at once")
  func peak() {
    var load = EndpointLoad(now: start)
    average.observe(&load, sampleNanoseconds: 2 * millisecond, now: start)
    #expect(load.costNanoseconds == Double(2 * millisecond))
    average.observe(&load, sampleNanoseconds: 50 * millisecond, now: start)
    #expect(load.costNanoseconds == Double(50 * millisecond))
  }

  @Test(
    "faster answers lower the average by e^(-t/decay)",
    arguments: [(1, 0.99990), (100, 0.99005), (1000, 0.90484), (10_000, 0.36788), (100_000, 0.0000454)])
  func decay(milliseconds: UInt64, kept: Double) {
    var load = EndpointLoad(now: start)
    average.observe(&load, sampleNanoseconds: 100 * millisecond, now: start)
    average.observe(
      &load, sampleNanoseconds: 1, now: start.advanced(byNanoseconds: milliseconds * millisecond))
    #expect(abs(load.costNanoseconds / Double(100 * millisecond) - kept) < 0.00001)
  }

  @Test("the average does not depend on how many answers a time is cut into")
  func subdivided() {
    var coarse = EndpointLoad(now: start)
    var fine = EndpointLoad(now: start)
    average.observe(&coarse, sampleNanoseconds: second, now: start)
    average.observe(&fine, sampleNanoseconds: second, now: start)
    for step in 1...50_000 as ClosedRange<UInt64> {
      average.observe(
        &fine, sampleNanoseconds: millisecond, now: start.advanced(byNanoseconds: step * second / 5000))
    }
    average.observe(&coarse, sampleNanoseconds: millisecond, now: start.advanced(byNanoseconds: 10 * second))
    #expect(abs(fine.costNanoseconds / coarse.costNanoseconds - 1) < 0.001)
  }

  @Test("a clock that steps back neither traps nor moves the average up")
  func backwards() {
    var load = EndpointLoad(now: start)
    average.observe(&load, sampleNanoseconds: second, now: start)
    average.observe(&load, sampleNanoseconds: millisecond, now: MonotonicInstant(nanoseconds: 5))
    #expect(load.costNanoseconds == Double(second))
    #expect(load.updated == start)
    average.observe(&load, sampleNanoseconds: .max, now: MonotonicInstant(nanoseconds: .max))
    average.observeFailure(&load, sampleNanoseconds: .max, now: start)
    #expect(load.costNanoseconds.isFinite)
  }

  @Test("a new endpoint is tried at once, and not again before it answered")
  func newcomer() {
    let set = TestService(3, BalancerSettings(metric: .ewma(average)), seed: 6)
    for index in 0..<2 { average.observe(&set.loads[index], sampleNanoseconds: second, now: start) }
    var picks = (0..<50).filter { _ in set.pick() == 2 }.count
    #expect(picks > 15)
    set.loads[2].attemptStarted()
    for index in 0..<2 { set.loads[index].inFlight = 1000 }
    picks = (0..<50).filter { _ in set.pick() == 2 }.count
    #expect(picks == 0)
  }

  @Test("a slow endpoint nobody asks is tried again when its average has faded")
  func fading() {
    let set = TestService(2, BalancerSettings(metric: .ewma(average)), seed: 7)
    average.observe(&set.loads[0], sampleNanoseconds: millisecond, now: start)
    average.observe(&set.loads[1], sampleNanoseconds: 100 * millisecond, now: start)
    var now = start
    var seconds = 0
    while set.pick(now: now) == 0, seconds < 1000 {
      average.observe(&set.loads[0], sampleNanoseconds: millisecond, now: now)
      seconds += 1
      now = now.advanced(byNanoseconds: second)
    }
    // ln(100) decay times are 46 s; fading in steps lags by 6 % of one at most.
    #expect(seconds >= 45 && seconds <= 48)
  }

  @Test("failing fast does not look fast, and does not weigh for ever")
  func failures() {
    var load = EndpointLoad(now: start)
    average.observe(&load, sampleNanoseconds: millisecond, now: start)
    average.observeFailure(&load, sampleNanoseconds: 1000, now: start)
    #expect(load.costNanoseconds == Double(30 * millisecond))
    average.observeFailure(&load, sampleNanoseconds: 1000, now: start)
    #expect(load.costNanoseconds == Double(60 * millisecond))
    for _ in 0..<1000 { average.observeFailure(&load, sampleNanoseconds: 1000, now: start) }
    #expect(load.costNanoseconds == Double(second))
    average.observeFailure(&load, sampleNanoseconds: 3 * second, now: start)
    #expect(load.costNanoseconds == Double(3 * second))
    average.observeFailure(&load, sampleNanoseconds: 1000, now: start)
    #expect(load.costNanoseconds == Double(3 * second))
  }

  @Test("an endpoint ten times slower gets less than a fifth of its even share", arguments: [1, 8, 32])
  func slowEndpoint(concurrency: Int) {
    let seed = freshSeed("BalancingTests.slowEndpoint concurrency \(concurrency)")
    let served = Simulation(seed: seed, concurrency: concurrency, serviceTimes: [1, 1, 10]).run().shares
    #expect(served[2] < 1.0 / 3 / 5, "\(served), seed \(seed)")
    #expect(served[2] > 0, "\(served), seed \(seed)")
  }

  @Test("an endpoint that fails fast gets less than a fifth of its even share")
  func failingEndpoint() {
    let seed = freshSeed("BalancingTests.failingEndpoint")
    let served = Simulation(seed: seed, concurrency: 8, serviceTimes: [2, 2, 0.1], failing: 2).run().shares
    #expect(served[2] < 1.0 / 3 / 5, "\(served), seed \(seed)")
  }

  @Test("endpoints alike share alike under load")
  func alike() {
    let seed = freshSeed("BalancingTests.alike")
    let served = Simulation(seed: seed, concurrency: 8, serviceTimes: [1, 1, 1, 1]).run().shares
    for share in served { #expect(abs(share - 0.25) < 0.05, "\(served), seed \(seed)") }
  }
}
