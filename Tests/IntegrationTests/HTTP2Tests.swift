// HTTP/2 with real clients and servers that nobody here wrote: curl, nghttp and h2load in front, nginx behind, in every pairing
// of the two versions. What no polite peer does stands in Tests/Conformance.

import TestSupport
import Testing

private let needsTools = ConditionTrait.enabled(
  if: NginxProcess.isInstalled && ["curl", "nghttp", "h2load"].allSatisfy { findTool($0) != nil },
  "needs nginx, curl, nghttp and h2load")

/// Which version is spoken on which side.
struct Pairing: Sendable, CustomTestStringConvertible {
  var client: String
  var server: String

  var testDescription: String { "\(client) to \(server)" }

  static let all = ["http1", "http2"].flatMap { client in
    ["http1", "http2"].map { Pairing(client: client, server: $0) }
  }

  var clientOption: String { client == "http2" ? "--http2-prior-knowledge" : "--http1.1" }
}

/// One megabyte that repeats nowhere near.
private let megabyte: String = {
  var text = ""
  for number in 0..<131_072 { text += String(1_000_000 + number) + "\n" }
  return text
}()

@Suite("HTTP/2", needsDaemon, needsTools)
struct HTTP2Tests {
  /// What curl got.
  struct Got {
    var status: Int
    var version: String
    var head: String
    var body: String
  }

  private func curl(_ daemon: FairleadProcess, _ path: String, _ arguments: [String]) throws -> Got {
    let directory = try TemporaryDirectory()
    let run = try Child.run(
      [
        "curl", "-sSg", "--max-time", "20", "-D", directory.path("head"), "-o", directory.path("body"), "-H", "Expect:",
        "-w", "%{http_code} %{http_version}", "--connect-to", "::\(daemon.address)",
      ] + arguments + ["http://web\(path)"])
    #expect(run.status == .exited(0), "\(path) \(arguments): \(run.error)")
    let words = run.output.split(separator: " ")
    return Got(
      status: words.first.flatMap { Int($0) } ?? 0, version: words.last.map(String.init) ?? "",
      head: readFile(directory.path("head")).lowercased(), body: readFile(directory.path("body")))
  }

  /// nginx behind the daemon, `web`; `/echo` leads on to `echo`.
  private func withNginx(
    _ pairing: Pairing, options change: (inout FairleadOptions) -> Void = { _ in },
    _ body: (FairleadProcess, ScriptedUpstream) throws -> Void
  ) throws {
    let echo = try ScriptedUpstream(
      Script { connection in
        while let request = try connection.readRequest() {
          try connection.respond(to: request, fields: "x-method: \(request.method)\r\n", body: request.text)
        }
      })
    defer { echo.stop() }
    let nginx = try NginxProcess(
      locations: """
        location /204 { return 204; }
        location /304 { return 304; }
        location /echo { proxy_pass http://\(echo.address); proxy_http_version 1.1; proxy_request_buffering off; }
        """, http2: pairing.server == "http2",
      prepare: { try $0.write("file", megabyte) })
    var options = FairleadOptions(web: [nginx.address])
    options.policy["protocol"] = pairing.server
    options.accessLog = true
    options.accessLogFormat = "text"
    change(&options)
    try withFairlead(options, upstreams: [echo]) { daemon in
      try body(daemon, echo)
      // What idles towards it is not a leak.
      nginx.stop()
    }
  }

  @Test("the table of connections says what is spoken on each, and a stream is none of its own", arguments: Pairing.all)
  func connections(_ pairing: Pairing) throws {
    try withNginx(pairing) { daemon, _ in
      for _ in 0..<2 { #expect(try curl(daemon, "/204", [pairing.clientOption]).status == 204) }
      // One that is under way while it is asked.
      try daemon.directory.write("upload", megabyte)
      let client = try Child(
        [
          "curl", "-sSg", pairing.clientOption, "--limit-rate", "1k", "-T", daemon.directory.path("upload"), "-H",
          "Expect:", "--connect-to", "::\(daemon.address)", "http://web/echo",
        ], directory: daemon.directory, name: "curl")
      defer { client.stop() }
      let isActive = try eventually {
        let table = try daemon.admin.json("/connections")
        let rows = table["connections"].elements
        #expect(table["total"].number == Double(rows.count), "\(table)")
        return ["downstream", "upstream"].allSatisfy { direction in
          rows.contains {
            $0["direction"].text == direction && $0["state"].text == "active"
              && $0["protocol"].text == (direction == "upstream" ? pairing.server : pairing.client)
              && ($0["requests"].number ?? 0) > 0
          }
        }
      }
      #expect(isActive)
    }
  }

  @Test("GET, HEAD, POST with and without a length, 204 and 304, byte for byte", arguments: Pairing.all)
  func matrix(_ pairing: Pairing) throws {
    try withNginx(pairing) { daemon, _ in
      let option = [pairing.clientOption]
      let file = try curl(daemon, "/file", option)
      #expect(file.status == 200 && file.body == megabyte && file.version == (pairing.client == "http2" ? "2" : "1.1"))
      let head = try curl(daemon, "/file", option + ["-I"])
      #expect(head.status == 200 && head.head.contains("content-length: \(megabyte.utf8.count)\r\n"))
      #expect(try curl(daemon, "/missing", option).status == 404)
      let part = try curl(daemon, "/file", option + ["-r", "100-199"])
      #expect(part.status == 206 && part.body == String(megabyte.dropFirst(100).prefix(100)))

      let directory = try TemporaryDirectory()
      let upload = try directory.write("upload", megabyte)
      let posted = try curl(daemon, "/echo", option + ["--data-binary", "@\(upload)"])
      #expect(posted.status == 200 && posted.body == megabyte && posted.head.contains("x-method: post"))
      let unmeasured = pairing.client == "http2" ? "Content-Length:" : "Transfer-Encoding: chunked"
      let put = try curl(daemon, "/echo", option + ["-T", upload, "-H", unmeasured])
      #expect(put.status == 200 && put.body == megabyte && put.head.contains("x-method: put"))
      let empty = try curl(daemon, "/echo", option + ["-X", "POST", "-d", ""])
      #expect(empty.status == 200 && empty.body.isEmpty)

      for status in [204, 304] {
        let got = try curl(daemon, "/\(status)", option)
        #expect(got.status == status && got.body.isEmpty && !got.head.contains("transfer-encoding"))
      }
      let version = pairing.client == "http2" ? " HTTP/2.0\" " : " HTTP/1.1\" "
      let isLogged = eventually {
        let lines = readFile(daemon.directory.path("access.log")).split(separator: "\n")
        return lines.count >= 9 && lines.allSatisfy { $0.contains(version) }
      }
      #expect(isLogged, "\(readFile(daemon.directory.path("access.log")))")
    }
  }

  @Test("a load of many streams on few connections sees no error", arguments: Pairing.all)
  func load(_ pairing: Pairing) throws {
    try withNginx(pairing, options: { $0.accessLog = false }) { daemon, _ in
      let run = try Child.run(
        ["h2load", "-n", "20000", "-c", "8", "-t", "1", "--connect-to=\(daemon.address)"]
          + (pairing.client == "http2" ? ["-m", "16"] : ["--h1"]) + ["http://web/204"], seconds: 120)
      #expect(run.output.contains("20000 succeeded, 0 failed, 0 errored, 0 timeout"), "\(run.output)\(run.error)")
      #expect(try daemon.admin.metrics().sum("fairlead_errors_total") == 0)
    }
  }

  @Test("nghttp's trailers reach an HTTP/1 server, and the server's come back")
  func trailers() throws {
    try withFairlead(
      Script { connection in
        while let request = try connection.readRequest() {
          let sum = request.trailers.first { $0.name.lowercased() == "x-sum" }?.value ?? "none"
          try connection.send(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-back\r\n\r\n5\r\nhello\r\n0\r\nx-back: \(sum)\r\n\r\n"
          )
        }
      }, policy: ["protocol": "http1"]
    ) { daemon, upstream in
      let directory = try TemporaryDirectory()
      let file = try directory.write("upload", "some body")
      let run = try Child.run([
        "nghttp", "-v", "-d", file, "--trailer", "x-sum: 9", "--no-content-length", "-H", ":authority: web",
        "http://\(daemon.address)/a",
      ])
      #expect(run.status == .exited(0) && run.output.contains("x-back: 9"), "\(run.output)")
      #expect(upstream.requests.first?.text == "some body", "\(upstream.failures) \(upstream.requests.map(\.head))")
    }
  }

  @Test("100 streams of nghttp at once are each answered")
  func streams() throws {
    try withFairlead(.answering, policy: ["protocol": "http1"]) { daemon, upstream in
      let run = try Child.run(
        ["nghttp", "-n", "-s", "-m", "100", "-H", ":authority: web", "http://\(daemon.address)/a"])
      #expect(run.status == .exited(0), "\(run.output)\(run.error)")
      #expect(upstream.requests.count == 100, "\(upstream.failures) \(run.output)")
    }
  }

  @Test("rules redirect, answer and edit over HTTP/2", arguments: ["http1", "http2"])
  func routes(_ server: String) throws {
    let rules = """
      routes:
        - { match: { path: { exact: /old } }, redirect: { path: { full: /new } } }
        - { match: { path: { exact: /ok } }, respond: { status: 200, body: "ok\\n", headers: { x-a: b } } }
        - { match: { path: { exact: /none } }, respond: { status: 204 } }
        - match: { path: { exact: /echo } }
          to: /svc/web
          headers: { request: { set: { x-set: "1" } }, response: { set: { x-back: "2" }, remove: [x-method] } }
      """
    try withNginx(Pairing(client: "http2", server: server), options: { $0.extra = rules }) { daemon, echo in
      let option = ["--http2-prior-knowledge"]
      let redirect = try curl(daemon, "/old", option)
      #expect(redirect.status == 302 && redirect.head.contains("location: http://web/new\r\n"), "\(redirect)")
      let answer = try curl(daemon, "/ok", option)
      #expect(answer.status == 200 && answer.body == "ok\n" && answer.head.contains("x-a: b\r\n"))
      #expect(try curl(daemon, "/ok", option + ["-I"]).head.contains("content-length: 3\r\n"))
      #expect(try curl(daemon, "/none", option).status == 204)
      let edited = try curl(daemon, "/echo", option + ["-d", "hello"])
      #expect(edited.status == 200 && edited.body == "hello", "\(edited)")
      #expect(edited.head.contains("x-back: 2\r\n") && !edited.head.contains("x-method"))
      #expect(echo.requests.last?["x-set"] == "1")
    }
  }

  @Test("what is over a rate limit is answered 429 over HTTP/2")
  func rateLimit() throws {
    try withNginx(
      Pairing(client: "http2", server: "http1"),
      options: { $0.policy["rateLimit"] = "{ requests: 1, per: 1h, burst: 2 }" }
    ) { daemon, _ in
      let got = try (0..<3).map { _ in try curl(daemon, "/204", ["--http2-prior-knowledge"]) }
      #expect(got.map(\.status) == [204, 204, 429])
      #expect(got[2].head.contains("retry-after: ") && got[2].head.contains("fairlead-code: fl2207\r\n"))
    }
  }

  @Test("a request over HTTP/2 is mirrored whole, to either version", arguments: ["http1", "http2"])
  func mirror(_ server: String) throws {
    let shadow = try ScriptedUpstream(.answering)
    defer { shadow.stop() }
    let nginx = try NginxProcess(
      locations: "location / { proxy_pass http://\(shadow.address); proxy_http_version 1.1; }", http2: server == "http2"
    )
    let change = { (options: inout FairleadOptions) in
      options.services["shadow"] = [nginx.address.description]
      options.extra = "routes:\n  - { match: {}, to: /svc/web, mirror: { to: /svc/shadow, percent: 100 } }"
    }
    try withNginx(Pairing(client: "http2", server: server), options: change) { daemon, _ in
      let got = try curl(daemon, "/echo", ["--http2-prior-knowledge", "-d", "hello"])
      #expect(got.status == 200 && got.body == "hello")
      let copied = eventually { shadow.requests.contains { $0.target == "/echo" && $0.text == "hello" } }
      #expect(copied, "\(shadow.requests.map(\.head)) \(shadow.failures)")
      nginx.stop()
    }
  }

  @Test("an endpoint that refuses connections is passed over, for uploads as well", arguments: ["http1", "http2"])
  func retries(_ server: String) throws {
    let dead = LoopbackAddress(port: try probablyFreePort())
    try withNginx(
      Pairing(client: "http2", server: server), options: { $0.services["web"]?.append(dead.description) }
    ) { daemon, _ in
      for number in 0..<10 {
        let got = try curl(daemon, "/echo?\(number)", ["--http2-prior-knowledge", "-d", "hello"])
        #expect(got.status == 200 && got.body == "hello")
      }
    }
  }
}
