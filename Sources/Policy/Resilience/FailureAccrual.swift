// Failure accrual, the circuit breaker of an endpoint: one that keeps failing is taken out for a while, then a single real
// request of the whole node tries it, and its answer decides.
//
//              failures reach the mark, and the service can spare it
//     in service ───────────────────────────────────────────────────→ out until T ←──────────┐
//         ↑                                                               │ T is over,       │ the probe failed:
//         │ the probe succeeded                                           │ one claims it    │ the next wait is twice
//         └──────────────────────────────────────────────────────────  probing  ────────────┘
//
// Balancers see one word of it, the gate: 0 in service, else the instant from which one request may be sent, or never where
// active checks say so. Whoever begins an attempt claims the probe at that word, and the word then says until when the probe
// is waited for. Everything else here is for judging. What a closed gate means for choosing an endpoint is the balancers'.

public import Base
public import Synchronization

/// What takes an endpoint out, and for how long.
public struct AccrualPolicy: Hashable, Sendable {
  public enum Kind: Hashable, Sendable {
    /// Nothing.
    case none
    /// So many failures with no success between them.
    case consecutiveFailures(UInt32)
    /// A part of successes below this, once the window has so many requests.
    case successRate(Double, minimumRequests: UInt32, windowNanoseconds: UInt64)
  }

  public let kind: Kind
  /// Equal jitter; counted in probes that failed.
  public let backoff: Backoff

  public init(kind: Kind, backoff: Backoff) {
    self.kind = kind
    self.backoff = backoff
  }
}

/// How many of a service's endpoints are out, shared by all shards: what keeps breakers from taking a whole service away.
public struct EjectionCount: ~Copyable, Sendable {
  private let count = Atomic<Int>(0)

  public init() {}

  public borrowing func tryAdd(limit: Int) -> Bool {
    if count.wrappingAdd(1, ordering: .relaxed).newValue <= limit { return true }
    count.wrappingSubtract(1, ordering: .relaxed)
    return false
  }

  public borrowing func subtract() { count.wrappingSubtract(1, ordering: .relaxed) }
  public var value: Int { borrowing get { count.load(ordering: .relaxed) } }

  /// How many of `endpointCount` may be out at once: this part, rounded down. With half, one endpoint alone never is, of
  /// three one.
  public static func limit(endpointCount: Int, mostPercent: Int) -> Int {
    max(endpointCount, 0) / 100 * mostPercent + max(endpointCount, 0) % 100 * mostPercent / 100
  }
}

/// What is judged of one endpoint for the whole node, shared by all shards: words and a window, written in place, no lock.
/// A success in service reads two words and, unless failures went before it or the success rate counts, writes none.
public struct FailureAccrual: ~Copyable, Sendable {
  /// Where the endpoint stands.
  @frozen public enum State: Hashable, Sendable {
    /// Takes requests; so many failures in a row so far.
    case inService(failures: UInt64)
    /// Takes none until the instant; then one that claims the probe, or, where that is under way, another when it is lost.
    case out(until: MonotonicInstant)
    /// Takes none until active checks find it well.
    case unhealthy
  }

  /// What an outcome changed. After anything but `nothing` the service's balancers have to count anew.
  @frozen public enum Change: Hashable, Sendable {
    case nothing
    /// Taken out until this instant.
    case wentOut(until: MonotonicInstant)
    /// Out already, and stays so until this instant: the probe failed.
    case stayedOut(until: MonotonicInstant)
    /// Active checks took it out; it may have been out already.
    case becameUnhealthy(wasOut: Bool)
    /// In service again, by a request or by an active check.
    case cameBack(wasUnhealthy: Bool)
  }

  /// The word that balancers see. First in memory: see `gate(of:)`.
  private let gate = Atomic<UInt64>(0)
  /// In a row, while in service.
  private let failures = Atomic<UInt64>(0)
  /// Probes that failed since it was taken out.
  private let failedProbes = Atomic<UInt32>(0)
  /// When the gate was closed last: an attempt that began before that says nothing about now.
  private let closedAt = Atomic<UInt64>(0)
  /// Failures (20 bits) and requests (20) of each slice; empty unless the success rate counts.
  private let window = AtomicWindow()

  /// In service, with no history.
  public init() {}

  /// The word of a cell that balancers see, valid as long as the cell.
  public static func gate(of cell: UnsafeMutablePointer<FailureAccrual>) -> UnsafeMutablePointer<Atomic<UInt64>> {
    UnsafeMutableRawPointer(cell).assumingMemoryBound(to: Atomic<UInt64>.self)
  }

  /// Any thread; stale as soon as it is read.
  public var state: State {
    borrowing get {
      switch gate.load(ordering: .relaxed) {
      case 0: .inService(failures: failures.load(ordering: .relaxed))
      case .max: .unhealthy
      case let instant: .out(until: MonotonicInstant(nanoseconds: instant))
      }
    }
  }

  /// An attempt succeeded.
  /// - Parameters:
  ///   - isProbe: whether it had claimed the probe at the gate.
  ///   - startedAt: when it began. Past its closing an endpoint gets requests only where the balancer has no better one,
  ///     and then they tell as much as a probe.
  public borrowing func succeeded(
    isProbe: Bool, startedAt: MonotonicInstant, policy: AccrualPolicy, ejections: borrowing EjectionCount,
    now: MonotonicInstant
  ) -> Change {
    var seen = gate.load(ordering: .acquiring)
    if seen == 0 {
      countInWindow(failed: false, policy, now)
      // Looked at first: a word that nobody writes stays in every core's cache.
      if failures.load(ordering: .relaxed) != 0 { failures.store(0, ordering: .relaxed) }
      return .nothing
    }
    guard isProbe || startedAt.nanoseconds > closedAt.load(ordering: .relaxed) else { return .nothing }
    while seen != 0, seen != .max {
      // Forgotten first: a failure that comes right after must not find what took the endpoint out.
      forget()
      if exchange(&seen, 0) {
        ejections.subtract()
        return .cameBack(wasUnhealthy: false)
      }
    }
    return .nothing
  }

  /// An attempt failed.
  /// - Parameters:
  ///   - limit: how many of the service's endpoints may be out at once; past it this one stays in service, and goes out with
  ///     a later failure once another is back.
  public borrowing func failed(
    isProbe: Bool, policy: AccrualPolicy, ejections: borrowing EjectionCount, limit: Int, now: MonotonicInstant,
    random: inout RandomSource
  ) -> Change {
    var seen = gate.load(ordering: .acquiring)
    if seen == 0 {
      countInWindow(failed: true, policy, now)
      let count = failures.wrappingAdd(1, ordering: .relaxed).newValue
      guard isTooMany(count, policy, now), ejections.tryAdd(limit: limit) else { return .nothing }
      let until = Self.instant(now, policy.backoff.equalJitter(afterFailures: 0, random: &random))
      failedProbes.store(0, ordering: .relaxed)
      if exchange(&seen, until) {
        closedAt.store(now.nanoseconds, ordering: .relaxed)
        return .wentOut(until: MonotonicInstant(nanoseconds: until))
      }
      // Another attempt took it out with this one's failure.
      ejections.subtract()
      return .nothing
    }
    guard isProbe, seen != .max else { return .nothing }
    let count = min(failedProbes.wrappingAdd(1, ordering: .relaxed).newValue, 64)
    let until = Self.instant(now, policy.backoff.equalJitter(afterFailures: count, random: &random))
    while seen != 0, seen != .max {
      if exchange(&seen, until) {
        closedAt.store(now.nanoseconds, ordering: .relaxed)
        return .stayedOut(until: MonotonicInstant(nanoseconds: until))
      }
    }
    return .nothing
  }

  /// A probe ended and tells nothing, because its client went away for instance: the next request may be one.
  public borrowing func probeAbandoned(now: MonotonicInstant) {
    var seen = gate.load(ordering: .relaxed)
    while seen != 0, seen != .max, seen > now.nanoseconds {
      if exchange(&seen, Self.instant(now, 0)) { return }
    }
  }

  /// Active checks turned. What they say goes over what requests have told.
  public borrowing func checked(isHealthy: Bool, ejections: borrowing EjectionCount) -> Change {
    if isHealthy {
      var seen = UInt64.max
      forget()
      return exchange(&seen, 0) ? .cameBack(wasUnhealthy: true) : .nothing
    }
    let before = gate.exchange(.max, ordering: .acquiringAndReleasing)
    if before == .max { return .nothing }
    if before != 0 { ejections.subtract() }
    return .becameUnhealthy(wasOut: before != 0)
  }

  /// Puts the endpoint back in service whatever it was: nothing judges it any more.
  public borrowing func reset(ejections: borrowing EjectionCount) -> Change {
    forget()
    let before = gate.exchange(0, ordering: .acquiringAndReleasing)
    if before == 0 { return .nothing }
    if before != .max { ejections.subtract() }
    return .cameBack(wasUnhealthy: before == .max)
  }

  // MARK: Judging

  private borrowing func isTooMany(_ failures: UInt64, _ policy: AccrualPolicy, _ now: MonotonicInstant) -> Bool {
    switch policy.kind {
    case .none: return false
    case .consecutiveFailures(let limit): return failures >= UInt64(max(limit, 1))
    case .successRate(let rate, let minimum, let nanoseconds):
      var (failed, requests): (UInt64, UInt64) = (0, 0)
      window.forEach(now, sliceNanoseconds: AtomicWindow.sliceNanoseconds(ofWindow: nanoseconds)) { bits in
        failed &+= bits >> Self.countBits
        requests &+= bits & Self.mostCounted
      }
      guard requests >= UInt64(max(minimum, 1)), failed <= requests else { return false }
      return Double(requests &- failed) < rate * Double(requests)
    }
  }

  private borrowing func countInWindow(failed: Bool, _ policy: AccrualPolicy, _ now: MonotonicInstant) {
    guard case .successRate(_, _, let nanoseconds) = policy.kind else { return }
    window.update(now, sliceNanoseconds: AtomicWindow.sliceNanoseconds(ofWindow: nanoseconds)) { bits in
      var (failures, requests) = (bits >> Self.countBits, bits & Self.mostCounted)
      if requests == Self.mostCounted {
        // A slice that is full is halved: the rate stays, and news still counts.
        failures /= 2
        requests /= 2
      }
      return (failures &+ (failed ? 1 : 0)) << Self.countBits | (requests &+ 1)
    }
  }

  private borrowing func forget() {
    window.clear()
    failures.store(0, ordering: .relaxed)
    failedProbes.store(0, ordering: .relaxed)
  }

  /// Replaces the gate unless it is no longer `seen`; then `seen` is what it is now.
  private borrowing func exchange(_ seen: inout UInt64, _ new: UInt64) -> Bool {
    let (done, original) = gate.compareExchange(expected: seen, desired: new, ordering: .acquiringAndReleasing)
    seen = original
    return done
  }

  /// As the gate has it: neither of the two words that mean something else.
  private static func instant(_ now: MonotonicInstant, _ wait: UInt64) -> UInt64 {
    let (sum, overflow) = now.nanoseconds.addingReportingOverflow(wait)
    return overflow ? .max - 1 : min(max(sum, 1), .max - 1)
  }

  private static var countBits: UInt64 { 20 }
  private static var mostCounted: UInt64 { (1 << 20) - 1 }
}
