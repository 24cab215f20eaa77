// Applying and taking back, with the real iptables, ip6tables, ipset and ip, in namespaces of the test's own.

import Glibc
import TestSupport
import Testing

@Suite(needsDaemon, needsCapture)
struct CaptureRulesTests {
  @Test(
    "apply twice is apply once, and remove leaves everything as it was, byte for byte",
    arguments: [CaptureLab.redirecting, CaptureLab.redirecting + [transparentBeside]], [false, true])
  func applyAndRemove(listeners: [String], hasOwnRules: Bool) throws {
    let lab = try CaptureLab(
      capture: "interfaces: [tocl+], inboundPorts: [80, 8000-8100], excludeUsers: [\"65534\"]", listeners: listeners)
    if hasOwnRules {
      for tool in ["iptables", "ip6tables"] {
        try lab.host.run([tool, "-t", "nat", "-N", "MINE"])
        try lab.host.run([tool, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "--dport", "81", "-j", "MINE"])
        try lab.host.run([tool, "-t", "nat", "-A", "MINE", "-p", "tcp", "-j", "REDIRECT", "--to-ports", "82"])
        try lab.host.run([tool, "-A", "INPUT", "-p", "tcp", "--dport", "83", "-j", "ACCEPT"])
      }
      try lab.host.run(["ip", "rule", "add", "pref", "100", "fwmark", "7", "lookup", "100"])
    }
    let before = try lab.kernelState()
    #expect(try lab.attemptCapture(["status"]).status == .exited(1))

    try lab.capture("apply")
    let once = try lab.kernelState()
    #expect(once != before)
    #expect(try lab.capture("status").contains("as configured"))
    #expect(try lab.capture("plan") == "nothing to do: all is in place\n")
    try lab.capture("apply")
    #expect(try lab.kernelState() == once)

    #expect(try lab.capture("remove") == "capture is removed\n")
    #expect(try lab.kernelState() == before)
    #expect(try lab.capture("remove") == "nothing to remove\n")
    #expect(try lab.kernelState() == before)
  }

  @Test("the plan run by a shell is what apply does")
  func planIsExact() throws {
    let capture = "interfaces: [toclient], inboundPorts: [80]"
    let planned = try CaptureLab(capture: capture, listeners: CaptureLab.redirecting + [transparentBeside])
    let applied = try CaptureLab(capture: capture, listeners: CaptureLab.redirecting + [transparentBeside])
    let script = try planned.capture("plan")
    #expect(script.contains("iptables-restore --noflush") && script.contains("ip6tables-restore --noflush"))
    try planned.host.run(["sh", "-e", planned.directory.write("plan.sh", script)])
    try applied.capture("apply")
    // Link-local addresses are made of an interface's random hardware address.
    let comparable = { (state: String) in state.split(separator: "\n").filter { !$0.contains("fe80:") } }
    #expect(try comparable(planned.kernelState()) == comparable(applied.kernelState()))
    #expect(try planned.capture("status").contains("as configured"))
  }

  @Test("a change of the configuration is applied as a change, and shown before")
  func change() throws {
    let lab = try CaptureLab(capture: "excludePorts: [22, 2222]")
    let before = try lab.kernelState()
    try lab.capture("apply")
    let text = readFile(lab.configuration)
    try lab.directory.write("fairlead.yaml", text.replacing("excludePorts: [22, 2222]", with: "interfaces: [toclient]"))
    let status = try lab.attemptCapture(["status"])
    #expect(status.status == .exited(1))
    #expect(status.text.contains("- nat: -A FAIRLEAD_OUTPUT -p tcp -m multiport --dports 22,2222 -j RETURN"))
    #expect(status.text.contains("+ nat: chain FAIRLEAD_PREROUTING"))
    try lab.capture("apply")
    #expect(try lab.capture("status").contains("as configured"))
    try lab.capture("remove")
    #expect(try lab.kernelState() == before)
  }

  @Test(
    "rules that the kernel refuses change nothing, also when IPv4 was taken before IPv6 is refused",
    arguments: [("iptables-restore", "alive4"), ("ip6tables-restore", "alive6")], [false, true])
  func refusedByKernel(family: (tool: String, set: String), wasApplied: Bool) throws {
    let lab = try CaptureLab()
    let real = try #require(findTool(family.tool))
    let bin = lab.directory.path("bin")
    mkdir(bin, 0o755)
    // TPROXY belongs into another table: the kernel refuses the whole rule set.
    let wrapper = "#!/bin/sh\nsed 's/REDIRECT --to-ports 4140/TPROXY --on-port 4140/' | exec \(real) \"$@\"\n"
    chmod(try lab.directory.write("bin/\(family.tool)", wrapper), 0o755)
    if wasApplied {
      try lab.capture("apply")
      let text = readFile(lab.configuration)
      try lab.directory.write(
        "fairlead.yaml", text.replacing("capture: {  }", with: "capture: { interfaces: [toclient] }"))
    }
    let before = try lab.kernelState()
    let result = try lab.attemptCapture(["apply"], by: ["env", "PATH=\(bin):/usr/sbin:/usr/bin:/sbin:/bin"])
    #expect(result.status == .exited(1))
    #expect(result.errors.contains("\(family.tool) refused the rules"), "\(result.errors)")
    #expect(result.errors.contains("--match-set fairlead-\(family.set) dst -j REDIRECT"), "\(result.errors)")
    #expect(result.errors.contains("nothing was changed"), "\(result.errors)")
    #expect(try lab.kernelState() == before)
  }

  @Test("an apply that nobody confirms is rolled back to what was before", arguments: [false, true])
  func rollback(wasApplied: Bool) throws {
    let lab = try CaptureLab(capture: "excludePorts: [22]")
    if wasApplied {
      try lab.capture("apply")
      let text = readFile(lab.configuration)
      try lab.directory.write("fairlead.yaml", text.replacing("excludePorts: [22]", with: "interfaces: [toclient]"))
    }
    let before = try lab.kernelState()
    #expect(try lab.capture("apply", "--confirm", "3s").contains("fairlead capture confirm"))
    #expect(try lab.kernelState() != before)
    #expect(try eventually(seconds: 15) { try lab.kernelState() == before }, "it was not rolled back")
    try #require(eventually(seconds: 5) { try lab.attemptCapture(["status"]).text.contains("was rolled back") })
    let late = try lab.attemptCapture(["confirm"])
    #expect(late.status == .exited(1))
    #expect(late.errors.contains("was not confirmed and was rolled back"), "\(late.errors)")
  }

  @Test("an apply that is killed half-way is rolled back, too; its watch outlives a session that ends")
  func killedHalfWay() throws {
    let lab = try CaptureLab()
    let real = try #require(findTool("iptables-restore"))
    mkdir(lab.directory.path("bin"), 0o755)
    let once = try lab.directory.write("bin/once", "")
    let wrapper = "#!/bin/sh\n\(real) \"$@\"; ended=$?\nrm \(once) 2>/dev/null && kill -9 $PPID\nexit $ended\n"
    chmod(try lab.directory.write("bin/iptables-restore", wrapper), 0o755)
    let before = try lab.kernelState()
    let path = "PATH=\(lab.directory.path("bin")):/usr/sbin:/usr/bin:/sbin:/bin"
    #expect(try lab.attemptCapture(["apply", "--confirm", "4s"], by: ["env", path]).status != .exited(0))
    #expect(try lab.kernelState() != before)
    for signal in ["-HUP", "-TERM"] { try lab.host.run(["kill", signal, lab.watch()]) }
    #expect(try eventually(seconds: 15) { try lab.kernelState() == before }, "it was not rolled back")
  }

  @Test("where the watch was killed, the next apply does what it had to do, instead of waiting for ever")
  func watchKilled() throws {
    let lab = try CaptureLab(capture: "interfaces: [toclient]")
    try lab.capture("apply", "--confirm", "3s")
    try lab.host.run(["kill", "-KILL", lab.watch()])
    #expect(try eventually(seconds: 15) { try lab.attemptCapture(["status"]).text.contains("rolled back in 0 s") })
    #expect(try lab.capture("apply").contains("capture is in place"))
    #expect(try lab.capture("status").contains("as configured"))
    #expect(try lab.attemptCapture(["confirm"]).errors.contains("nothing waits for a confirmation"))
  }

  @Test("while a proxy is alive, no rule comes to lead to a port where it does not listen")
  func nobodyListens() throws {
    let lab = try CaptureLab()
    try lab.startDaemon()
    let text = readFile(lab.configuration)
    // At first there is no set, and so no life to be seen.
    for isFirst in [true, false] {
      if !isFirst {
        try lab.directory.write("fairlead.yaml", text)
        try lab.capture("apply")
        try #require(eventually(seconds: 10) { try lab.isAlive })
      }
      let before = try lab.kernelState()
      try lab.directory.write("fairlead.yaml", text.replacing(":4140", with: ":4150"))
      let refused = try lab.attemptCapture(["apply"])
      #expect(refused.status == .exited(1))
      #expect(refused.errors.contains("nobody listens on port 4150 of listener 'outbound'"), "\(refused.errors)")
      #expect(refused.errors.contains("restart it"), "\(refused.errors)")
      #expect(try lab.kernelState() == before)
    }
  }

  @Test("no tool is taken from a directory that a relative path names")
  func relativePath() throws {
    let lab = try CaptureLab()
    mkdir(lab.directory.path("bin"), 0o755)
    let trap = "#!/bin/sh\ntouch \(lab.directory.path("trapped"))\n"
    for tool in ["iptables-save", "ipset", "ip"] {
      chmod(try lab.directory.write("bin/\(tool)", trap), 0o755)
    }
    let inside = ["env", "-C", lab.directory.path("bin"), "PATH=.::bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    #expect(try lab.attemptCapture(["plan"], by: inside).status == .exited(0))
    #expect(access(lab.directory.path("trapped"), F_OK) != 0)
  }

  @Test("an apply that is confirmed in time stays; another one has to wait for that")
  func confirmed() throws {
    let lab = try CaptureLab()
    try lab.capture("apply", "--confirm", "3s")
    let applied = try lab.kernelState()
    let second = try lab.attemptCapture(["apply"])
    #expect(second.status == .exited(1) && second.errors.contains("waits for its confirmation"), "\(second.errors)")
    #expect(try lab.capture("status").contains("rolled back in"))
    #expect(try lab.capture("confirm") == "confirmed: capture stays\n")
    // The watch has ended, and with it what could roll back.
    let watches = { try lab.host.attempt(["pgrep", "-f", "capture watch --state \(lab.directory.path("state"))"]) }
    #expect(try eventually(seconds: 10) { try watches().text.isEmpty })
    #expect(try lab.kernelState() == applied)
  }

  @Test("what is missing is named with its remedy")
  func needs() throws {
    let lab = try CaptureLab()
    let before = try lab.kernelState()
    let unable = try lab.attemptCapture(
      ["apply"], by: ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all"])
    #expect(unable.status == .exited(1))
    #expect(unable.errors.contains("CAP_NET_ADMIN"), "\(unable.errors)")
    #expect(try lab.kernelState() == before)

    try lab.directory.write("fairlead.yaml", readFile(lab.configuration).replacing(", capture: redirect", with: ""))
    let listeners = try lab.attemptCapture(["apply"])
    #expect(listeners.status == .exited(78))
    #expect(listeners.errors.contains("an outbound listener with 'capture: redirect'"), "\(listeners.errors)")

    try lab.directory.write(
      "fairlead.yaml",
      readFile(lab.configuration).replacing("capture: {  }", with: "capture: { excludeUsers: [nobdy] }"))
    let users = try lab.attemptCapture(["apply"])
    #expect(users.status == .exited(78))
    #expect(users.errors.contains("this host has no user 'nobdy'"), "\(users.errors)")
  }

  @Test("with a configuration that is refused, status still shows what is in place, and remove takes it away")
  func refusedConfiguration() throws {
    let lab = try CaptureLab()
    let before = try lab.kernelState()
    try lab.capture("apply")
    try lab.directory.write("fairlead.yaml", "listeners: nonsense\n")
    let status = try lab.attemptCapture(["status"])
    #expect(status.status == .exited(78))
    #expect(status.errors.contains("listeners") && status.text.contains("present"), "\(status)")
    try lab.capture("remove")
    #expect(try lab.kernelState() == before)
  }

  @Test("where IPv6 is switched off, IPv4 alone is captured; what was there of IPv6 is taken away")
  func withoutIPv6() throws {
    let lab = try CaptureLab(
      capture: "interfaces: [toclient]", listeners: CaptureLab.redirecting + [transparentBeside])
    try lab.capture("apply")
    #expect(try lab.host.run(["ip6tables-save"]).contains("FAIRLEAD"))
    try lab.host.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"])
    #expect(try lab.capture("apply").contains("capture is in place: IPv4\n"))
    #expect(try lab.host.run(["iptables-save"]).contains("FAIRLEAD"))
    #expect(try !lab.host.run(["ip6tables-save"]).contains("FAIRLEAD"))
    #expect(try lab.capture("status").contains("as configured"))
    try lab.capture("remove")
    #expect(try lab.host.run(["iptables-save"]) == "")
    #expect(try lab.host.run(["ip6tables-save"]) == "")
  }

  @Test("a routing table that others use is left alone")
  func tableInUse() throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [toclient]", listeners: CaptureLab.transparent)
    try lab.host.run(["ip", "route", "add", "10.99.0.0/16", "dev", "toserver", "table", "4140"])
    let before = try lab.kernelState()
    let result = try lab.attemptCapture(["apply"])
    #expect(result.status == .exited(1))
    #expect(result.errors.contains("choose another with capture.routingTable"), "\(result.errors)")
    #expect(try lab.kernelState() == before)
  }
}

private let transparentBeside = "{ name: transparent, address: \":4141\", direction: outbound, capture: tproxy }"
