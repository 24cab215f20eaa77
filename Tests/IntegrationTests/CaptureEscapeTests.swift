// The dead-man's switch: whatever stops the proxy, the host's connections find their way without it, or are refused at once
// where that was asked for.

import Glibc
import TestSupport
import Testing

@Suite(needsDaemon, needsCapture)
struct CaptureEscapeTests {
  enum Death: String, CaseIterable { case killed, stopped, oneShardHangs }

  @Test(
    "new connections go direct when the proxy dies, stops or hangs, and by it when it is back",
    arguments: Death.allCases)
  func bypass(death: Death) throws {
    let lab = try CaptureLab(capture: "interfaces: [toclient]")
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    #expect(try lab.get("http://10.9.0.2/", from: lab.host).isCaptured)
    #expect(try lab.get("http://[fd09::2]/", from: lab.workload).isCaptured)

    let revive = try disturb(lab, death)
    // What is left of the entries' lives is the longest that anybody can meet the dead proxy.
    #expect(try lab.remainingLives.allSatisfy { $0 <= 2 })
    try #require(eventually(seconds: 10) { try lab.remainingLives.isEmpty })
    for (url, namespace) in [("http://10.9.0.2/", lab.host), ("http://[fd09::2]/", lab.workload)] {
      let answer = try lab.get(url, from: namespace)
      #expect(answer.isDirect, "\(answer)")
    }

    try revive()
    try #require(eventually(seconds: 10) { try lab.isAlive }, "not captured again")
    #expect(try lab.get("http://10.9.0.2/", from: lab.host).isCaptured)
    #expect(try lab.get("http://[fd09::2]/", from: lab.workload).isCaptured)
    if death == .oneShardHangs {
      #expect(try lab.daemon?.admin.metrics().sum("fairlead_heartbeat_missed_total") ?? 0 > 0)
    }
  }

  @Test(
    "with onFailure refuse they get a reset at once, in every mode",
    arguments: [CaptureLab.redirecting, CaptureLab.transparent])
  func refuse(listeners: [String]) throws {
    let redirects = listeners == CaptureLab.redirecting
    let lab = try CaptureLab(
      capture: "interfaces: [toclient], processes: \(redirects), onFailure: refuse", listeners: listeners)
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let sources = redirects ? [lab.host, lab.workload] : [lab.workload]
    for source in sources { #expect(try lab.get("http://10.9.0.2/", from: source).isCaptured) }
    lab.daemon?.child.signal(SIGKILL)
    try #require(eventually(seconds: 10) { try !lab.isAlive })
    for source in sources {
      for url in ["http://10.9.0.2/", "http://[fd09::2]/"] {
        let answer = try lab.get(url, from: source)
        // 7: could not connect. The kernel's reset came; without it the time would have run out (28).
        #expect(answer.code == .exited(7), "\(answer)")
      }
    }
    // Nobody is locked out by it who was not captured.
    try lab.serve(on: lab.host, port: 8080)
    #expect(try lab.get("http://127.0.0.1:8080/", from: lab.host).isDirect)
  }

  @Test(
    "a workload is refused where all others pass, and passes where all others are refused", arguments: [false, true])
  func exceptions(refusesAll: Bool) throws {
    let (all, one) = refusesAll ? ("refuse", "bypass") : ("bypass", "refuse")
    let lab = try CaptureLab(
      capture: "interfaces: [toclient], onFailure: \(all)",
      extra: """
        workloads:
          - { name: behind, match: { addresses: [10.8.0.0/24, "fd08::2"] }, onFailure: \(one) }
          - { name: user, match: { users: ["65534"] }, onFailure: \(one) }
        """)
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    #expect(try lab.get("http://10.9.0.2/", from: lab.workload).isCaptured)
    lab.daemon?.child.signal(SIGKILL)
    try #require(eventually(seconds: 10) { try lab.remainingLives.isEmpty })
    for url in ["http://10.9.0.2/", "http://[fd09::2]/"] {
      let others = try lab.get(url, from: lab.host)
      let behind = try lab.get(url, from: lab.workload)
      let user = try lab.get(url, from: lab.host, by: ["setpriv", "--reuid", "65534", "--clear-groups"])
      for (answer, isRefused) in [(others, refusesAll), (behind, !refusesAll), (user, !refusesAll)] {
        #expect(isRefused ? answer.code == .exited(7) : answer.isDirect, "\(url) \(answer)")
      }
    }
  }

  @Test("a drain lets new connections past at once, and what is open ends well")
  func drain() throws {
    let lab = try CaptureLab()
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let daemon = try #require(lab.daemon)
    #expect(try daemon.admin.metrics().sum("fairlead_capture_alive") == 1)
    daemon.child.signal(SIGTERM)
    #expect(daemon.child.wait(seconds: 10) == .exited(0))
    #expect(try !lab.isAlive)
    #expect(try lab.get("http://10.9.0.2/", from: lab.host).isDirect)
  }

  @Test("rules that come and go under a running proxy are noticed")
  func rulesComeAndGo() throws {
    let lab = try CaptureLab()
    try lab.startDaemon()
    let daemon = try #require(lab.daemon)
    #expect(try daemon.admin.metrics().sum("fairlead_capture_alive") == 0)
    for _ in 0..<2 {
      try lab.capture("apply")
      #expect(try eventually { try daemon.admin.metrics().sum("fairlead_capture_alive") == 1 })
      #expect(try eventually { try lab.capture("status", "-o", "json").contains("\"alive\": true") })
      try lab.capture("remove")
      #expect(try eventually { try daemon.admin.metrics().sum("fairlead_capture_alive") == 0 })
    }
    #expect(!daemon.child.standardError.contains("degraded"))
  }

  @Test("a proxy without CAP_NET_ADMIN says once what that means, and serves")
  func withoutCapability() throws {
    let lab = try CaptureLab()
    chmod(lab.directory.path, 0o777)
    let daemon = try FairleadProcess(
      ["--config", lab.configuration], directory: lab.directory,
      launcher: lab.network.launcher(.node) + ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps=-all"])
    defer { daemon.child.stop(seconds: 2) }
    let told = {
      daemon.child.standardError.split(separator: "\n").filter { $0.contains("without CAP_NET_ADMIN the kernel") }.count
    }
    #expect(eventually(seconds: 5) { told() > 0 })
    // Two more beats.
    let turns = try daemon.admin.metrics().sum("fairlead_heartbeat_missed_total")
    #expect(try eventually(seconds: 5) { try daemon.admin.json("/status")["degraded"].elements.count >= 1 })
    #expect(turns == 0 && told() == 1)
    #expect(try daemon.admin.json("/status")["state"].text == "degraded")
  }

  /// Does it, and returns how it is undone.
  private func disturb(_ lab: CaptureLab, _ death: Death) throws -> () throws -> Void {
    let daemon = try #require(lab.daemon)
    switch death {
    case .killed:
      daemon.child.signal(SIGKILL)
      _ = daemon.child.wait(seconds: 5)
      return { try lab.startDaemon() }
    case .stopped:
      daemon.child.signal(SIGSTOP)
      return { daemon.child.signal(SIGCONT) }
    case .oneShardHangs:
      let tracer = try lab.start(
        ["python3", "-c", threadStopper, "\(daemon.child.processID)", "fl-shard-1"], on: lab.host)
      try #require(eventually { tracer.standardOutput.contains("stopped") }, "\(tracer.standardError)")
      return {
        tracer.signal(SIGKILL)
        _ = tracer.wait(seconds: 5)
      }
    }
  }
}

/// Stops one thread of a process as a debugger does; it goes on when this program ends.
private let threadStopper = """
  import ctypes, os, sys, time
  libc = ctypes.CDLL(None, use_errno=True)
  libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
  base = '/proc/%s/task/' % sys.argv[1]
  thread = [int(t) for t in os.listdir(base) if open(base + t + '/comm').read().strip() == sys.argv[2]][0]
  for request in (0x4206, 0x4207):
      if libc.ptrace(request, thread, None, None) != 0: sys.exit('ptrace: %s' % os.strerror(ctypes.get_errno()))
  os.waitpid(thread, 0x40000000)
  print('stopped', flush=True)
  time.sleep(60)
  """
