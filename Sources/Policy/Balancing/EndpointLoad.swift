// What one shard knows of one endpoint's load. The shard keeps an array of these beside each endpoint set and
// writes them at the start and the end of every attempt; the balancer reads them.

import Base

/// Why an endpoint takes no new requests from this shard; empty when it does. What is judged of it for the whole node stands
/// in its gate.
@frozen public struct EndpointFlags: OptionSet, Hashable, Sendable {
  public let rawValue: UInt32

  @inlinable public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Gone from discovery; what it still has in flight finishes.
  public static let draining = EndpointFlags(rawValue: 1 << 0)
  /// Configured with weight zero.
  public static let weightless = EndpointFlags(rawValue: 1 << 1)
}

/// 48 bytes, trivial, written by one thread only.
@frozen public struct EndpointLoad: Sendable {
  /// The peak-sensitive average of the time an answer takes, in nanoseconds; 0 before the first one.
  public var costNanoseconds: Double
  /// When `costNanoseconds` was last brought up to date.
  public var updated: MonotonicInstant
  /// Attempts under way.
  public var inFlight: UInt32
  /// Empty for an endpoint in service.
  public var flags: EndpointFlags
  /// The set's mean weight divided by this endpoint's: 1 everywhere when weights are equal.
  public var inverseWeight: Float
  /// How often in a row it was tried and gave no answer at all: connection refused, timed out or broken. What breaks
  /// within one probe interval counts once, for it tells one thing only. 0 for an endpoint that answers.
  public var brokenCount: UInt32 = 0
  /// What is judged of it for the whole node; nil where nobody judges.
  public var gate: EndpointGate?
  /// When it came to a set that had others, for slow start; 0 for one that was always there.
  public var addedAt = MonotonicInstant(nanoseconds: 0)

  /// An endpoint nothing is known of.
  @inlinable public init(now: MonotonicInstant, inverseWeight: Float = 1, flags: EndpointFlags = []) {
    costNanoseconds = 0
    updated = now
    inFlight = 0
    self.flags = flags
    self.inverseWeight = inverseWeight
  }

  /// Whether this shard may pick it, whatever the node thinks of it.
  @inlinable public var isUsable: Bool { flags.rawValue == 0 }

  /// Whether nothing is held against it.
  @inlinable public var isHealthy: Bool { flags.rawValue == 0 && (gate?.isHealthy ?? true) }

  /// How long a broken endpoint is left alone between two probes: 250 ms after the first failure, doubled with each
  /// further one up to 4 s.
  @inlinable public var probeIntervalNanoseconds: UInt64 {
    Self.firstProbeIntervalNanoseconds << UInt64(min(max(brokenCount, 1) &- 1, Self.probeIntervalDoublings))
  }

  /// Whether it is broken and not due for a probe: one is under way, or the last news is too fresh. Such an endpoint
  /// is picked only when all others are like it.
  @inlinable public func isHeldBack(now: MonotonicInstant) -> Bool {
    guard brokenCount > 0 else { return false }
    return inFlight > 0 || now.nanoseconds(since: updated) < probeIntervalNanoseconds
  }

  /// Whether a request can be sent to it now: nothing is held against it, or it is due for a probe.
  @inlinable public func takesRequests(now: MonotonicInstant) -> Bool {
    isUsable && (gate?.isOpen(now: now) ?? true) && !isHeldBack(now: now)
  }

  /// An attempt begins.
  @inlinable public mutating func attemptStarted() { inFlight &+= 1 }

  /// An attempt ended, however it ended. One end for each start.
  @inlinable public mutating func attemptEnded() {
    assert(inFlight > 0)
    inFlight = inFlight > 0 ? inFlight &- 1 : 0
  }

  /// Sets up the loads of a whole endpoint set. `weights` is empty for equal ones, else has one for each; a weight
  /// that is not a positive finite number counts as zero, and if all are zero they count as equal.
  public static func initialize(
    _ loads: UnsafeMutableBufferPointer<EndpointLoad>, weights: [Float], now: MonotonicInstant
  ) {
    let sound = WeightTable.sound(weights)
    let total = sound.reduce(0) { $0 + Double($1) }
    for index in loads.indices {
      var load = EndpointLoad(now: now)
      if sound.count == loads.count, total > 0 {
        let share = Double(sound[index]) * Double(loads.count) / total
        load.inverseWeight = share > 0 ? Float(1 / share) : 1
        load.flags = share > 0 ? [] : .weightless
      }
      loads.initializeElement(at: index, to: load)
    }
  }

  @usableFromInline static var firstProbeIntervalNanoseconds: UInt64 { @inlinable get { 250_000_000 } }
  @usableFromInline static var probeIntervalDoublings: UInt32 { @inlinable get { 4 } }
}
