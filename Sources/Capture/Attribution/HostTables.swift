// What shards must know of the host to tell its processes apart, and who finds it out: addresses of interfaces and numbers
// of cgroups change while the proxy runs, and a shard never reads a file. The control thread looks, and publishes.

/// What was found out about the host, immutable: a shard swaps one reference.
public final class HostTables: Sendable, Equatable {
  public let addresses: HostAddresses
  /// The workload of a cgroup, by the number that the kernel gives with a socket: 0 when it belongs to none, nothing when
  /// nobody has looked yet. A cgroup's number is its directory's inode number and is never used again, so what was once
  /// found out stays true.
  public let cgroups: NumberTable

  public init(addresses: HostAddresses = HostAddresses([]), cgroups: NumberTable = NumberTable()) {
    self.addresses = addresses
    self.cgroups = cgroups
  }

  public static func == (a: HostTables, b: HostTables) -> Bool {
    a.addresses == b.addresses && a.cgroups == b.cgroups
  }
}

/// Keeps the tables. One thread's: the control thread's.
public struct HostSurvey {
  public private(set) var tables = HostTables()
  /// There are more cgroups than are looked at.
  public private(set) var isCut = false
  private let tree: CGroupTree
  private let namesCGroups: Bool
  private let readAddresses: () -> HostAddresses
  /// Cgroups that were asked for and belong to no workload.
  private var others: Set<UInt64> = []

  /// - Parameters:
  ///   - tree: looked at only where workloads name cgroups.
  ///   - addresses: how the host's addresses are found out.
  public init(
    _ workloads: WorkloadTable, tree: CGroupTree? = nil,
    addresses: @escaping () -> HostAddresses = HostAddresses.current
  ) {
    self.tree = tree ?? CGroupTree(entries: workloads.cgroups)
    namesCGroups = workloads.namesCGroups
    readAddresses = addresses
  }

  /// Workloads name cgroups, and this host has no hierarchy of version 2 to find them in.
  public var lacksCGroups: Bool { namesCGroups && tree.root == nil }

  /// Looks again.
  /// - Parameter unknown: cgroups that shards met and found in no table; afterwards something is known of each.
  /// - Returns: whether `tables` are new.
  public mutating func look(unknown: some Collection<UInt64> = []) -> Bool {
    var cgroups = tables.cgroups
    if namesCGroups {
      let census = tree.census()
      isCut = census.isCut
      if others.count + unknown.count > Self.mostOthers { others = [] }
      others.formUnion(unknown.prefix(Self.mostOthers))
      cgroups = NumberTable(census.workloads.merging(others.map { ($0, 0) }, uniquingKeysWith: { found, _ in found }))
    }
    let found = HostTables(addresses: readAddresses(), cgroups: cgroups)
    guard found != tables else { return false }
    tables = found
    return true
  }

  /// Forgotten all at once when there are more: they are asked for again.
  private static let mostOthers = 16_384
}
