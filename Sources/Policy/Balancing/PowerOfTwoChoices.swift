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

/// The balancer; it has no state of its own.
enum PowerOfTwoChoices {
  /// The slot of the endpoint to use, -1 when none fits: some 15 ns, with weights 20 to 25.
  static func pick(_ candidates: Candidates, _ metric: LoadMetric, _ random: inout RandomSource) -> Int {
    let count = candidates.count
    if count == 1 {
      let only = candidates.slot(0)
      return candidates.fits(only) ? only : -1
    }
    if !candidates.isRamping {
      let first: Int
      let second: Int
      if let table = candidates.table, Int(table.count) == count {
        first = candidates.slot(table.draw(&random))
        second = candidates.slot(table.draw(&random))
      } else {
        // One random number serves both: 32 bits each.
        let bits = random.next()
        let index = Int(truncatingIfNeeded: ((bits >> 32) &* UInt64(count)) >> 32)
        let other = Int(truncatingIfNeeded: ((bits & 0xFFFF_FFFF) &* UInt64(count &- 1)) >> 32)
        first = candidates.slot(index)
        second = candidates.slot(other &+ (other >= index ? 1 : 0))
      }
      if candidates.accepts(first), candidates.accepts(second) {
        let chosen = candidates.lighter(first, second, metric)
        // A broken one is chosen over another broken one only, or over itself where it was drawn twice.
        if !candidates.loads[chosen].isHeldBack(now: candidates.now) { return chosen }
      }
    }
    return pickAmongFew(candidates, metric, &random)
  }

  /// The way of sets with endpoints out of service, broken or in their slow start: each of the two is drawn again a few
  /// times on its own, so that those that work still share evenly.
  private static func pickAmongFew(
    _ candidates: Candidates, _ metric: LoadMetric, _ random: inout RandomSource
  ) -> Int {
    var first = -1
    for _ in 0..<candidates.maximumDraws {
      let drawn = candidates.drawFitting(&random)
      if drawn < 0 { continue }
      if first < 0 {
        first = drawn
      } else if candidates.table != nil || drawn != first {
        return candidates.lighter(first, drawn, metric)
      }
    }
    return first >= 0 ? first : candidates.lightestOfAll(fitting: true, metric, &random)
  }
}
