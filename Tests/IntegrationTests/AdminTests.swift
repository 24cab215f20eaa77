// The admin socket and the command line, as an operator uses them.

import Glibc
import TestSupport
import Testing

@Suite("Admin socket and command line", needsDaemon)
struct AdminTests {
  @Test("every path that / lists answers")
  func index() throws {
    try withFairlead(.answering) { daemon, _ in
      let index = try daemon.admin.get("/").text
      for path in ["/ready", "/live", "/status", "/config", "/endpoints", "/connections", "/metrics"] {
        #expect(index.contains(path), "\(path) is not listed")
        #expect(try daemon.admin.get(path).status == 200, "\(path)")
      }
      #expect(try daemon.admin.get("/no-such-path").status == 404)
    }
  }

  @Test("what reads is GET, what changes is POST, the rest is 405")
  func methods() throws {
    try withFairlead(.answering) { daemon, _ in
      let admin = daemon.admin
      for path in ["/drain", "/shutdown"] { #expect(try admin.get(path).status == 405, "GET \(path)") }
      for path in ["/status", "/metrics"] { #expect(try admin.post(path).status == 405, "POST \(path)") }
      #expect(try admin.send("DELETE", "/status").status == 405)
      let response = try daemon.get()
      #expect(response.status == 200)
    }
  }

  @Test("/status tells version, shards and the real address")
  func status() throws {
    try withFairlead(.answering) { daemon, _ in
      let status = try daemon.admin.json("/status")
      #expect(status["version"].text?.isEmpty == false)
      #expect(status["listeners"].elements.first?["name"].text == "outbound")
      #expect(status["listeners"].elements.first?["address"].text == "\(daemon.address)")
    }
  }

  @Test("requests, connections, bytes and durations are counted")
  func metrics() throws {
    try withFairlead(.answering) { daemon, _ in
      let client = try daemon.connect()
      for _ in 0..<10 { _ = try client.get() }
      _ = try client.get("/", host: "nobody")
      let counted = try eventually { try daemon.admin.metrics().sum("fairlead_requests_total") >= 11 }
      #expect(counted)
      let metrics = try daemon.admin.metrics()
      let ok = metrics.matching("fairlead_requests_total", ["status_class": "2xx", "listener": "outbound"])
      #expect(ok.reduce(0) { $0 + $1.value } == 10)
      #expect(ok.contains { $0.value > 0 && $0.labels["service"]?.contains("web") == true }, "\(ok)")
      #expect(
        !metrics.samples.contains { $0.labels.values.contains { $0.contains("nobody") } }, "a label from a client")
      #expect(metrics.sum("fairlead_request_duration_seconds_count") >= 10)
      #expect(metrics.sum("fairlead_upstream_attempt_duration_seconds_count") == 10)
      #expect(metrics.sum("fairlead_connections", ["direction": "downstream"]) == 1)
      #expect(metrics.sum("fairlead_connections", ["direction": "upstream"]) == 1)
      #expect(metrics.sum("fairlead_bytes_total") > 0)
      #expect(metrics.sum("fairlead_build_info") == 1)
      #expect(!metrics.matching("fairlead_shard_loop_lag_seconds").isEmpty)
    }
  }

  @Test("the text is what Prometheus reads: HELP and TYPE once, no series twice")
  func exposition() throws {
    try withFairlead(.answering) { daemon, _ in
      _ = try daemon.get()
      let response = try daemon.admin.get("/metrics")
      #expect(response["content-type"]?.hasPrefix("text/plain") == true)
      let lines = response.text.split(separator: "\n")
      for kind in ["# TYPE ", "# HELP "] {
        let names = lines.filter { $0.hasPrefix(kind) }.map { $0.split(separator: " ")[2] }
        #expect(Set(names).count == names.count)
      }
      let series = lines.filter { !$0.hasPrefix("#") }.map { $0.prefix(upTo: $0.lastIndex(of: " ") ?? $0.endIndex) }
      #expect(Set(series).count == series.count)
      let open = try daemon.admin.get("/metrics", fields: "Accept: application/openmetrics-text\r\n")
      #expect(open.text.hasSuffix("# EOF\n"))
    }
  }

  @Test("a slow or rude admin client disturbs nobody")
  func rudeClients() throws {
    try withFairlead(.answering) { daemon, _ in
      let rude = try (0..<20).map { number in
        let stream = try daemon.admin.open()
        switch number % 4 {
        case 0: try stream.send("GET /metrics HT")
        case 1: try stream.send("\u{0}\u{1}garbage\r\n\r\n")
        case 2: for _ in 0..<50 { try? stream.send("GET /metrics HTTP/1.1\r\nHost: f\r\n\r\n") }
        default: break
        }
        return stream
      }
      for _ in 0..<100 { #expect(try daemon.get().status == 200) }
      #expect(try daemon.admin.get("/ready").status == 200)
      rude.forEach { $0.close() }
    }
  }

  @Test("only root and operators change things", .enabled(if: geteuid() == 0, "needs root, to become somebody else"))
  func peerCredentials() throws {
    guard findTool("curl") != nil else { try Test.cancel("needs curl") }
    try withFairlead(.answering) { daemon, _ in
      chmod(daemon.admin.path, 0o666)
      let curl = { (arguments: [String]) throws -> String in
        try Child.run(
          ["setpriv", "--reuid", "65534", "--clear-groups", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}"]
            + ["--unix-socket", daemon.admin.path] + arguments
        ).output
      }
      let status = try curl(["-X", "POST", "http://fairlead/drain"])
      #expect(status == "403")
      #expect(daemon.child.isRunning)
      #expect(try daemon.get().status == 200)
    }
  }

  @Test("the commands print tables and JSON, and end with 0")
  func commands() throws {
    try withFairlead(.answering) { daemon, upstream in
      for _ in 0..<5 { _ = try daemon.get() }
      let run = { (arguments: [String]) throws -> (status: Child.ExitStatus, output: String, error: String) in
        try Child.run([FairleadProcess.commandPath, "--socket", daemon.admin.path] + arguments, seconds: 20)
      }
      let status = try run(["status"])
      #expect(status.status == Child.ExitStatus.exited(0), "\(status.error)")
      #expect(status.output.contains("\(daemon.address)"))
      let endpoints = try run(["endpoints"])
      #expect(endpoints.output.contains("\(upstream.address)"), "\(endpoints.output)\(endpoints.error)")
      let metrics = try run(["metrics"])
      #expect(metrics.output.contains("fairlead_requests_total"))
      let stat = try run(["stat"])
      #expect(stat.status == Child.ExitStatus.exited(0), "\(stat.error)")
      for column in ["SUCCESS", "RPS", "P50", "P95", "P99"] { #expect(stat.output.contains(column)) }
      let json = try run(["-o", "json", "status"])
      _ = try JSONValue(parsing: Array(json.output.utf8))
      let version = try run(["version"])
      #expect(version.status == Child.ExitStatus.exited(0))
    }
  }

  @Test("a daemon that does not answer gives one line that names the socket")
  func noDaemon() throws {
    let result = try Child.run([FairleadProcess.commandPath, "--socket", "/nowhere/admin.sock", "status"])
    #expect(result.status == Child.ExitStatus.exited(1))
    let lines = result.error.split(separator: "\n")
    #expect(lines.contains { $0.contains("/nowhere/admin.sock") }, "\(result.error)")
    #expect(lines.count <= 2)
  }

  @Test("the access log has a line for each request, good or refused")
  func accessLog() throws {
    try withFairlead(.answering, accessLog: true) { daemon, upstream in
      let client = try daemon.connect()
      _ = try client.get("/logged?x=\"quoted\"")
      _ = try client.get("/", host: "nobody")
      _ = try daemon.request("GET / HTTP/1.1\r\n\r\n")
      let written = eventually { daemon.accessLog.count >= 3 }
      #expect(written, "\(daemon.accessLog)")
      let statuses = daemon.accessLog.compactMap { $0["status"].number }
      #expect(statuses == [200, 404, 400], "\(daemon.accessLog)")
      let first = try #require(daemon.accessLog.first)
      let values = first.members.values.compactMap(\.text)
      #expect(values.contains { $0.contains("/logged") }, "\(first)")
      #expect(values.contains { $0.contains("\(upstream.address)") }, "\(first)")
    }
  }

  @Test(
    "an access log that cannot be written costs no request and is counted",
    .enabled(if: access("/dev/full", W_OK) == 0, "needs /dev/full"))
  func fullDisk() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.extra = "telemetry: { accessLog: { path: /dev/full, format: json } }"
    try withFairlead(options, upstreams: [upstream]) { daemon in
      for _ in 0..<50 { #expect(try daemon.get().status == 200) }
      let lost = try eventually { try daemon.admin.metrics().sum("fairlead_access_log_lost_total") > 0 }
      #expect(lost)
    }
  }
}
