// Power of two choices: look at two endpoints at random, take the less loaded one. Unlike "the least loaded of
// all" it needs no order among endpoints and does not send a herd to whoever looks best for a moment.
//
// With equal weights the two are distinct. With weights both are drawn by weight and may be the same one: while
// loads are alike every endpoint then gets exactly its weight, and whatever the loads do, one with share w of the
// weights is picked with a probability between w² and 2w - w². A canary of 5 % never gets 10 %. With distinct
// draws and two endpoints the loads alone would decide, and the weights nothing.
//
// An endpoint that is broken (`EndpointLoad.brokenCount`) takes part only when a probe is due, whatever is compared
// and whatever the weights: failing fast must not make it look idle.

import Base

/// What endpoints are compared by.
@frozen public enum LoadMetric: Sendable {
  /// Attempts under way.
  case inFlight
  /// Attempts under way times what one takes.
  case ewma(PeakEWMA)
}

/// The balancer; it has no state of its own.
public enum PowerOfTwoChoices {
  /// The index of the endpoint to use, -1 when none can be: 8 to 13 ns, some 25 with half of the endpoints broken.
  /// Allocates nothing, and looks at each endpoint at most once after a few draws, however many are out of service.
  ///
  /// - Parameters:
  ///   - loads: this shard's loads; averages may be brought up to date.
  ///   - table: made of the same endpoints' weights, nil when those are equal.
  ///   - exclude: the endpoint of the attempt that failed, -1 for none: used only when there is no other.
  @inlinable public static func pick(
    _ loads: UnsafeMutableBufferPointer<EndpointLoad>, table: WeightTable?, metric: LoadMetric,
    exclude: Int32, random: inout RandomSource, now: MonotonicInstant
  ) -> Int32 {
    guard let base = loads.baseAddress, loads.count > 0, loads.count <= Int(Int32.max) else { return -1 }
    let count = loads.count
    if count == 1 { return base[0].isUsable ? 0 : -1 }
    let excluded = Int(exclude)
    let first: Int
    let second: Int
    if let table, Int(table.count) == count {
      first = table.draw(&random)
      second = table.draw(&random)
    } else {
      // One random number serves both: 32 bits each.
      let bits = random.next()
      first = Int(truncatingIfNeeded: ((bits >> 32) &* UInt64(count)) >> 32)
      let other = Int(truncatingIfNeeded: ((bits & 0xFFFF_FFFF) &* UInt64(count &- 1)) >> 32)
      second = other &+ (other >= first ? 1 : 0)
    }
    if isCandidate(base, first, excluded), isCandidate(base, second, excluded) {
      let chosen = lighter(base, first, second, metric, now)
      // A broken one is chosen over another broken one only, or over itself where it was drawn twice.
      if !base[chosen].isHeldBack(now: now) { return Int32(truncatingIfNeeded: chosen) }
    }
    return pickAmongFew(base, count, table: table, metric: metric, excluded: excluded, random: &random, now: now)
  }

  /// The way of sets with endpoints out of service or broken: each of the two is drawn again a few times on its own,
  /// so that those that work still share evenly.
  @usableFromInline static func pickAmongFew(
    _ base: UnsafeMutablePointer<EndpointLoad>, _ count: Int, table: WeightTable?, metric: LoadMetric,
    excluded: Int, random: inout RandomSource, now: MonotonicInstant
  ) -> Int32 {
    let weighted = table.flatMap { Int($0.count) == count ? $0 : nil }
    var first = -1
    for _ in 0..<maximumDraws {
      let drawn = weighted?.draw(&random) ?? Int(random.next(below: UInt32(truncatingIfNeeded: count)))
      guard isCandidate(base, drawn, excluded), !base[drawn].isHeldBack(now: now) else { continue }
      if first < 0 {
        first = drawn
      } else if weighted != nil || drawn != first {
        return Int32(truncatingIfNeeded: lighter(base, first, drawn, metric, now))
      }
    }
    if first >= 0 { return Int32(truncatingIfNeeded: first) }
    return scan(base, count, metric: metric, excluded: excluded, random: &random, now: now)
  }

  /// The lightest of all usable endpoints, those alike in a random order; the excluded one when there is no other.
  private static func scan(
    _ base: UnsafeMutablePointer<EndpointLoad>, _ count: Int, metric: LoadMetric, excluded: Int,
    random: inout RandomSource, now: MonotonicInstant
  ) -> Int32 {
    var index = Int(random.next(below: UInt32(truncatingIfNeeded: count)))
    var best = -1
    for _ in 0..<count {
      if isCandidate(base, index, excluded) {
        best = best < 0 ? index : lighter(base, best, index, metric, now)
      }
      index = index &+ 1 == count ? 0 : index &+ 1
    }
    if best < 0, excluded >= 0, excluded < count, base[excluded].isUsable { best = excluded }
    return Int32(truncatingIfNeeded: best)
  }

  @inlinable static func isCandidate(
    _ base: UnsafeMutablePointer<EndpointLoad>, _ index: Int, _ excluded: Int
  ) -> Bool {
    base[index].isUsable && index != excluded
  }

  /// The less loaded of two; the first where they are alike, which keeps the drawing's shares.
  @inlinable static func lighter(
    _ base: UnsafeMutablePointer<EndpointLoad>, _ first: Int, _ second: Int, _ metric: LoadMetric,
    _ now: MonotonicInstant
  ) -> Int {
    switch metric {
    case .inFlight:
      return queue(base[second], now) < queue(base[first], now) ? second : first
    case .ewma(let average):
      return average.load(base + second, now: now) < average.load(base + first, now: now) ? second : first
    }
  }

  /// Attempts under way for the weight, those of a broken endpoint on top of more than any other can have.
  @inlinable static func queue(_ load: EndpointLoad, _ now: MonotonicInstant) -> Double {
    let queue = Double(load.inFlight) * Double(load.inverseWeight)
    return load.isHeldBack(now: now) ? queue + heldBackQueue : queue
  }

  /// More than any queue, and small enough that queues on top of it still compare.
  @usableFromInline static var heldBackQueue: Double { @inlinable get { 1e12 } }
  /// Draws before looking at all. With half the endpoints out (the most failure accrual takes) eight draws
  /// find two distinct candidates nearly always; with only one candidate left the scan decides.
  @usableFromInline static var maximumDraws: Int { @inlinable get { 8 } }
}
