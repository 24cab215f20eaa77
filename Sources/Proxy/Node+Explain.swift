// What would become of a request's host: for people who ask, on the control thread. The tables that answer shards answer here.

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
  }

  /// Of a host that cannot be a name: what stands for all of them.
  public let logicalName: Path
  /// Why the host cannot be a name; nil when it can.
  public let refusal: String?
  public let steps: [DelegationStep]
  /// Without any, and without a failure, discovery is still finding out.
  public let services: [Service]
  public let failure: Failure?
}

extension Node {
  /// Explains a host as `NameBinder` resolves it.
  public func explain(host: [UInt8]) -> NameExplanation {
    let identifier = HostIdentifier()
    var (name, refusal, error) = (identifier.prefix, String?.none, ProxyError.unknownName)
    let identified = host.withUnsafeBytes { bytes in
      Result { () throws(HostRefusal) in try identifier.identify(bytes) }
    }
    switch identified {
    case .success(let found): name = found
    case .failure(let flaw):
      refusal = flaw.description
      error = host.isEmpty ? .noHost : .badName
    }
    let (binding, steps) = explain(name, override: [])
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
      failure: failure.map {
        NameExplanation.Failure(status: Int($0.status), code: "FL\($0.code)", message: "\($0.message)")
      })
  }

  private func explain(service name: BoundName) -> NameExplanation.Service? {
    guard let entry = directory[name.description] else { return nil }
    let prefix = HostIdentifier.defaultPrefix
    return NameExplanation.Service(
      boundName: name.description, name: entry.service.name, endpoints: entry.endpoints,
      policyName: (try? Path(parsing: "\(prefix)/\(name.name)")) ?? prefix)
  }
}
