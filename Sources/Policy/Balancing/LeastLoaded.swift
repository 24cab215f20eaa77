// The least loaded of all. It is the best choice of few endpoints that one proxy alone uses; where many proxies look at the
// same endpoints they all pick the same one, and two random choices do better.
//
// Of more than 32 endpoints the best of 32 drawn by weight is taken: a pick's work has an end, and with that many draws the
// result is among the lightest tenth in 97 of 100 picks.

import Base

enum LeastLoaded {
  /// The slot with the least load, those alike by weight; -1 when none fits.
  static func pick(_ candidates: Candidates, _ metric: LoadMetric, _ random: inout RandomSource) -> Int {
    if candidates.count > sample { return pickFromSample(candidates, metric, &random) }
    var best = -1
    var least = Double.infinity
    var tied = 0.0
    for index in 0..<candidates.count {
      let slot = candidates.slot(index)
      guard candidates.fits(slot) else { continue }
      let load = candidates.load(slot, metric) / candidates.ramp(slot)
      if load > least { continue }
      let weight = candidates.weight(slot)
      tied = load < least ? weight : tied + weight
      least = load
      if tied == weight || random.nextUnit() * tied < weight { best = slot }
    }
    return best
  }

  private static func pickFromSample(
    _ candidates: Candidates, _ metric: LoadMetric, _ random: inout RandomSource
  ) -> Int {
    var best = -1
    var least = Double.infinity
    for _ in 0..<sample {
      let slot = candidates.drawFitting(&random)
      if slot < 0 { continue }
      let load = candidates.load(slot, metric)
      if load < least { (best, least) = (slot, load) }
    }
    return best >= 0 ? best : candidates.lightestOfAll(fitting: true, metric, &random)
  }

  /// How many are looked at.
  static let sample = 32
}
