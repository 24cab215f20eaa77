// What would become of a request's host: for people who ask, on the control thread. The tables that answer shards answer here.

import HTTP
public import Policy

/// What the host of a request leads to.
public struct NameExplanation: Sendable {
  /// A service that requests would go to.
  public struct Service: Sendable {
    /// Such as `/#/static/web`.
    public let boundName: String
    /// As metrics and tables call it.
    public let name: String
    public let endpoints: [Endpoint]
    /// The name by which `services` of the configuration apply to it.
    public let policyName: Path
  }

  /// Where the proxy answers itself.
  public struct Failure: Sendable {
    public let status: Int
    /// As in `fairlead-code`.
    public let code: String
    public let message: String

    init(_ error: ProxyError) {
      (status, code, message) = (Int(error.status), "FL\(error.code)", "\(error.message)")
    }
  }

  /// Of a host that cannot be a name: what stands for all of them.
  public let logicalName: Path
  /// Whether it is the request's host that says it, and no other identifier.
  public internal(set) var isByHost = false
  /// Why the host cannot be a name; nil when it can.
  public let refusal: String?
  public let steps: [DelegationStep]
  /// Without any, and without a failure, discovery is still finding out.
  public let services: [Service]
  public let failure: Failure?
}

/// What a request brings along to be delegated by (`l5d-dtab`).
public enum BroughtDelegation: Sendable {
  case none
  case entries([DelegationEntry])
  /// It is no delegation.
  /// - Parameters:
  ///   - column: of the mistake, from 1.
  ///   - message: what is wrong there.
  case wrong(column: Int, message: String, NameExplanation.Failure)
}

extension Node {
  /// Reads what a request brings along to be delegated by, all lines of it. Whether its listener believes clients is not asked.
  ///
  /// - Parameter head: a whole HTTP/1 request head.
  public func delegation(ofHead bytes: [UInt8]) -> BroughtDelegation {
    bytes.withUnsafeBytes { bytes in
      var head = RequestHead()
      guard case .complete = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()),
        let table = head.delegation(in: bytes)
      else { return .none }
      return table.withUnsafeBytes { table in
        do throws(DelegationParser.Flaw) {
          return .entries(try Delegation.entries(ofHeader: table))
        } catch {
          return .wrong(
            column: error.range.lowerBound + 1, message: error.message,
            NameExplanation.Failure(.badDelegation(column: UInt16(clamping: error.range.lowerBound + 1))))
        }
      }
    }
  }

  /// Explains what a request is called, and where that leads.
  ///
  /// - Parameters:
  ///   - head: a whole HTTP/1 request head.
  ///   - override: added to the table.
  public func explain(head bytes: [UInt8], override: [DelegationEntry] = []) -> NameExplanation {
    let (subject, refusal, isByHost) = identified(bytes)
    var explanation =
      switch subject {
      case .name(let name): explain(name: name, override: override)
      case .nothing(let error):
        explain(name: HostIdentifier.defaultPrefix, override, refusal: refusal, otherwise: error)
      }
    explanation.isByHost = isByHost
    return explanation
  }

  private enum Called {
    case name(Path)
    case nothing(ProxyError)
  }

  /// As `Shard.identify`, with what is wrong in words.
  private func identified(_ bytes: [UInt8]) -> (Called, refusal: String?, isByHost: Bool) {
    bytes.withUnsafeBytes { bytes in
      var head = RequestHead()
      guard case .complete = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) else {
        return (.nothing(.badName), "this is no request", false)
      }
      return withUnsafeTemporaryAllocation(byteCount: Path.maximumByteCount, alignment: 8) { scratch in
        switch snapshot.identifiers.identify(head, bytes, scratch: scratch) {
        case .host:
          let (called, refusal) = named(head.authorityRange.slice(of: bytes))
          return (called, refusal, true)
        case .fixed(let index):
          guard let target = snapshot.fixedTargets[index] else { return (.nothing(.unknownName), nil, false) }
          return (.name(snapshot.targets[Int(target)]), nil, false)
        case .none: return (.nothing(.unknownName), "no identifier applies", false)
        case .refused: return (.nothing(.badName), "what it is called cannot be a name", false)
        case .name(let count, _):
          let text = String(decoding: scratch[..<min(count, scratch.count)], as: UTF8.self)
          return (try? Path(parsing: text)).map { (.name($0), nil, false) } ?? (.nothing(.badName), nil, false)
        }
      }
    }
  }

  private func named(_ host: UnsafeRawBufferPointer) -> (Called, refusal: String?) {
    do throws(HostRefusal) {
      return (.name(try HostIdentifier(keepsPort: snapshot.identifiers.keepsPort).identify(host)), nil)
    } catch {
      return (.nothing(host.isEmpty ? .noHost : .badName), error.description)
    }
  }

  /// Explains where a logical name leads, with `override` added to the table.
  public func explain(name: Path, override: [DelegationEntry] = []) -> NameExplanation {
    explain(name: name, override, refusal: nil, otherwise: .unknownName)
  }

  private func explain(
    name: Path, _ override: [DelegationEntry], refusal: String?, otherwise error: ProxyError
  ) -> NameExplanation {
    let (binding, steps) = explain(name, override: override)
    var services: [NameExplanation.Service] = []
    var failure: ProxyError?
    switch binding {
    case .bound(let tree):
      services = tree.leaves.compactMap { explain(service: $0) }
      if services.allSatisfy(\.endpoints.isEmpty) { failure = .noEndpoint }
    case .pending: break
    case .negative: failure = error
    case .failed(let flaw):
      failure = if case .unavailable = flaw.kind { .discoveryFailed } else { .delegationFailed }
    }
    return NameExplanation(
      logicalName: name, refusal: refusal, steps: steps, services: services,
      failure: failure.map { NameExplanation.Failure($0) })
  }

  private func explain(service name: BoundName) -> NameExplanation.Service? {
    guard let entry = directory[name.description] else { return nil }
    let prefix = HostIdentifier.defaultPrefix
    return NameExplanation.Service(
      boundName: name.description, name: entry.service.name, endpoints: entry.endpoints,
      policyName: (try? Path(parsing: "\(prefix)/\(name.name)")) ?? prefix)
  }
}
