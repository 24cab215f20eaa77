// The endpoints that one pick chooses among, and what keeps one of them from being chosen. Each kind of balancer is a way
// through these; what they have in common when only few are left stands here.
//
// An endpoint *fits* when it is in service, is not the one that just failed, nobody has taken it out (unless so many are out
// that this is not believed), and it is not held back as broken. Kinds look for one that fits; where there is none,
// `lastResort` takes a broken one, and after that the one that failed.

import Base

struct Candidates {
  let loads: UnsafeMutablePointer<EndpointLoad>
  /// By index, the place in `loads`; nil where they are the same.
  let slots: UnsafePointer<UInt32>?
  let count: Int
  /// Draws an index by weight; nil where weights are equal.
  let table: WeightTable?
  /// The slot of the endpoint that just failed; -1 for none.
  let excluded: Int
  /// Too many are out for each verdict to be right.
  let ignoresGates: Bool
  let slowStart: SlowStart
  /// Whether an endpoint may be in its slow start.
  let isRamping: Bool
  let now: MonotonicInstant

  @inline(__always) func slot(_ index: Int) -> Int {
    if let slots { return Int(slots[index]) }
    return index
  }

  /// Whether a request may be sent to it at all.
  @inline(__always) func accepts(_ slot: Int) -> Bool {
    guard loads[slot].flags.rawValue == 0, slot != excluded else { return false }
    guard let gate = loads[slot].gate else { return true }
    return ignoresGates || gate.isOpen(now: now)
  }

  @inline(__always) func fits(_ slot: Int) -> Bool { accepts(slot) && !loads[slot].isHeldBack(now: now) }

  func ramp(_ slot: Int) -> Double {
    isRamping ? slowStart.factor(addedAt: loads[slot].addedAt, now: now) : 1
  }

  /// What the endpoint's share follows just now.
  func weight(_ slot: Int) -> Double { ramp(slot) / max(Double(loads[slot].inverseWeight), 1e-9) }

  // MARK: Drawing

  /// An index by weight, whatever it leads to.
  @inline(__always) func draw(_ random: inout RandomSource) -> Int {
    if let table, Int(table.count) == count { return table.draw(&random) }
    return Int(random.next(below: UInt32(truncatingIfNeeded: count)))
  }

  /// How often to draw before looking at all. With half the endpoints out, eight draws find two that fit nearly always;
  /// more where most draws are given back because endpoints are in their slow start.
  var maximumDraws: Int { isRamping ? 24 : 8 }

  /// A drawn slot that fits, or -1. An endpoint in its slow start gives the rest of its share back.
  @inline(__always) func drawFitting(_ random: inout RandomSource) -> Int {
    let slot = slot(draw(&random))
    guard fits(slot) else { return -1 }
    if isRamping {
      let factor = ramp(slot)
      if factor < 1, random.nextUnit() >= factor { return -1 }
    }
    return slot
  }

  // MARK: Looking at all

  /// One that fits, by weight, from one look at each; -1 when there is none. Of more than `scanLimit` endpoints, those that
  /// follow a random place are looked at.
  func pickFromAll(_ random: inout RandomSource) -> Int {
    var index = Int(random.next(below: UInt32(truncatingIfNeeded: count)))
    var chosen = -1
    var total = 0.0
    for _ in 0..<min(count, Candidates.scanLimit) {
      let slot = slot(index)
      if fits(slot) {
        let weight = weight(slot)
        total += weight
        if random.nextUnit() * total < weight { chosen = slot }
      }
      index = index &+ 1 == count ? 0 : index &+ 1
    }
    return chosen
  }

  /// The lightest there is, those alike in a random order: `fitting`, or broken as well.
  func lightestOfAll(fitting: Bool, _ metric: LoadMetric, _ random: inout RandomSource) -> Int {
    var index = Int(random.next(below: UInt32(truncatingIfNeeded: count)))
    var best = -1
    for _ in 0..<min(count, Candidates.scanLimit) {
      let slot = slot(index)
      if fitting ? fits(slot) : accepts(slot) {
        best = best < 0 ? slot : lighter(best, slot, metric)
      }
      index = index &+ 1 == count ? 0 : index &+ 1
    }
    return best
  }

  /// Where none fits: one that is broken, else the one that just failed, else -1.
  func lastResort(_ metric: LoadMetric, _ random: inout RandomSource) -> Int {
    let best = lightestOfAll(fitting: false, metric, &random)
    if best >= 0 { return best }
    guard let place = (0..<min(count, Candidates.scanLimit)).first(where: { slot($0) == excluded }) else { return -1 }
    let failed = slot(place)
    let isOpen = ignoresGates || (loads[failed].gate?.isOpen(now: now) ?? true)
    return loads[failed].isUsable && isOpen ? failed : -1
  }

  /// A pick's work has an end, however large a set is; in a set of this many nothing is missed.
  static let scanLimit = 1024

  // MARK: Comparing

  /// The less loaded of two; the first where they are alike, which keeps the drawing's shares.
  @inline(__always) func lighter(_ first: Int, _ second: Int, _ metric: LoadMetric) -> Int {
    load(second, metric) < load(first, metric) ? second : first
  }

  @inline(__always) func load(_ slot: Int, _ metric: LoadMetric) -> Double {
    switch metric {
    case .inFlight: Candidates.queue(loads[slot], now)
    case .ewma(let average): average.load(loads + slot, now: now)
    }
  }

  /// Attempts under way for the weight, those of a broken endpoint on top of more than any other can have.
  private static func queue(_ load: EndpointLoad, _ now: MonotonicInstant) -> Double {
    let queue = Double(load.inFlight) * Double(load.inverseWeight)
    return load.isHeldBack(now: now) ? queue + heldBackQueue : queue
  }

  /// More than any queue, and small enough that queues on top of it still compare.
  private static let heldBackQueue = 1e12
}

/// What endpoints are compared by.
@frozen public enum LoadMetric: Sendable {
  /// Attempts under way.
  case inFlight
  /// Attempts under way times what one takes.
  case ewma(PeakEWMA)
}
