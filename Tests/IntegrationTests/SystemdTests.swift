// The installed unit under the real systemd, in namespaces of its own: ready, reload, kill, hang, restart, stop.

import Glibc
import TestSupport
import Testing

@Suite("Under systemd", .serialized, needsSystemd, .timeLimit(.minutes(5)))
struct SystemdTests {
  @Test("start is ready when it returns, reload does not kill, stop drains and leaves nothing listening")
  func life() throws {
    let mayAnswer = Gate()
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/slow" { mayAnswer.wait(seconds: 20) }
        try connection.respond(to: request, body: "finished")
      }
    }
    let host = try InstalledFairlead(script, unit: "TimeoutStopSec=1s")
    defer { host.stop() }
    try host.systemctl("start")
    #expect(try host.get() == 200)
    #expect(try host.property("ActiveState") == "active")
    #expect(try host.property("StatusText").hasPrefix("serving: 2 shards, 1 service"))
    #expect(try host.property("NFileDescriptorStore") == "2")

    let before = try host.property("MainPID")
    try host.systemctl("reload")
    #expect(eventually { host.log.contains("SIGHUP") }, "\(host.log)")
    #expect(try host.property("MainPID") == before)
    #expect(eventually { host.log.contains("reload (SIGHUP): nothing has changed") }, "\(host.log)")
    #expect(try eventually { try host.property("StatusText").hasPrefix("serving: 2 shards, 1 service") })
    #expect(try host.get() == 200)

    let busy = try host.connect()
    try busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
    #expect(host.upstream.wait { $0.contains { $0.requests.contains { $0.target == "/slow" } } })
    try host.container.systemctl("stop", "--no-block", "fairlead.service")
    #expect(try eventually { try host.property("StatusText").hasPrefix("draining") })
    // Longer than the unit allows: the daemon asks for the time it needs.
    #expect(try !eventually(seconds: 2) { try host.property("ActiveState") != "deactivating" }, "\(host.log)")
    mayAnswer.open()
    #expect(try busy.readResponse().text == "finished")
    #expect(try eventually(seconds: 20) { try host.property("ActiveState") == "inactive" })
    #expect(try host.property("Result") == "success", "\(host.log)")
    #expect(try host.listening() == [])
    #expect(!host.container.exists("/run/fairlead"), "the runtime directory is left behind")
  }

  @Test("a daemon that is killed is started again, and who connects meanwhile is served and not refused")
  func killed() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.systemctl("start")
    let first = try host.property("MainPID")
    try host.kill()
    #expect(try host.get() == 200)
    #expect(try host.property("MainPID") != first)
    #expect(try host.property("NRestarts") == "1")
    #expect(try eventually { try host.property("ActiveState") == "active" })
  }

  @Test("a daemon that stands still, and one of which a single shard does, is started again by the watchdog")
  func hangs() throws {
    let host = try InstalledFairlead(unit: "WatchdogSec=2s")
    defer { host.stop() }
    try host.systemctl("start")
    for hang in [Hang.process, .oneShard] {
      #expect(try eventually(seconds: 20) { try host.property("SubState") == "running" })
      let restarts = try host.property("NRestarts")
      let process = try #require(try host.container.process(of: "fairlead.service"))
      try hang.begin(process)
      #expect(
        try eventually(seconds: 30) { try host.property("NRestarts") != restarts }, "\(hang): no restart\n\(host.log)")
      #expect(try eventually(seconds: 20) { try host.property("SubState") == "running" })
      #expect(try host.get() == 200)
      #expect(try host.container.process(of: "fairlead.service") != process)
    }
  }

  enum Hang {
    case process, oneShard

    func begin(_ process: pid_t) throws {
      guard case .oneShard = self else {
        kill(process, SIGSTOP)
        return
      }
      let threads = try Child.run(["sh", "-c", "grep -l '^fl-shard-1$' /proc/\(process)/task/*/comm"]).output
      guard let thread = threads.split(separator: "/").dropLast().last.flatMap({ pid_t($0) }) else {
        throw HarnessError("no shard thread: \(threads)")
      }
      // A thread that is traced can be stopped alone. Its tracer must see its end, or the process never goes away.
      let stopped = Gate()
      _ = BackgroundThread {
        let (seize, interrupt, allThreads) = (0x4206, 0x4207, Int32(0x4000_0000))
        guard ptrace(seize, thread, 0, 0) == 0, ptrace(interrupt, thread, 0, 0) == 0 else { return }
        var status: Int32 = 0
        while waitpid(thread, &status, allThreads) == thread, status & 0xff == 0x7f { stopped.open() }
      }
      guard stopped.wait() else { throw HarnessError("thread \(thread) could not be stopped") }
    }
  }

  // MARK: Restart

  /// FAIRLEAD_RESTART_REQUESTS=100000 makes it as long as one wants.
  @Test("restarts under 64 busy connections refuse no connection and break none")
  func restartUnderLoad() throws {
    let requests = getenv("FAIRLEAD_RESTART_REQUESTS").flatMap { Int(String(cString: $0)) } ?? 12_000
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.systemctl("start")
    let load = KeepAliveLoad(
      host.address, clients: 64, requests: requests, start: { host.container.enterNetwork($0) })
    for round in 1...3 {
      #expect(load.wait(forAnswers: requests * round / 4, seconds: 200))
      try host.systemctl("restart")
    }
    let outcome = try #require(load.finish(seconds: 200))
    print("restarted three times under load: \(outcome)")
    #expect(outcome.refused == 0, "\(outcome)\n\(host.log)")
    #expect(outcome.brokenAtOnce == 0, "\(outcome)\n\(host.log)")
    #expect(outcome.otherStatus == 0, "\(outcome)")
    #expect(outcome.answered == requests, "\(outcome)")
    #expect(host.log.contains("listener 'outbound' goes on with 2 sockets passed to it"), "\(host.log)")
  }

  @Test("a restart with nothing to do takes no drain")
  func idleRestart() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.systemctl("start")
    let idle = try host.connect()
    #expect(try idle.get().status == 200)
    try host.systemctl("restart")
    #expect(!host.log.contains("left after the drain timeout"), "\(host.log)")
    try expectClosed(idle)
  }

  @Test("a connection that comes while the old daemon drains waits, and the new one answers it")
  func waitsForTheNext() throws {
    let mayAnswer = Gate()
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/slow" { mayAnswer.wait(seconds: 20) }
        try connection.respond(to: request, body: "finished")
      }
    }
    let host = try InstalledFairlead(script)
    defer { host.stop() }
    try host.systemctl("start")
    let busy = try host.connect()
    try busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
    #expect(host.upstream.wait { $0.contains { $0.requests.contains { $0.target == "/slow" } } })
    try host.container.systemctl("restart", "--no-block", "fairlead.service")
    #expect(try eventually { try host.property("StatusText").hasPrefix("draining") })
    let waiting = try (0..<8).map { _ in try host.connect() }
    for client in waiting { try client.send("GET /next HTTP/1.1\r\nHost: web\r\n\r\n") }
    mayAnswer.open()
    #expect(try busy.readResponse().text == "finished")
    for client in waiting { #expect(try client.readResponse().text == "finished") }
  }

  @Test("after a restart the sockets are those of the new configuration, and no other goes on listening")
  func changedListeners() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    let unix = "{ name: local, address: \"unix:/run/fairlead/local.sock\" }"
    try host.configure(
      listeners: [
        "{ name: outbound, address: \"127.0.0.1:4140\" }", "{ name: moved, address: \"127.0.0.1:4141\" }",
        "{ name: gone, address: \"127.0.0.1:4142\" }", unix,
      ], shards: 3)
    try host.systemctl("start")
    #expect(try host.property("NFileDescriptorStore") == "10")
    let there = { (port: Int, sockets: Int) in Array(repeating: "127.0.0.1:\(port)", count: sockets) }
    #expect(try host.listening() == there(4140, 3) + there(4141, 3) + there(4142, 3))

    // Another address with the same port, a listener less, and fewer shards: what is kept is served by those there are.
    try host.configure(
      listeners: [
        "{ name: outbound, address: \"127.0.0.1:4140\" }", "{ name: moved, address: \"0.0.0.0:4141\" }", unix,
      ], shards: 1)
    try host.systemctl("restart")
    #expect(try host.listening() == ["0.0.0.0:4141"] + there(4140, 3))
    #expect(try host.property("NFileDescriptorStore") == "5")
    for _ in 0..<24 { #expect(try host.get() == 200) }
    for _ in 0..<6 { #expect(try host.get(4141) == 200) }
    let path = host.container.path("/run/fairlead/local.sock")
    let local = try Child.run([
      "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--unix-socket", path, "http://web/",
    ])
    #expect(local.output == "200", "\(local)")
    #expect(throws: HarnessError.self) { try host.connect(4142) }

    // More shards: each has one again.
    try host.configure(shards: 4)
    try host.systemctl("restart")
    #expect(try host.listening() == there(4140, 4))
    #expect(try host.property("NFileDescriptorStore") == "4")
    for _ in 0..<24 { #expect(try host.get() == 200) }
    try host.systemctl("stop")
    #expect(try host.listening() == [])
    #expect(try host.property("NFileDescriptorStore") == "0")
  }

  @Test("`fairlead drain` ends it for good: nothing goes on listening")
  func drainedByCommand() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.systemctl("start")
    #expect(try host.container.run(["fairlead", "drain"]).status == .exited(0))
    #expect(try eventually { try host.property("ActiveState") == "inactive" })
    #expect(try host.listening() == [])
  }

  @Test("in its sandbox the daemon finds out whose the connections of the host's own processes are")
  func workloads() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.configure(
      extra: """
        workloads:
          - { name: by-cgroup, match: { cgroups: [/system.slice/caller.service] } }
          - { name: by-user, match: { users: [root] } }
        """)
    try host.systemctl("start")
    #expect(try host.get() == 200)
    try host.container.write(
      "/run/systemd/system/caller.service",
      "[Unit]\nDefaultDependencies=no\n[Service]\nType=oneshot\n"
        + "ExecStart=/usr/bin/curl -sf -o /dev/null -H \"Host: web\" http://127.0.0.1:4140/\n")
    try host.container.systemctl("daemon-reload")
    try host.systemctl("start", "caller.service")
    #expect(!host.log.contains("degraded"), "\(host.log)")
    let metrics = try host.container.run(["fairlead", "metrics"]).output.split(separator: "\n").filter {
      $0.hasPrefix("fairlead_workload_requests_total")
    }
    for name in ["by-cgroup", "by-user"] {
      #expect(metrics.contains { $0.contains("\"\(name)\"") && $0.hasSuffix(" 1") }, "\(metrics)\n\(host.log)")
    }
  }

  @Test("a socket that systemd opened is used by the listener of its name")
  func socketActivation() throws {
    let host = try InstalledFairlead()
    defer { host.stop() }
    try host.container.write(
      "/run/systemd/system/fairlead.socket",
      "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=127.0.0.1:4140\nFileDescriptorName=outbound\n")
    try host.container.systemctl("daemon-reload")
    try host.systemctl("start", "fairlead.socket")
    #expect(try host.property("ActiveState") == "inactive")
    #expect(try host.get() == 200)
    #expect(try host.listening() == ["127.0.0.1:4140"])
    #expect(host.log.contains("listener 'outbound' goes on with 1 socket passed to it"), "\(host.log)")
    try host.systemctl("restart")
    #expect(try host.get() == 200)
    #expect(try host.container.property("ActiveState", of: "fairlead.socket") == "active")
  }
}

@_silgen_name("ptrace")
private func ptrace(_ request: Int, _ process: pid_t, _ address: Int, _ data: Int) -> Int
