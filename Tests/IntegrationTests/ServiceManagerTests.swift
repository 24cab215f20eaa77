// What the daemon tells its service manager, and what it makes of what it is passed. The test plays the manager here;
// SystemdTests has the real one.

import Glibc
import TestSupport
import Testing

@Suite("Service manager", needsDaemon)
struct ServiceManagerTests {
  @Test(
    "readiness, the watchdog, a reload and the end are told, to a path and to an abstract name",
    arguments: [false, true])
  func tells(_ abstract: Bool) throws {
    let manager = try NotificationSocket(abstract: abstract)
    let upstream = try ScriptedUpstream(.answering)
    defer { upstream.stop() }
    var options = FairleadOptions(upstream)
    options.node = "drainTimeout: 90s"
    options.environment = ["NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000"]
    let daemon = try FairleadProcess(options)
    #expect(manager.wait { $0.contains { $0.hasPrefix("READY=1\nSTATUS=serving: 1 shard, 1 service") } })
    #expect(try daemon.get().status == 200)
    #expect(manager.wait { $0.filter { $0 == "WATCHDOG=1" }.count >= 2 })

    daemon.child.signal(SIGHUP)
    #expect(manager.wait { $0.contains { $0.hasPrefix("RELOADING=1\nMONOTONIC_USEC=") } }, "\(manager.messages)")
    #expect(manager.wait { $0.filter { $0.hasPrefix("READY=1") }.count == 2 })

    daemon.child.signal(SIGTERM)
    #expect(manager.wait { $0.contains { $0.hasPrefix("STOPPING=1\nEXTEND_TIMEOUT_USEC=95000000\nSTATUS=draining") } })
    #expect(daemon.child.wait() == .exited(0), "\(daemon.child.standardError)")
  }

  @Test("a daemon that hangs feeds no watchdog")
  func starves() throws {
    let manager = try NotificationSocket(abstract: false)
    let upstream = try ScriptedUpstream(.answering)
    defer { upstream.stop() }
    var options = FairleadOptions(upstream)
    options.environment = ["NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "1000000"]
    let daemon = try FairleadProcess(options)
    let fed = { (messages: [String]) in messages.filter { $0 == "WATCHDOG=1" }.count }
    #expect(manager.wait { fed($0) >= 1 })
    daemon.child.signal(SIGSTOP)
    let before = fed(manager.messages)
    #expect(!manager.wait(seconds: 1.5) { fed($0) > before + 1 })
    daemon.child.signal(SIGCONT)
    #expect(manager.wait { fed($0) > before + 1 })
    daemon.child.stop()
  }

  @Test("a watchdog that is another process's is not fed")
  func foreignWatchdog() throws {
    let manager = try NotificationSocket(abstract: false)
    let upstream = try ScriptedUpstream(.answering)
    defer { upstream.stop() }
    var options = FairleadOptions(upstream)
    options.environment = ["NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"]
    let daemon = try FairleadProcess(options)
    #expect(manager.wait { $0.contains { $0.hasPrefix("READY=1") } })
    #expect(!manager.wait(seconds: 1) { $0.contains("WATCHDOG=1") })
    daemon.child.stop()
  }

  @Test("the listening sockets are stored by name, as many as there is room for", arguments: [0, 1, 16])
  func stores(_ room: Int) throws {
    let manager = try NotificationSocket(abstract: false)
    let upstream = try ScriptedUpstream(.answering)
    defer { upstream.stop() }
    var options = FairleadOptions(upstream)
    options.shards = 2
    options.environment = ["NOTIFY_SOCKET": manager.name, "FDSTORE": "\(room)"]
    let daemon = try FairleadProcess(options)
    #expect(manager.wait { $0.contains { $0.hasPrefix("READY=1") } })
    let stored = manager.messages.filter { $0.hasPrefix("FDSTORE=1") }
    #expect(stored == (0..<min(room, 2)).map { "FDSTORE=1\nFDNAME=outbound.\($0)" })
    // The store is told only when the sockets are given up for good.
    _ = try daemon.admin.post("/drain")
    #expect(daemon.child.wait() == .exited(0))
    let forgotten = (0..<min(room, 2)).map { "FDSTOREREMOVE=1\nFDNAME=outbound.\($0)" }
    #expect(manager.wait { $0.filter { $0.hasPrefix("FDSTOREREMOVE=1") } == forgotten }, "\(manager.messages)")
  }

  @Test("a store without a listener behind it changes nothing: what waits at drain is answered")
  func noManager() throws {
    let upstream = try ScriptedUpstream(.answering)
    defer { upstream.stop() }
    var options = FairleadOptions(upstream)
    options.environment = ["NOTIFY_SOCKET": "/nowhere/at/all", "FDSTORE": "16", "WATCHDOG_USEC": "1000000"]
    let daemon = try FairleadProcess(options)
    #expect(try daemon.get().status == 200)
    daemon.child.signal(SIGTERM)
    #expect(eventually { (try? RawClient(daemon.address)) == nil }, "new connections are still accepted")
    #expect(daemon.child.wait() == .exited(0), "\(daemon.child.standardError)")
  }

  /// Descriptor 3 is /dev/null, the others are closed.
  @Test(
    "what is passed and is no listener of ours does no harm",
    arguments: [
      "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=outbound",
      "LISTEN_PID=$$ LISTEN_FDS=99999999999999999999",
      "LISTEN_PID=$$ LISTEN_FDS=-1",
      "LISTEN_PID=$$ LISTEN_FDS=65536 LISTEN_FDNAMES=outbound",
      "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=outbound.0:outbound.1:outbound",
      "LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=::::outbound.999999999999999999999:.:.1:",
    ])
  func hostilePassing(_ variables: String) throws {
    let upstream = try ScriptedUpstream(.answering)
    let directory = try TemporaryDirectory()
    let file = try directory.write(
      "fairlead.yaml",
      """
      admin: { socket: \(directory.path("admin.sock")) }
      listeners:
        - { name: outbound, address: "127.0.0.1:0" }
      discovery:
        - { kind: static, prefix: static, services: { web: ["\(upstream.address)"] } }
      delegations: |
        /svc => /#/static ;

      """)
    let child = try Child(
      ["sh", "-c", "exec 3</dev/null; export \(variables); exec \(FairleadProcess.daemonPath) --config \(file)"],
      directory: directory, name: "fairleadd")
    let admin = AdminSocket(path: directory.path("admin.sock"))
    let ready = eventually { (try? admin.get("/ready").status) == 200 || !child.isRunning }
    #expect(ready && child.isRunning, "\(child.standardError)")
    let text = try admin.json("/status")["listeners"].elements.first?["address"].text
    let address = try #require(text.flatMap { LoopbackAddress($0) })
    let client = try RawClient(address)
    #expect(try client.get().status == 200)
    client.close()
    #expect(child.stop() == .exited(0), "\(child.standardError)")
  }
}
