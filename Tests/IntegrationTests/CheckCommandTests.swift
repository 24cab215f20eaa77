// `fairlead check` on a host with the real tools, the real daemon and real rules.

import Glibc
import TestSupport
import Testing

@Suite(needsDaemon, needsCapture)
struct CheckCommandTests {
  @Test("a node that captures is well; killed, it is told what failed and what cures it")
  func check() throws {
    let lab = try CaptureLab(capture: "interfaces: [toclient]")
    try lab.startCapturing()
    let well = try check(lab)
    #expect(well.json["ok"].boolean == true, "\(well.json)")
    #expect(well.status == .exited(0))
    #expect(well.findings("capture").allSatisfy { $0.contains("rules, alive") || $0.contains("capture.user") })
    #expect(well.findings("daemon").contains { $0.contains("is ready") })

    lab.daemon?.child.signal(SIGKILL)
    _ = lab.daemon?.child.wait(seconds: 5)
    try #require(eventually(seconds: 10) { try !lab.isAlive })
    let ill = try check(lab)
    #expect(ill.json["ok"].boolean == false && ill.status == .exited(1))
    #expect(ill.findings("capture").contains { $0.contains("no fairleadd refreshes them") })
    #expect(
      ill.findings("kernel").contains("io_uring has everything that is needed"), "the probe of the daemon's program")
    let unwell = ill.json["findings"].elements.filter { $0["grade"].text != "ok" }
    #expect(unwell.allSatisfy { $0["remedy"].text?.isEmpty == false })

    let text = try run(lab, []).text
    #expect(text.contains("  × ") && text.contains("  √ ") && text.contains("      → systemctl restart fairlead"))
  }

  @Test("a filter of the host that drops what is redirected is told, and the remedy cures it")
  func filter() throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [toclient]")
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let established = "INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
    try lab.host.run(["iptables", "-A"] + established.split(separator: " ").map(String.init))
    try lab.host.run(["iptables", "-P", "INPUT", "DROP"])
    #expect(try lab.get("http://10.9.0.2/", from: lab.workload).code == .exited(28))
    let findings = try check(lab).json["findings"].elements.filter { $0["text"].text?.contains("port 4140") == true }
    let remedy = try #require(findings.first?["remedy"].text)
    try lab.host.run(["sh", "-c", remedy])
    #expect(try lab.get("http://10.9.0.2/", from: lab.workload).isCaptured)
    #expect(try !check(lab).findings("capture").contains { $0.contains("port 4140") })
  }

  private struct Result {
    let status: Child.ExitStatus?
    let json: JSONValue

    func findings(_ group: String) -> [String] {
      json["findings"].elements.filter { $0["group"].text == group }.compactMap { $0["text"].text }
    }
  }

  private func check(_ lab: CaptureLab) throws -> Result {
    let output = try run(lab, ["-o", "json"])
    return Result(status: output.status, json: try JSONValue(parsing: Array(output.text.utf8)))
  }

  private func run(_ lab: CaptureLab, _ options: [String]) throws -> TestNetwork.Output {
    try lab.host.attempt(
      [
        FairleadProcess.commandPath, "--socket", lab.directory.path("admin.sock"), "check", "--config",
        lab.configuration, "--state", lab.directory.path("state"),
      ] + options)
  }
}
