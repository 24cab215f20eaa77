// Services whose endpoints stand in the configuration itself.

import Base
public import Policy

extension Configuration {
  /// An entry of `discovery` with `kind: static`: bound names `/#/<prefix>/<service>`.
  public struct StaticDiscovery: Hashable, Sendable {
    /// One segment, unlike every other discovery's.
    public let prefix: String
    /// In the order written; names are distinct.
    public let services: [StaticService]

    public init(prefix: String, services: [StaticService]) {
      self.prefix = prefix
      self.services = services
    }
  }

  public struct StaticService: Hashable, Sendable {
    /// One segment.
    public let name: String
    /// Addresses are distinct. Empty: the service exists, and answers 503.
    public let endpoints: [Endpoint]

    public init(name: String, endpoints: [Endpoint]) {
      self.name = name
      self.endpoints = endpoints
    }
  }
}
