// Endpoint files that change under a running daemon: what requests see, and that none of them fails for it.

import Glibc
import TestSupport
import Testing

@Suite("Endpoint files", needsDaemon, .timeLimit(.minutes(3)))
struct FileDiscoveryTests {
  /// A directory of endpoint files and a daemon that reads it.
  private func withFiles(
    _ files: [String: String], upstreams: [ScriptedUpstream], delegations: [String] = ["/svc => /#/file ;"],
    _ body: (FairleadProcess, TemporaryDirectory) throws -> Void
  ) throws {
    let directory = try TemporaryDirectory()
    for (name, text) in files { try directory.write(name, text) }
    var options = FairleadOptions()
    options.discovery = ["{ kind: file, prefix: file, directory: \(directory.path) }"]
    options.delegations = delegations
    try withFairlead(options, upstreams: upstreams) { try body($0, directory) }
  }

  private func line(_ upstream: ScriptedUpstream) -> String { "127.0.0.1 \(upstream.address.port)\n" }

  private func source(_ daemon: FairleadProcess) throws -> JSONValue {
    try #require(try daemon.admin.json("/status")["discovery"].elements.first { $0["kind"].text == "file" })
  }

  @Test("a file that comes, changes, is renamed and goes is followed by the requests after it")
  func life() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    try withFiles([:], upstreams: [one, two]) { daemon, directory in
      let client = try daemon.connect()
      #expect(try client.get("/").status == 404)
      try directory.write("web", line(one))
      #expect(try eventually { try client.get("/").text == "one" })
      try directory.write("web.new.tmp", line(two))
      rename(directory.path("web.new.tmp"), directory.path("web"))
      #expect(try eventually { try client.get("/").text == "two" })
      rename(directory.path("web"), directory.path("shop"))
      #expect(try eventually { try client.get("/", host: "shop").text == "two" })
      #expect(try eventually { try client.get("/").status == 404 })
      try directory.write("shop", "")
      #expect(try eventually { try client.get("/", host: "shop").status == 503 })
      unlink(directory.path("shop"))
      #expect(try eventually { try client.get("/", host: "shop").status == 404 })
    }
  }

  @Test("a name that is not there goes on to the next in the table, until its file comes")
  func fallback() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    let table = ["/svc => /#/file/spare ;", "/svc => /#/file ;"]
    try withFiles(["spare": line(one)], upstreams: [one, two], delegations: table) { daemon, directory in
      let client = try daemon.connect()
      #expect(try client.get("/").text == "one")
      try directory.write("web", line(two))
      #expect(try eventually { try client.get("/").text == "two" })
      unlink(directory.path("web"))
      #expect(try eventually { try client.get("/").text == "one" })
    }
  }

  @Test("two hundred changes under load fail no request")
  func underLoad() throws {
    let upstreams = try (0..<4).map { _ in try ScriptedUpstream(.answering) }
    try withFiles(["web": line(upstreams[0])], upstreams: upstreams) { daemon, directory in
      let load = KeepAliveLoad(daemon.address, clients: 4, requests: 12_000) { work in
        BackgroundThread { work(true) }
      }
      var random = SystemRandomNumberGenerator()
      for change in 0..<200 {
        // Never without the first: what another is in the middle of must finish on an endpoint that goes.
        let chosen = [upstreams[0]] + upstreams.dropFirst().filter { _ in Bool.random(using: &random) }
        let text = chosen.shuffled().map(line).joined() + (change % 10 == 0 ? "not an endpoint\n" : "")
        if change % 2 == 0 {
          try directory.write(".web", text)
          rename(directory.path(".web"), directory.path("web"))
        } else {
          try directory.write("web", text)
        }
        try directory.write("other-\(change % 7)", text)
        if change % 3 == 0 { unlink(directory.path("other-\(change % 5)")) }
        if change % 20 == 0 { _ = load.wait(forAnswers: change * 20, seconds: 20) }
      }
      let outcome = try #require(load.finish())
      let errors = try daemon.admin.metrics().errorsByCode
      #expect(outcome.otherStatus == 0 && outcome.refused == 0 && outcome.brokenAtOnce == 0, "\(outcome); \(errors)")
      #expect(outcome.closedBetween == 0 && outcome.answered == 12_000, "\(outcome)")
      #expect(upstreams.dropFirst().contains { !$0.requests.isEmpty }, "only one endpoint was ever used")
    }
  }

  @Test("a request that is under way on an endpoint that goes is finished there")
  func underWay() throws {
    let slow = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        usleep(300_000)
        try connection.respond(to: request, body: "slow")
      }
    }
    let other = try ScriptedUpstream(.answering(with: "other"))
    try withFiles(["web": line(slow)], upstreams: [slow, other]) { daemon, directory in
      let client = try daemon.connect()
      try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(slow.wait { $0.contains { !$0.requests.isEmpty } })
      try directory.write("web", line(other))
      #expect(try eventually { try daemon.get().text == "other" })
      #expect(try client.readResponse().text == "slow")
      #expect(try client.get("/").text == "other")
    }
  }

  @Test("bad lines are told with their place, in status, check and metrics; the good ones serve")
  func badLines() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    try withFiles(["web": "nobody.local 80\n" + line(one)], upstreams: [one]) { daemon, directory in
      #expect(try daemon.get().text == "one")
      let place = "\(directory.path("web")):1: 'nobody.local 80': endpoint files hold IP addresses"
      let source = try source(daemon)
      #expect(source["problems"].elements.first?.text?.hasPrefix(place) == true, "\(source)")
      #expect(source["state"].text == "fresh" && source["badLines"].number == 1 && source["services"].number == 1)
      #expect(daemon.child.standardError.contains(place))
      let status = try Child.run([FairleadProcess.commandPath, "--socket", daemon.admin.path, "status"])
      #expect(status.output.contains(place), "\(status.output)")
      let labels = "{prefix=\"file\",kind=\"file\"}"
      #expect(try daemon.admin.value("fairlead_discovery_bad_lines\(labels)") == 1)
      #expect(try daemon.admin.value("fairlead_discovery_services\(labels)") == 1)
      #expect(try daemon.admin.value("fairlead_discovery_errors_total\(labels)") == 1)
      let fresh = "fairlead_discovery_state{prefix=\"file\",kind=\"file\",state=\"fresh\"}"
      #expect(try daemon.admin.value(fresh) == 1)
      let endpoint = try #require(try daemon.admin.json("/endpoints")["endpoints"].elements.first)
      #expect(endpoint["source"].text == "file" && endpoint["sourceState"].text == "fresh")
      try directory.write("web", line(one))
      #expect(try eventually { try daemon.admin.value("fairlead_discovery_bad_lines\(labels)") == 0 })
    }
  }

  @Test("a directory that goes away leaves its services as they were, and says so")
  func directoryGoes() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let root = try TemporaryDirectory()
    mkdir(root.path("services"), 0o755)
    try root.write("services/web", line(one))
    var options = FairleadOptions()
    options.discovery = ["{ kind: file, prefix: file, directory: \(root.path("services")) }"]
    options.delegations = ["/svc => /#/file ;"]
    try withFairlead(options, upstreams: [one]) { daemon in
      #expect(try daemon.get().text == "one")
      rename(root.path("services"), root.path("away"))
      #expect(try eventually { try source(daemon)["state"].text == "stale" })
      #expect(try daemon.get().text == "one")
      let endpoint = try #require(try daemon.admin.json("/endpoints")["endpoints"].elements.first)
      #expect(endpoint["sourceState"].text == "stale")
      rename(root.path("away"), root.path("services"))
      #expect(try eventually { try source(daemon)["state"].text == "fresh" })
      #expect(try daemon.get().text == "one")
    }
  }

  @Test("a file of ten thousand lines is taken, and an update of it reaches the requests")
  func manyLines() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    // Nobody listens at these: with a connect refused, the request goes on to another one until the first answers.
    let many = (0..<9_999).map { "127.1.\($0 / 250).\($0 % 250 + 1) 9 * 0.001\n" }.joined()
    try withFiles(["web": line(one)], upstreams: [one, two]) { daemon, directory in
      #expect(try daemon.get().text == "one")
      try directory.write("web", many + line(one).replacing("\n", with: " * 1000\n"))
      #expect(try eventually { try source(daemon)["endpoints"].number == 10_000 })
      #expect(try eventually { try daemon.get().text == "one" })
      try directory.write("web", line(two))
      #expect(try eventually { try daemon.get().text == "two" })
      #expect(try eventually { try daemon.admin.json("/endpoints")["endpoints"].elements.count == 1 })
    }
  }

  @Test("a reload takes sources over that stay, begins new ones, and ends those that are gone")
  func reload() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    let first = try TemporaryDirectory()
    let second = try TemporaryDirectory()
    try first.write("web", line(one))
    try second.write("web", line(two))
    var options = FairleadOptions()
    options.discovery = ["{ kind: file, prefix: file, directory: \(first.path) }"]
    options.delegations = ["/svc => /#/file ;"]
    try withFairlead(options, upstreams: [one, two]) { daemon in
      #expect(try daemon.get().text == "one")
      options.discovery = ["{ kind: file, prefix: file, directory: \(second.path) }"]
      try daemon.directory.write("fairlead.yaml", options.yaml(in: daemon.directory))
      daemon.child.signal(SIGHUP)
      #expect(try eventually { try daemon.get().text == "two" })
      #expect(try source(daemon)["origin"].text == second.path)
      options.discovery = []
      options.services = ["web": ["\(one.address)"]]
      options.delegations = ["/svc => /#/static ;"]
      try daemon.directory.write("fairlead.yaml", options.yaml(in: daemon.directory))
      daemon.child.signal(SIGHUP)
      #expect(try eventually { try daemon.get().text == "one" })
      #expect(try daemon.admin.json("/status")["discovery"].elements.count == 1)
    }
  }
}
