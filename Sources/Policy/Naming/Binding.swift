// What becomes of a logical name: values for the control thread, from which the data plane's tables are made.

/// What became of a logical name.
public enum Binding: Equatable, Sendable {
  /// One or more names that discovery sources know, and how requests part between them.
  case bound(BoundTree)
  /// Every way through the table ends at a name nobody knows.
  case negative(NegativeBinding)
  /// The table itself is at fault for this name, or says that it fails.
  case failed(BindingFailure)
  /// Discovery sources do not know yet whether they have these names: ask again when they do.
  case pending([Path])
}

/// What a discovery source says of a name under its prefix.
public enum NameLookup: Equatable, Sendable {
  /// It has a service of that name: `/#/file/web/x` may be the service `/#/file/web`; what follows is dropped.
  case service(BoundName)
  case negative
  /// It does not know yet.
  case pending
  /// It cannot say, and why: that is not "no such name".
  case unavailable(String)

  /// A service that the first so many segments of `path` name; no such name where that is none.
  public static func service(_ path: Path, segmentCount: Int) -> NameLookup {
    BoundName(path).map { .service($0.prefix(segments: segmentCount)) } ?? .negative
  }
}

/// Where the requests for a name go, flat: node 0 is the root, the children of a node lie side by side behind it.
public struct BoundTree: Hashable, Sendable {
  public enum Kind: UInt8, Sendable {
    /// A service, `first` is its index in `leaves`.
    case service
    /// One child by its share.
    case union
    /// The first child that is not empty.
    case fallback
    /// Requests that come here fail.
    case failure
    /// There is nothing here: a service without endpoints.
    case empty
  }

  public struct Node: Hashable, Sendable {
    public var kind: Kind
    /// Of a union and a fallback the first child; of a service its leaf.
    public var first: UInt32 = 0
    public var count: UInt32 = 0
    public var parent: UInt32 = 0
    /// As a union's child: draws of 32 bits below this, and not below that of the child before, come here. Whatever is
    /// over those of all comes to the last.
    public var shareEnd: UInt32 = .max
  }

  public let nodes: [Node]
  /// Each service once.
  public let leaves: [BoundName]

  /// The service that all requests go to; nil when there is more to it.
  public var single: BoundName? {
    nodes.count == 1 && nodes[0].kind == .service ? leaves[Int(nodes[0].first)] : nil
  }
}

extension BoundTree {
  /// A tree on its way, before it is laid out flat.
  indirect enum Draft {
    case service(BoundName)
    case union([(weight: DelegationWeight, tree: Draft)])
    case fallback([Draft])
    case failure
    case empty
  }

  init(_ draft: Draft) {
    var nodes = [Node(kind: .empty)]
    var leaves: [BoundName] = []
    var leafIndices: [BoundName: UInt32] = [:]
    var queue: [(draft: Draft, node: Int)] = [(draft, 0)]
    var next = 0
    while next < queue.count {
      let (draft, node) = queue[next]
      next += 1
      func addChildren(_ children: [Draft], _ kind: Kind) {
        nodes[node].kind = kind
        nodes[node].first = UInt32(truncatingIfNeeded: nodes.count)
        nodes[node].count = UInt32(truncatingIfNeeded: children.count)
        for child in children {
          queue.append((child, nodes.count))
          nodes.append(Node(kind: .empty, parent: UInt32(truncatingIfNeeded: node)))
        }
      }
      switch draft {
      case .empty: nodes[node].kind = .empty
      case .failure: nodes[node].kind = .failure
      case .service(let name):
        let leaf = leafIndices[name] ?? UInt32(truncatingIfNeeded: leaves.count)
        if leafIndices.updateValue(leaf, forKey: name) == nil { leaves.append(name) }
        nodes[node].kind = .service
        nodes[node].first = leaf
      case .fallback(let children): addChildren(children, .fallback)
      case .union(let branches):
        let first = nodes.count
        addChildren(branches.map(\.tree), .union)
        let ends = Self.shareEnds(branches.map { Double($0.weight.millionths) })
        for (offset, end) in ends.enumerated() { nodes[first + offset].shareEnd = end }
      }
    }
    self.nodes = nodes
    self.leaves = leaves
  }

  /// Shares as ends of ranges of 32-bit draws; even where no weight is over 0.
  private static func shareEnds(_ weights: [Double]) -> [UInt32] {
    let total = weights.reduce(0, +)
    let shares = total > 0 ? weights : weights.map { _ in 1 }
    let whole = shares.reduce(0, +)
    var sum = 0.0
    return shares.map { share in
      sum += share
      return UInt32(min(max(sum / whole * 4_294_967_296, 0), 4_294_967_295))
    }
  }
}

/// A name that does not exist, and where it was looked for (the first few places).
public struct NegativeBinding: Equatable, Sendable, CustomStringConvertible {
  public let logical: Path
  /// The discovery names nobody knew, in the order they were asked for.
  public let tried: [Path]

  public init(logical: Path, tried: [Path]) {
    self.logical = logical
    self.tried = tried
  }

  public var description: String {
    tried.isEmpty
      ? "no delegation leads from \(logical) to a discovery source"
      : "\(logical) is not known: tried \(tried.map(\.description).joined(separator: ", "))"
  }
}

/// A delegation that leads to nothing that could be tried, with the names it ran through.
public struct BindingFailure: Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Equatable, Sendable {
    /// A name came up again on its own way.
    case cycle
    /// More than `Delegation.maximumDepth` entries one after the other, or more than
    /// `Delegation.maximumExpansions` tried in all.
    case tooManySteps
    /// A name grew over `Delegation.maximumNameByteCount`.
    case nameTooLong
    /// An entry says `!`.
    case refused
    /// A discovery source cannot say whether it has the last name, and why.
    case unavailable(String)
  }

  public let kind: Kind
  /// From the logical name to the one that gave up.
  public let chain: [Path]

  public init(kind: Kind, chain: [Path]) {
    self.kind = kind
    self.chain = chain
  }

  public var description: String {
    var shown = chain.prefix(8).map { Self.short($0) }
    if chain.count > 8 { shown.append("…") }
    let way = shown.joined(separator: " => ")
    return switch kind {
    case .cycle: "the delegation goes round in a circle: \(way)"
    case .tooManySteps: "the delegation takes too many steps: \(way)"
    case .nameTooLong: "the delegation makes a name of more than \(Delegation.maximumNameByteCount) bytes: \(way)"
    case .unavailable(let reason): "discovery cannot say what this leads to: \(way): \(reason)"
    case .refused: "the delegation ends in a failure (!): \(way)"
    }
  }

  /// What grew for ever is not shown whole.
  private static func short(_ path: Path) -> String {
    let text = path.description
    return text.utf8.count > 200 ? String(text.prefix(199)) + "…" : text
  }
}
