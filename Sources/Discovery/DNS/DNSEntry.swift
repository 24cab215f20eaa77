// What a DNS source knows of one name, and when it is to be asked for again. Pure: time and chance come in.

import Base
import Policy

/// How long answers are believed, in nanoseconds.
struct DNSTimes: Equatable {
  var minimum: UInt64 = 1_000_000_000
  var maximum: UInt64 = 3_600_000_000_000
  var negative: UInt64 = 30_000_000_000
  /// Where nothing is said about a name that is not there.
  static let unsaidNegative: UInt64 = 5_000_000_000
  static let negativeGrace: UInt64 = 10_000_000_000
  static let firstRetry: UInt64 = 1_000_000_000
  static let lastRetry: UInt64 = 30_000_000_000
}

/// One name.
struct DNSEntry {
  enum State: Equatable {
    /// Nothing is known, and a lookup is under way.
    case pending
    /// It exists; the endpoints are those of the last good answer.
    case service
    /// Until `due`, and after it while another answer is found out.
    case negative
    /// Until `due`; never a service.
    case failed
  }

  let question: DNSQuestion
  private(set) var state = State.pending
  /// Somebody uses it: it is kept fresh.
  var isHeld = true
  /// A lookup is under way.
  var isAsking = false
  /// When it was looked up last by those who use it.
  var used: MonotonicInstant
  private(set) var endpoints: [Endpoint] = []
  private(set) var confirmed: MonotonicInstant?
  private(set) var failure: String?
  private(set) var ignored = 0
  /// When the answer ends (negative, failed) or is to be renewed (a service).
  private(set) var due: MonotonicInstant
  private var failureCount: UInt64 = 0

  init(_ question: DNSQuestion, now: MonotonicInstant) {
    self.question = question
    used = now
    due = now
  }

  var freshness: Freshness { Freshness(confirmed: confirmed, failure: failure) }

  /// It was negative or failed, its time is long over, and somebody asks.
  mutating func beginAgain() {
    state = .pending
    isHeld = true
  }

  /// When nobody needs it any more, if it is not held. A negative answer is of use a little longer than it holds: who asks
  /// again in time gets it while another is found out.
  var end: MonotonicInstant { state == .negative ? due.advanced(byNanoseconds: DNSTimes.negativeGrace) : due }

  /// A lookup has ended. Returns what there is to tell of it.
  mutating func ended(
    _ outcome: DNSOutcome, now: MonotonicInstant, times: DNSTimes, random: inout RandomSource
  ) -> Change? {
    isAsking = false
    switch outcome {
    case .found(let found): return take(found, now, times, &random)
    case .negative(let ttl):
      let said = ttl.map { UInt64($0) * 1_000_000_000 } ?? DNSTimes.unsaidNegative
      due = now.advanced(byNanoseconds: min(max(said, times.minimum), times.negative))
      let wasNegative = state == .negative
      state = .negative
      (endpoints, confirmed, failure, failureCount, ignored, isHeld) = ([], now, nil, 0, 0, false)
      return wasNegative ? nil : .vanished
    case .failed(let reason):
      failure = reason
      due = now.advanced(byNanoseconds: retryTime(&random))
      // What was known last still holds, also that there was no such name.
      if state == .service || state == .negative { return nil }
      state = .failed
      isHeld = false
      return .failed
    }
  }

  private mutating func take(
    _ found: DNSOutcome.Found, _ now: MonotonicInstant, _ times: DNSTimes, _ random: inout RandomSource
  ) -> Change? {
    var fresh = found.endpoints
    if let gap = found.gap {
      failure = gap.reason
      due = now.advanced(byNanoseconds: retryTime(&random))
      // What could not be found out now is as it was.
      if state == .service { fresh = filled(fresh, gap.part) }
    } else {
      let said = found.ttlSeconds.map { UInt64($0) * 1_000_000_000 } ?? times.minimum
      let held = min(max(said, times.minimum), times.maximum)
      // Renewed in the last sixth of its time, not by all at once.
      due = now.advanced(byNanoseconds: held / 100 * UInt64(85 + random.next(below: 11)))
      (confirmed, failure, failureCount) = (now, nil, 0)
    }
    ignored = found.ignored
    let isNew = state != .service
    state = .service
    if confirmed == nil { confirmed = now }
    defer { endpoints = fresh }
    return isNew ? .appeared : fresh == endpoints ? nil : .endpoints
  }

  private func filled(_ fresh: [Endpoint], _ part: DNSOutcome.Gap.Part) -> [Endpoint] {
    let kept: [Endpoint]
    switch part {
    case .targets: return endpoints
    case .ipv4: kept = endpoints.filter { if case .v4 = $0.address { true } else { false } }
    case .ipv6: kept = endpoints.filter { if case .v6 = $0.address { true } else { false } }
    }
    let addresses = Set(fresh.map(\.address))
    return (fresh + kept.filter { !addresses.contains($0.address) }).sorted(by: Endpoint.precedes)
  }

  /// 1 s, doubled with every failure up to 30 s, give or take a quarter.
  private mutating func retryTime(_ random: inout RandomSource) -> UInt64 {
    let doubled = min(DNSTimes.firstRetry << min(failureCount, 6), DNSTimes.lastRetry)
    failureCount &+= 1
    return doubled / 100 * UInt64(75 + random.next(below: 51))
  }
}
