// The delegation table: how a logical name (`/svc/web`) becomes a bound one (`/#/file/web`).
// Its rules are those of Linkerd 1: later entries are tried first, a prefix matches whole segments and what is
// left over is appended to the destination, the outcome is delegated again until it names a discovery source.
// Whether a source knows a name is not known here: the caller says it.

/// One line of the table, `prefix => destination`.
public struct DelegationEntry: Hashable, Sendable, CustomStringConvertible {
  /// Names that begin so are rewritten; a `*` segment stands for any one.
  public let prefix: Path
  /// What takes the prefix's place.
  public let destination: Path

  public init(prefix: Path, destination: Path) {
    self.prefix = prefix
    self.destination = destination
  }

  public var description: String { "\(prefix) => \(destination)" }
}

/// What became of a logical name.
public enum Binding: Equatable, Sendable {
  /// A name some discovery source knows: `/#/<source>/<name…>`.
  case bound(Path)
  /// Every way through the table ends at a name nobody knows.
  case negative(NegativeBinding)
  /// The table itself is at fault for this name.
  case failed(BindingFailure)
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

/// A delegation that would never end, with the names it ran through.
public struct BindingFailure: Equatable, Sendable, CustomStringConvertible {
  public enum Kind: Equatable, Sendable {
    /// A name came up again on its own way.
    case cycle
    /// More than `Delegation.maximumDepth` entries one after the other, or more than
    /// `Delegation.maximumExpansions` tried in all.
    case tooManySteps
  }

  public let kind: Kind
  /// From the logical name to the one that gave up.
  public let chain: [Path]

  public init(kind: Kind, chain: [Path]) {
    self.kind = kind
    self.chain = chain
  }

  public var description: String {
    var shown = chain.prefix(8).map(\.description)
    if chain.count > 8 { shown.append("…") }
    let way = shown.joined(separator: " => ")
    return switch kind {
    case .cycle: "the delegation goes round in a circle: \(way)"
    case .tooManySteps: "the delegation takes too many steps: \(way)"
    }
  }
}

/// One step of a binding, for showing it.
public struct DelegationStep: Equatable, Sendable {
  public enum Outcome: Equatable, Sendable {
    /// The entry rewrites it to the step that follows, one deeper.
    case delegated(entryIndex: Int)
    /// A discovery source knows it: the binding ends here.
    case bound
    /// No entry matches, or no source knows it.
    case negative
    /// It was negative before and is not tried again.
    case negativeBefore
  }

  /// How many entries lead here from the logical name.
  public let depth: Int
  public let path: Path
  public let outcome: Outcome

  public init(depth: Int, path: Path, outcome: Outcome) {
    self.depth = depth
    self.path = path
    self.outcome = outcome
  }
}

/// The table: immutable, safe to share between threads. Binding allocates; its outcomes are for caching.
public struct Delegation: Equatable, Sendable {
  /// In the order they were written; later ones win.
  public let entries: [DelegationEntry]

  public init(entries: [DelegationEntry]) { self.entries = entries }

  /// Binds a logical name. `exists` is asked for each discovery name reached, and a no sends the search on to the
  /// next earlier entry. It gets the name whole (`/#/file/web/rest`): how many segments are the service's and whether
  /// more may follow is the source's to say.
  public func bind(_ logical: Path, exists: (Path) -> Bool) -> Binding {
    withoutActuallyEscaping(exists) { exists in
      var search = Search(entries: entries, exists: exists, records: false)
      return search.run(logical)
    }
  }

  /// Binds like `bind` and tells every step, for the `/names` view.
  public func explain(_ logical: Path, exists: (Path) -> Bool) -> (binding: Binding, steps: [DelegationStep]) {
    withoutActuallyEscaping(exists) { exists in
      var search = Search(entries: entries, exists: exists, records: true)
      return (search.run(logical), search.steps)
    }
  }

  /// Linkerd 1's bound on the entries one name may run through.
  public static let maximumDepth = 100
  /// A bound on all the names tried for one, so that a table that fans out cannot hold a thread.
  public static let maximumExpansions = 2000
}

/// One binding under way: depth-first, entries from last to first.
private struct Search {
  let entries: [DelegationEntry]
  let exists: (Path) -> Bool
  let records: Bool
  var steps: [DelegationStep] = []
  var chain: [Path] = []
  var tried: [Path] = []
  /// Names found negative once: two entries may lead to the same name, and it must not be expanded twice.
  /// Sound because what ends for another reason than "not known" ends the whole search.
  var negatives: Set<Path> = []
  var expansions = 0

  init(entries: [DelegationEntry], exists: @escaping (Path) -> Bool, records: Bool) {
    self.entries = entries
    self.exists = exists
    self.records = records
  }

  mutating func run(_ logical: Path) -> Binding {
    switch expand(logical) {
    case .bound(let path): .bound(path)
    case .failed(let failure): .failed(failure)
    case .negative: .negative(NegativeBinding(logical: logical, tried: tried))
    }
  }

  private enum Outcome {
    case bound(Path)
    case negative
    case failed(BindingFailure)
  }

  private mutating func expand(_ path: Path) -> Outcome {
    if path.isBound { return ask(path) }
    if negatives.contains(path) {
      record(path, .negativeBefore)
      return .negative
    }
    if chain.contains(path) { return .failed(BindingFailure(kind: .cycle, chain: chain + [path])) }
    expansions += 1
    if chain.count >= Delegation.maximumDepth || expansions > Delegation.maximumExpansions {
      return .failed(BindingFailure(kind: .tooManySteps, chain: chain + [path]))
    }
    chain.append(path)
    defer { chain.removeLast() }
    var matched = false
    for index in entries.indices.reversed() where path.hasPrefix(entries[index].prefix) {
      matched = true
      record(path, .delegated(entryIndex: index))
      let entry = entries[index]
      let outcome = expand(path.replacing(entry.prefix, with: entry.destination))
      guard case .negative = outcome else { return outcome }
    }
    if !matched { record(path, .negative) }
    negatives.insert(path)
    return .negative
  }

  /// A name of a discovery source: `/#/<source>/<name…>`. One without a name is nobody's.
  private mutating func ask(_ path: Path) -> Outcome {
    if path.segments.count >= 3, exists(path) {
      record(path, .bound)
      return .bound(path)
    }
    record(path, .negative)
    if tried.count < 8, !tried.contains(path) { tried.append(path) }
    return .negative
  }

  private mutating func record(_ path: Path, _ outcome: DelegationStep.Outcome) {
    guard records else { return }
    steps.append(DelegationStep(depth: chain.count - (outcome.isDelegation ? 1 : 0), path: path, outcome: outcome))
  }
}

extension DelegationStep.Outcome {
  fileprivate var isDelegation: Bool {
    if case .delegated = self { true } else { false }
  }
}
