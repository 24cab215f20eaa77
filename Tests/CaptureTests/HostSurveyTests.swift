// What the control thread finds out: cgroups in a directory tree, addresses, users; and which workload goes first.

import Base
import Glibc
import Testing

import class TestSupport.TemporaryDirectory

@testable import Capture

@Suite("Survey of the host")
struct HostSurveyTests {
  /// A tree of directories as the cgroup file system has it: their links count what they hold, their inodes name them.
  private struct Tree {
    let directory: TemporaryDirectory

    init(_ paths: [String]) throws {
      directory = try TemporaryDirectory()
      for path in paths { try make(path) }
    }

    func make(_ path: String) throws {
      try #require(mkdir(directory.path(path), 0o755) == 0)
      try directory.write(path + "/cgroup.procs", "")
    }

    func number(_ path: String) throws -> UInt64 {
      var status = stat()
      try #require(stat(directory.path(path), &status) == 0)
      return UInt64(status.st_ino)
    }

    func cgroups(_ entries: [(String, UInt16)]) -> CGroupTree {
      CGroupTree(root: directory.path, entries: entries.map { CGroupTree.Entry(path: $0.0, workload: $0.1) })
    }
  }

  @Test("a cgroup and everything below it are found, and the deepest configured one wins")
  func census() throws {
    let tree = try Tree([
      "system.slice", "system.slice/web.service", "system.slice/web.service/worker", "system.slice/db.service",
      "user.slice",
    ])
    let found = tree.cgroups([("/system.slice/web.service", 2), ("/system.slice", 1), ("/no/such", 3)]).census()
    #expect(!found.isCut && found.workloads.count == 4)
    #expect(try found.workloads[tree.number("system.slice")] == 1)
    #expect(try found.workloads[tree.number("system.slice/web.service")] == 2)
    #expect(try found.workloads[tree.number("system.slice/web.service/worker")] == 2)
    #expect(try found.workloads[tree.number("system.slice/db.service")] == 1)
    #expect(try found.workloads[tree.number("user.slice")] == nil)
    #expect(try tree.cgroups([("/", 7)]).census().workloads[tree.number("user.slice")] == 7)
  }

  @Test("symbolic links are not followed, files are no cgroups, a missing root is empty")
  func strange() throws {
    let tree = try Tree(["a"])
    symlink(tree.directory.path, tree.directory.path("a/loop"))
    symlink(tree.directory.path("a"), tree.directory.path("b"))
    #expect(tree.cgroups([("/a", 1)]).census().workloads.count == 1)
    #expect(tree.cgroups([("/b", 1), ("/a/cgroup.procs", 1)]).census().workloads.isEmpty)
    #expect(CGroupTree(root: nil, entries: [.init(path: "/", workload: 1)]).census().workloads.isEmpty)
    #expect(CGroupTree(root: "/no/such", entries: [.init(path: "/", workload: 1)]).census().workloads.isEmpty)
  }

  @Test("a tree that is too deep is cut, not followed to its end")
  func deep() throws {
    let tree = try Tree([])
    var path = "d"
    for _ in 0..<40 {
      try tree.make(path)
      path += "/d"
    }
    let found = tree.cgroups([("/d", 1)]).census()
    #expect(found.isCut && found.workloads.count == 33)
  }

  @Test("a survey learns of new cgroups, remembers those that are nobody's, and is new only when something changed")
  func survey() throws {
    let tree = try Tree(["slice"])
    let workloads = WorkloadTable([WorkloadRule(name: "batch", cgroups: ["/slice"])])
    var addresses: [IPv6Address] = []
    var survey = HostSurvey(
      workloads, tree: tree.cgroups([("/slice", 1)]), addresses: { HostAddresses(addresses) })
    let (first, second) = (survey.look(), survey.look())
    #expect(first && !second && !survey.lacksCGroups && !survey.isCut)
    #expect(try survey.tables.cgroups.value(of: tree.number("slice")) == 1)
    try tree.make("slice/job")
    let job = try tree.number("slice/job")
    #expect(survey.tables.cgroups.value(of: job) == nil)
    let third = survey.look(unknown: [job, 99_999_999])
    #expect(third)
    #expect(survey.tables.cgroups.value(of: job) == 1 && survey.tables.cgroups.value(of: 99_999_999) == 0)
    let fourth = survey.look(unknown: [job])
    #expect(!fourth)
    let before = survey.tables
    addresses = [IPv6Address(mapping: IPv4Address(192, 0, 2, 1))]
    let fifth = survey.look()
    #expect(fifth && survey.tables !== before)
    #expect(survey.tables.addresses.contains(addresses[0]) && !before.addresses.contains(addresses[0]))
  }

  @Test("cgroups that are nobody's are remembered up to a bound")
  func bounded() throws {
    let tree = try Tree(["slice"])
    let workloads = WorkloadTable([WorkloadRule(name: "batch", cgroups: ["/slice"])])
    var survey = HostSurvey(workloads, tree: tree.cgroups([("/slice", 1)]), addresses: { HostAddresses([]) })
    for round in UInt64(1)...5 {
      _ = survey.look(unknown: (0..<10_000).map { round << 40 | $0 })
      #expect(survey.tables.cgroups.value(of: round << 40 | 9_999) == 0)
    }
    #expect(survey.tables.cgroups.value(of: 1 << 40) == nil)
  }

  @Test("addresses of the host: loopback always, others as the kernel lists them")
  func addresses() {
    let current = HostAddresses.current()
    #expect(current.contains(.loopback) && current.contains(IPv6Address(mapping: IPv4Address(127, 9, 9, 9))))
    #expect(!current.contains(IPv6Address(mapping: IPv4Address(192, 0, 2, 77))) && !current.contains(.unspecified))
    let some = HostAddresses((0..<100).map { IPv6Address(high: $0 * 3, low: 5) })
    for number in UInt64(0)..<300 {
      #expect(some.contains(IPv6Address(high: number, low: 5)) == (number % 3 == 0))
    }
  }

  @Test("users are found by name and number")
  func users() {
    #expect(UserNames.number(of: "root") == 0 && UserNames.number(of: "0") == 0)
    #expect(UserNames.number(of: "65534") == 65534 && UserNames.number(of: "nobody") == 65534)
    #expect(UserNames.number(of: "no-such-user-here") == nil && UserNames.number(of: "") == nil)
    #expect(UserNames.number(of: "4294967295") == nil && UserNames.number(of: "4294967296") == nil)
  }

  @Test("workloads have numbers from 1 in their order, and each kind of match leads to its own")
  func workloads() {
    let table = WorkloadTable([
      WorkloadRule(name: "web", networks: [IPNetwork(.v4(IPv4Address(10, 0, 0, 1)))], users: [33, 0]),
      WorkloadRule(name: "batch", users: [33, 1000], cgroups: ["/batch", "/jobs"]),
    ])
    #expect(!table.isEmpty && table.needsOwners)
    #expect(table.workload(ofUser: 33) == 1 && table.workload(ofUser: 0) == 1 && table.workload(ofUser: 1000) == 2)
    #expect(table.workload(ofUser: 1) == 0 && table.workload(ofUser: .max) == 0)
    #expect(table.workload(ofAddress: IPv6Address(mapping: IPv4Address(10, 0, 0, 1))) == 1)
    #expect(table.cgroups == [.init(path: "/batch", workload: 2), .init(path: "/jobs", workload: 2)])
    let byAddress = WorkloadTable([WorkloadRule(name: "a", networks: [IPNetwork(.v6(.loopback))])])
    #expect(!byAddress.needsOwners && !byAddress.isEmpty && WorkloadTable([]).isEmpty)
  }
}
