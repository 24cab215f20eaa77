// The PROXY protocol with those who invented it: HAProxy in front of us and behind us, curl as a balancer, nginx as a server that
// wants a header. And what strangers get.

import TestSupport
import Testing

/// A real HAProxy, one configuration.
private final class HAProxy {
  let child: Child

  static var isInstalled: Bool { findTool("haproxy") != nil }

  init(_ directory: TemporaryDirectory, _ name: String, _ sections: String, listening: LoopbackAddress) throws {
    guard let haproxy = findTool("haproxy") else { throw HarnessError("haproxy is not installed") }
    let file = try directory.write(
      "\(name).cfg", "defaults\n  timeout connect 5s\n  timeout client 20s\n  timeout server 20s\n" + sections + "\n")
    child = try Child([haproxy, "-db", "-f", file], directory: directory, name: name)
    let child = child
    guard eventually(seconds: 10, { (try? RawClient(listening)) != nil || !child.isRunning }), child.isRunning else {
      throw HarnessError("haproxy did not start: \(child.standardError)")
    }
  }

  deinit { stop() }

  func stop() { child.stop(seconds: 1) }
}

private let needsHAProxy = ConditionTrait.enabled(if: HAProxy.isInstalled, "haproxy is not installed")

private func options(_ upstream: ScriptedUpstream, from sources: String, listener: String = "") -> FairleadOptions {
  var options = FairleadOptions(upstream)
  options.listener = "proxyProtocol: { from: [\(sources)] }" + listener
  options.extra = "capture: { detectTimeout: 400ms }"
  options.accessLog = true
  return options
}

private func headers(_ daemon: FairleadProcess, _ outcome: String) throws -> Double {
  try daemon.admin.value("fairlead_proxy_headers_total{listener=\"outbound\",outcome=\"\(outcome)\"}") ?? 0
}

private let signature: [UInt8] = [0x0D, 0x0A, 0x0D, 0x0A, 0x00, 0x0D, 0x0A, 0x51, 0x55, 0x49, 0x54, 0x0A]

@Suite("PROXY protocol from clients", needsDaemon)
struct ProxyProtocolInTests {
  private let request = "GET /x HTTP/1.1\r\nhost: web\r\n\r\n"

  @Test(
    "the client is the one that the header names, whatever its version and however it is cut", arguments: [0, 1, 7])
  func named(_ step: Int) throws {
    let upstream = try ScriptedUpstream(.answering(with: "yes"))
    let binary =
      signature + [0x21, 0x11, 0, 19, 10, 7, 0, 9, 192, 0, 2, 7, 0x1F, 0x90, 0x01, 0xBB] + [4, 0, 4, 1, 2, 3, 4]
    let cases: [(header: [UInt8], client: String)] = [
      (Array("PROXY TCP4 10.7.0.8 192.0.2.7 8080 443\r\n".utf8), "10.7.0.8"),
      (Array("PROXY TCP6 fd07::8 fd07::1 8080 443\r\n".utf8), "fd07::8"), (binary, "10.7.0.9"),
      (Array("PROXY UNKNOWN\r\n".utf8), "127.0.0.1"), (signature + [0x20, 0, 0, 0], "127.0.0.1"),
    ]
    var options = options(upstream, from: "127.0.0.0/8, \"::1\"")
    options.extra += "\nworkloads: [{ name: far, match: { addresses: [10.7.0.0/24, \"fd07::/64\"] } }]"
    try withFairlead(options, upstreams: [upstream]) { (daemon) throws in
      for (header, _) in cases {
        let client = try daemon.connect()
        let bytes = header + Array(request.utf8)
        for start in stride(from: 0, to: bytes.count, by: step == 0 ? bytes.count : step) {
          try client.send(bytes[start..<min(start + (step == 0 ? bytes.count : step), bytes.count)])
        }
        #expect(try client.readResponse().text == "yes")
        #expect(try client.request(request).text == "yes")
        client.close()
      }
      #expect(eventually(seconds: 5) { daemon.accessLog.count == cases.count * 2 })
      let seen = daemon.accessLog.compactMap { $0["peer"].text }
      for (_, client) in cases {
        #expect(seen.contains { $0.contains(client) }, "\(client) is not in \(seen)")
      }
      #expect(try headers(daemon, "client") == 3 && headers(daemon, "own") == 2)
      #expect(try daemon.admin.value("fairlead_workload_requests_total{workload=\"far\",status_class=\"2xx\"}") == 6)
      #expect(
        eventually(seconds: 5) { (try? daemon.admin.value("fairlead_workload_connections{workload=\"other\"}")) == 0 })
      #expect(upstream.requests.allSatisfy { !$0.head.contains("PROXY") })
    }
  }

  @Test("a listed source must send one, and all of it, in time")
  func listed() throws {
    let upstream = try ScriptedUpstream(.answering)
    try withFairlead(options(upstream, from: "127.0.0.1"), upstreams: [upstream]) { (daemon) throws in
      let cases: [(bytes: [UInt8], code: String, outcome: String)] = [
        (Array(request.utf8), "FL1211", "missing"), (Array("PROXY TCP4 x y 1 2\r\n".utf8), "FL1213", "malformed"),
        (signature + [0x11], "FL1213", "malformed"), (Array("PROXY TCP4 1.2".utf8), "FL1214", "truncated"),
        ([], "FL1214", "truncated"),
      ]
      for (bytes, code, outcome) in cases {
        let before = try headers(daemon, outcome)
        let client = try daemon.connect()
        if !bytes.isEmpty { try client.send(bytes) }
        try expectClosed(client)
        #expect(try headers(daemon, outcome) == before + 1, "\(outcome)")
        #expect(try daemon.waitForError(code))
      }
      // Who only looks whether somebody listens.
      let probe = try daemon.connect()
      probe.shutdownWrite()
      try expectClosed(probe)
      #expect(try headers(daemon, "truncated") == 2)
      #expect(upstream.connections.isEmpty)
      #expect(
        eventually(seconds: 5) { (try? daemon.admin.value("fairlead_workload_connections{workload=\"other\"}")) == 0 })
    }
  }

  @Test("a stranger's header is refused, whole or in pieces; its requests are served")
  func strangers() throws {
    let upstream = try ScriptedUpstream(.answering(with: "yes"))
    try withFairlead(options(upstream, from: "10.0.0.0/8"), upstreams: [upstream]) { (daemon) throws in
      let header = Array("PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".utf8)
      for (bytes, piece) in [(header, 64), (header, 2), (signature + [0x20, 0, 0, 0], 64), (signature, 1)] {
        let client = try daemon.connect()
        for start in stride(from: 0, to: bytes.count, by: piece) {
          client.sendRegardless(bytes[start..<min(start + piece, bytes.count)])
        }
        try expectClosed(client)
      }
      #expect(try daemon.waitForError("FL1212", count: 4))
      #expect(try headers(daemon, "stranger") == 4 && upstream.connections.isEmpty)
      let whole = try daemon.connect()
      #expect(try whole.request(request).text == "yes")
      // Begins like a header and is none.
      let pieces = try daemon.connect()
      for byte in Array("POST /x HTTP/1.1\r\nhost: web\r\ncontent-length: 0\r\n\r\n".utf8) { try pieces.send([byte]) }
      #expect(try pieces.readResponse().text == "yes")
    }
  }

  @Test("streams: the header is not the stream's, a server may speak first, and little that looks like a header passes")
  func streams() throws {
    let upstream = try ScriptedUpstream { connection in
      try connection.send("220 hello\r\n")
      connection.waitForEnd()
      try connection.send("got \(connection.receivedText)")
    }
    for (sources, header) in [("127.0.0.1", "PROXY TCP4 10.0.0.1 192.0.2.1 1 2\r\n"), ("10.0.0.0/8", "")] {
      let options = options(upstream, from: sources, listener: ", protocol: tcp, to: /svc/web")
      try withFairlead(options) { (daemon) throws in
        let client = try daemon.connect()
        try client.send(header)
        #expect(try client.stream.take(11).bytes == Array("220 hello\r\n".utf8))
        // The beginning of a header, and then nothing: passed on after a while, or with the end.
        try client.send("\r\n")
        client.shutdownWrite()
        #expect(try client.readToEnd().bytes == Array("got \r\n".utf8))
        let patient = try daemon.connect()
        try patient.send(header + "PRO")
        #expect(try patient.stream.take(11).bytes == Array("220 hello\r\n".utf8))
        #expect(upstream.wait { $0.last?.receivedText == "PRO" })
        try patient.send("XY")
        patient.shutdownWrite()
        #expect(try patient.readToEnd().bytes == Array("got PROXY".utf8))
      }
    }
    upstream.stop()
  }

  @Test("HAProxy in front, both versions, and curl as a balancer", needsHAProxy)
  func balancers() throws {
    let upstream = try ScriptedUpstream(.answering(with: "yes"))
    try withFairlead(options(upstream, from: "127.0.0.1"), upstreams: [upstream]) { (daemon) throws in
      for (name, keyword) in [("one", "send-proxy"), ("two", "send-proxy-v2"), ("three", "send-proxy-v2-ssl-cn")] {
        let front = LoopbackAddress(port: try probablyFreePort())
        let haproxy = try HAProxy(
          daemon.directory, name,
          "listen a\n  mode tcp\n  bind \(front)\n  server s \(daemon.address) \(keyword)\n", listening: front)
        let client = try RawClient(front, source: "127.0.0.9")
        #expect(try client.get().text == "yes", "\(keyword)")
        client.close()
        withExtendedLifetime(haproxy) {}
      }
      let curl = try #require(findTool("curl"))
      let child = try Child(
        [curl, "-sS", "--haproxy-protocol", "--max-time", "10", "-H", "host: web", "http://\(daemon.address)/"],
        directory: daemon.directory, name: "curl")
      #expect(child.wait(seconds: 15) == .exited(0) && child.standardOutput == "yes")
      #expect(eventually(seconds: 15) { daemon.accessLog.count >= 4 }, "\(daemon.accessLog)")
      let clients = daemon.accessLog.compactMap { $0["peer"].text }
      #expect(clients.filter { $0.contains("127.0.0.9") }.count == 3, "\(clients)")
    }
  }
}

@Suite("PROXY protocol to endpoints", needsDaemon)
struct ProxyProtocolOutTests {
  /// A server behind an HAProxy that wants a header and says in a field whom it heard of.
  @Test("HAProxy behind: requests and streams, both versions", needsHAProxy, arguments: ["v1", "v2"])
  func haproxy(_ version: String) throws {
    let upstream = try ScriptedUpstream(.answering(with: "yes"))
    let directory = try TemporaryDirectory()
    let back = LoopbackAddress(port: try probablyFreePort())
    let haproxy = try HAProxy(
      directory, "back",
      """
      listen a
        mode http
        bind \(back) accept-proxy
        http-request set-header x-seen %[src]
        server s \(upstream.address)
      """, listening: back)
    var options = FairleadOptions(web: [back])
    options.policy = ["proxyProtocol": version]
    try withFairlead(options, upstreams: [upstream]) { (daemon) throws in
      let (first, second) = (try daemon.connect(source: "127.0.0.5"), try daemon.connect(source: "127.0.0.6"))
      for _ in 0..<3 {
        #expect(try first.get("/first").text == "yes")
        #expect(try second.get("/second").text == "yes")
      }
      #expect(upstream.wait { $0.flatMap(\.requests).count == 6 })
      for request in upstream.requests {
        #expect(request["x-seen"] == (request.startLine.contains("/first") ? "127.0.0.5" : "127.0.0.6"))
      }
      // Each client address has a connection of its own, and only one.
      #expect(try daemon.admin.value("fairlead_connections_opened_total{direction=\"upstream\"}") == 2)
      // Kept connections end with it.
      haproxy.stop()
    }
  }

  @Test("nginx that wants a header sees the client", needsNginx, arguments: ["v1", "v2"])
  func nginx(_ version: String) throws {
    let address = LoopbackAddress(port: try probablyFreePort())
    let nginx = try NginxProcess(
      locations: "listen \(address) proxy_protocol; location / { return 200 \"$proxy_protocol_addr\"; }")
    defer { nginx.stop() }
    var options = FairleadOptions(web: [address])
    options.policy = ["proxyProtocol": version, "healthCheck": "{ kind: http, interval: 100ms, path: / }"]
    try withFairlead(options) { (daemon) throws in
      let client = try daemon.connect(source: "127.0.0.7")
      #expect(try client.get().text == "127.0.0.7")
      client.close()
      // Checks are nobody's, and pass all the same.
      #expect(
        eventually(seconds: 10) {
          (try? daemon.admin.value("fairlead_health_checks_total{service=\"web\",outcome=\"success\"}")) ?? 0 >= 2
        })
      #expect(try daemon.admin.value("fairlead_health_checks_total{service=\"web\",outcome=\"failure\"}") ?? 0 == 0)
      nginx.stop()
    }
  }

  @Test("a header is a connection's own: a request that is sent again brings none along")
  func retried() throws {
    let upstream = try ScriptedUpstream { connection in
      if connection.index == 0 {
        // The connection dies between two requests.
        _ = try connection.stream.take(through: "\r\n")
        if let request = try connection.readRequest() { try connection.respond(to: request, body: "one") }
        _ = try connection.readHead()
        connection.reset()
        return
      }
      connection.waitForEnd()
    }
    var options = FairleadOptions(upstream)
    options.policy = ["proxyProtocol": "v1", "timeouts": "{ request: 2s }"]
    try withFairlead(options, upstreams: [upstream]) { (daemon) throws in
      let client = try daemon.connect()
      #expect(try client.get("/one").text == "one")
      try client.send("GET /two HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(upstream.wait { $0.count == 2 && $0[1].receivedText.contains("/two") })
      let text = upstream.connections.count == 2 ? upstream.connections[1].receivedText : ""
      #expect(text.hasPrefix("PROXY TCP4 127.0.0.1 127.0.0.1 "))
      #expect(text.split(separator: "PROXY", omittingEmptySubsequences: false).count == 2)
    }
  }

  @Test("streams: the header comes first, and both ways together pass the client on")
  func stream() throws {
    let upstream = try ScriptedUpstream { connection in
      connection.waitForEnd()
      try connection.send("bye")
    }
    var options = FairleadOptions(upstream)
    options.policy = ["proxyProtocol": "v1"]
    options.listener = "protocol: tcp, to: /svc/web, proxyProtocol: { from: [127.0.0.1] }"
    try withFairlead(options, upstreams: [upstream]) { (daemon) throws in
      let client = try daemon.connect()
      try client.send("PROXY TCP4 10.7.0.8 192.0.2.7 8080 443\r\nhello")
      client.shutdownWrite()
      #expect(try client.readToEnd().bytes == Array("bye".utf8))
      #expect(
        upstream.connections.first?.receivedText
          == "PROXY TCP4 10.7.0.8 127.0.0.1 8080 \(daemon.address.port)\r\nhello")
    }
  }
}
