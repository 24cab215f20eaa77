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
      "usr/lib/tmpfiles.d/fairlead.conf", "etc/fairlead/fairlead.yaml", "usr/share/fairlead/schema.json",
      "usr/share/man/man1/fairlead.1", "usr/share/man/man5/fairlead.yaml.5", "usr/share/man/man8/fairleadd.8",
      "usr/share/bash-completion/completions/fairlead", "usr/share/zsh/vendor-completions/_fairlead",
      "usr/share/fish/vendor_completions.d/fairlead.fish",
    ] {
      #expect(installed.contains(file), "\(file) is not installed")
    }
    try root.write("etc/fairlead/fairlead.yaml", "# mine\n")
    try InstalledFairlead.make("install", into: root.path)
    #expect(readFile(root.path("etc/fairlead/fairlead.yaml")) == "# mine\n")
    try InstalledFairlead.make("uninstall", into: root.path)
    #expect(try files(root.path) == ["etc/fairlead/fairlead.yaml"])
  }

  @Test("the schema is JSON, and the completions are those that the program prints")
  func generated() throws {
    let root = try TemporaryDirectory()
    try InstalledFairlead.make("install", into: root.path)
    let tool = root.path("usr/bin/fairlead")
    for (file, arguments) in [
      ("fairlead/schema.json", ["schema"]), ("bash-completion/completions/fairlead", ["completion", "bash"]),
      ("zsh/vendor-completions/_fairlead", ["completion", "zsh"]),
      ("fish/vendor_completions.d/fairlead.fish", ["completion", "fish"]),
    ] {
      let printed = try Child.run([tool] + arguments)
      #expect(printed.status == .exited(0) && printed.output == readFile(root.path("usr/share/\(file)")), "\(file)")
    }
    let parsed = try Child.run(["python3", "-m", "json.tool", root.path("usr/share/fairlead/schema.json"), "/dev/null"])
    #expect(parsed.status == .exited(0), "\(parsed.error)")
  }

  @Test(
    "the manual pages are set without a warning, and have every command, option and section",
    .enabled(if: findTool("groff") != nil, "needs groff (apt-get install groff-base)"))
  func manuals() throws {
    let root = try TemporaryDirectory()
    try InstalledFairlead.make("install", into: root.path)
    var pages: [String: String] = [:]
    for page in ["man1/fairlead.1", "man5/fairlead.yaml.5", "man8/fairleadd.8"] {
      let file = root.path("usr/share/man/\(page)")
      let set = try Child.run(["groff", "-man", "-Tutf8", "-ww", "-rLL=200n", "-P-cbou", file])
      #expect(set.status == .exited(0) && set.error.isEmpty, "\(page): \(set.error)")
      #expect(!readFile(file).contains("@COMMANDS@") && !readFile(file).contains("@KEYS@"))
      pages[page] = set.output.replacing("\u{2010}", with: "-")
    }
    let help = try Child.run([root.path("usr/bin/fairlead"), "help"]).output
    for line in help.split(separator: "\n") where line.hasPrefix("  ") {
      let command = String(line.drop { $0 == " " }.prefix { $0 != " " })
      #expect(pages["man1/fairlead.1"]?.contains("       \(command)") == true, "fairlead(1) has no \(command)")
    }
    let usage = try Child.run([root.path("usr/sbin/fairleadd"), "--help"]).output
    for word in Set(usage.matches(of: #/--[a-z-]+/#).map { String($0.output) }) where word != "--help" {
      #expect(pages["man8/fairleadd.8"]?.contains(word) == true, "fairleadd(8) has no \(word)")
    }
    for section in ["listeners", "delegations", "capture"] {
      #expect(
        pages["man5/fairlead.yaml.5"]?.contains("\n   \(section)\n") == true, "fairlead.yaml(5) has no \(section)")
    }
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
