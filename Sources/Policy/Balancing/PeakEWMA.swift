// Peak EWMA: the load of an endpoint as the time its next answer is expected to take, times those already waiting.
// The manner is Finagle's: an answer slower than the average raises it at once, a faster one lowers it only as
// time passes, and the average also fades while nothing is heard, so that an endpoint that was slow is tried again.
//
// An endpoint that does not answer at all is not slow but broken, and waiting for its penalty to fade would keep it
// idle long after its return. It is probed by single requests instead, and the first answer clears it.

import Base
import Glibc

/// The average's parameters; a value, the same for all endpoints of a service.
@frozen public struct PeakEWMA: Sendable {
  /// Seconds-scale memory: after this long without news an average has fallen to 37 %.
  public let decayNanoseconds: UInt64
  @usableFromInline let inverseDecay: Double

  /// `decayNanoseconds` is at least one; 10 s unless told.
  public init(decayNanoseconds: UInt64 = PeakEWMA.defaultDecayNanoseconds) {
    self.decayNanoseconds = max(decayNanoseconds, 1)
    inverseDecay = 1 / Double(self.decayNanoseconds)
  }

  /// Takes in the time an answer took (request sent to response head). The answer of an endpoint that was broken
  /// replaces the average: what stood there was a penalty and not measured.
  @inlinable public func observe(_ load: inout EndpointLoad, sampleNanoseconds: UInt64, now: MonotonicInstant) {
    // A zero would read as "never heard of".
    let sample = Double(max(sampleNanoseconds, 1))
    if sample >= load.costNanoseconds || load.brokenCount > 0 {
      load.costNanoseconds = sample
    } else {
      let kept = decay(after: now.nanoseconds(since: load.updated))
      load.costNanoseconds = sample + (load.costNanoseconds - sample) * kept
    }
    load.brokenCount = 0
    load.updated = max(load.updated, now)
  }

  /// Takes in a failure, a 429 or a fast 5xx as an answer slow enough that failing fast attracts nobody: at least
  /// twice the average and 30 ms, growing with each to 1 s, where it stays, so that a recovered endpoint is back
  /// after some decay times. A failure that truly took longer counts as what it took. It is an answer all the same:
  /// the endpoint is not broken.
  @inlinable public func observeFailure(
    _ load: inout EndpointLoad, sampleNanoseconds: UInt64, now: MonotonicInstant
  ) {
    load.brokenCount = 0
    penalize(&load, sampleNanoseconds: sampleNanoseconds, now: now)
  }

  /// Takes in an attempt that got no answer at all: connecting was refused or timed out, or the connection broke.
  /// The endpoint is held back from now on, but for single probes (`EndpointLoad.isHeldBack`).
  @inlinable public func observeBroken(
    _ load: inout EndpointLoad, sampleNanoseconds: UInt64, now: MonotonicInstant
  ) {
    // A killed endpoint breaks all its connections at once; were each to count, the interval would be at its longest
    // before the first probe.
    let isNews = load.brokenCount == 0 || now.nanoseconds(since: load.updated) >= load.probeIntervalNanoseconds
    if isNews, load.brokenCount < .max { load.brokenCount &+= 1 }
    penalize(&load, sampleNanoseconds: sampleNanoseconds, now: now)
  }

  @inlinable func penalize(_ load: inout EndpointLoad, sampleNanoseconds: UInt64, now: MonotonicInstant) {
    let doubled = min(load.costNanoseconds * 2, Double(Self.failureCeilingNanoseconds))
    let penalty = max(doubled, load.costNanoseconds, Double(Self.firstGuessNanoseconds))
    load.costNanoseconds = max(penalty, Double(sampleNanoseconds))
    load.updated = max(load.updated, now)
  }

  /// The load to compare endpoints by, in no unit. Brings the average up to date where that is due.
  ///
  /// An endpoint never heard of and idle has none, so it is tried at once; once it has a request under way and
  /// still no answer it stands behind every endpoint that has answered, at 30 ms for each request. A broken one has
  /// none when a probe is due and else stands behind all that are not broken.
  @inlinable public func load(_ endpoint: UnsafeMutablePointer<EndpointLoad>, now: MonotonicInstant) -> Double {
    let queue = Double(endpoint.pointee.inFlight) * Double(endpoint.pointee.inverseWeight)
    if endpoint.pointee.brokenCount > 0 {
      // Its average does not fade: the time since the last news is what the next probe is due by.
      if !endpoint.pointee.isHeldBack(now: now) { return 0 }
      return Self.brokenPenalty + endpoint.pointee.costNanoseconds * (queue + 1)
    }
    if endpoint.pointee.costNanoseconds == 0 {
      if endpoint.pointee.inFlight == 0 { return 0 }
      return Self.unknownPenalty + Double(Self.firstGuessNanoseconds) * queue
    }
    let silence = now.nanoseconds(since: endpoint.pointee.updated)
    if Double(silence) * inverseDecay > Self.fadeStep {
      // Rare by construction, at most once for each sixteenth of the decay time, so exp() is affordable.
      endpoint.pointee.costNanoseconds *= decay(after: silence)
      endpoint.pointee.updated = now
    }
    return endpoint.pointee.costNanoseconds * (queue + 1)
  }

  /// e^(-elapsed / decay). Short times, which nearly all are, take three terms of the series: error below 1e-6.
  @inlinable func decay(after elapsedNanoseconds: UInt64) -> Double {
    let x = Double(elapsedNanoseconds) * inverseDecay
    if x < 1.0 / 64 { return 1 - x + x * x / 2 }
    return exp(-x)
  }

  /// 10 s, Finagle's and Linkerd's default.
  public static var defaultDecayNanoseconds: UInt64 { @inlinable get { 10_000_000_000 } }
  /// 30 ms: what an answer is taken to cost where nothing better is known.
  @usableFromInline static var firstGuessNanoseconds: UInt64 { @inlinable get { 30_000_000 } }
  @usableFromInline static var failureCeilingNanoseconds: UInt64 { @inlinable get { 1_000_000_000 } }
  /// Above any average times any queue, and still finite so that queues among the unknown compare.
  @usableFromInline static var unknownPenalty: Double { @inlinable get { 1e17 } }
  /// Above any unknown endpoint with any queue.
  @usableFromInline static var brokenPenalty: Double { @inlinable get { 1e19 } }
  /// An average is let fade while picking only in steps of this part of the decay time: at most 6 % stale.
  @usableFromInline static var fadeStep: Double { @inlinable get { 1.0 / 16 } }
}
