// Follows every name that is written down: from the delegation table to the services of the discoveries.
//
// Lookup is Linkerd's: of the entries that match, later ones first, the earlier ones when that finds no such name. The
// number of steps is bounded, as it is at run time; past the bound nothing is said.

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
      } else if value.destination.isBound {
        checkBound(value.destination, entry.destinationRange)
      } else if draft.delegationsAreWhole, !goesOn(value.destination) {
        let clause = decoder.suggestion(
          for: value.destination.description, among: draft.delegations.map { $0.value.entry.prefix.description })
        decoder.report(
          entry.destinationRange,
          "no delegation goes on from \(value.destination), and it is no bound name (/#/...)\(clause)")
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

  private func checkBound(_ name: Path, _ range: SourceRange) {
    guard let prefix = name.segments.dropFirst().first else {
      decoder.report(range, "a bound name needs the prefix of a discovery, such as /#/static")
      return
    }
    guard let discovery = discoveries[prefix] else {
      if discoveriesAreWhole {
        let clause = decoder.suggestion(for: prefix, among: discoveries.keys.sorted())
        decoder.report(range, "no discovery has the prefix \(quoted(prefix))\(clause)")
      }
      return
    }
    guard name.segments.count > 2, let services = discovery.serviceNames else { return }
    let service = name.segments[2]
    if !services.contains(service) {
      let clause = decoder.suggestion(for: service, among: services.sorted())
      decoder.report(range, "the discovery \(quoted(prefix)) has no service \(quoted(service))\(clause)")
    }
  }

  /// The host of a request is in lower case: a service with capitals is found only where an entry spells it so.
  private mutating func checkCapitals() {
    guard draft.delegationsAreWhole, !draft.delegations.isEmpty else { return }
    let spelled = Set(draft.delegations.flatMap(\.value.entry.destination.segments))
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
    draft.delegations.contains { name.hasPrefix($0.value.entry.prefix) || $0.value.entry.prefix.hasPrefix(name) }
  }

  /// May a name that begins with this come up?
  private func isReached(_ prefix: Path) -> Bool {
    prefix.segments.first == "svc"
      || draft.delegations.contains {
        $0.value.entry.destination.hasPrefix(prefix) || prefix.hasPrefix($0.value.entry.destination)
      }
  }

  // MARK: Circles

  /// An entry goes in circles when following its own destination comes to the entry again.
  private mutating func checkCircles() {
    let table = draft.delegations.map(\.value.entry)
    for (index, entry) in table.enumerated() where !entry.destination.isBound {
      var way = [entry.prefix, entry.destination]
      while way.count <= Self.mostSteps, stepsLeft > 0, let name = way.last, !name.isBound {
        stepsLeft -= table.count
        guard let next = table.lastIndex(where: { name.hasPrefix($0.prefix) }) else { break }
        if next == index {
          let shown = way.prefix(6).map(\.description).joined(separator: " => ")
          let more = way.count > 6 || name != entry.prefix ? " => ..." : ""
          decoder.report(
            draft.delegations[index].prefixRange, "this delegation goes in circles: \(shown)\(more)")
          break
        }
        way.append(name.replacing(table[next].prefix, with: table[next].destination))
      }
    }
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

  private mutating func outcome(of name: Path, depth: Int) -> Outcome {
    guard depth < Self.mostSteps, stepsLeft > 0, name.segments.count <= Self.mostSegments else { return .unknown }
    stepsLeft -= draft.delegations.count + 1
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
      let next = name.replacing(entry.value.entry.prefix, with: entry.value.entry.destination)
      let found = outcome(of: next, depth: depth + 1)
      if found != .nowhere { return found }
    }
    // A prefix of names that entries match: more segments lead on.
    return draft.delegations.contains { $0.value.entry.prefix.hasPrefix(name) } ? .namespace : .nowhere
  }

  /// Names a policy may have meant: what entries match, and the services behind each.
  private func knownNames() -> [String] {
    var names: [String] = []
    for entry in draft.delegations where names.count < 1_000 {
      names.append(entry.value.entry.prefix.description)
      let destination = entry.value.entry.destination
      guard destination.isBound, destination.segments.count == 2,
        let services = discoveries[destination.segments[1]]?.serviceNames
      else { continue }
      names += services.filter { $0 == $0.lowercased() }.sorted().prefix(1_000).map {
        "\(entry.value.entry.prefix)/\($0)"
      }
    }
    return names
  }

  /// As at run time.
  private static let mostSteps = 100
  private static let mostSegments = 256
}
