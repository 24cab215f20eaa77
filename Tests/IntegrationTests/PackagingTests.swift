// What is installed and what is left when it is taken away, and the sandbox of the units.

import Glibc
import TestSupport
import Testing

@Suite("Packaging", needsDaemon)
struct PackagingTests {
  private func files(_ directory: String) throws -> [String] {
    try Child.run(["find", directory, "-mindepth", "1", "!", "-type", "d", "-printf", "%P\\n"]).output
      .split(separator: "\n").map(String.init).sorted()
  }

  @Test("make uninstall removes what make install put there, except the configuration")
  func uninstall() throws {
    let root = try TemporaryDirectory()
    try InstalledFairlead.make("install", into: root.path)
    let installed = try files(root.path)
    for file in [
      "usr/sbin/fairleadd", "usr/bin/fairlead", "usr/lib/systemd/system/fairlead.service",
      "usr/lib/systemd/system/fairlead-capture.service", "usr/lib/sysusers.d/fairlead.conf",
      "usr/lib/tmpfiles.d/fairlead.conf", "etc/fairlead/fairlead.yaml",
    ] {
      #expect(installed.contains(file), "\(file) is not installed")
    }
    try root.write("etc/fairlead/fairlead.yaml", "# mine\n")
    try InstalledFairlead.make("install", into: root.path)
    #expect(readFile(root.path("etc/fairlead/fairlead.yaml")) == "# mine\n")
    try InstalledFairlead.make("uninstall", into: root.path)
    #expect(try files(root.path) == ["etc/fairlead/fairlead.yaml"])
  }

  @Test(
    "the units stay in their sandbox: what systemd-analyze calls their exposure",
    .enabled(if: findTool("systemd-analyze") != nil, "needs systemd-analyze (apt-get install systemd)"),
    arguments: [("fairlead.service", 1.9), ("fairlead-capture.service", 3.0)])
  func exposure(_ unit: String, _ limit: Double) throws {
    let result = try Child.run([
      "systemd-analyze", "security", "--offline=true", "--no-pager", "\(repositoryPath)/systemd/\(unit)",
    ])
    let last = try #require(result.output.split(separator: "\n").last { $0.contains("Overall exposure level") })
    let score = try #require(last.split(separator: " ").compactMap { Double($0) }.first)
    #expect(score <= limit, "\(last)")
  }
}
