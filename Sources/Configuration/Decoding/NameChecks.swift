// Follows every name that is written down: from the delegation table to the services of the discoveries.
//
// Lookup is Linkerd's: of the entries that match, later ones first, the earlier ones when that finds no such name. The
// number of steps is bounded, as it is at run time; past the bound nothing is said. Nothing is said either about what only a
// discovery can know while it runs, and about what depends on the segments that a `*` will match.

import Base
import Policy

struct NameChecks {
  private let decoder: Decoder
  private let draft: Draft
  private let discoveries: [String: Draft.Discovery]
  /// False when a discovery has no readable prefix: then an unknown one may be that.
  private let discoveriesAreWhole: Bool
  private var stepsLeft = 1_000_000
  /// Services reported for their capitals, in lower case: names that lead to them are not reported again.
  private var misspelled: Set<String> = []

  /// Where a name leads.
  private enum Outcome { case service, namespace, nowhere, unknown }

  init(_ decoder: Decoder, _ draft: Draft) {
    self.decoder = decoder
    self.draft = draft
    discoveriesAreWhole = draft.discovery.allSatisfy { $0.prefix != nil }
    discoveries = Dictionary(
      draft.discovery.compactMap { entry in entry.prefix.map { ($0.text, entry) } },
      uniquingKeysWith: { first, _ in first })
  }

  mutating func run() {
    checkThatNamesAreDelegated()
    checkDestinations()
    checkCapitals()
    checkCircles()
    if draft.delegationsAreWhole { checkPolicies() }
    if draft.delegationsAreWhole { checkRoutes() }
  }

  /// Services without a table are never reached.
  private func checkThatNamesAreDelegated() {
    guard draft.delegations.isEmpty, draft.delegationsAreWhole else { return }
    guard let prefix = draft.discovery.compactMap(\.prefix).first else { return }
    decoder.report(
      prefix.range,
      "no delegation leads to the prefix \(quoted(prefix.text)), so no request finds its services; "
        + "write: delegations: /svc => /#/\(prefix.text) ;")
  }

  private func checkDestinations() {
    var seen: [Draft.Delegation] = []
    for entry in draft.delegations {
      let value = entry.value.entry
      if let first = seen.first(where: { $0.value.entry == value }) {
        decoder.report(
          entry.prefixRange,
          "\(value) is there twice; it is first written at \(first.prefixRange.place)")
      } else {
        for (name, range) in entry.names { checkName(name, range) }
      }
      if draft.delegationsAreWhole, !isReached(value.prefix) {
        let clause = value.prefix.segments.first.map { decoder.suggestion(for: $0, among: ["svc"]) } ?? ""
        decoder.report(
          entry.prefixRange,
          "nothing leads to \(value.prefix): the names of requests begin with /svc, and no delegation has it at its "
            + "right side\(clause)")
      }
      seen.append(entry)
    }
  }

  /// A name on the right side of an entry.
  private func checkName(_ name: Path, _ range: SourceRange) {
    if name.isBound {
      checkBound(name, range)
    } else if draft.delegationsAreWhole, !goesOn(name) {
      let clause = decoder.suggestion(
        for: name.description, among: draft.delegations.map { $0.value.entry.prefix.description })
      decoder.report(range, "no delegation goes on from \(name), and it is no bound name (/#/...)\(clause)")
    }
  }

  private func checkBound(_ name: Path, _ range: SourceRange) {
    guard let prefix = name.segments.dropFirst().first else {
      decoder.report(range, "a bound name needs the prefix of a discovery, such as /#/static")
      return
    }
    if NameRewriter.isRewrite(name) { return checkRewrite(name, range) }
    if Self.hasCapture(prefix) { return }
    guard let discovery = discoveries[prefix] else {
      if discoveriesAreWhole {
        let clause = decoder.suggestion(for: prefix, among: discoveries.keys.sorted())
        decoder.report(range, "no discovery has the prefix \(quoted(prefix))\(clause)")
      }
      return
    }
    guard name.segments.count > 2, let services = discovery.serviceNames else { return }
    let service = name.segments[2]
    if !services.contains(service), !Self.hasCapture(service) {
      let clause = decoder.suggestion(for: service, among: services.sorted())
      decoder.report(range, "the discovery \(quoted(prefix)) has no service \(quoted(service))\(clause)")
    }
  }

  /// `/#/rewrite/hostport/dns`: a rewriter there is, and names it makes that lead on.
  private func checkRewrite(_ name: Path, _ range: SourceRange) {
    let known = NameRewriter.allCases.map(\.rawValue)
    let word = name.segments.dropFirst(2).first ?? ""
    guard let rewriter = NameRewriter(rawValue: word) else {
      let clause = decoder.suggestion(for: word, among: known)
      decoder.report(range, "\(name) rewrites nothing; there is /#/rewrite/\(known.joined(separator: ", "))\(clause)")
      return
    }
    guard name.segments.count >= rewriter.argumentIndex else {
      let missing = rewriter == .subdomain ? "subdomain/example.com/prefix" : "\(rewriter.rawValue)/prefix"
      decoder.report(range, "\(name) does not say which prefix the rewritten name gets; write /#/rewrite/\(missing)")
      return
    }
    let prefix = Path(unchecked: [name.segments[rewriter.argumentIndex - 1]])
    if draft.delegationsAreWhole, !goesOn(prefix) {
      decoder.report(range, "no delegation goes on from \(prefix), which the rewritten name begins with")
    }
  }

  /// The host of a request is in lower case: a service with capitals is found only where an entry spells it so.
  private mutating func checkCapitals() {
    guard draft.delegationsAreWhole, !draft.delegations.isEmpty else { return }
    let spelled = Set(draft.delegations.flatMap { $0.names.flatMap(\.name.segments) })
    for discovery in draft.discovery {
      for (name, range) in (discovery.servicePlaces ?? [:]).sorted(by: { $0.key < $1.key })
      where name != name.lowercased() && !spelled.contains(name) && Path.isSegment(name) {
        misspelled.insert(name.lowercased())
        let bound = "/#/\(discovery.prefix?.text ?? "static")/\(name)"
        decoder.report(
          range,
          "no request finds the service \(quoted(name)): hosts are compared in lower case; write \(name.lowercased()), "
            + "or lead to it with /svc/\(name.lowercased()) => \(bound) ;")
      }
    }
  }

  /// May a name that begins with this be rewritten further?
  private func goesOn(_ name: Path) -> Bool {
    draft.delegations.contains { Self.mayMeet(name, $0.value.entry.prefix) }
  }

  /// May a name that begins with this come up?
  private func isReached(_ prefix: Path) -> Bool {
    prefix.segments.first == "svc" || prefix.segments.first == "*" || isRequestName(prefix)
      || draft.delegations.contains { entry in
        entry.names.contains { Self.mayMeet(Self.continued($0.name), prefix) }
      }
  }

  /// A name outside of /svc that the configuration gives to requests.
  private func isRequestName(_ prefix: Path) -> Bool {
    let fixed = draft.identifiers.compactMap { if case .fixed(let name) = $0 { name } else { nil } }
    return (fixed + draft.listeners.compactMap { $0.value?.to }).contains { $0.hasPrefix(prefix) }
  }

  /// What a rewriter makes of names: its prefix and something.
  private static func continued(_ name: Path) -> Path {
    guard NameRewriter.isRewrite(name), name.segments.count > 2,
      let rewriter = NameRewriter(rawValue: name.segments[2]), name.segments.count >= rewriter.argumentIndex
    else { return name }
    return Path(unchecked: [name.segments[rewriter.argumentIndex - 1]])
  }

  /// May a name begin with both?
  private static func mayMeet(_ a: Path, _ b: Path) -> Bool {
    zip(a.segments, b.segments).allSatisfy { $0 == $1 || $0 == "*" || $1 == "*" || hasCapture($0) || hasCapture($1) }
  }

  private static func hasCapture(_ segment: String) -> Bool { segment.utf8.contains(0x7B) }

  // MARK: Circles

  /// An entry goes in circles when following one of its own names comes to the entry again.
  private mutating func checkCircles() {
    let table = draft.delegations.map(\.value.entry)
    for (index, entry) in table.enumerated() {
      var way = [entry.prefix]
      guard let circle = follow(table, index, from: index, &way) else { continue }
      let shown = circle.prefix(6).map(\.description).joined(separator: " => ")
      let more = circle.count > 6 || circle.last != entry.prefix ? " => ..." : ""
      decoder.report(draft.delegations[index].prefixRange, "this delegation goes in circles: \(shown)\(more)")
    }
  }

  /// Goes on by an entry that the last name of `way` matches. Returns the way around, if it comes to `start` again.
  private mutating func follow(
    _ table: [DelegationEntry], _ index: Int, from start: Int, _ way: inout [Path]
  ) -> [Path]? {
    guard way.count <= Self.mostSteps, let name = way.last, name.segments.count <= Self.mostSegments else { return nil }
    for destination in table[index].destination.names where !destination.isBound {
      guard stepsLeft > 0, let rewritten = table[index].rewrite(name, to: destination) else { return nil }
      stepsLeft -= table.count
      way.append(rewritten)
      defer { way.removeLast() }
      guard let next = table.lastIndex(where: { rewritten.hasPrefix($0.prefix) }) else { continue }
      if next == start { return way }
      if let circle = follow(table, next, from: start, &way) { return circle }
    }
    return nil
  }

  // MARK: Policies

  private mutating func checkPolicies() {
    for entry in draft.services {
      let name = entry.value.name
      if name.isBound {
        checkBound(name, entry.nameRange)
        continue
      }
      guard !draft.delegations.isEmpty, outcome(of: name, depth: 0) == .nowhere else { continue }
      let clause = decoder.suggestion(for: name.description, among: knownNames())
      decoder.report(
        entry.nameRange, "no service is named \(name): no delegation leads from it to an endpoint\(clause)")
    }
  }

  /// The names that routes send requests to; each is followed once.
  private mutating func checkRoutes() {
    var outcomes: [Path: Outcome] = [:]
    for (name, range) in draft.routes.flatMap(\.destinations) {
      if name.isBound {
        checkBound(name, range)
        continue
      }
      let found = outcomes[name] ?? outcome(of: name, depth: 0)
      outcomes[name] = found
      guard found == .nowhere || found == .namespace else { continue }
      let clause = decoder.suggestion(for: name.description, among: knownNames())
      decoder.report(range, "no service is named \(name): no delegation leads from it to an endpoint\(clause)")
    }
  }

  private mutating func outcome(of name: Path, depth: Int) -> Outcome {
    guard depth < Self.mostSteps, stepsLeft > 0, name.segments.count <= Self.mostSegments else { return .unknown }
    stepsLeft -= draft.delegations.count + 1
    if NameRewriter.isRewrite(name) {
      return NameRewriter.rewrite(name).map { outcome(of: $0, depth: depth + 1) } ?? .unknown
    }
    if name.isBound {
      guard name.segments.count > 1, let discovery = discoveries[name.segments[1]] else {
        return discoveriesAreWhole ? .nowhere : .unknown
      }
      guard name.segments.count > 2 else { return .namespace }
      guard let services = discovery.serviceNames else { return .unknown }
      if services.contains(name.segments[2]) { return .service }
      return misspelled.contains(name.segments[2]) ? .unknown : .nowhere
    }
    for entry in draft.delegations.reversed() where name.hasPrefix(entry.value.entry.prefix) {
      let found = outcome(of: entry.value.entry.destination, entry.value.entry, name, depth: depth + 1)
      if found != .nowhere { return found }
    }
    // A prefix of names that entries match: more segments lead on.
    let leadsOn = draft.delegations.contains {
      $0.value.entry.prefix.segments.count > name.segments.count && Self.mayMeet($0.value.entry.prefix, name)
    }
    return leadsOn ? .namespace : .nowhere
  }

  private mutating func outcome(of tree: DelegationTree, _ entry: DelegationEntry, _ name: Path, depth: Int) -> Outcome
  {
    for destination in tree.names {
      guard let next = entry.rewrite(name, to: destination) else { continue }
      let found = outcome(of: next, depth: depth)
      if found != .nowhere { return found }
    }
    // What is empty or refused is meant to be.
    return Self.endsHere(tree) ? .unknown : .nowhere
  }

  private static func endsHere(_ tree: DelegationTree) -> Bool {
    switch tree {
    case .failure, .empty: true
    case .name, .negative: false
    case .alternatives(let alternatives): alternatives.contains { endsHere($0.tree) }
    case .union(let branches): branches.contains { endsHere($0.tree) }
    }
  }

  /// Names a policy may have meant: what entries match, and the services behind each.
  private func knownNames() -> [String] {
    var names: [String] = []
    for entry in draft.delegations where names.count < 1_000 {
      names.append(entry.value.entry.prefix.description)
      for (destination, _) in entry.names where destination.isBound && destination.segments.count == 2 {
        guard let services = discoveries[destination.segments[1]]?.serviceNames else { continue }
        names += services.filter { $0 == $0.lowercased() }.sorted().prefix(1_000).map {
          "\(entry.value.entry.prefix)/\($0)"
        }
      }
    }
    return names
  }

  /// As at run time.
  private static let mostSteps = 100
  private static let mostSegments = 256
}
