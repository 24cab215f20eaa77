// From names to services, on the control thread: what a request's host is called, where the delegation table leads from there,
// and whether a service is there. Shards ask for names they have not met and keep the answers until something changes.

import Base
import Configuration
import Policy

/// What a name leads to.
enum Resolution: Equatable, Sendable {
  case service(ServiceNumber)
  case failed(ProxyError)
}

/// A shard's question for a name. The exchange waits for the answer.
struct NameQuestion: Sendable {
  enum Subject: Sendable {
    /// What a request calls its host.
    case host([UInt8])
    /// A logical name of the configuration.
    case name(Path)
  }

  let subject: Subject
  let shard: Int
  let exchange: UInt32
  let exchangeGeneration: UInt32
}

/// The answer. It holds until names are forgotten (`ShardMessage.forgetNames`), where it holds at all.
struct NameAnswer: Sendable {
  let resolution: Resolution
  /// False for what may be otherwise soon, and nobody will tell: the next request asks again.
  let holds: Bool
  let exchange: UInt32
  let exchangeGeneration: UInt32
}

/// Binds names. The control thread's own.
final class NameBinder {
  private let directory: ServiceDirectory
  private let sources: DiscoverySources
  private let identifier = HostIdentifier()
  var delegation: Delegation

  init(_ delegation: Delegation, _ directory: ServiceDirectory, _ sources: DiscoverySources) {
    self.delegation = delegation
    self.directory = directory
    self.sources = sources
  }

  /// Nil while discovery finds out; `DiscoverySources.pending` says what.
  func resolve(_ subject: NameQuestion.Subject) -> Resolution? {
    sources.beginAnswer()
    return switch subject {
    case .host(let bytes): bytes.withUnsafeBytes { resolve(host: $0) }
    case .name(let name): bind(name, otherwise: .unknownName)
    }
  }

  /// A request without a host, or with one that cannot be a name, is for `/svc` alone: a table that sends all of `/svc` to
  /// one service serves it, any other does not know it.
  func resolve(host: UnsafeRawBufferPointer) -> Resolution? {
    do throws(HostRefusal) {
      return bind(try identifier.identify(host), otherwise: .unknownName)
    } catch {
      return bind(identifier.prefix, otherwise: host.isEmpty ? .noHost : .badName)
    }
  }

  private func bind(_ logical: Path, otherwise error: ProxyError) -> Resolution? {
    switch delegation.bind(logical, lookup: lookup) {
    case .bound(let tree):
      // Until requests walk trees: the first of its services.
      return tree.leaves.first.flatMap { directory.number(of: $0.description) }.map { .service($0) }
        ?? .failed(.noEndpoint)
    case .negative: return .failed(error)
    case .pending: return nil
    case .failed(let failure):
      if case .unavailable = failure.kind { return .failed(.discoveryFailed) }
      return .failed(.delegationFailed)
    }
  }

  /// How a name is delegated, for people.
  func explain(_ logical: Path, override: [DelegationEntry]) -> (binding: Binding, steps: [DelegationStep]) {
    delegation.appending(override).explain(logical, lookup: lookup)
  }

  /// What is known of a bound name.
  func lookup(_ path: Path) -> NameLookup { sources.lookup(path) }
}
