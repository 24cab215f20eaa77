// When the capture rules come and go with the proxy, by the real systemd and a command line that only takes notes.

import Glibc
import TestSupport
import Testing

@Suite("Capture unit", .serialized, needsSystemd, .timeLimit(.minutes(5)))
struct CaptureUnitTests {
  /// With a command line that only notes what it is asked, and whether the proxy was ready then.
  private func host() throws -> InstalledFairlead {
    let host = try InstalledFairlead()
    unlink(host.container.path("/usr/bin/fairlead"))
    try host.container.write(
      "/usr/bin/fairlead",
      "#!/bin/sh\necho \"$* ($(systemctl is-active fairlead.service))\" >> /run/fairlead-capture.calls\n")
    chmod(host.container.path("/usr/bin/fairlead"), 0o755)
    return host
  }

  private func calls(_ host: InstalledFairlead) -> [String] {
    readFile(host.container.path("/run/fairlead-capture.calls")).split(separator: "\n").map(String.init)
  }

  private let applied = "capture apply --config /etc/fairlead/fairlead.yaml (active)"

  @Test("the rules come when the proxy is ready, follow it over its restart and its death, and go with their unit")
  func order() throws {
    let host = try host()
    defer { host.stop() }
    try host.systemctl("start", "fairlead-capture.service")
    #expect(calls(host) == [applied])
    #expect(try host.property("ActiveState") == "active")
    // A proxy that starts has them applied again, which changes them where its configuration has changed, and only then.
    try host.systemctl("restart")
    #expect(eventually { calls(host) == [applied, applied] }, "\(calls(host))")
    try host.kill()
    #expect(try host.get() == 200)
    #expect(eventually { calls(host) == [applied, applied, applied] }, "\(calls(host))")
    #expect(try eventually { try host.property("SubState") == "running" })
    #expect(try host.container.property("ActiveState", of: "fairlead-capture.service") == "active")
    try host.systemctl("reload", "fairlead-capture.service")
    #expect(calls(host) == Array(repeating: applied, count: 4))
    try host.systemctl("stop", "fairlead-capture.service")
    #expect(calls(host) == Array(repeating: applied, count: 4) + ["capture remove (active)"])
    // Without the unit a restart of the proxy applies nothing.
    try host.systemctl("restart")
    #expect(calls(host).count == 5)
  }

  @Test("a stop that comes while a reload runs takes the rules away all the same")
  func stopInReload() throws {
    let host = try host()
    defer { host.stop() }
    try host.systemctl("start", "fairlead-capture.service")
    try host.container.write(
      "/usr/bin/fairlead",
      "#!/bin/sh\necho \"$2\" >> /run/fairlead-capture.calls\ncase $2 in apply) exec sleep 20 ;; esac\n")
    let asked = try host.container.systemctl("--no-block", "reload", "fairlead-capture.service")
    #expect(asked.status == .exited(0), "\(asked)")
    #expect(eventually { calls(host) == [applied, "apply"] }, "\(calls(host))")
    try host.systemctl("stop", "fairlead-capture.service")
    #expect(calls(host) == [applied, "apply", "remove"])
    #expect(try host.container.property("ActiveState", of: "fairlead-capture.service") != "active")
  }

  @Test(
    "inside its sandbox the unit really applies the rules, and takes them away",
    .enabled(if: findTool("iptables") != nil && findTool("ipset") != nil, "needs iptables and ipset"))
  func realRules() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    let rules = { try host.container.run(["iptables-save", "-t", "nat"]).output.lowercased() }
    try host.configure(listeners: ["{ name: outbound, address: \"127.0.0.1:4140\", capture: redirect }"])
    let started = try host.container.systemctl("start", "fairlead-capture.service")
    let status = try host.container.run(["fairlead", "capture", "status"])
    #expect(started.status == .exited(0), "\(started)\n\(status)\n\(host.log)")
    #expect(try rules().contains("fairlead"), "\(status)")
    #expect(!host.log.contains("degraded"), "\(host.log)")
    try host.systemctl("restart")
    #expect(try rules().contains("fairlead"))
    // Rules that lead to the port of before would refuse everybody.
    try host.configure(listeners: ["{ name: outbound, address: \"127.0.0.1:4150\", capture: redirect }"])
    try host.systemctl("restart")
    #expect(try eventually { try rules().contains("--to-ports 4150") && !rules().contains("--to-ports 4140") })
    // What a failed start of the unit must not take: what an apply by hand has to go back to.
    try host.container.run(["fairlead", "capture", "apply", "--confirm", "60s"])
    try host.systemctl("stop", "fairlead-capture.service")
    #expect(try !rules().contains("fairlead"))
    try host.container.run(["fairlead", "capture", "apply", "--confirm", "60s"])
    #expect(try host.container.systemctl("start", "fairlead-capture.service").status != .exited(0))
    let pending = try host.container.run(["fairlead", "capture", "status"])
    #expect(pending.output.contains("rolled back in"), "\(pending)")
  }

  @Test("no rules for a proxy that does not start; they come when it does")
  func proxyBroken() throws {
    let host = try host()
    defer { host.stop() }
    try host.container.write("/etc/fairlead/fairlead.yaml", "listeners: nonsense\n")
    #expect(try host.container.systemctl("start", "fairlead-capture.service").status != .exited(0))
    #expect(calls(host).filter { $0.contains("apply") } == [])
    #expect(try host.property("ExecMainStatus") == "78")
    try host.configure()
    try host.systemctl("start")
    #expect(eventually(seconds: 20) { calls(host).last == applied })
  }
}
