// The directories of the cgroup file system (version 2): finds the numbers of configured cgroups and of everything below
// them. Reads the disk, or what passes for one: for the control thread.
//
// A directory's count of links tells how many it holds, so most cgroups, which hold none, cost one `fstatat` and no
// listing of the fifty files that each has.

import Glibc

/// Where cgroups are mounted, and which of them are looked for.
public struct CGroupTree: Sendable {
  /// A configured cgroup.
  public struct Entry: Hashable, Sendable {
    /// From the root of the hierarchy, such as `/system.slice/web.service`; `/` is all of them.
    public let path: String
    public let workload: UInt16

    public init(path: String, workload: UInt16) {
      self.path = path
      self.workload = workload
    }
  }

  /// The cgroups that were found.
  public struct Census: Equatable, Sendable {
    public var workloads: [UInt64: UInt16] = [:]
    /// There were more than `mostCGroups`, or deeper ones than `deepest`: the rest counts as no workload's.
    public var isCut = false
  }

  /// The mount point of the version 2 hierarchy; nil when there is none.
  public let root: String?
  private let entries: [Entry]

  public init(root: String? = CGroupTree.mountPoint(), entries: [Entry]) {
    self.root = root
    // What is configured deeper down goes over what stands above it.
    self.entries = entries.sorted { $0.path.utf8.count < $1.path.utf8.count }
  }

  /// Looks at all of them now. Entries that do not exist are no workload's yet.
  public func census() -> Census {
    var census = Census()
    guard let root else { return census }
    let descriptor = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { return census }
    defer { close(descriptor) }
    for entry in entries {
      let path = entry.path == "/" ? "." : String(entry.path.drop { $0 == "/" })
      visit(descriptor, path, entry.workload, depth: 0, &census)
    }
    return census
  }

  private func visit(_ parent: Int32, _ name: String, _ workload: UInt16, depth: Int, _ census: inout Census) {
    var status = stat()
    guard fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0, status.st_mode & S_IFMT == S_IFDIR else { return }
    let number = UInt64(status.st_ino)
    guard depth <= Self.deepest, census.workloads.count < Self.mostCGroups || census.workloads[number] != nil else {
      census.isCut = true
      return
    }
    census.workloads[number] = workload
    // Two links are its own.
    guard status.st_nlink > 2 else { return }
    let descriptor = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
    guard descriptor >= 0 else { return }
    guard let listing = fdopendir(descriptor) else {
      close(descriptor)
      return
    }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      guard Int32(entry.pointee.d_type) == Int32(DT_DIR) else { continue }
      let bytes = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      if bytes == [0x2E] || bytes == [0x2E, 0x2E] { continue }
      visit(dirfd(listing), String(decoding: bytes, as: UTF8.self), workload, depth: depth + 1, &census)
    }
  }

  /// `/sys/fs/cgroup`, or `/sys/fs/cgroup/unified` beside version 1: whichever has what only version 2 has.
  public static func mountPoint() -> String? {
    ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].first { access($0 + "/cgroup.controllers", F_OK) == 0 }
  }

  /// A host of containers has hundreds. What is over the limits counts as no workload's.
  private static let mostCGroups = 65_536
  private static let deepest = 32
}
