// An endpoint that is killed and comes back, in virtual time: probed by single requests while it is gone, and back in
// its fair share with the first answer. Regression: peak EWMA's penalty alone kept it idle for about a minute.

import Base
import Policy
import Testing

private let average = PeakEWMA()

/// What endpoints are compared by, by name so that a failure says which.
enum Metric: CaseIterable {
  case inFlight
  case ewma

  var loadMetric: LoadMetric { self == .inFlight ? .inFlight : .ewma(average) }
}

/// Two requests under way at any time, each answered after a millisecond; a dead endpoint refuses at once and the
/// request goes to another one. One request is begun each half millisecond.
private final class Cluster {
  let service: TestService
  var loads: UnsafeMutableBufferPointer<EndpointLoad> { service.loads }
  var dead: Set<Int> = []
  var elapsed: UInt64 = 0
  /// When each endpoint was tried, in nanoseconds since the start.
  var attempts: [[UInt64]]
  private var waiting: [(until: UInt64, endpoint: Int)] = []

  init(_ count: Int, weights: [Double] = [], metric: Metric, seed: UInt64) {
    service = TestService(count, weights: weights, BalancerSettings(metric: metric.loadMetric), seed: seed)
    attempts = Array(repeating: [], count: count)
  }

  var now: MonotonicInstant { start.advanced(byNanoseconds: elapsed) }

  func run(nanoseconds: UInt64) {
    let end = elapsed + nanoseconds
    while elapsed < end {
      elapsed += millisecond / 2
      while let first = waiting.first, first.until <= elapsed { finish(waiting.removeFirst().endpoint) }
      begin()
    }
  }

  /// The share of each endpoint in the attempts of that time.
  func shares(nanoseconds: UInt64) -> [Double] {
    let before = attempts.map(\.count)
    run(nanoseconds: nanoseconds)
    let counts = zip(attempts, before).map { Double($0.count - $1) }
    return counts.map { $0 / max(counts.reduce(0, +), 1) }
  }

  private func begin() {
    var failed: Int32 = -1
    for _ in 0..<2 {
      let endpoint = service.pick(exclude: failed, now: now)
      guard attempts.indices.contains(endpoint) else {
        Issue.record("nothing was picked")
        return
      }
      attempts[endpoint].append(elapsed)
      loads[endpoint].attemptStarted()
      guard dead.contains(endpoint) else {
        waiting.append((elapsed + millisecond, endpoint))
        return
      }
      average.observeBroken(&loads[endpoint], sampleNanoseconds: 20_000, now: now)
      loads[endpoint].attemptEnded()
      failed = Int32(endpoint)
    }
  }

  private func finish(_ endpoint: Int) {
    if dead.contains(endpoint) {
      average.observeBroken(&loads[endpoint], sampleNanoseconds: millisecond, now: now)
    } else {
      average.observe(&loads[endpoint], sampleNanoseconds: millisecond, now: now)
    }
    loads[endpoint].attemptEnded()
  }
}

@Suite struct BrokenEndpointTests {
  static let sets: [[Double]] = [[1, 1], [1, 1, 1], [1, 1, 1, 1, 1, 1, 1, 1], [5, 1], [1, 5, 2]]

  @Test(
    "a killed endpoint gets one probe an interval, and its share back with the first answer",
    arguments: Metric.allCases, sets)
  func killedAndBack(metric: Metric, weights: [Double]) {
    let seed = freshSeed("BrokenEndpointTests.killedAndBack")
    let cluster = Cluster(weights.count, weights: weights, metric: metric, seed: seed)
    let usual = cluster.shares(nanoseconds: 5 * second)[0]

    cluster.dead = [0]
    let killed = cluster.elapsed
    cluster.run(nanoseconds: 20 * second)
    // After the break itself, which is the first attempt where nothing was under way, come probes after 250 ms, 500 ms
    // and so on to 4 s, never two closer than that.
    let probes = cluster.attempts[0].filter { $0 > killed + 10 * millisecond }
    #expect((5...9).contains(probes.count), "\(probes.prefix(10)), seed \(seed)")
    for (number, pair) in zip(probes, probes.dropFirst()).prefix(9).enumerated() {
      #expect(pair.1 - pair.0 >= 250 * (millisecond << UInt64(min(number, 4))), "\(probes.prefix(10)), seed \(seed)")
    }

    cluster.dead = []
    let revived = cluster.elapsed
    cluster.run(nanoseconds: 4 * second + 50 * millisecond)
    let back = cluster.attempts[0].first { $0 > revived }
    #expect(back.map { $0 <= revived + 4 * second + 50 * millisecond } == true, "seed \(seed)")
    #expect(cluster.loads[0].brokenCount == 0, "seed \(seed)")
    let again = cluster.shares(nanoseconds: 5 * second)[0]
    #expect(abs(again - usual) < 0.05, "\(usual) before, \(again) after, seed \(seed)")
  }

  @Test("with most endpoints dead, the rest get all but the probes", arguments: Metric.allCases)
  func mostDead(metric: Metric) {
    let seed = freshSeed("BrokenEndpointTests.mostDead")
    let cluster = Cluster(6, metric: metric, seed: seed)
    cluster.run(nanoseconds: second)
    cluster.dead = [0, 1, 2, 3]
    let shares = cluster.shares(nanoseconds: 20 * second)
    for index in 0..<4 { #expect(shares[index] < 0.001, "\(shares), seed \(seed)") }
    for index in 4..<6 { #expect(abs(shares[index] - 0.5) < 0.05, "\(shares), seed \(seed)") }
  }

  @Test(
    "with all dead each is tried, and the first to return takes the traffic at once", arguments: Metric.allCases,
    sets)
  func allDead(metric: Metric, weights: [Double]) {
    let seed = freshSeed("BrokenEndpointTests.allDead")
    let cluster = Cluster(weights.count, weights: weights, metric: metric, seed: seed)
    cluster.dead = Set(0..<weights.count)
    cluster.run(nanoseconds: 10 * second)
    for tried in cluster.attempts { #expect(!tried.isEmpty, "seed \(seed)") }
    cluster.dead.remove(0)
    cluster.run(nanoseconds: 4 * second)
    #expect(cluster.shares(nanoseconds: second)[0] > 0.95, "seed \(seed)")
  }

  @Test("connections that break together lengthen the interval once")
  func burst() {
    var load = EndpointLoad(now: start)
    for _ in 0..<64 { average.observeBroken(&load, sampleNanoseconds: millisecond, now: start) }
    #expect(load.brokenCount == 1)
    #expect(load.probeIntervalNanoseconds == 250 * millisecond)
  }

  @Test(
    "the probe interval doubles from 250 ms to 4 s and stays there",
    arguments: [(1, 250), (2, 500), (3, 1000), (4, 2000), (5, 4000), (6, 4000), (100, 4000)] as [(UInt32, UInt64)])
  func interval(failures: UInt32, milliseconds: UInt64) {
    var load = EndpointLoad(now: start)
    var now = start
    for _ in 0..<failures {
      now = now.advanced(byNanoseconds: 5 * second)
      average.observeBroken(&load, sampleNanoseconds: millisecond, now: now)
    }
    #expect(load.brokenCount == failures)
    #expect(load.isHeldBack(now: now.advanced(byNanoseconds: milliseconds * millisecond - 1)))
    #expect(!load.isHeldBack(now: now.advanced(byNanoseconds: milliseconds * millisecond)))
    load.brokenCount = .max
    average.observeBroken(&load, sampleNanoseconds: .max, now: now.advanced(byNanoseconds: 5 * second))
    #expect(load.brokenCount == .max)
  }

  @Test("asking for the load does not put a probe off, nor is one due while another is under way")
  func probeDue() {
    var load = EndpointLoad(now: start)
    for step in 0...4 as ClosedRange<UInt64> {
      average.observeBroken(
        &load, sampleNanoseconds: millisecond, now: start.advanced(byNanoseconds: step * 4 * second))
    }
    let last = start.advanced(byNanoseconds: 16 * second)
    for step in 0..<40 as Range<UInt64> {
      #expect(average.load(&load, now: last.advanced(byNanoseconds: step * 100 * millisecond)) > 1e18)
    }
    let due = last.advanced(byNanoseconds: 4 * second)
    #expect(average.load(&load, now: due) == 0)
    load.attemptStarted()
    #expect(average.load(&load, now: due) > 1e18)
    var unknown = EndpointLoad(now: start)
    unknown.inFlight = 10_000
    #expect(average.load(&unknown, now: due) < average.load(&load, now: due))
  }

  @Test("any answer ends the break: a good one replaces the penalty, a failing one adds to it")
  func answers() {
    var load = EndpointLoad(now: start)
    average.observeBroken(&load, sampleNanoseconds: millisecond, now: start)
    #expect(load.costNanoseconds == Double(30 * millisecond))
    var failing = load
    average.observe(&load, sampleNanoseconds: 2 * millisecond, now: start)
    #expect(load.costNanoseconds == Double(2 * millisecond))
    #expect(load.brokenCount == 0)
    average.observeFailure(&failing, sampleNanoseconds: millisecond, now: start)
    #expect(failing.costNanoseconds == Double(60 * millisecond))
    #expect(failing.brokenCount == 0)
  }
}
