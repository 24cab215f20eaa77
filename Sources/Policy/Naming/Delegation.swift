// The delegation table: how a logical name (`/svc/web`) becomes bound ones (`/#/file/web`).
// Its rules are those of Linkerd 1: later entries are tried first, a prefix matches whole segments and what is
// left over is appended to the destination, the outcome is delegated again until it names a discovery source.
// Whether a source knows a name is not known here: the caller says it.

/// The table: immutable, safe to share between threads. Binding allocates; its outcomes are for caching.
public struct Delegation: Equatable, Sendable {
  /// In the order they were written; later ones win.
  public let entries: [DelegationEntry]

  public init(entries: [DelegationEntry]) { self.entries = entries }

  /// The table with more entries at its end, where they win: what a request brings along.
  public func appending(_ more: [DelegationEntry]) -> Delegation { Delegation(entries: entries + more) }

  /// Binds a logical name within so many expansions. `lookup` is asked for each discovery name reached, perhaps more than once, and a no sends the
  /// search on to the next alternative. It gets the name whole (`/#/file/web/rest`): how many segments are the service's
  /// and whether more may follow is the source's to say.
  public func bind(
    _ logical: Path, expansions: Int = Delegation.maximumExpansions, lookup: (Path) -> NameLookup
  ) -> Binding {
    withoutActuallyEscaping(lookup) { lookup in
      var search = DelegationSearch(entries: entries, lookup: lookup, records: false)
      search.maximumExpansions = expansions
      return search.run(logical)
    }
  }

  /// Binds like `bind` and tells every step, for people; not more of them than `maximumStepsShown`.
  public func explain(
    _ logical: Path, expansions: Int = Delegation.maximumExpansions, lookup: (Path) -> NameLookup
  ) -> (binding: Binding, steps: [DelegationStep]) {
    withoutActuallyEscaping(lookup) { lookup in
      var search = DelegationSearch(entries: entries, lookup: lookup, records: true)
      search.maximumExpansions = expansions
      return (search.run(logical), search.steps)
    }
  }

  /// Linkerd 1's bound on the entries one name may run through.
  public static let maximumDepth = 100
  /// A bound on all the names tried for one, so that a table that fans out cannot hold a thread.
  public static let maximumExpansions = 2000
  /// A bound on what entries may make of a name by appending to it again and again.
  public static let maximumNameByteCount = 4096
  public static let maximumStepsShown = 2000
}

/// What a request brings along to be delegated by (`l5d-dtab`).
extension Delegation {
  /// Reads the value of a header field. Ranges of flaws are offsets into its bytes.
  public static func entries(ofHeader value: UnsafeRawBufferPointer) throws(DelegationParser.Flaw) -> [DelegationEntry]
  {
    guard value.count <= maximumHeaderByteCount else {
      throw DelegationParser.Flaw(
        range: maximumHeaderByteCount..<value.count,
        message: "the delegation is longer than \(maximumHeaderByteCount) bytes")
    }
    let parser = DelegationParser(value.map { Unicode.Scalar($0) }, maximumEntryCount: maximumHeaderEntryCount)
    if let flaw = parser.flaws.first { throw flaw }
    return parser.entries.map(\.value)
  }

  public static let maximumHeaderByteCount = 8192
  /// Names tried for one such request: it is bound anew each time, and others wait meanwhile.
  public static let maximumHeaderExpansions = 200
  public static let maximumHeaderEntryCount = 64
}

/// One binding under way: depth-first, entries from last to first.
struct DelegationSearch {
  private let entries: [DelegationEntry]
  private let lookup: (Path) -> NameLookup
  private let records: Bool
  private(set) var steps: [DelegationStep] = []
  private var depth = 0
  private var chain: [Path] = []
  private var tried: [Path] = []
  private var waiting: [Path] = []
  private var refusedChain: [Path]?
  /// Names found negative once: two entries may lead to the same name, and it must not be expanded twice.
  /// Sound because an error ends the whole search, and what has to wait is not negative.
  private var negatives: Set<Path> = []
  private var expansions = 0
  var maximumExpansions = Delegation.maximumExpansions

  init(entries: [DelegationEntry], lookup: @escaping (Path) -> NameLookup, records: Bool) {
    self.entries = entries
    self.lookup = lookup
    self.records = records
  }

  mutating func run(_ logical: Path) -> Binding {
    switch expand(logical, .plain) {
    case .failed(let failure): return .failed(failure)
    case .pending: return .pending(waiting)
    case .negative: return .negative(NegativeBinding(logical: logical, tried: tried))
    case .found(.failure): return .failed(BindingFailure(kind: .refused, chain: refusedChain ?? [logical]))
    case .found(let draft): return .bound(BoundTree(draft))
    }
  }

  private enum Outcome {
    case found(BoundTree.Draft)
    case negative
    case pending
    case failed(BindingFailure)
  }

  // MARK: Names

  private mutating func expand(_ path: Path, _ role: DelegationStep.Role) -> Outcome {
    let step = begin(.name(path), role)
    let outcome = look(up: path, step)
    end(step, outcome)
    return outcome
  }

  private mutating func look(up path: Path, _ step: Int) -> Outcome {
    if negatives.contains(path) {
      set(step, .negativeBefore)
      return .negative
    }
    if chain.contains(path) { return .failed(BindingFailure(kind: .cycle, chain: chain + [path])) }
    expansions += 1
    let isLeaf = path.isBound && !NameRewriter.isRewrite(path)
    if !isLeaf && chain.count >= Delegation.maximumDepth || expansions > maximumExpansions {
      return .failed(BindingFailure(kind: .tooManySteps, chain: chain + [path]))
    }
    if path.segments.reduce(0, { $0 + 1 + $1.utf8.count }) > Delegation.maximumNameByteCount {
      return .failed(BindingFailure(kind: .nameTooLong, chain: chain + [path]))
    }
    if isLeaf { return ask(path, step) }
    chain.append(path)
    defer { chain.removeLast() }
    let outcome = path.isBound ? rewrite(path) : tryEntries(path)
    if case .negative = outcome { negatives.insert(path) }
    return outcome
  }

  private mutating func rewrite(_ path: Path) -> Outcome {
    NameRewriter.rewrite(path).map { expand($0, .plain) } ?? .negative
  }

  private mutating func tryEntries(_ path: Path) -> Outcome {
    var answer: Outcome?
    for index in entries.indices.reversed() where path.hasPrefix(entries[index].prefix) {
      let step = begin(.entry(index), .plain)
      if answer == nil {
        let outcome = evaluate(entries[index].destination, entries[index], path, .plain)
        end(step, outcome)
        if case .negative = outcome { continue }
        answer = outcome
        // What would have come next is of interest to people only.
        if !records { break }
      } else {
        set(step, .notTried)
        end(step, nil)
      }
    }
    return answer ?? .negative
  }

  /// A name of a discovery source: `/#/<source>/<name…>`. One without a name is nobody's.
  private mutating func ask(_ path: Path, _ step: Int) -> Outcome {
    switch path.segments.count >= 3 ? lookup(path) : .negative {
    case .service(let name):
      set(step, .bound(name))
      return .found(.service(name))
    case .unavailable(let reason):
      return .failed(BindingFailure(kind: .unavailable(reason), chain: chain + [path]))
    case .pending:
      if !waiting.contains(path) { waiting.append(path) }
      return .pending
    case .negative:
      if tried.count < 8, !tried.contains(path) { tried.append(path) }
      return .negative
    }
  }

  // MARK: Right sides

  private mutating func evaluate(
    _ tree: DelegationTree, _ entry: DelegationEntry, _ path: Path, _ role: DelegationStep.Role
  ) -> Outcome {
    let kind: DelegationStep.Kind
    switch tree {
    case .name(let name):
      return entry.rewrite(path, to: name).map { expand($0, role) } ?? .negative
    case .alternatives: kind = .alternatives
    case .union: kind = .union
    case .failure: kind = .failure
    case .negative: kind = .negative
    case .empty: kind = .empty
    }
    let step = begin(kind, role)
    let outcome: Outcome
    switch tree {
    case .name, .negative: outcome = .negative
    case .empty: outcome = .found(.empty)
    case .failure:
      refusedChain = refusedChain ?? chain
      outcome = .found(.failure)
    case .alternatives(let alternatives): outcome = evaluate(alternatives, entry, path)
    case .union(let branches): outcome = evaluate(branches, entry, path)
    }
    end(step, outcome)
    return outcome
  }

  private mutating func evaluate(
    _ alternatives: [DelegationTree.Alternative], _ entry: DelegationEntry, _ path: Path
  ) -> Outcome {
    var found: [BoundTree.Draft] = []
    var isPending = false
    var isOver = false
    var role = DelegationStep.Role.plain
    for alternative in alternatives {
      if isOver {
        skip(alternative.tree, role)
      } else {
        switch evaluate(alternative.tree, entry, path, role) {
        case .failed(let failure): return .failed(failure)
        case .negative: break
        case .pending:
          isPending = true
          isOver = !alternative.failsOver
        case .found(let draft):
          found.append(draft)
          isOver = !alternative.failsOver
          if case .failure = draft { isOver = true }
        }
      }
      role = alternative.failsOver ? .otherwiseWhenEmpty : .otherwise
    }
    if isPending { return .pending }
    return found.isEmpty ? .negative : .found(Self.fallback(found))
  }

  /// Fallbacks in a fallback are one; what is always empty needs no look unless it is the last.
  private static func fallback(_ drafts: [BoundTree.Draft]) -> BoundTree.Draft {
    var flat: [BoundTree.Draft] = []
    for draft in drafts {
      if case .fallback(let children) = draft { flat += children } else { flat.append(draft) }
    }
    let last = flat.count - 1
    let needed = flat.enumerated().filter { index, draft in
      if case .empty = draft { index == last } else { true }
    }
    return needed.count == 1 ? needed[0].element : .fallback(needed.map(\.element))
  }

  private mutating func evaluate(
    _ branches: [DelegationTree.Branch], _ entry: DelegationEntry, _ path: Path
  ) -> Outcome {
    var found: [(weight: DelegationWeight, tree: BoundTree.Draft)] = []
    var isPending = false
    for branch in branches {
      switch evaluate(branch.tree, entry, path, .branch(branch.weight)) {
      case .failed(let failure): return .failed(failure)
      case .negative: break
      case .pending: isPending = true
      case .found(let draft): found.append((branch.weight, draft))
      }
    }
    if isPending { return .pending }
    let weighty = found.filter { $0.weight.millionths > 0 }
    if !weighty.isEmpty { found = weighty }
    switch found.count {
    case 0: return .negative
    case 1: return .found(found[0].tree)
    default: return .found(.union(found))
    }
  }

  // MARK: Steps

  /// Writes down a step that those that follow belong to, until `end`. Returns where; -1 when nothing is written.
  private mutating func begin(_ kind: DelegationStep.Kind, _ role: DelegationStep.Role) -> Int {
    guard records else { return -1 }
    depth += 1
    guard steps.count < Delegation.maximumStepsShown else { return -1 }
    steps.append(DelegationStep(depth: depth - 1, kind: kind, role: role, outcome: .delegated))
    return steps.count - 1
  }

  private mutating func set(_ step: Int, _ outcome: DelegationStep.Outcome) {
    if step >= 0 { steps[step].outcome = outcome }
  }

  /// Unless a more precise outcome was set before.
  private mutating func end(_ step: Int, _ outcome: Outcome?) {
    guard records else { return }
    depth -= 1
    guard let outcome, step >= 0, steps[step].outcome == .delegated else { return }
    switch outcome {
    case .found(.failure): set(step, .refused)
    case .found(.empty): set(step, .empty)
    case .found: break
    case .negative: set(step, .negative)
    case .pending: set(step, .pending)
    case .failed(let failure): set(step, .failed(failure.kind))
    }
  }

  /// Writes down what is not tried, its names as they stand in the table.
  private mutating func skip(_ tree: DelegationTree, _ role: DelegationStep.Role) {
    guard records else { return }
    let kind: DelegationStep.Kind
    switch tree {
    case .name(let name): kind = .name(name)
    case .alternatives: kind = .alternatives
    case .union: kind = .union
    case .failure: kind = .failure
    case .negative: kind = .negative
    case .empty: kind = .empty
    }
    let step = begin(kind, role)
    set(step, .notTried)
    end(step, nil)
  }
}
