// The configuration of a running daemon as people change it: by command, by the admin socket, by writing a file; with a way
// back, and without a request lost.

import Glibc
import TestSupport
import Testing

@Suite("Reload, by command and by file", needsDaemon, .timeLimit(.minutes(4)))
struct ReloadCommandTests {
  private struct Daemon {
    let process: FairleadProcess
    var options: FairleadOptions

    func write() throws { _ = try process.directory.write("fairlead.yaml", options.yaml(in: process.directory)) }

    func run(_ arguments: [String]) throws -> (status: Child.ExitStatus, output: String, error: String) {
      try Child.run([FairleadProcess.commandPath, "--socket", process.admin.path] + arguments)
    }

    func generation() throws -> Double? { try process.admin.json("/status")["snapshotGeneration"].number }
  }

  /// A daemon with a service `web` that answers "one"; there is another upstream, which answers "two".
  private func withDaemon(
    node: String = "reloadOnChange: false", shards: Int = 1,
    _ body: (inout Daemon, _ one: ScriptedUpstream, _ two: ScriptedUpstream) throws -> Void
  ) throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    var options = FairleadOptions(one)
    options.node = node
    options.shards = shards
    try withFairlead(options, upstreams: [one, two]) { process in
      var daemon = Daemon(process: process, options: options)
      #expect(try process.get().text == "one")
      try body(&daemon, one, two)
    }
  }

  @Test("config diff tells what a reload would change, and reload changes it")
  func differenceThenReload() throws {
    try withDaemon { daemon, one, two in
      #expect(try daemon.run(["config", "diff"]).output.hasPrefix("a reload would change nothing: "))
      daemon.options.services = ["web": ["\(two.address)"]]
      daemon.options.policy = ["timeouts": "{ request: 9s }"]
      try daemon.write()
      // Answers are kept for half a second.
      #expect(try eventually { try daemon.run(["config", "diff"]).output.contains("discovery[static].services.web") })
      let difference = try daemon.run(["config", "diff"]).output
      #expect(difference.contains("discovery[static].services.web  \(one.address)"), "\(difference)")
      #expect(difference.contains("services[/svc]"), "\(difference)")
      #expect(try daemon.generation() == 1 && daemon.process.get().text == "one")

      let file = daemon.process.directory.path("fairlead.yaml")
      #expect(try daemon.run(["config", "diff", file]).output == difference)

      let reload = try daemon.run(["reload"])
      #expect(reload.status == .exited(0) && reload.output.contains(": 3 changes, generation 2\n"), "\(reload)")
      #expect(reload.output.hasSuffix(difference), "\(reload.output)")
      #expect(try daemon.process.get().text == "two")
      #expect(try daemon.run(["config", "diff", file]).output == "no difference to \(file)\n")
      #expect(try daemon.run(["reload"]).output == "reloaded \(file): no change\n")
      #expect(try daemon.run(["config"]).output.contains("\"request\":\"9s\""))
    }
  }

  @Test("a refused configuration changes nothing, on every path, and says why")
  func refused() throws {
    try withDaemon { daemon, _, _ in
      let text = daemon.options.yaml(in: daemon.process.directory)
      _ = try daemon.process.directory.write("fairlead.yaml", text.replacing("discovery:", with: "discovry:"))
      for arguments in [["reload"], ["reload", "--confirm", "30s"], ["config", "diff"]] {
        let run = try daemon.run(arguments)
        #expect(run.status == .exited(78) && run.output.isEmpty, "\(run)")
        #expect(run.error.contains("unknown key 'discovry'; did you mean 'discovery'?"), "\(run.error)")
        #expect(run.error.hasSuffix("fairlead: the configuration is refused; nothing has changed\n"))
      }
      let answer = try daemon.process.admin.post("/reload")
      #expect(answer.status == 422 && answer.text.contains("unknown key 'discovry'"))
      #expect(try daemon.process.admin.post("/reload/confirm").status == 409)
      #expect(try daemon.generation() == 1 && daemon.process.get().text == "one")

      // What needs a restart is refused, too, and told apart in the differences.
      daemon.options.node += ", via: false"
      try daemon.write()
      let run = try daemon.run(["reload"])
      #expect(run.status == .exited(78) && run.error.contains("need a restart: node.via"), "\(run)")
      #expect(try eventually { try daemon.run(["config", "diff"]).output.contains("node.via (restart)") })
      #expect(try daemon.generation() == 1)
      unlink(daemon.process.directory.path("fairlead.yaml"))
      #expect(try daemon.run(["reload"]).error.contains("no such file"))
      #expect(try daemon.process.get().text == "one")
    }
  }

  @Test("a daemon without a file says that there is none to reload")
  func withoutFile() throws {
    let upstream = try ScriptedUpstream(.answering)
    let directory = try TemporaryDirectory()
    let socket = directory.path("admin.sock")
    let process = try FairleadProcess(
      ["--listen", "127.0.0.1:0", "--to", "\(upstream.address)", "--admin-socket", socket, "--shards", "1"],
      directory: directory)
    for arguments in [["reload"], ["config", "diff"]] {
      let run = try Child.run([FairleadProcess.commandPath, "--socket", socket] + arguments)
      #expect(run.status == .exited(1) && run.error.contains("started without a configuration file"), "\(run)")
    }
    try process.end()
  }

  @Test("what is not confirmed in time is taken back; what is confirmed stays")
  func confirmation() throws {
    try withDaemon { daemon, _, two in
      daemon.options.services = ["web": ["\(two.address)"]]
      try daemon.write()
      let reload = try daemon.run(["reload", "--confirm", "1s"])
      #expect(reload.output.hasSuffix("taken back in 1s unless you run: fairlead reload confirm\n"), "\(reload)")
      #expect(try daemon.process.get().text == "two")
      #expect(try eventually { try daemon.process.get().text == "one" })
      #expect(try daemon.generation() == 3)
      #expect(daemon.process.child.standardError.contains("was not confirmed in time"))
      #expect(try daemon.process.admin.value("fairlead_config_reloads_total{outcome=\"rolled_back\"}") == 1)
      let late = try daemon.run(["reload", "confirm"])
      #expect(late.status == .exited(1) && late.error.contains("nothing waits to be confirmed"), "\(late)")

      let answer = try JSONValue(parsing: daemon.process.admin.post("/reload?confirm=1").body)
      #expect(answer["confirmWithinSeconds"].number == 1)
      #expect(try daemon.run(["reload", "confirm"]).output == "confirmed\n")
      // Longer than it would have waited.
      #expect(try !eventually(seconds: 1.5) { try daemon.process.get().text != "two" })
    }
  }

  @Test("where the file is a link, a change of what it leads to is taken over, also when it leads elsewhere")
  func linkedFile() throws {
    try withDaemon(node: "") { daemon, one, two in
      let directory = daemon.process.directory
      let path = directory.path("fairlead.yaml")
      for name in ["here", "there"] {
        mkdir(directory.path(name), 0o755)
        _ = try directory.write("\(name)/x.yaml", daemon.options.yaml(in: directory))
      }
      unlink(path)
      #expect(symlink("here/x.yaml", path) == 0)
      for (place, upstream, answer) in [("here", two, "two"), ("there", one, "one"), ("there", two, "two")] {
        daemon.options.services = ["web": ["\(upstream.address)"]]
        if place == "there", answer == "one" {
          // Exchanged as deployments do, and with another content.
          _ = try directory.write("there/x.yaml", daemon.options.yaml(in: directory))
          #expect(symlink("there/x.yaml", path + ".new") == 0 && rename(path + ".new", path) == 0)
        } else {
          _ = try directory.write("\(place)/x.yaml", daemon.options.yaml(in: directory))
        }
        #expect(try eventually { try daemon.process.get().text == answer }, "\(place): \(answer)")
      }
    }
  }

  @Test("a changed file is taken over by itself, also one in conf.d, and a broken one is told once")
  func fileChanges() throws {
    try withDaemon(node: "") { daemon, one, two in
      daemon.options.services = ["web": ["\(two.address)"]]
      // As editors do: another file in its place.
      let directory = daemon.process.directory
      _ = try directory.write("fairlead.yaml.new", daemon.options.yaml(in: directory))
      #expect(rename(directory.path("fairlead.yaml.new"), directory.path("fairlead.yaml")) == 0)
      #expect(try eventually { try daemon.process.get().text == "two" })
      #expect(daemon.process.child.standardError.contains("reload (its files have changed): generation 2 holds"))

      mkdir(directory.path("conf.d"), 0o755)
      _ = try directory.write("conf.d/shop.yaml", "services: [{name: /svc/web, timeouts: {request: 3s}}]\n")
      #expect(try eventually { try daemon.run(["config"]).output.contains("/svc/web") })
      _ = try directory.write("conf.d/other.yaml", "servces: []\n")
      #expect(eventually { daemon.process.child.standardError.contains("unknown key 'servces'") })
      #expect(try daemon.process.admin.value("fairlead_config_last_reload_successful") == 0)
      _ = try directory.write("conf.d/ignored.txt", "x")
      unlink(directory.path("conf.d/other.yaml"))
      #expect(try eventually { try daemon.process.admin.value("fairlead_config_last_reload_successful") == 1 })
      #expect(daemon.process.child.standardError.ranges(of: "unknown key 'servces'").count == 1)
      unlink(directory.path("conf.d/shop.yaml"))
      #expect(try eventually { try !daemon.run(["config"]).output.contains("/svc/web") })

      // The switch itself is taken over like anything else.
      daemon.options.node = "reloadOnChange: false"
      try daemon.write()
      #expect(try eventually { try daemon.run(["config"]).output.contains("\"reloadOnChange\":false") })
      daemon.options.services = ["web": ["\(one.address)"]]
      try daemon.write()
      #expect(try !eventually(seconds: 1) { try daemon.process.get().text != "two" })
      #expect(try daemon.run(["reload"]).status == .exited(0))
      #expect(try daemon.process.get().text == "one")
    }
  }

  @Test("a change that was taken over by itself can still be put on trial")
  func confirmationOfAutomatic() throws {
    try withDaemon(node: "") { daemon, _, two in
      daemon.options.services = ["web": ["\(two.address)"]]
      try daemon.write()
      #expect(try eventually { try daemon.process.get().text == "two" })
      let reload = try daemon.run(["reload", "--confirm", "1s"])
      #expect(reload.output.contains("discovery[static].services.web"), "\(reload)")
      #expect(try eventually { try daemon.process.get().text == "one" })
    }
  }

  @Test("fifty reloads under load lose no request")
  func underLoad() throws {
    let requests = 20_000
    try withDaemon(shards: 2) { daemon, one, two in
      let load = KeepAliveLoad(
        daemon.process.address, clients: 16, requests: requests,
        start: { body in BackgroundThread { body(true) } })
      var round = 0
      while round < 50, daemon.process.child.isRunning {
        round += 1
        daemon.options.services = [
          "web": round % 3 == 0 ? ["\(one.address)", "\(two.address)"] : ["\((round % 3 == 1 ? one : two).address)"]
        ]
        daemon.options.policy = ["timeouts": "{ request: \(10 + round)s }"]
        try daemon.write()
        #expect(try daemon.process.admin.post("/reload").status == 200)
        #expect(load.wait(forAnswers: min(requests, round * requests / 60)))
      }
      let outcome = try #require(load.finish())
      print("fifty reloads under load: \(outcome)")
      #expect(outcome.answered == requests && outcome.otherStatus == 0, "\(outcome)")
      #expect(outcome.refused == 0 && outcome.brokenAtOnce == 0 && outcome.closedBetween == 0, "\(outcome)")
      #expect(try daemon.generation() == 51)
    }
  }
}

@Suite("Explain", needsDaemon)
struct ExplainCommandTests {
  @Test("a request is explained down to its endpoints, with the lines that decided")
  func explain() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.policy = ["timeouts": "{ request: 7s }"]
    options.services["empty"] = []
    options.delegations = ["/svc => /#/static ;", "/svc/both => /#/static/web & /#/static/empty ;"]
    try withFairlead(options, upstreams: [upstream]) { process in
      let file = process.directory.path("fairlead.yaml")
      let lines = options.yaml(in: process.directory).split(separator: "\n").map(String.init)
      func place(_ text: String) -> String { "\(file):\((lines.firstIndex { $0.contains(text) } ?? -1) + 1)" }
      func run(_ arguments: [String]) throws -> String {
        let run = try Child.run([FairleadProcess.commandPath, "--socket", process.admin.path, "explain"] + arguments)
        #expect(run.status == .exited(0) && run.error.isEmpty, "\(run)")
        return run.output
      }
      let web = try run(["http://WEB:80/cart?a=b", "-X", "POST"])
      #expect(web.hasPrefix("POST http://WEB:80/cart?a=b\n"))
      func line(_ beginning: String, in text: String) -> String {
        text.split(separator: "\n").first { $0.hasPrefix(beginning) }.map(String.init)
          ?? "no line begins with \(beginning)"
      }
      #expect(line("name ", in: web).contains("/svc/web"))
      #expect(web.contains(place("/svc => /#/static")), "\(web)")
      #expect(
        line("service ", in: web).contains("/#/static/web") && line("web ", in: web).contains("\(upstream.address)"))
      #expect(line("timeouts.request ", in: web).contains(" 7s "), "\(web)")
      #expect(line("timeouts.request ", in: web).hasSuffix(place("request: 7s")), "\(web)")
      #expect(line("timeouts.connect ", in: web).hasSuffix("default"))
      #expect(web.hasSuffix("it is sent to the endpoint of /#/static/web\n"))
      let both = try run(["both"])
      #expect(line("POLICY ", in: both).contains("/#/static/web, /#/static/empty "), "\(both)")
      #expect(line("timeouts.request ", in: both).contains(" 7s "))
      #expect(try run(["nobody"]).hasSuffix("the proxy answers 404 itself (FL2003): no service has this name\n"))
      #expect(try run(["empty/x"]).contains("the proxy answers 503 itself (FL2201)"))
      let json = try process.admin.json("/explain?url=nobody")
      #expect(json["status"].number == 404)
      // Nothing was sent.
      #expect(upstream.wait(seconds: 0) { $0.allSatisfy(\.requests.isEmpty) })
    }
  }

  @Test("the rule that has a request is named, and so are those before it that have not")
  func explainsRules() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.services["empty"] = []
    options.extra = """
      routes:
        - { name: health, match: { path: { exact: /healthz } }, respond: { status: 204 } }
        - { name: cart, match: { hosts: [shop], path: { prefix: /cart }, methods: [POST] }, to: /svc/web }
        - { name: lost, match: { hosts: [lost] }, to: /svc/empty }
        - name: own
          match: { hosts: [own] }
          split: [ { to: /svc/web, weight: 1 }, { to: /svc/empty, weight: 0 } ]
          timeout: 3s
          retries: { limit: 7 }
          fault: { abort: { percent: 5, status: 500 } }
        - { name: broken, match: { hosts: [broken] }, to: /svc/web, fault: { abort: { status: 503 } } }
      """
    try withFairlead(options, upstreams: [upstream]) { process in
      func run(_ arguments: [String]) throws -> String {
        let run = try Child.run([FairleadProcess.commandPath, "--socket", process.admin.path, "explain"] + arguments)
        #expect(run.status == .exited(0) && run.error.isEmpty, "\(run)")
        return run.output
      }
      #expect(try run(["http://any/healthz"]).hasSuffix("the rule answers 204\n"))
      let cart = try run(["http://shop/cart", "-X", "POST"])
      #expect(cart.contains("health") && cart.contains("another path") && cart.contains("to /svc/web"), "\(cart)")
      #expect(cart.hasSuffix("it is sent to the endpoint of /#/static/web\n"), "\(cart)")
      #expect(
        try run(["http://shop/cart"]).hasSuffix("the proxy answers 404 itself (FL2003): no service has this name\n"))
      #expect(
        try run(["http://lost/"]).hasSuffix("the proxy answers 503 itself (FL2201): the service has no endpoint\n"))
      #expect(try run(["http://web/"]).hasSuffix("it is sent to the endpoint of /#/static/web\n"))
      // What the rule says of its own is in force, and names without a share are nobody's destination.
      let own = try run(["http://own/"])
      for (name, value) in [("timeouts.request", "3s"), ("retries.limit", "7")] {
        let line = own.split(separator: "\n").first { $0.hasPrefix("\(name) ") }.map(String.init) ?? ""
        #expect(line.contains(" \(value) ") && !line.hasSuffix("default"), "\(line)")
      }
      #expect(!own.contains("/#/static/empty"), "\(own)")
      #expect(own.hasSuffix("it is sent to the endpoint of /#/static/web; the rule aborts 5% with 500\n"), "\(own)")
      #expect(try run(["http://broken/"]).hasSuffix("the rule aborts it with 503\n"))
    }
  }

  @Test("what a request is called is what the identifiers say, port and all")
  func explainsIdentifiers() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.extra = "identifiers: [ { kind: header, name: x-name }, { kind: host, port: true } ]"
    options.delegations = ["/svc => /#/static ;", "/svc/web:99 => /#/static/web ;"]
    try withFairlead(options, upstreams: [upstream]) { (process) throws in
      func name(_ arguments: [String]) throws -> String {
        let run = try Child.run([FairleadProcess.commandPath, "--socket", process.admin.path, "explain"] + arguments)
        let line = run.output.split(separator: "\n").first { $0.hasPrefix("name ") }.map(String.init) ?? run.error
        return line.split(separator: " ").joined(separator: " ")
      }
      #expect(try name(["http://web:99/"]) == "name host: web:99 /svc/web:99 -")
      #expect(try name(["http://other/", "-H", "x-name: web"]) == "name the identifiers /svc/web -")
    }
  }

  @Test("a delegation that the request brings along is followed where the listener trusts its clients, and only there")
  func explainsOverrides() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.listener = "trust: clients"
    options.extra = """
      routes:
        - { name: cart, match: { path: { prefix: /cart } }, to: /svc/cart }
      """
    options.delegations = ["/svc => /#/static ;", "/svc/cart => /#/static/web ;"]
    options.services["empty"] = []
    try withFairlead(options, upstreams: [upstream]) { process in
      func run(_ arguments: [String]) throws -> String {
        let run = try Child.run([FairleadProcess.commandPath, "--socket", process.admin.path, "explain"] + arguments)
        #expect(run.status == .exited(0) && run.error.isEmpty, "\(run)")
        return run.output
      }
      let sent = "it is sent to the endpoint of /#/static/web\n"
      let empty = "the proxy answers 503 itself (FL2201): the service has no endpoint\n"
      #expect(try run(["http://web/"]).hasSuffix(sent))
      let there = try run(["http://nobody/", "-H", "l5d-dtab: /svc/nobody => /svc/web"])
      #expect(
        there.contains("l5d-dtab") && there.contains("the request's own entry") && there.hasSuffix(sent), "\(there)")
      // Several lines are one table, and a rule's name is delegated by them, too.
      let dtab = ["-H", "l5d-dtab: /svc/cart => /svc/x", "-H", "L5D-Dtab: /svc/x => /#/static/empty"]
      #expect(try run(["http://web/cart"] + dtab).hasSuffix(empty))
      let wrong = try run(["http://web/", "-H", "l5d-dtab: /svc =>"])
      #expect(wrong.contains("column ") && wrong.contains("answers 400 itself (FL2008)"), "\(wrong)")
      #expect(upstream.wait(seconds: 0) { $0.allSatisfy(\.requests.isEmpty) })
    }
    options.listener = "trust: none"
    try withFairlead(options, upstreams: [upstream]) { process in
      let run = try Child.run([
        FairleadProcess.commandPath, "--socket", process.admin.path, "explain", "http://web/", "-H",
        "l5d-dtab: /svc => /#/static/empty",
      ])
      #expect(run.output.contains("ignored: listener outbound does not trust its clients"), "\(run.output)")
      #expect(run.output.hasSuffix("it is sent to the endpoint of /#/static/web\n"), "\(run.output)")
    }
  }
}
