// The breaker of an endpoint in virtual time, and on real threads: what takes it out, for how long, who probes.

import Base
import Policy
import Synchronization
import Testing

private let backoff = Backoff(minimumNanoseconds: 5 * second, maximumNanoseconds: 300 * second)
private let consecutive = AccrualPolicy(kind: .consecutiveFailures(5), backoff: backoff)
private let byRate = AccrualPolicy(
  kind: .successRate(0.8, minimumRequests: 20, windowNanoseconds: 10 * second), backoff: backoff)

/// One endpoint of a service in memory of its own, as services have it.
private final class Cell: @unchecked Sendable {
  let accrual: UnsafeMutablePointer<FailureAccrual>
  let ejections: UnsafeMutablePointer<EjectionCount>
  let policy: AccrualPolicy
  var limit = 1
  var now = MonotonicInstant(nanoseconds: 1_000 * second)
  private var random: RandomSource

  init(_ policy: AccrualPolicy, seed: UInt64 = 1) {
    self.policy = policy
    accrual = .allocate(capacity: 1)
    accrual.initialize(to: FailureAccrual())
    ejections = .allocate(capacity: 1)
    ejections.initialize(to: EjectionCount())
    random = RandomSource(seed: seed)
  }

  deinit {
    accrual.deinitialize(count: 1)
    accrual.deallocate()
    ejections.deinitialize(count: 1)
    ejections.deallocate()
  }

  var state: FailureAccrual.State { accrual.pointee.state }
  func advance(seconds: Double) { now = now.advanced(byNanoseconds: UInt64(seconds * 1e9)) }

  @discardableResult func fail(probe: Bool = false) -> FailureAccrual.Change {
    accrual.pointee.failed(
      isProbe: probe, policy: policy, ejections: ejections.pointee, limit: limit, now: now, random: &random)
  }

  @discardableResult func succeed(
    probe: Bool = false, startedAt: MonotonicInstant? = nil
  ) -> FailureAccrual.Change {
    accrual.pointee.succeeded(
      isProbe: probe, startedAt: startedAt ?? now, policy: policy, ejections: ejections.pointee, now: now)
  }

  /// What begins an attempt does at the gate: of all who see a probe due, one gets it.
  func claim(for nanoseconds: UInt64 = 15 * second) -> Bool { claimProbe(accrual, now, for: nanoseconds) }

  /// Fails until it is out; when that is over.
  func takeOut() throws -> MonotonicInstant {
    for _ in 0..<1_000 {
      if case .wentOut(let until) = fail() { return until }
    }
    throw NeverOut()
  }
  struct NeverOut: Error {}
}

private func claimProbe(
  _ cell: UnsafeMutablePointer<FailureAccrual>, _ now: MonotonicInstant, for nanoseconds: UInt64
) -> Bool {
  let gate = FailureAccrual.gate(of: cell)
  let seen = gate.pointee.load(ordering: .acquiring)
  guard seen != 0, seen <= now.nanoseconds else { return false }
  return gate.pointee.compareExchange(
    expected: seen, desired: now.nanoseconds + nanoseconds, ordering: .acquiringAndReleasing
  ).exchanged
}

@Suite struct FailureAccrualTests {
  @Test("five failures in a row take an endpoint out for five seconds")
  func consecutiveFailures() {
    let cell = Cell(consecutive)
    for count in 1...4 as ClosedRange<UInt64> {
      #expect(cell.fail() == .nothing)
      #expect(cell.state == .inService(failures: count))
    }
    let until = cell.now.advanced(byNanoseconds: 5 * second)
    #expect(cell.fail() == .wentOut(until: until))
    #expect(cell.state == .out(until: until))
    #expect(cell.ejections.pointee.value == 1)
  }

  @Test("a success between failures starts the count anew")
  func interrupted() {
    let cell = Cell(consecutive)
    for _ in 0..<10 {
      for _ in 0..<4 { #expect(cell.fail() == .nothing) }
      #expect(cell.succeed() == .nothing)
      #expect(cell.state == .inService(failures: 0))
    }
  }

  @Test("nothing probes before the time is over, then one request does, and its success brings the endpoint back")
  func probes() throws {
    let cell = Cell(consecutive)
    _ = try cell.takeOut()
    #expect(!cell.claim())
    cell.advance(seconds: 4.9)
    #expect(!cell.claim())
    cell.advance(seconds: 0.1)
    #expect(cell.claim())
    #expect(!cell.claim())
    #expect(cell.succeed(probe: true) == .cameBack(wasUnhealthy: false))
    #expect(cell.state == .inService(failures: 0))
    #expect(cell.ejections.pointee.value == 0)
    // And it takes five failures again, and five seconds.
    for _ in 0..<4 { #expect(cell.fail() == .nothing) }
    #expect(cell.fail() == .wentOut(until: cell.now.advanced(byNanoseconds: 5 * second)))
  }

  @Test("each probe that fails about doubles the wait, up to five minutes")
  func doubles() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("FailureAccrualTests.doubles seed \(seed)")
    let cell = Cell(consecutive, seed: seed)
    var until = try cell.takeOut()
    var ceiling: UInt64 = 5
    for _ in 0..<100 {
      cell.now = until
      try #require(cell.claim())
      ceiling = min(ceiling * 2, 300)
      guard case .stayedOut(let next) = cell.fail(probe: true) else {
        Issue.record("the probe's failure changed nothing")
        return
      }
      let wait = next.nanoseconds(since: cell.now)
      #expect(wait >= ceiling * second / 2)
      #expect(wait <= ceiling * second)
      until = next
      #expect(cell.ejections.pointee.value == 1)
    }
  }

  @Test("attempts that began before an endpoint went out say nothing about it")
  func leftOvers() throws {
    let cell = Cell(consecutive)
    let before = cell.now
    cell.advance(seconds: 1)
    let until = try cell.takeOut()
    #expect(cell.succeed(startedAt: before) == .nothing)
    #expect(cell.fail() == .nothing)
    #expect(cell.state == .out(until: until))
    cell.now = until
    #expect(cell.claim())
    #expect(cell.succeed(startedAt: before) == .nothing)
    #expect(cell.fail() == .nothing)
    #expect(cell.succeed(probe: true) == .cameBack(wasUnhealthy: false))
  }

  @Test("one that gets requests though it is out, because all are, comes back with a success")
  func panicking() throws {
    let cell = Cell(consecutive)
    _ = try cell.takeOut()
    cell.advance(seconds: 1)
    #expect(cell.succeed() == .cameBack(wasUnhealthy: false))
    #expect(cell.ejections.pointee.value == 0)
  }

  @Test("a probe that tells nothing leaves its place to the next request; one that never reports loses it")
  func abandoned() throws {
    let cell = Cell(consecutive)
    cell.now = try cell.takeOut()
    #expect(cell.claim())
    cell.accrual.pointee.probeAbandoned(now: cell.now)
    #expect(cell.claim(for: 15 * second))
    cell.advance(seconds: 14)
    #expect(!cell.claim())
    cell.advance(seconds: 1)
    #expect(cell.claim())
    #expect(cell.succeed(probe: true) == .cameBack(wasUnhealthy: false))
    // Its lost predecessor reports after all: an ordinary outcome now.
    #expect(cell.fail(probe: true) == .nothing)
    cell.accrual.pointee.probeAbandoned(now: cell.now)
    #expect(cell.state == .inService(failures: 1))
  }

  @Test(
    "no more of a service's endpoints go out than it can spare",
    arguments: [
      (0, 50, 0), (1, 50, 0), (2, 50, 1), (3, 50, 1), (10, 50, 5), (1, 100, 1), (5, 0, 0), (10_000, 50, 5_000),
      (.max, 100, .max), (-1, 50, 0),
    ])
  func limits(endpoints: Int, percent: Int, expected: Int) {
    #expect(EjectionCount.limit(endpointCount: endpoints, mostPercent: percent) == expected)
  }

  @Test("past the limit an endpoint stays in service, and goes out once another is back")
  func limited() throws {
    let cell = Cell(consecutive)
    cell.limit = 0
    for _ in 0..<100 { #expect(cell.fail() == .nothing) }
    #expect(cell.ejections.pointee.value == 0)
    cell.limit = 1
    #expect(cell.fail() != .nothing)
    #expect(cell.ejections.pointee.value == 1)
  }

  @Test("a success rate below its mark takes an endpoint out, once there are enough requests")
  func successRate() throws {
    let cell = Cell(byRate)
    for _ in 0..<15 { cell.succeed() }
    for _ in 0..<3 { #expect(cell.fail() == .nothing) }
    cell.succeed()
    // 16 of 20 is exactly the mark; the next is below it.
    #expect(cell.fail() == .nothing)
    #expect(cell.fail() != .nothing)
    cell.now = cell.now.advanced(byNanoseconds: 5 * second)
    #expect(cell.claim())
    #expect(cell.succeed(probe: true) == .cameBack(wasUnhealthy: false))
    // What took it out is forgotten.
    for _ in 0..<19 { #expect(cell.fail() == .nothing) }
    #expect(cell.fail() != .nothing)
  }

  @Test("failures older than the window do not count")
  func rateForgets() {
    let cell = Cell(byRate)
    for _ in 0..<19 { cell.fail() }
    cell.advance(seconds: 11)
    for _ in 0..<18 { cell.succeed() }
    for _ in 0..<4 { #expect(cell.fail() == .nothing) }
    #expect(cell.fail() != .nothing)
  }

  @Test("a million requests in one slice keep the rate right")
  func manyRequests() {
    let cell = Cell(byRate)
    var tookOut = false
    for count in 0..<1_100_000 {
      if count % 10 == 0 { tookOut = tookOut || cell.fail() != .nothing } else { cell.succeed() }
    }
    for _ in 0..<50_000 { tookOut = tookOut || cell.fail() != .nothing }
    #expect(!tookOut)
    var count = 0
    while count < 100_000, cell.fail() == .nothing { count += 1 }
    #expect(count < 100_000)
  }

  @Test("without a breaker nothing is taken out")
  func none() {
    let cell = Cell(AccrualPolicy(kind: .none, backoff: backoff))
    for _ in 0..<1_000 { #expect(cell.fail() == .nothing) }
  }

  @Test("active checks go over what requests tell, in both directions")
  func checks() throws {
    let cell = Cell(consecutive)
    let until = try cell.takeOut()
    #expect(
      cell.accrual.pointee.checked(isHealthy: false, ejections: cell.ejections.pointee)
        == .becameUnhealthy(wasOut: true))
    #expect(cell.accrual.pointee.checked(isHealthy: false, ejections: cell.ejections.pointee) == .nothing)
    #expect(cell.state == .unhealthy)
    #expect(cell.ejections.pointee.value == 0)
    cell.now = until.advanced(byNanoseconds: 400 * second)
    #expect(!cell.claim())
    #expect(cell.succeed(probe: true) == .nothing)
    #expect(cell.fail(probe: true) == .nothing)
    cell.accrual.pointee.probeAbandoned(now: cell.now)
    #expect(cell.state == .unhealthy)
    #expect(
      cell.accrual.pointee.checked(isHealthy: true, ejections: cell.ejections.pointee) == .cameBack(wasUnhealthy: true))
    #expect(cell.state == .inService(failures: 0))
    #expect(cell.accrual.pointee.checked(isHealthy: true, ejections: cell.ejections.pointee) == .nothing)
    #expect(cell.ejections.pointee.value == 0)
  }

  @Test("a cell that is given back is in service, and its place among those out is free")
  func resets() throws {
    let cell = Cell(consecutive)
    #expect(cell.accrual.pointee.reset(ejections: cell.ejections.pointee) == .nothing)
    _ = try cell.takeOut()
    #expect(cell.accrual.pointee.reset(ejections: cell.ejections.pointee) == .cameBack(wasUnhealthy: false))
    #expect(cell.ejections.pointee.value == 0)
    #expect(cell.state == .inService(failures: 0))
    _ = cell.accrual.pointee.checked(isHealthy: false, ejections: cell.ejections.pointee)
    #expect(cell.accrual.pointee.reset(ejections: cell.ejections.pointee) == .cameBack(wasUnhealthy: true))
    #expect(cell.ejections.pointee.value == 0)
  }

  @Test("a clock at its end does not make an instant into another word")
  func farFuture() throws {
    let cell = Cell(
      AccrualPolicy(kind: .consecutiveFailures(1), backoff: Backoff(minimumNanoseconds: .max, maximumNanoseconds: .max))
    )
    #expect(try cell.takeOut().nanoseconds == .max - 1)
  }
}

/// Eight threads and one cell.
@Suite struct FailureAccrualThreadTests {
  private let shared = Cell(consecutive)

  @Test("of many threads that find the probe due, one gets it, round after round")
  func oneProbe() throws {
    let cell = shared
    for round in 0..<200 {
      cell.now = try cell.takeOut()
      let claims = Atomic<Int>(0)
      let (accrual, now) = (cell.accrual, cell.now)
      nonisolated(unsafe) let place = accrual
      runThreads(8) { _ in
        for _ in 0..<50 where claimProbe(place, now, for: second) { claims.wrappingAdd(1, ordering: .relaxed) }
      }
      #expect(claims.load(ordering: .relaxed) == 1, "round \(round)")
      #expect(cell.succeed(probe: true) == .cameBack(wasUnhealthy: false))
    }
  }

  @Test("however outcomes race, the count of those out is that of the cells")
  func counts() {
    let (cells, limit) = (4, 2)
    nonisolated(unsafe) let accruals = UnsafeMutablePointer<FailureAccrual>.allocate(capacity: cells)
    for index in 0..<cells { (accruals + index).initialize(to: FailureAccrual()) }
    nonisolated(unsafe) let ejections = UnsafeMutablePointer<EjectionCount>.allocate(capacity: 1)
    ejections.initialize(to: EjectionCount())
    defer {
      accruals.deinitialize(count: cells)
      accruals.deallocate()
      ejections.deinitialize(count: 1)
      ejections.deallocate()
    }
    let quick = AccrualPolicy(
      kind: .consecutiveFailures(2), backoff: Backoff(minimumNanoseconds: 1_000, maximumNanoseconds: 10_000))
    let tooMany = Atomic<Bool>(false)
    runThreads(8) { thread in
      var random = RandomSource(seed: UInt64(thread))
      var now = MonotonicInstant(nanoseconds: second)
      for _ in 0..<20_000 {
        now = now.advanced(byNanoseconds: 500)
        let cell = accruals + Int(random.next(below: UInt32(cells)))
        let isProbe = claimProbe(cell, now, for: 2_000)
        switch random.next(below: 20) {
        case 0..<12:
          _ = cell.pointee.failed(
            isProbe: isProbe, policy: quick, ejections: ejections.pointee, limit: limit, now: now, random: &random)
        case 12..<17:
          _ = cell.pointee.succeeded(
            isProbe: isProbe, startedAt: now, policy: quick, ejections: ejections.pointee, now: now)
        case 17: cell.pointee.probeAbandoned(now: now)
        case 18: _ = cell.pointee.checked(isHealthy: thread % 2 == 0, ejections: ejections.pointee)
        default: _ = cell.pointee.reset(ejections: ejections.pointee)
        }
        var out = 0
        for index in 0..<cells { if case .out = accruals[index].state { out += 1 } }
        // Three can be seen while one goes and another comes, but never all.
        if out == cells { tooMany.store(true, ordering: .relaxed) }
      }
    }
    var out = 0
    for index in 0..<cells { if case .out = accruals[index].state { out += 1 } }
    #expect(ejections.pointee.value == out)
    #expect(out <= limit)
    #expect(!tooMany.load(ordering: .relaxed) || out <= limit)
  }
}
