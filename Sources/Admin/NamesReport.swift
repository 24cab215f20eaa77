// `/names`: how a name is delegated, step by step, with the line of the configuration that decided each of them and what
// the discovery sources said. Linkerd 1 had the same as /delegator.json.

import Base
public import Policy

/// The delegation of one name.
public struct NamesReport: JSONReport, Equatable {
  /// Where an entry of the table is written.
  public struct Place: Equatable, Sendable {
    public var file: String
    /// 0 when no line of the file says it.
    public var line: Int
    public var column: Int

    public init(file: String, line: Int = 0, column: Int = 0) {
      self.file = file
      self.line = line
      self.column = column
    }
  }

  /// What is known of a service besides its name.
  public struct Service: Equatable, Sendable {
    public var endpoints: Int
    public var liveEndpoints: Int

    public init(endpoints: Int, liveEndpoints: Int) {
      self.endpoints = endpoints
      self.liveEndpoints = liveEndpoints
    }
  }

  /// One line of the tree; those that follow it one deeper belong to it.
  public struct Step: JSONReport, Equatable {
    public var depth: Int
    /// `name`, `entry`, `alternatives`, `union`, `failure`, `negative` or `empty`.
    public var kind: String
    /// Of a name: the name. Of an entry: its text.
    public var text: String
    /// `|` and `|!` where it is an alternative.
    public var `operator`: String?
    /// Where it is a share of a union.
    public var weight: Double?
    public var place: Place?
    /// `delegated`, `bound`, `negative`, `repeated`, `empty`, `refused`, `failed`, `pending` or `not tried`.
    public var outcome: String
    /// Of a bound name: the service.
    public var service: String?
    public var endpoints: Service?

    public func writeMembers(to json: inout JSONWriter) {
      json.member("depth", depth)
      json.member("kind", kind)
      json.member("text", text)
      if let `operator` { json.member("operator", `operator`) }
      if let weight { json.member("weight", weight) }
      if let place {
        json.member("file", place.file)
        if place.line > 0 {
          json.member("line", place.line)
          json.member("column", place.column)
        }
      }
      json.member("outcome", outcome)
      if let service { json.member("service", service) }
      if let endpoints {
        json.member("endpoints", endpoints.endpoints)
        json.member("liveEndpoints", endpoints.liveEndpoints)
      }
    }
  }

  /// A service that requests go to.
  public struct Destination: JSONReport, Equatable {
    public var service: String
    /// Of the requests, while nothing is empty; 0 for one that only stands in.
    public var share: Double

    public func writeMembers(to json: inout JSONWriter) {
      json.member("service", service)
      json.member("share", share)
    }
  }

  public var path: String
  /// `bound`, `negative`, `failed` or `pending`.
  public var outcome: String
  /// Why it is not bound, in one line.
  public var reason: String?
  public var destinations: [Destination]
  public var steps: [Step]
  /// There were more.
  public var isCut: Bool

  /// - Parameters:
  ///   - entries: those of the table, and where each is written.
  ///   - service: what is known of a service.
  public init(
    _ path: Path, _ binding: Binding, _ steps: [DelegationStep], entries: [(entry: DelegationEntry, place: Place)],
    service: (BoundName) -> Service?
  ) {
    self.path = path.description
    destinations = []
    switch binding {
    case .bound(let tree):
      outcome = "bound"
      destinations = Self.destinations(tree)
      if destinations.isEmpty { reason = "an entry says that it is empty ($)" }
    case .negative(let negative): (outcome, reason) = ("negative", negative.description)
    case .failed(let failure): (outcome, reason) = ("failed", failure.description)
    case .pending(let names):
      outcome = "pending"
      reason = "not known yet: \(names.prefix(8).map(\.description).joined(separator: ", "))"
    }
    self.steps = steps.map { Self.step($0, entries, service) }
    isCut = steps.count >= Delegation.maximumStepsShown
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("path", path)
    json.member("outcome", outcome)
    if let reason { json.member("reason", reason) }
    json.reports("destinations", destinations)
    json.reports("steps", steps)
    json.member("cut", isCut)
  }

  // MARK: Steps

  private static func step(
    _ step: DelegationStep, _ entries: [(entry: DelegationEntry, place: Place)], _ service: (BoundName) -> Service?
  ) -> Step {
    var shown = Step(depth: step.depth, kind: "", text: "", outcome: word(step.outcome))
    switch step.kind {
    case .name(let path):
      (shown.kind, shown.text) = ("name", path.description)
      if case .bound(let name) = step.outcome {
        shown.service = name.description
        shown.endpoints = service(name)
      }
    case .entry(let index):
      shown.kind = "entry"
      if entries.indices.contains(index) {
        shown.text = entries[index].entry.description
        shown.place = entries[index].place
      }
    case .alternatives: (shown.kind, shown.text) = ("alternatives", "|")
    case .union: (shown.kind, shown.text) = ("union", "&")
    case .failure: (shown.kind, shown.text) = ("failure", "!")
    case .negative: (shown.kind, shown.text) = ("negative", "~")
    case .empty: (shown.kind, shown.text) = ("empty", "$")
    }
    switch step.role {
    case .plain: break
    case .branch(let weight): shown.weight = Double(weight.millionths) / 1e6
    case .otherwise: shown.operator = "|"
    case .otherwiseWhenEmpty: shown.operator = "|!"
    }
    return shown
  }

  private static func word(_ outcome: DelegationStep.Outcome) -> String {
    switch outcome {
    case .delegated: "delegated"
    case .bound: "bound"
    case .negative: "negative"
    case .negativeBefore: "repeated"
    case .empty: "empty"
    case .refused: "refused"
    case .failed: "failed"
    case .pending: "pending"
    case .notTried: "not tried"
    }
  }

  /// Every service of a tree with its share of the requests, the largest first.
  private static func destinations(_ tree: BoundTree) -> [Destination] {
    var shares = [Double](repeating: 0, count: tree.nodes.count)
    var byLeaf = [Double](repeating: 0, count: tree.leaves.count)
    if !shares.isEmpty { shares[0] = 1 }
    // Children lie behind their parents.
    for (index, node) in tree.nodes.enumerated() {
      let children = Int(node.first)..<Int(node.first &+ node.count)
      switch node.kind {
      case .service: byLeaf[Int(node.first)] += shares[index]
      case .fallback: shares[children.lowerBound] = shares[index]
      case .union:
        var before = 0.0
        for child in children {
          let end = child == children.upperBound - 1 ? 1 : Double(tree.nodes[child].shareEnd) / 4_294_967_296
          shares[child] = shares[index] * (end - before)
          before = end
        }
      case .failure, .empty: break
      }
    }
    // What 32 bits make of a share is not of interest.
    let destinations = zip(tree.leaves, byLeaf).map { leaf, share in
      Destination(service: leaf.description, share: (share * 1e6).rounded() / 1e6)
    }
    let order = destinations.indices.sorted { a, b in
      destinations[a].share != destinations[b].share ? destinations[a].share > destinations[b].share : a < b
    }
    return order.map { destinations[$0] }
  }
}
