// The configuration that runs, what another one would change, and taking it: paths and commands, with a fake node.

import Testing

@testable import Admin
@testable import AdminClient

@Suite struct ReloadTests {
  private static let source = "/etc/fairlead/fairlead.yaml"
  private static let changes = [
    ConfigurationChangeReport(path: "services[/svc].timeouts.request", old: "15s", new: "20s"),
    ConfigurationChangeReport(path: "discovery[static].services.web", old: nil, new: "127.0.0.1:9003"),
    ConfigurationChangeReport(path: "node.shards", old: "auto", new: "2", needsRestart: true),
  ]
  private static let findings = """
    fairlead.yaml:1:1: unknown key 'x'
        1 | x: 1
          | ^
    1 error

    """

  private func ask(_ server: RunningServer, _ request: String) throws -> (head: String, body: String) {
    let client = try RawClient(server)
    client.send("\(request) HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    return client.receiveAnswer()
  }

  // MARK: Paths

  @Test("a reload says what it changed, and until when it waits to be confirmed")
  func reloadPath() throws {
    let server = try RunningServer()
    server.node.set {
      $0.reload = .success(
        ReloadReport(source: Self.source, generation: 5, changes: Self.changes, confirmWithinSeconds: 60))
    }
    let answer = try ask(server, "POST /reload?confirm=60")
    #expect(answer.head.hasPrefix("HTTP/1.1 200 OK\r\n"))
    for words in [
      "\"generation\": 5", "\"confirmWithinSeconds\": 60", "\"old\": null", "\"needsRestart\": true",
    ] { #expect(answer.body.contains(words), "\(answer.body)") }
    #expect(try ask(server, "POST /reload").head.hasPrefix("HTTP/1.1 200"))
    #expect(try ask(server, "POST /reload?confirm=2m").head.hasPrefix("HTTP/1.1 200"))
    #expect(server.node.get(\.reloads) == [.seconds(60), nil, .seconds(120)])
  }

  @Test(
    "a time to confirm that is none is refused, and nothing is reloaded",
    arguments: ["", "0", "0s", "3601", "2h", "1.5s", "-1", "x", "99999999999999999999", "500ms"])
  func confirmTimes(text: String) throws {
    let server = try RunningServer()
    let answer = try ask(server, "POST /reload?confirm=\(text)")
    #expect(answer.head.hasPrefix("HTTP/1.1 400"))
    #expect(answer.body == "confirm is a time from 1s to 1h, not '\(text)'\n")
    #expect(server.node.get(\.reloads).isEmpty)
  }

  @Test("a refused configuration is a 422 with everything that is wrong; no time for it is a 409")
  func refusedPath() throws {
    let server = try RunningServer()
    server.node.set {
      $0.reload = .failure(.findings(Self.findings))
      $0.changes = .failure(.notNow("started without a file"))
    }
    let refused = try ask(server, "POST /reload")
    #expect(refused.head.hasPrefix("HTTP/1.1 422 Unprocessable Content\r\n") && refused.body == Self.findings)
    let notNow = try ask(server, "GET /config/diff")
    #expect(notNow.head.hasPrefix("HTTP/1.1 409 Conflict\r\n") && notNow.body == "started without a file\n")
    #expect(try ask(server, "POST /reload/confirm").body == "nothing waits\n")
    #expect(try ask(server, "POST /reload/confirm").head.hasPrefix("HTTP/1.1 409"))
    #expect(try ask(server, "GET /reload").head.hasPrefix("HTTP/1.1 405"))
    #expect(try ask(server, "POST /config/diff").head.hasPrefix("HTTP/1.1 405"))
  }

  // MARK: Commands

  @Test("reload shows its changes, and what waits for a restart")
  func reloadCommand() throws {
    let server = try RunningServer()
    #expect(Run(server, ["reload"]).output == "reloaded \(Self.source): no change\n")
    server.node.set {
      $0.reload = .success(
        ReloadReport(source: Self.source, generation: 5, changes: Self.changes, confirmWithinSeconds: 90))
    }
    let run = Run(server, ["reload", "--confirm", "90s"])
    #expect(
      run.output == """
        reloaded \(Self.source): 3 changes, generation 5
        CHANGE                           FROM  TO
        services[/svc].timeouts.request  15s   20s
        discovery[static].services.web   -     127.0.0.1:9003
        node.shards (restart)            auto  2
        what is marked (restart) takes effect when the daemon starts again
        taken back in 1m 30s unless you run: fairlead reload confirm

        """)
    #expect(run.code == 0 && server.node.get(\.reloads) == [nil, .seconds(90)])
    #expect(Run(server, ["-o", "json", "reload"]).output.contains("\"generation\": 5"))
  }

  @Test("a refused configuration is shown as validate shows it, and ends with 78")
  func refusedCommand() throws {
    let server = try RunningServer()
    server.node.set {
      $0.reload = .failure(.findings("a\u{1B}[2J\n1 error\n"))
      $0.changes = .failure(.findings(Self.findings))
    }
    let run = Run(server, ["reload"])
    #expect(run.code == 78 && run.output.isEmpty)
    #expect(run.errors == "a?[2J\n1 error\nfairlead: the configuration is refused; nothing has changed\n")
    for arguments in [["config", "diff"], ["-o", "json", "config", "diff"]] {
      let difference = Run(server, arguments)
      #expect(difference.code == 78 && difference.errors.hasPrefix(Self.findings) && difference.output.isEmpty)
    }
    server.node.set { $0.reload = .failure(.notNow("draining")) }
    let notNow = Run(server, ["reload"])
    #expect(notNow.code == 1 && notNow.errors == "fairlead: draining\n")
  }

  @Test("reload confirm keeps it, or says that there is nothing to keep")
  func confirmCommand() throws {
    let server = try RunningServer()
    let nothing = Run(server, ["reload", "confirm"])
    #expect(nothing.code == 1 && nothing.errors == "fairlead: nothing waits\n")
    server.node.set { $0.unconfirmed = nil }
    #expect(Run(server, ["reload", "confirm"]).output == "confirmed\n")
    #expect(Run(server, ["-ojson", "reload", "confirm"]).output == "{\n  \"confirmed\": true\n}\n")
    #expect(server.node.get(\.reloads).isEmpty)
  }

  @Test("config diff shows what a reload would change, or another file")
  func difference() throws {
    let server = try RunningServer()
    #expect(
      Run(server, ["config", "diff"]).output == "a reload would change nothing: \(Self.source) is what runs\n")
    server.node.set {
      $0.changes = .success(ConfigurationChangesReport(source: Self.source, changes: Array(Self.changes.prefix(1))))
    }
    #expect(
      Run(server, ["config", "diff"]).output == """
        CHANGE                           FROM  TO
        services[/svc].timeouts.request  15s   20s

        """)
    #expect(Run(server, ["-o", "json", "config", "diff"]).output.contains("\"source\": \"\(Self.source)\""))
    #expect(Run(server, ["config", "diff", "/good"]).output == "CHANGE  FROM  TO\nbytes   13    -\n")
    #expect(Run(server, ["config", "diff", "/good/same"]).output == "no difference to /good/same\n")
    #expect(Run(server, ["-o", "json", "config", "diff", "/good"]).output.contains("\"path\": \"bytes\""))
    let refused = Run(server, ["config", "diff", "/bad"])
    #expect(refused.code == 78 && refused.errors == "/bad:1:1: no\n1 error\n")
  }

  @Test(
    "wrong usage",
    arguments: [
      (["config", "dif"], "config takes 'diff' or nothing, not 'dif'"),
      (["reload", "now"], "reload takes 'confirm' or nothing, not 'now'"),
      (["reload", "--confirm", "2h"], "--confirm is 1s to 1h, not 2h"),
      (["reload", "--confirm", "x"], "--confirm 'x': a duration is"),
      (["reload", "confirm", "--confirm", "1m"], "--confirm goes with reloading"),
    ])
  func usage(arguments: [String], words: String) throws {
    let server = try RunningServer()
    let run = Run(server, arguments)
    #expect(run.code == 2 && run.errors.contains(words), "\(run.errors)")
    #expect(server.node.get(\.reloads).isEmpty)
  }

  @Test("a long value is cut in the table")
  func longValues() throws {
    let server = try RunningServer()
    server.node.set {
      let long = String(repeating: "x", count: 100)
      $0.changes = .success(
        ConfigurationChangesReport(source: Self.source, changes: [.init(path: "a", old: long, new: "y\n")]))
    }
    let line = Run(server, ["config", "diff"]).output.split(separator: "\n").last ?? ""
    #expect(line == "a       \(String(repeating: "x", count: 59))…  y?")
  }
}
