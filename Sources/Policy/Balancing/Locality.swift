// How near an endpoint is, and which part of the requests leaves the nearest ones when they cannot carry all.

import Base

/// How near an endpoint is.
public enum Locality: UInt8, CaseIterable, Hashable, Sendable {
  case host
  case zone
  case other
}

/// Which endpoints are preferred.
public enum LocalityPreference: String, CaseIterable, Hashable, Sendable {
  case none
  /// Those of the same zone, this host's among them.
  case zone
  /// Those of this host, then those of the same zone.
  case node

  /// The level of an endpoint: requests go to the lowest one that is healthy.
  func level(of locality: Locality) -> Int {
    switch (self, locality) {
    case (.none, _), (.zone, .host), (.zone, .zone), (.node, .host): 0
    case (.zone, .other), (.node, .zone): 1
    case (.node, .other): 2
    }
  }
}

/// Endpoints of one level.
struct LevelHealth {
  var total = 0
  var healthy = 0
}

/// Which part of the requests each level gets.
///
/// A level keeps everything it is asked for as long as the healthy part of it is at least the spill-over threshold; under it, it
/// keeps that part over the threshold and the next level gets the rest: with a threshold of 70 %, a level of which half is
/// healthy keeps 71 %. When all levels together cannot carry everything they share it by what each can.
struct LevelShares {
  /// Draws below the first go to level 0, below the second to level 1, the others to level 2.
  private var bounds: (UInt64, UInt64) = (LevelShares.whole, LevelShares.whole)

  /// Everything to level 0.
  init() {}

  init(_ levels: InlineArray<3, LevelHealth>, spillOver: Double) {
    var shares: InlineArray<3, Double> = [0, 0, 0]
    var left = 1.0
    for level in levels.indices where levels[level].total > 0 {
      let part = Double(levels[level].healthy) / Double(levels[level].total)
      shares[level] = min(left, min(part / max(spillOver, 0.01), 1))
      left -= shares[level]
    }
    let sum = shares[0] + shares[1] + shares[2]
    guard sum > 0 else { return }
    bounds.0 = LevelShares.bound(shares[0] / sum)
    // Rounding must not lead to an empty level.
    bounds.1 = shares[2] > 0 ? LevelShares.bound((shares[0] + shares[1]) / sum) : LevelShares.whole
  }

  @inline(__always) func draw(_ random: inout RandomSource) -> Int {
    if bounds.0 >= LevelShares.whole { return 0 }
    let drawn = random.next() >> 32
    if drawn < bounds.0 { return 0 }
    return drawn < bounds.1 ? 1 : 2
  }

  private static func bound(_ share: Double) -> UInt64 { UInt64(min(max(share, 0), 1) * Double(whole)) }
  private static let whole: UInt64 = 1 << 32
}
