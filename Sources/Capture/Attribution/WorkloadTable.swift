// The configured workloads compiled for the question "who is calling?". Pure: what the kernel knows of a connection's
// other end comes in, a workload's number comes out.
//
// Of several that match, the closest to the process wins: the cgroup (of nested ones the deepest), then the user, then the
// source address (the longest prefix), then the order of the configuration.

public import Base

/// The number of a workload, from 1. 0 is `other`: everything that none matches.
public typealias WorkloadNumber = UInt16

/// What tells one workload from the others. One match of any kind is enough.
public struct WorkloadRule: Hashable, Sendable {
  public let name: String
  public let networks: [IPNetwork]
  public let users: [UInt32]
  /// Paths from the root of the cgroup hierarchy.
  public let cgroups: [String]

  public init(name: String, networks: [IPNetwork] = [], users: [UInt32] = [], cgroups: [String] = []) {
    self.name = name
    self.networks = networks
    self.users = users
    self.cgroups = cgroups
  }
}

/// All workloads, immutable; shards share it.
public final class WorkloadTable: Sendable {
  /// Are there any?
  public let isEmpty: Bool
  /// Every configured cgroup with its workload's number.
  public let cgroups: [CGroupTree.Entry]
  private let networks: NetworkTable
  private let users: NumberTable

  /// - Parameters:
  ///   - rules: at most 65,534; those after them are left out.
  ///   - numbers: by rule; nil for their places, from 1. What is matched by one with 0 is `other`.
  public init(_ rules: [WorkloadRule], numbers: [WorkloadNumber]? = nil) {
    isEmpty = rules.isEmpty
    let places = (0..<min(rules.count, Int(WorkloadNumber.max) - 1)).map { WorkloadNumber($0 + 1) }
    let numbered = Array(zip(numbers ?? places, rules))
    networks = NetworkTable(numbered.flatMap { number, rule in rule.networks.map { ($0, number) } })
    users = NumberTable(
      Dictionary(
        numbered.flatMap { number, rule in rule.users.map { (UInt64($0), number) } },
        uniquingKeysWith: { first, _ in first }))
    var seen: Set<String> = []
    cgroups = numbered.flatMap { number, rule in
      rule.cgroups.filter { seen.insert($0).inserted }.map { CGroupTree.Entry(path: $0, workload: number) }
    }
    namesUsers = numbered.contains { !$1.users.isEmpty }
  }

  /// Does any match by user?
  public let namesUsers: Bool
  /// Does any match by cgroup?
  public var namesCGroups: Bool { !cgroups.isEmpty }
  /// Must the kernel be asked whose a connection of this host is?
  public var needsOwners: Bool { namesUsers || namesCGroups }

  /// By source address; 0 when none matches.
  public func workload(ofAddress address: IPv6Address) -> WorkloadNumber { networks.value(of: address) }

  /// By user; 0 when none matches.
  public func workload(ofUser user: UInt32) -> WorkloadNumber { users.value(of: UInt64(user)) ?? 0 }

  /// What the metrics call the callers that no workload matches; no workload may be named so.
  public static let other = "other"
}
