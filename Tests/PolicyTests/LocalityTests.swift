// What is near, what is new, and what happens when little is healthy.

import Base
import Policy
import Testing

@Suite struct LocalityTests {
  /// Two endpoints on this host, four in the zone, four elsewhere.
  private func service(
    _ prefer: LocalityPreference, kind: BalancerKind = .p2c, panic: Double = 0.5, seed: UInt64 = 1
  ) -> TestService {
    let members = (0..<10).map { number in
      BalancerMember(locality: number < 2 ? .host : number < 6 ? .zone : .other, identity: identity(number))
    }
    return TestService(members, BalancerSettings(kind: kind, prefer: prefer, panic: panic), seed: seed)
  }

  /// The parts of this host, the zone and the others.
  private func parts(_ service: TestService, now: MonotonicInstant = start) -> [Double] {
    let shares = service.shares(25_000, now: now)
    return [shares[0..<2].reduce(0, +), shares[2..<6].reduce(0, +), shares[6..<10].reduce(0, +)]
  }

  private func isNear(_ parts: [Double], _ expected: [Double]) -> Bool {
    zip(parts, expected).allSatisfy { abs($0 - $1) < 0.02 }
  }

  @Test(
    "while all are healthy the nearest get everything",
    arguments: [(.none, [0.2, 0.4, 0.4]), (.zone, [1.0 / 3, 2.0 / 3, 0]), (.node, [1, 0, 0])]
      as [(LocalityPreference, [Double])], [.p2c, .leastLoaded, .roundRobin, .random] as [BalancerKind])
  func preference(prefer: (LocalityPreference, [Double]), kind: BalancerKind) {
    let seed = freshSeed("LocalityTests.preference")
    let parts = parts(service(prefer.0, kind: kind, seed: seed))
    #expect(isNear(parts, prefer.1), "\(parts), seed \(seed)")
  }

  @Test("a level that is not healthy enough keeps what it can carry, and the next takes the rest")
  func spillOver() {
    let seed = freshSeed("LocalityTests.spillOver")
    let service = service(.node, panic: 0, seed: seed)
    // Half of the host's: 0.5 / 0.7 stays.
    service.close([0])
    var parts = parts(service)
    #expect(isNear(parts, [0.714, 0.286, 0]), "\(parts), seed \(seed)")
    // All of the host's and two of the zone's four.
    service.close(0..<4)
    parts = self.parts(service, now: start.advanced(byNanoseconds: second))
    #expect(isNear(parts, [0, 0.714, 0.286]), "\(parts), seed \(seed)")
    // A quarter here and there: neither can carry all, together they share alike.
    service.close([4, 7, 8, 9])
    parts = self.parts(service, now: start.advanced(byNanoseconds: 2 * second))
    #expect(isNear(parts, [0, 0.5, 0.5]), "\(parts), seed \(seed)")
    service.close(0..<10, until: nil)
    parts = self.parts(service, now: start.advanced(byNanoseconds: 3 * second))
    #expect(isNear(parts, [1, 0, 0]), "\(parts), seed \(seed)")
    // Three of the zone's four carry everything the host's cannot: 75 % is over the threshold.
    service.close([0, 1, 2])
    parts = self.parts(service, now: start.advanced(byNanoseconds: 4 * second))
    #expect(isNear(parts, [0, 1, 0]), "\(parts), seed \(seed)")
  }

  @Test("a retry, and a request while the nearest are broken, go farther before they go there again")
  func failedNearby() {
    let members = (0..<3).map { BalancerMember(locality: $0 == 0 ? .host : .other, identity: identity($0)) }
    for kind in [.p2c, .leastLoaded, .roundRobin, .random] as [BalancerKind] {
      let service = TestService(members, BalancerSettings(kind: kind, prefer: .node))
      for _ in 0..<100 { #expect(service.pick() == 0) }
      for _ in 0..<100 { #expect(service.pick(exclude: 0) > 0) }
      PeakEWMA().observeBroken(&service.loads[0], sampleNanoseconds: 1, now: start)
      for _ in 0..<100 { #expect(service.pick() > 0) }
      #expect(service.pick(now: start.advanced(byNanoseconds: 251 * millisecond)) == 0)
    }
  }

  @Test("what is taken out gets nothing until a probe is due", arguments: BalancerKind.allCases)
  func gates(kind: BalancerKind) {
    let service = TestService(4, BalancerSettings(kind: kind))
    func picks(_ now: MonotonicInstant) -> Set<Int> {
      Set((0..<500).map { service.pick(key: service.key($0), now: now) })
    }
    let due = start.advanced(byNanoseconds: 5 * second)
    service.close([1], until: due)
    #expect(picks(start) == [0, 2, 3])
    #expect(picks(due) == [0, 1, 2, 3])
    let lost = due.advanced(byNanoseconds: second)
    #expect(service.gate(1).admit(now: start, probeUntil: lost) == .refused)
    #expect(service.gate(1).admit(now: due, probeUntil: lost) == .probe)
    #expect(service.gate(1).admit(now: due, probeUntil: lost) == .refused)
    #expect(picks(due) == [0, 2, 3])
    // A probe that nobody hears of again.
    #expect(picks(lost) == [0, 1, 2, 3])
    service.gate(1).open()
    #expect(service.gate(1).admit(now: lost, probeUntil: lost) == .ordinary)
    service.gate(1).shut()
    #expect(picks(MonotonicInstant(nanoseconds: .max - 1)) == [0, 2, 3])
  }

  @Test("under the panic threshold all are used, and not a moment longer", arguments: BalancerKind.allCases)
  func panic(kind: BalancerKind) {
    let seed = freshSeed("LocalityTests.panic")
    let service = TestService(10, BalancerSettings(kind: kind), seed: seed)
    func used(_ milliseconds: UInt64) -> Int {
      service.shares(20_000, keyed: kind.isByKey, now: start.advanced(byNanoseconds: milliseconds * millisecond)).count
      {
        $0 > 0
      }
    }
    #expect(used(0) == 10)
    service.close(0..<5)
    #expect(used(1) == 5 && !service.isPanicking)
    service.close([5])
    #expect(used(2) == 10 && service.isPanicking, "seed \(seed)")
    service.loads[0].flags = .draining
    #expect(used(3) == 9)
    service.close([5], until: nil)
    #expect(used(4) == 5 && !service.isPanicking)
  }

  @Test("panic at 0 is never, and then a service with none that is healthy has no endpoint")
  func neverPanic() {
    let service = TestService(4, BalancerSettings(panic: 0))
    service.close(0..<4)
    #expect(service.pick() == -1)
    #expect(!service.isPanicking)
  }

  @Test("panic uses every level")
  func panicLevels() {
    let service = service(.node)
    service.close(0..<6)
    let parts = parts(service)
    #expect(service.isPanicking && isNear(parts, [0.2, 0.4, 0.4]), "\(parts)")
  }

  @Test(
    "a new endpoint's share grows from a tenth of its weight to all of it",
    arguments: [.p2c, .leastLoaded, .roundRobin, .random] as [BalancerKind],
    [(0, 0.1), (3, 0.1), (15, 0.5), (27, 0.9), (30, 1), (300, 1)] as [(UInt64, Double)])
  func slowStart(kind: BalancerKind, age: (seconds: UInt64, factor: Double)) {
    let seed = freshSeed("LocalityTests.slowStart")
    let settings = BalancerSettings(kind: kind, slowStart: SlowStart(durationNanoseconds: 30 * second))
    var members = (0..<5).map { BalancerMember(weight: $0 == 1 ? 2 : 1, identity: identity($0)) }
    members[4].addedAt = start
    let service = TestService(members, settings, seed: seed)
    let shares = service.shares(60_000, now: start.advanced(byNanoseconds: age.seconds * second))
    let total = 5 + age.factor
    #expect(abs(shares[4] - age.factor / total) < 0.01, "\(shares), seed \(seed)")
    #expect(abs(shares[1] - 2 / total) < 0.015, "\(shares), seed \(seed)")
  }
}
