// Who may be calling: names for connections, by where they come from or by whose process made them.

public import Base
import Policy

extension Configuration {
  /// One entry of `workloads`. A connection is a workload's when one match of any kind fits; of several workloads the
  /// one with the deepest cgroup, then the user, then the longest network has it.
  public struct Workload: Hashable, Sendable {
    /// Names the workload in metrics and tables; never `other`.
    public let name: String
    /// Source addresses, for namespaces, containers and other hosts. In no other workload.
    public let addresses: [IPNetwork]
    /// Names or numbers of users of this host's processes. Names are looked up when the daemon starts.
    public let users: [String]
    /// Paths in the cgroup hierarchy (version 2) of this host's processes, with everything below them.
    public let cgroups: [String]
    /// Its share against the other workloads; within `Workload.weights`.
    public let weight: Double
    /// Of its requests to all services; nil for none.
    public let rateLimit: RateLimit?
    /// Of its new connections; nil for none.
    public let connectionRate: RateLimit?
    /// What its new connections meet while the proxy does not turn; nil: as `capture` says.
    public let onFailure: Capture.OnFailure?

    public static let weights = Weight.allowed

    public init(
      name: String, addresses: [IPNetwork] = [], users: [String] = [], cgroups: [String] = [], weight: Double = 1,
      rateLimit: RateLimit? = nil, connectionRate: RateLimit? = nil, onFailure: Capture.OnFailure? = nil
    ) {
      self.name = name
      self.addresses = addresses
      self.users = users
      self.cgroups = cgroups
      self.weight = weight
      self.rateLimit = rateLimit
      self.connectionRate = connectionRate
      self.onFailure = onFailure
    }
  }
}
