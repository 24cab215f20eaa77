// How the daemon starts, refuses to start, drains and ends, as whoever runs it sees it.

import Glibc
import TestSupport
import Testing

@Suite("Start, drain and end", needsDaemon)
struct LifecycleTests {
  @Test(
    "a signal drains: what is in flight finishes, new connections are refused, exit 0", arguments: [SIGTERM, SIGINT])
  func drain(_ signal: Int32) throws {
    let mayAnswer = Gate()
    let script = Script { connection in
      while let request = try connection.readRequest() {
        if request.target == "/slow" { mayAnswer.wait() }
        try connection.respond(to: request, body: "finished")
      }
    }
    try withFairlead(script) { daemon, upstream in
      let idle = try daemon.connect()
      #expect(try idle.get("/idle").status == 200)
      let busy = try daemon.connect()
      try busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
      #expect(upstream.wait { $0.contains { $0.requests.contains { $0.target == "/slow" } } })

      daemon.child.signal(signal)
      #expect(eventually { (try? RawClient(daemon.address)) == nil }, "new connections are still accepted")
      // An idle connection is ended, without an answer that nobody asked for.
      try expectClosed(idle)
      #expect(daemon.child.isRunning, "a request is in flight: \(daemon.child.standardError)")
      let ready = try? daemon.admin.get("/ready").status
      #expect(ready == nil || ready == 503)

      mayAnswer.open()
      let response = try busy.readResponse()
      #expect(response.text == "finished")
      #expect(response["connection"]?.lowercased() == "close")
      try expectClosed(busy)
      #expect(daemon.child.wait(seconds: 10) == Child.ExitStatus.exited(0), "\(daemon.child.standardError)")
    }
  }

  @Test("a second signal ends at once")
  func secondSignal() throws {
    let upstream = try ScriptedUpstream(.silent)
    let daemon = try FairleadProcess(FairleadOptions(upstream))
    let busy = try daemon.connect()
    try busy.send("GET /slow HTTP/1.1\r\nHost: web\r\n\r\n")
    #expect(upstream.wait { $0.contains { !$0.requests.isEmpty } })
    daemon.child.signal(SIGTERM)
    #expect(eventually { (try? RawClient(daemon.address)) == nil })
    #expect(daemon.child.isRunning)
    daemon.child.signal(SIGTERM)
    #expect(daemon.child.wait(seconds: 5) != nil, "it still drains")
    daemon.child.stop(seconds: 0.1)
  }

  @Test("the admin API drains, too")
  func adminDrain() throws {
    let upstream = try ScriptedUpstream(.answering)
    let daemon = try FairleadProcess(FairleadOptions(upstream))
    let client = try daemon.connect()
    #expect(try client.get().status == 200)
    #expect((200..<300).contains(try daemon.admin.post("/drain").status))
    #expect(eventually { (try? RawClient(daemon.address)) == nil })
    if daemon.child.isRunning { _ = try? daemon.admin.post("/shutdown") }
    #expect(daemon.child.wait(seconds: 10) == Child.ExitStatus.exited(0), "\(daemon.child.standardError)")
  }

  // MARK: Refusing to start

  static func run(_ arguments: [String], unprivileged: Bool = false) throws -> (status: Child.ExitStatus, error: String)
  {
    let privileges = unprivileged ? ["setpriv", "--reuid", "65534", "--clear-groups"] : []
    let result = try Child.run(privileges + [FairleadProcess.daemonPath] + arguments, seconds: 15)
    return (result.status, result.error + result.output)
  }

  static let broken = """
    node: { shards: some }
    admin: { socket: /tmp/never-made.sock }
    listners:
      - { name: outbound, address: "127.0.0.1:0" }
    services:
      - name: /svc
        timeouts: { conect: 1s, request: soon }
    """

  @Test("a refused configuration: every error with its place, exit 78", arguments: [true, false])
  func badConfiguration(_ validateOnly: Bool) throws {
    let directory = try TemporaryDirectory()
    let file = try directory.write("broken.yaml", LifecycleTests.broken)
    let (status, error) = try LifecycleTests.run([validateOnly ? "--validate" : "--config", file])
    #expect(status == Child.ExitStatus.exited(78), "\(error)")
    for expected in ["broken.yaml:1:", "broken.yaml:3:", "broken.yaml:7:", "'listners'", "did you mean 'listeners'"] {
      #expect(error.contains(expected), "no \(expected) in:\n\(error)")
    }
    #expect(error.contains("'conect'") && error.contains("soon"), "only some errors of a line:\n\(error)")
  }

  @Test("a good configuration validates with 0 and starts nothing")
  func validates() throws {
    let directory = try TemporaryDirectory()
    let file = try directory.write(
      "good.yaml",
      "admin: { socket: \(directory.path("admin.sock")) }\nlisteners:\n  - { name: outbound, address: \"127.0.0.1:0\" }\n"
    )
    let (status, error) = try LifecycleTests.run(["--validate", file])
    #expect(status == Child.ExitStatus.exited(0), "\(error)")
    #expect(access(directory.path("admin.sock"), F_OK) != 0)
  }

  @Test("the configuration that is installed validates")
  func installedConfiguration() throws {
    let root = String(#filePath.prefix(upTo: #filePath.ranges(of: "/Tests/").last?.lowerBound ?? #filePath.endIndex))
    let (status, error) = try LifecycleTests.run(["--validate", root + "/systemd/fairlead.yaml"])
    #expect(status == Child.ExitStatus.exited(0), "\(error)")
  }

  @Test(
    "wrong usage is 2 and says how it goes",
    arguments: [
      ["--nonsense"], ["--listen"], ["--listen", "nowhere"],
      ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9001", "--shards", "0"],
      ["--listen", "127.0.0.1:0", "--to", "127.0.0.1:9001,127.0.0.1:9001"],
    ])
  func wrongUsage(_ arguments: [String]) throws {
    let (status, error) = try LifecycleTests.run(arguments)
    #expect(status == Child.ExitStatus.exited(2), "\(error)")
    #expect(error.hasPrefix("fairleadd: ") && error.split(separator: "\n").count == 1, "\(error)")
  }

  @Test("a port in use, a missing directory, a missing file: one line that says which")
  func cannotStart() throws {
    let directory = try TemporaryDirectory()
    let taken = try ScriptedUpstream(.answering)
    let socket = directory.path("admin.sock")
    let configuration = { (address: String, socket: String) in
      "admin: { socket: \(socket) }\nlisteners:\n  - { name: outbound, address: \"\(address)\" }\n"
    }
    let port = try directory.write("port.yaml", configuration("\(taken.address)", socket))
    let missing = try directory.write("missing.yaml", configuration("127.0.0.1:0", "/nowhere/at/all/admin.sock"))
    for (arguments, subject) in [
      (["--config", port], "\(taken.address)"), (["--config", missing], "/nowhere/at/all"),
      (["--config", directory.path("absent.yaml")], directory.path("absent.yaml")),
    ] {
      let (status, error) = try LifecycleTests.run(arguments)
      #expect(status != Child.ExitStatus.exited(0))
      if case .signalled = status { Issue.record("ended by \(status)") }
      let lines = error.split(separator: "\n").filter { !$0.isEmpty }
      #expect(lines.contains { $0.contains(subject) }, "\(error)")
      #expect(lines.count <= 2, "more than a line and its hint:\n\(error)")
    }
  }

  @Test("no permission: one line that says for what", .enabled(if: geteuid() == 0, "needs root, to give it up"))
  func noPermission() throws {
    let directory = try TemporaryDirectory()
    let socketDirectory = directory.path("locked")
    mkdir(socketDirectory, 0o700)
    let file = try directory.write(
      "fairlead.yaml",
      "admin: { socket: \(socketDirectory)/admin.sock }\nlisteners:\n  - { name: outbound, address: \"127.0.0.1:0\" }\n"
    )
    // The program may stand where another user cannot go: run a copy.
    let copy = directory.path("fairleadd")
    #expect(
      try Child.run(["install", "-m", "0755", FairleadProcess.daemonPath, copy]).status == Child.ExitStatus.exited(0))
    let result = try Child.run(["setpriv", "--reuid", "65534", "--clear-groups", copy, "--config", file], seconds: 15)
    #expect(result.status != Child.ExitStatus.exited(0))
    if case .signalled = result.status { Issue.record("ended by \(result.status)") }
    let lines = result.error.split(separator: "\n").filter { !$0.isEmpty }
    #expect(lines.contains { $0.contains(socketDirectory) }, "\(result.error)")
    #expect(lines.count <= 2, "more than a line and its hint:\n\(result.error)")
  }

  // MARK: Without a file

  @Test("--listen and --to need no file and take any Host")
  func withoutFile() throws {
    let upstream = try ScriptedUpstream(.answering)
    let directory = try TemporaryDirectory()
    let daemon = try FairleadProcess(
      [
        "--listen", "127.0.0.1:0", "--to", "\(upstream.address)", "--admin-socket", directory.path("admin.sock"),
        "--shards", "1",
      ], directory: directory)
    for host in ["web", "any.thing.example:8080", "127.0.0.1", "[::1]:99", "..."] {
      #expect(try daemon.get("/x", host: host).text == "GET /x", "Host: \(host)")
    }
    #expect(daemon.child.stop() == Child.ExitStatus.exited(0))
    #expect(access(directory.path("admin.sock"), F_OK) != 0, "the admin socket is left behind")
  }

  @Test("a socket file left by a dead daemon does not keep the next one from starting")
  func staleSocket() throws {
    let upstream = try ScriptedUpstream(.answering)
    let first = try FairleadProcess(FairleadOptions(upstream))
    first.child.signal(SIGKILL)
    _ = first.child.wait()
    let file = first.directory.path("fairlead.yaml")
    let second = try FairleadProcess(["--config", file], directory: first.directory)
    #expect(try second.get().status == 200)
    #expect(second.child.stop() == Child.ExitStatus.exited(0))
  }

  @Test("--version names everything it is made of")
  func version() throws {
    let result = try Child.run([FairleadProcess.daemonPath, "--version"])
    #expect(result.status == Child.ExitStatus.exited(0))
    for word in ["fairleadd", "commit", "swift", "liburing"] {
      #expect(result.output.lowercased().contains(word), "\(result.output)")
    }
    for library in ["liburing", "libyaml", "PCRE2", "c-ares", "nghttp2"] {
      let name = try #require(result.output.firstRange(of: library + " "), "\(library): \(result.output)")
      #expect(result.output[name.upperBound...].first?.isNumber == true, "\(library): \(result.output)")
    }
  }
}
