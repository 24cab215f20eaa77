// The Debian package, by the real dpkg under the real systemd: what it starts, what it keeps, what it leaves.

import Glibc
import TestSupport
import Testing

@Suite("Debian package", .serialized, needsSystemd, .timeLimit(.minutes(5)))
struct DebianPackageTests {
  static let missing = ["dpkg-deb", "dpkg-shlibdeps", "strip", "lintian"].filter { findTool($0) == nil }

  @Test(
    "it passes lintian, installs and starts, is upgraded without a refused connection, and leaves nothing when purged",
    .enabled(if: missing.isEmpty, "needs dpkg-dev, binutils and lintian (.ci/deps deb)"))
  func package() throws {
    let directory = try TemporaryDirectory()
    let built = try Child.run(
      ["\(repositoryPath)/systemd/debian/build", FairleadProcess.binaryDirectory, directory.path],
      seconds: 180)
    #expect(built.status == .exited(0), "\(built.output)\(built.error)")
    let package = try #require(built.output.split(separator: "\n").last.map(String.init))

    let host = try InstalledFairlead(install: false)
    defer { host.stop() }
    let container = host.container
    let before = try listing(container)
    let inside = "/root/fairlead.deb"
    try #require(try Child.run(["cp", package, container.path(inside)]).status == .exited(0))
    let depends = try container.run(["dpkg", "--force-depends", "-i", inside])
    #expect(depends.status == .exited(0), "\(depends)")
    #expect(try eventually { try host.property("ActiveState") == "active" })
    #expect(try host.property("UnitFileState") == "enabled")
    #expect(try host.property("User") == "fairlead")
    #expect(try container.property("UnitFileState", of: "fairlead-capture.service") == "disabled")
    #expect(try container.run(["fairlead", "status"]).status == .exited(0))

    try host.configure()
    try host.systemctl("restart")
    let load = KeepAliveLoad(host.address, clients: 8, requests: 2000, start: { container.enterNetwork($0) })
    #expect(load.wait(forAnswers: 200))
    let daemon = try host.property("MainPID")
    let again = try container.run(["dpkg", "--force-depends", "-i", inside])
    #expect(again.status == .exited(0), "\(again)")
    #expect(try host.property("MainPID") != daemon)
    #expect(readFile(container.path("/etc/fairlead/fairlead.yaml")).contains("name: box"))
    let outcome = try #require(load.finish())
    #expect(outcome.refused == 0 && outcome.brokenAtOnce == 0 && outcome.answered == 2000, "\(outcome)")

    let purge = try container.run(["dpkg", "--purge", "fairlead"])
    #expect(purge.status == .exited(0), "\(purge)")
    #expect(!purge.error.contains("not empty"), "\(purge)")
    #expect(try host.listening() == [])
    unlink(container.path(inside))
    let left = Set(try listing(container)).subtracting(before)
    #expect(left == [], "\(left.sorted())")
    #expect(try container.run(["getent", "passwd", "fairlead"]).status == .exited(2))
    #expect(try container.run(["getent", "group", "fairlead"]).status == .exited(2))
  }

  /// Every file and directory there is, except what dpkg and others keep about themselves.
  private func listing(_ container: SystemdContainer) throws -> [String] {
    let others = [
      "/var/lib/dpkg/", "/var/cache/", "/var/log/", "/var/tmp/", "/etc/.pwd.lock", "/etc/passwd-", "/etc/shadow-",
      "/etc/group-", "/etc/gshadow-", "/etc/subuid-", "/etc/subgid-",
    ]
    let found = try container.run(["find", "/etc", "/usr", "/lib", "/var", "/opt", "/srv", "-xdev"], seconds: 120)
    let ours = try container.run(["find", "/run", "/tmp", "/root", "-xdev", "-name", "*fairlead*"])
    return (found.output + ours.output).split(separator: "\n").map(String.init).filter { path in
      path.contains("fairlead") || !others.contains { path.hasPrefix($0) }
    }
  }
}
