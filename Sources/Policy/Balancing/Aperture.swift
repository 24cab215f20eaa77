// Which slice of a service's endpoints one node uses, where many nodes share many endpoints: with all of them every node would
// keep connections to every endpoint, and see too little of each to compare them.
//
//     endpoints in the order of their identity, each as long as its weight, on a circle of circumference 1
//     ├───a───┼─b─┼────c────┼──d──┼───e───┼─f─┤
//          └── a node's slice ──┘                  from its offset, as long as its width; of a and d it uses a part
//
// Nodes that know how many they are stand evenly, and their slices are as long as a whole number of the gaps between them: so
// every point lies in equally many slices, and every endpoint gets its weight's share, exactly (deterministic aperture, as in
// Finagle). Nodes that do not know stand where the hash of their name puts them: the shares even out as there are more.

import Base

/// A value, the same on all shards.
public struct Aperture: Hashable, Sendable {
  /// How many endpoints a node uses at least; more where the slices have to be longer to be even.
  public var size: Int
  /// How many nodes share the endpoints; nil where that is not known.
  public var peers: Int?
  /// Which of the peers this node is, from 0.
  public var position: Int
  /// Where it stands without peers.
  public var name: UInt64

  public init(size: Int = 12, peers: Int? = nil, position: Int = 0, name: UInt64 = 0) {
    self.size = size
    self.peers = peers
    self.position = position
    self.name = name
  }

  /// The hash of a node's name, the same on every machine.
  public static func name(_ text: String) -> UInt64 { Array(text.utf8).withUnsafeBytes { StableHash.hash($0) } }

  /// Where the slice begins, from 0 to below 1.
  var offset: Double {
    guard let peers, peers > 0 else { return Double(name >> 11) * 0x1p-53 }
    return Double(max(position, 0) % peers) / Double(peers)
  }

  /// Its part of the circle.
  func width(endpointCount: Int) -> Double {
    guard endpointCount > 0 else { return 1 }
    let least = min(Double(max(size, 1)) / Double(endpointCount), 1)
    guard let peers, peers > 0 else { return least }
    // A gap more than needed for the sake of a rounding error would be a longer slice on every node.
    return min((least * Double(peers) - 1e-9).rounded(.up) / Double(peers), 1)
  }

  /// The part of each endpoint that lies in the slice, by position in `members`, from 0 to 1. Sorts: n log n.
  ///
  /// - Parameter weights: sound ones, not all zero.
  func coverage(of members: [BalancerMember], weights: [Double]) -> [Double] {
    let total = weights.reduce(0, +)
    let width = width(endpointCount: members.count)
    guard width < 1, total > 0 else { return weights.map { _ in 1 } }
    let order = members.indices.sorted {
      (members[$0].identity, $0) < (members[$1].identity, $1)
    }
    var coverage = [Double](repeating: 0, count: members.count)
    var begin = 0.0
    for member in order {
      let end = begin + weights[member] / total
      // The slice, and what of it goes round past the end of the circle.
      let covered =
        Self.overlap(begin, end, offset, offset + width) + Self.overlap(begin, end, offset - 1, offset + width - 1)
      let part = end > begin ? covered / (end - begin) : 0
      // Less than that is rounding.
      coverage[member] = part < 1e-6 ? 0 : min(part, 1)
      begin = end
    }
    return coverage
  }

  private static func overlap(_ begin: Double, _ end: Double, _ from: Double, _ to: Double) -> Double {
    max(min(end, to) - max(begin, from), 0)
  }
}
