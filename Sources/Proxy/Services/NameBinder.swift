// From names to services, on the control thread: what a request's host is called, where the delegation table leads from there,
// and whether a service is there. Shards ask for names they have not met and keep the answers until something changes.

import Base
import Configuration
import Policy

/// What a name leads to.
enum Resolution: Equatable, Sendable {
  case service(ServiceNumber)
  /// Several services.
  case tree(TreeNumber)
  case failed(ProxyError)
}

/// A shard's question for a name. The exchange waits for the answer.
struct NameQuestion: Sendable {
  enum Subject: Sendable {
    /// What a request calls its host.
    case host([UInt8])
    /// A logical name of the configuration.
    case name(Path)
    /// A logical name that was read out of a request's head.
    case logical([UInt8])
  }

  let subject: Subject
  /// The value of `l5d-dtab`, where the client is trusted to say one.
  var override: [UInt8]?
  /// The configuration that the subject was found by.
  let snapshotGeneration: UInt64
  let shard: Int
  let exchange: UInt32
  let exchangeGeneration: UInt32
}

/// The answer. It holds until names are forgotten (`ShardMessage.forgetNames`), where it holds at all.
struct NameAnswer: Sendable {
  let resolution: Resolution
  /// False for what may be otherwise soon, and nobody will tell, and for what is one request's alone: the next one asks again.
  let holds: Bool
  /// That of the question.
  let snapshotGeneration: UInt64
  let exchange: UInt32
  let exchangeGeneration: UInt32
}

/// Binds names. The control thread's own.
final class NameBinder {
  private let directory: ServiceDirectory
  private let sources: DiscoverySources
  private var identifier: HostIdentifier
  private var delegation: Delegation
  private var trees: NameTrees
  private var random = RandomSource.seededByKernel()

  /// - Parameter send: passes a message to every shard.
  init(
    _ configuration: Configuration, _ directory: ServiceDirectory, _ sources: DiscoverySources,
    send: @escaping (ShardMessage) -> Void
  ) {
    self.directory = directory
    self.sources = sources
    trees = NameTrees(send: send)
    delegation = Delegation(entries: configuration.delegations.map(\.entry))
    identifier = HostIdentifier(keepsPort: configuration.identifiers.contains(.host(keepsPort: true)))
  }

  /// Another configuration holds. Names must be forgotten.
  func take(_ configuration: Configuration) {
    delegation = Delegation(entries: configuration.delegations.map(\.entry))
    identifier = HostIdentifier(keepsPort: configuration.identifiers.contains(.host(keepsPort: true)))
  }

  /// Every tree that was given out is gone: shards forget them too.
  func forget() { trees.forget() }

  /// Nil while discovery finds out; `DiscoverySources.pending` says what.
  func resolve(_ question: NameQuestion) -> Resolution? {
    sources.beginAnswer()
    guard let override = question.override else { return resolve(question.subject) }
    return resolve(question.subject, override: override)
  }

  private func resolve(_ subject: NameQuestion.Subject) -> Resolution? {
    let (name, error) = logicalName(subject)
    return resolution(of: delegation.bind(name, lookup: lookup), otherwise: error) { tree in
      trees.number(of: tree, services: directory).map { .tree($0) } ?? .failed(.tooManyNames)
    }
  }

  /// The way of a request that brings a delegation along. Nothing of it is kept: such requests are for trying something out,
  /// and their clients could make up one after the other.
  private func resolve(_ subject: NameQuestion.Subject, override: [UInt8]) -> Resolution? {
    let entries: [DelegationEntry]
    do {
      entries = try override.withUnsafeBytes { try Delegation.entries(ofHeader: $0) }
    } catch {
      let flaw = error as? DelegationParser.Flaw
      return .failed(.badDelegation(column: UInt16(clamping: (flaw?.range.lowerBound ?? -1) + 1)))
    }
    let (name, error) = logicalName(subject)
    let binding = delegation.appending(entries).bind(
      name, expansions: Delegation.maximumHeaderExpansions, lookup: lookup)
    return resolution(of: binding, otherwise: error, several: pick)
  }

  /// One of a tree's services. What only shards know, such as which endpoints fail, is not looked at.
  private func pick(_ tree: BoundTree) -> Resolution {
    let numbered = ServiceTree(tree) { directory.number(of: $0.description) ?? ServiceTree.noService }
    defer { numbered.destroy() }
    let picked = numbered.pick(&random) { number in
      let name = tree.leaves.first { directory.number(of: $0.description) == number }
      return name.flatMap { directory[$0.description]?.endpoints.isEmpty } ?? true
    }
    switch picked {
    case .service(let number): return .service(number)
    case .empty(let number): return number == ServiceTree.noService ? .failed(.noEndpoint) : .service(number)
    case .failure: return .failed(.nameRefused)
    }
  }

  private func resolution(
    of binding: Binding, otherwise error: ProxyError, several: (BoundTree) -> Resolution
  ) -> Resolution? {
    switch binding {
    case .bound(let tree):
      guard let single = tree.single else { return several(tree) }
      return directory.number(of: single.description).map { .service($0) } ?? .failed(error)
    case .negative: return .failed(error)
    case .pending: return nil
    case .failed(let failure):
      switch failure.kind {
      case .refused: return .failed(.nameRefused)
      case .unavailable: return .failed(.discoveryFailed)
      case .cycle, .tooManySteps, .nameTooLong: return .failed(.delegationFailed)
      }
    }
  }

  // MARK: Logical names

  /// The logical name, and what is said when nobody knows it.
  private func logicalName(_ subject: NameQuestion.Subject) -> (Path, ProxyError) {
    switch subject {
    case .name(let name): return (name, .unknownName)
    case .host(let bytes): return bytes.withUnsafeBytes { logicalName(ofHost: $0) }
    case .logical(let bytes):
      let name = try? Path(parsing: String(decoding: bytes, as: UTF8.self))
      return name.map { ($0, .unknownName) } ?? (identifier.prefix, .badName)
    }
  }

  /// A request without a host, or with one that cannot be a name, is for `/svc` alone: a table that sends all of `/svc` to
  /// one service serves it, any other does not know it.
  private func logicalName(ofHost host: UnsafeRawBufferPointer) -> (Path, ProxyError) {
    do throws(HostRefusal) {
      return (try identifier.identify(host), .unknownName)
    } catch {
      return (identifier.prefix, host.isEmpty ? .noHost : .badName)
    }
  }

  // MARK: Bound names

  /// How a name is delegated, for people.
  func explain(_ logical: Path, override: [DelegationEntry]) -> (binding: Binding, steps: [DelegationStep]) {
    guard !override.isEmpty else { return delegation.explain(logical, lookup: lookup) }
    return delegation.appending(override).explain(
      logical, expansions: Delegation.maximumHeaderExpansions, lookup: lookup)
  }

  /// What is known of a bound name.
  func lookup(_ path: Path) -> NameLookup { sources.lookup(path) }
}
