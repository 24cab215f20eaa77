// Overload in virtual time: how lag is measured, when shedding begins and ends, that noise does not make it flap, and whose
// requests go first.

import Base
import Policy
import Testing

@Suite struct LoopLagTests {
  /// Turns of one length with a pause after each, for a while; the lag at the end.
  private func lag(turn: UInt64, pause: UInt64, for duration: UInt64, wait: UInt64? = nil) -> UInt64 {
    var now = MonotonicInstant(nanoseconds: second)
    var lag = LoopLag(now: now)
    let end = now.advanced(byNanoseconds: duration)
    while now < end {
      now = now.advanced(byNanoseconds: turn)
      if let wait { lag.waited(nanoseconds: wait) }
      _ = lag.turned(nanoseconds: turn, now: now)
      now = now.advanced(byNanoseconds: pause)
    }
    return lag.nanoseconds
  }

  @Test(
    "turns without a pause are the lag, with pauses it is less",
    arguments: [
      (50 * millisecond, 0, 50 * millisecond), (millisecond, 0, millisecond),
      (10 * millisecond, 30 * millisecond, 2_500_000), (100_000, 900_000, 10_000),
    ] as [(UInt64, UInt64, UInt64)])
  func steady(turn: UInt64, pause: UInt64, expected: UInt64) {
    let found = lag(turn: turn, pause: pause, for: 5 * second)
    #expect(found > expected * 8 / 10 && found < expected * 12 / 10, "\(found)")
  }

  @Test("one long turn among short ones is no lag; a row of them is, and it is forgotten in a second or two")
  func single() {
    var now = MonotonicInstant(nanoseconds: second)
    var lag = LoopLag(now: now)
    func run(_ turn: UInt64, _ pause: UInt64, times: Int) {
      for _ in 0..<times {
        now = now.advanced(byNanoseconds: turn)
        _ = lag.turned(nanoseconds: turn, now: now)
        now = now.advanced(byNanoseconds: pause)
      }
    }
    run(100_000, 900_000, times: 1_000)
    run(50 * millisecond, 0, times: 1)
    run(100_000, 900_000, times: 100)
    #expect(lag.nanoseconds < 10 * millisecond)
    run(80 * millisecond, 0, times: 20)
    #expect(lag.nanoseconds > 60 * millisecond)
    run(100_000, 900_000, times: 1_500)
    #expect(lag.nanoseconds < 5 * millisecond)
  }

  @Test("what requests wait for their turn counts, though turns are short")
  func waits() {
    let found = lag(turn: 200_000, pause: 0, for: 3 * second, wait: 70 * millisecond)
    #expect(found > 65 * millisecond && found < 75 * millisecond)
  }

  @Test("no length of a turn and no clock stops the process")
  func extremes() {
    for turn in [0, 1, UInt64.max / 2, .max] {
      var lag = LoopLag(now: MonotonicInstant(nanoseconds: 0))
      for now in [0, 1, second, .max] as [UInt64] {
        lag.waited(nanoseconds: turn)
        _ = lag.turned(nanoseconds: turn, now: MonotonicInstant(nanoseconds: now))
      }
    }
  }
}

@Suite struct OverloadControllerTests {
  private var now = MonotonicInstant(nanoseconds: 1_000 * second)
  private var controller = OverloadController(now: MonotonicInstant(nanoseconds: 1_000 * second))
  private var transitions = 0

  /// A tenth of a second at a time.
  private mutating func run(lag: Double = 0, memory: Double = 0, tenths: Int) {
    for _ in 0..<tenths {
      now = now.advanced(byNanoseconds: 100 * millisecond)
      if controller.update(lagPressure: lag, memoryPressure: memory, now: now) { transitions += 1 }
    }
  }

  @Test("a moment over the mark is nothing; 0.3 seconds are overload")
  func entering() {
    var test = self
    test.run(lag: 0.99, tenths: 100)
    test.run(lag: 5, tenths: 2)
    test.run(lag: 0.5, tenths: 10)
    #expect(test.controller.state == .normal && test.controller.severity == 0)
    test.run(lag: 1, tenths: 3)
    #expect(test.controller.state == .shedding && test.controller.severity > 0)
    #expect(test.controller.reason == .loopLag && test.transitions == 1)
  }

  @Test("more is refused the longer it lasts and the worse it is, up to all but a twentieth")
  func grading() {
    var mild = self
    mild.run(lag: 1.1, tenths: 10)
    var bad = self
    bad.run(lag: 3, tenths: 10)
    #expect(mild.controller.severity < bad.controller.severity)
    #expect(mild.controller.severity > 0.3 && mild.controller.severity < 0.8)
    bad.run(lag: 100, tenths: 100)
    #expect(bad.controller.severity == 0.95)
  }

  @Test("between the marks nothing changes; under the lower one it ends in its time")
  func leaving() {
    var test = self
    test.run(lag: 1.5, tenths: 10)
    let severity = test.controller.severity
    test.run(lag: 0.9, tenths: 600)
    #expect(test.controller.state == .shedding && test.controller.severity == severity)
    test.run(lag: 0.1, tenths: 20)
    #expect(test.controller.state == .shedding && test.controller.severity < severity)
    test.run(lag: 0.1, tenths: 80)
    #expect(test.controller.state == .normal && test.controller.severity == 0 && test.transitions == 2)
  }

  @Test("it sheds for two seconds at least, and rests for one")
  func dwelling() {
    var test = self
    test.run(memory: 1.01, tenths: 3)
    #expect(test.controller.state == .shedding && test.controller.reason == .memory)
    test.run(tenths: 19)
    #expect(test.controller.state == .shedding)
    test.run(tenths: 1)
    #expect(test.controller.state == .normal)
    test.run(memory: 2, tenths: 9)
    #expect(test.controller.state == .normal)
    test.run(memory: 2, tenths: 1)
    #expect(test.controller.state == .shedding && test.controller.severity == 0.95)
  }

  @Test("memory is answered in proportion, at once and both ways")
  func memory() {
    var test = self
    test.run(memory: 1, tenths: 3)
    #expect(test.controller.state == .shedding && test.controller.severity == 0)
    test.run(memory: 1.125, tenths: 1)
    #expect(abs(test.controller.severity - 0.5) < 1e-9)
    test.run(memory: 1.025, tenths: 1)
    #expect(abs(test.controller.severity - 0.1) < 1e-9)
  }

  @Test("a noisy measure does not make it flap", arguments: [0.3, 0.6, 0.8, 0.9, 1.0, 1.2])
  func noise(mean: Double) {
    let seed = freshSeed("OverloadTests.noise")
    var random = RandomSource(seed: seed)
    var test = self
    let seconds = 600
    for _ in 0..<(seconds * 10) {
      // Uniform, a third of the mark to both sides, and one in twenty far off.
      var lag = mean + (Double(random.next(below: 10_000)) / 10_000 - 0.5) * 0.66
      if random.next(below: 20) == 0 { lag *= 3 }
      test.run(lag: lag, tenths: 1)
    }
    #expect(test.transitions <= seconds / 20, "\(test.transitions) changes in \(seconds) s, seed \(seed)")
    if mean >= 1.2 { #expect(test.controller.state == .shedding) }
    if mean <= 0.3 { #expect(test.transitions <= 4, "seed \(seed)") }
  }

  @Test("a load that shedding cures is held near the mark, without flapping")
  func closedLoop() {
    let seed = freshSeed("OverloadTests.closedLoop")
    var random = RandomSource(seed: seed)
    var test = self
    // Twice as much comes as can be done; what is over it piles up in a queue that makes the lag.
    var backlog = 0.0
    var (served, refused) = (0.0, 0.0)
    for tenth in 0..<3_000 {
      let offered = 2.0 * (0.8 + 0.4 * Double(random.next(below: 1_000)) / 1_000)
      let admitted = offered * (1 - test.controller.severity)
      backlog = max(backlog + admitted - 1, 0)
      if tenth > 300 {
        served += min(admitted, 1)
        refused += offered - admitted
      }
      test.run(lag: backlog, tenths: 1)
    }
    #expect(test.controller.state == .shedding && test.transitions == 1, "seed \(seed)")
    // It neither lets the queue grow without end nor stands idle for long.
    #expect(backlog < 60 && served > 0.7 * 2_700, "backlog \(backlog), served \(served), seed \(seed)")
    #expect(refused > 2_000)
  }

  @Test("what is no number presses nothing, and no clock stops the process")
  func extremes() {
    for pressure in [Double.nan, .infinity, -.infinity, -1, 0, 1e300] {
      for instant in [0, 1, UInt64.max / 2, .max, 0] {
        var controller = OverloadController(now: MonotonicInstant(nanoseconds: second))
        controller.update(lagPressure: pressure, memoryPressure: pressure, now: .init(nanoseconds: instant))
        controller.update(lagPressure: pressure, memoryPressure: 0, now: .init(nanoseconds: 0))
        #expect(controller.severity >= 0 && controller.severity <= 0.95)
      }
    }
  }
}

@Suite struct SheddingPlanTests {
  @Test("with other weights the plan goes on with what was asked for")
  func reweighting() {
    var random = RandomSource(seed: 1)
    var plan = SheddingPlan(weights: FairWeights([1, 1]))
    defer { plan.destroy() }
    for _ in 0..<1_000 { _ = plan.refuses(1, random: &random) }
    plan.renew(severity: 0.5)
    let before = plan.refusedPart(of: 1)
    plan = plan.reweighted(FairWeights([1, 2, 1]))
    #expect(before > 0.4 && plan.refusedPart(of: 1) == before && plan.refusedPart(of: 2) == 0)
    for _ in 0..<1_000 { _ = plan.refuses(1, random: &random) }
    plan.renew(severity: 0.5)
    #expect(plan.refusedPart(of: 1) > 0.4 && plan.refusedPart(of: 2) == 0)
  }

  /// The part of each flow that is refused, after some windows with these requests in each.
  private func refused(_ weights: [Double], _ demands: [Int], severity: Double) -> [Double] {
    let plan = SheddingPlan(weights: FairWeights(weights))
    defer { plan.destroy() }
    var random = RandomSource(seed: 1)
    for _ in 0..<12 {
      for (flow, demand) in demands.enumerated() {
        for _ in 0..<demand { _ = plan.refuses(FlowNumber(flow), random: &random) }
      }
      plan.renew(severity: severity)
    }
    return weights.indices.map { plan.refusedPart(of: FlowNumber($0)) }
  }

  @Test("nothing is refused without severity, and of a single flow the part that is asked for")
  func single() {
    #expect(refused([1], [1_000], severity: 0) == [0])
    #expect(abs(refused([1], [1_000], severity: 0.3)[0] - 0.3) < 0.001)
    #expect(abs(refused([1], [1_000], severity: 1)[0] - 1) < 0.001)
    #expect(refused([1], [0], severity: 0.5) == [0])
  }

  @Test("who floods is cut; who asks for little is left alone as long as anything can be taken from the other")
  func flood() {
    let found = refused([1, 1], [10_000, 100], severity: 0.9)
    #expect(found[1] == 0)
    #expect(abs(found[0] - 0.909) < 0.001)
    // Down to as little as the other: then both alike.
    let all = refused([1, 1], [10_000, 100], severity: 0.995)
    #expect(all[1] > 0.4 && all[1] < 0.8)
  }

  @Test("of two that ask for the same the light one is refused first")
  func weights() {
    let some = refused([1, 10], [1_000, 1_000], severity: 0.2)
    #expect(abs(some[0] - 0.4) < 0.001 && some[1] == 0)
    let most = refused([1, 10], [1_000, 1_000], severity: 0.9)
    #expect(most[0] > 0.98 && abs(most[1] - 0.818) < 0.01)
  }

  @Test("what is let through is what was asked for: the part of all that severity leaves")
  func total() {
    let seed = freshSeed("OverloadTests.total")
    var random = RandomSource(seed: seed)
    for _ in 0..<50 {
      let count = 1 + Int(random.next(below: 20))
      let weights = (0..<count).map { _ in [0.001, 0.5, 1, 3, 1000][Int(random.next(below: 5))] }
      let demands = (0..<count).map { _ in Int(random.next(below: 500)) }
      let severity = Double(random.next(below: 96)) / 100
      let parts = refused(weights, demands, severity: severity)
      let asked = demands.reduce(0, +)
      let admitted = zip(parts, demands).reduce(0) { $0 + (1 - $1.0) * Double($1.1) }
      #expect(abs(admitted - (1 - severity) * Double(asked)) <= 0.005 * Double(asked) + 1, "seed \(seed)")
    }
  }

  @Test("when the flood ends, who stays is not refused for it while the severity falls")
  func afterFlood() {
    let plan = SheddingPlan(weights: FairWeights([1, 1]))
    defer { plan.destroy() }
    var random = RandomSource(seed: 1)
    func window(_ demands: [Int], severity: Double) -> Double {
      for (flow, demand) in demands.enumerated() {
        for _ in 0..<demand { _ = plan.refuses(FlowNumber(flow), random: &random) }
      }
      plan.renew(severity: severity)
      return plan.refusedPart(of: 1)
    }
    var severity = 0.1
    while severity < 0.95 {
      #expect(window([10_000, 50], severity: severity) == 0)
      severity += 0.05
    }
    for _ in 0..<10 { #expect(window([10_000, 50], severity: 0.95) == 0) }
    // The judgement lags behind for a moment, then it falls slowly.
    for _ in 0..<3 { #expect(window([0, 50], severity: 0.95) == 0) }
    severity = 0.95
    while severity > 0 {
      severity -= 0.01
      #expect(window([0, 50], severity: max(severity, 0)) == 0)
    }
    // What does not end is cut all the same.
    for _ in 0..<60 { _ = window([0, 1_000], severity: 0.95) }
    #expect(abs(plan.refusedPart(of: 1) - 0.95) < 0.01)
  }

  @Test("about as many are refused as the plan says")
  func draws() {
    let seed = freshSeed("OverloadTests.draws")
    var random = RandomSource(seed: seed)
    let plan = SheddingPlan(weights: FairWeights([1]))
    defer { plan.destroy() }
    for _ in 0..<1_000 { _ = plan.refuses(0, random: &random) }
    plan.renew(severity: 0.25)
    let refused = (0..<40_000).count { _ in plan.refuses(0, random: &random) }
    // Five standard deviations.
    #expect(abs(refused - 10_000) < 435, "seed \(seed)")
  }
}
