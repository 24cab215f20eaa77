// By chance alone, as weights say: for endpoints whose load says nothing, and where no key is given to a hash.

import Base

enum WeightedRandom {
  /// A slot by weight; -1 when none fits.
  static func pick(_ candidates: Candidates, _ random: inout RandomSource) -> Int {
    for _ in 0..<candidates.maximumDraws {
      let slot = candidates.drawFitting(&random)
      if slot >= 0 { return slot }
    }
    return candidates.pickFromAll(&random)
  }
}
