// TLS carried as it is: real servers that would notice a byte too few, real clients that check whom they speak to.

import TestSupport
import Testing

/// Servers that speak TLS, and clients that do.
enum TLSPeers {
  /// An nginx that speaks TLS as `name`, and says its name and what it has been told of the client's wish.
  static func nginx(_ name: String) throws -> (nginx: NginxProcess, address: LoopbackAddress) {
    let address = LoopbackAddress(port: try probablyFreePort())
    let nginx = try NginxProcess(
      locations: """
        listen \(address) ssl http2;
        ssl_certificate cert.pem;
        ssl_certificate_key key.pem;
        location / { return 200 "\(name) $ssl_server_name $server_protocol"; }
        """
    ) { try makeCertificate(in: $0, names: [name]) }
    return (nginx, address)
  }

  static func curl(
    _ directory: TemporaryDirectory, _ address: LoopbackAddress, _ url: String, _ arguments: [String] = []
  ) throws -> String {
    let curl = try #require(findTool("curl"))
    let child = try Child(
      [curl, "-sSk", "--max-time", "15", "--connect-to", "::\(address)", url] + arguments, directory: directory,
      name: "curl\(UInt32.random(in: .min ... .max))")
    let status = child.wait(seconds: 20)
    return status == .exited(0) ? child.standardOutput : "failed: \(child.standardError)"
  }

  static func options(_ services: [String: [LoopbackAddress]], routes: String = "") -> FairleadOptions {
    var options = FairleadOptions()
    options.services = services.mapValues { $0.map(\.description) }
    options.listener = "protocol: tls"
    options.extra = "capture: { detectTimeout: 500ms }\n" + routes
    return options
  }

  static func hellos(_ daemon: FairleadProcess, _ outcome: String) throws -> Double {
    try daemon.admin.value("fairlead_client_hellos_total{listener=\"outbound\",outcome=\"\(outcome)\"}") ?? 0
  }
}

let needsNginx = ConditionTrait.enabled(if: NginxProcess.isInstalled, "nginx is not installed")

@Suite("TLS passthrough", needsDaemon)
struct TLSPassthroughTests {
  @Test("two names on one listener lead to two servers, for HTTP/1 and HTTP/2 alike", needsNginx)
  func names() throws {
    let (first, firstAddress) = try TLSPeers.nginx("a.example")
    let (second, secondAddress) = try TLSPeers.nginx("b.example")
    defer {
      first.stop()
      second.stop()
    }
    let options = TLSPeers.options(["a.example": [firstAddress], "b.example": [secondAddress]])
    try withFairlead(options) { (daemon) throws in
      for (name, version, flag) in [
        ("a.example", "HTTP/1.1", "--http1.1"), ("b.example", "HTTP/1.1", "--http1.1"),
        ("a.example", "HTTP/2.0", "--http2"), ("b.example", "HTTP/2.0", "--http2"),
      ] {
        let answer = try TLSPeers.curl(daemon.directory, daemon.address, "https://\(name)/", [flag])
        #expect(answer == "\(name) \(name) \(version)")
      }
      // The certificate is the server's own: nobody stands between the two ends.
      let checked = try TLSPeers.curl(
        daemon.directory, daemon.address, "https://A.example/", ["--cacert", first.directory.path("cert.pem")])
      #expect(checked.hasPrefix("a.example "))
      #expect(try TLSPeers.curl(daemon.directory, daemon.address, "https://c.example/").hasPrefix("failed"))
      #expect(try daemon.waitForError("FL2003"))
      #expect(try TLSPeers.hellos(daemon, "name") == 6)
      #expect(try daemon.admin.value("fairlead_streams_total{listener=\"outbound\",service=\"a.example\"}") == 3)
      #expect(try daemon.admin.value("fairlead_streams_total{listener=\"outbound\",service=\"b.example\"}") == 2)
    }
  }

  @Test("rules by server's name and by protocol; what none has goes by its name", needsNginx)
  func rules() throws {
    let (first, firstAddress) = try TLSPeers.nginx("one")
    let (second, secondAddress) = try TLSPeers.nginx("two")
    defer {
      first.stop()
      second.stop()
    }
    let options = TLSPeers.options(
      ["one": [firstAddress], "two": [secondAddress]],
      routes: """
        routes:
          - { match: {}, respond: { status: 200 } }
          - { name: h2, match: { sni: ["*.example"], alpn: [h2] }, to: /svc/two }
          - { name: rest, match: { sni: ["*.example"] }, to: /svc/one }
        """)
    try withFairlead(options) { (daemon) throws in
      let curl = { (url: String, arguments: [String]) throws in
        try TLSPeers.curl(daemon.directory, daemon.address, url, arguments)
      }
      #expect(try curl("https://x.example/", ["--http2"]) == "two x.example HTTP/2.0")
      #expect(try curl("https://x.example/", ["--http1.1"]) == "one x.example HTTP/1.1")
      #expect(try curl("https://x.example/", ["--no-alpn"]) == "one x.example HTTP/1.1")
      #expect(try curl("https://two/", []) == "two two HTTP/2.0")
      #expect(try TLSPeers.hellos(daemon, "route") == 3 && TLSPeers.hellos(daemon, "name") == 1)
      #expect(try daemon.admin.value("fairlead_route_requests_total{route=\"h2\"}") == 1)
      #expect(try daemon.admin.value("fairlead_route_requests_total{route=\"rest\"}") == 2)
    }
  }

  @Test("openssl at both ends, with its hello sent byte by byte, in records of one byte")
  func openssl() throws {
    let openssl = try #require(findTool("openssl"))
    let directory = try TemporaryDirectory()
    try makeCertificate(in: directory, names: ["db.local"])
    let address = LoopbackAddress(port: try probablyFreePort())
    let server = try Child(
      [
        openssl, "s_server", "-accept", "\(address)", "-cert", directory.path("cert.pem"), "-key",
        directory.path("key.pem"), "-rev", "-quiet",
      ], directory: directory, name: "s_server")
    defer { server.stop(seconds: 1) }
    #expect(eventually(seconds: 10) { (try? RawClient(address)) != nil })
    let script = try directory.write("dribble.py", dribbleScript)
    try withFairlead(TLSPeers.options(["db.local": [address]])) { (daemon) throws in
      for kind in ["bytes", "records", "whole"] {
        let client = try Child(
          ["python3", script, "\(daemon.address.port)", "db.local", kind], directory: directory, name: kind)
        #expect(client.wait(seconds: 30) == .exited(0), "\(kind): \(client.standardError)")
        #expect(client.standardOutput == "olleh\n", "\(kind)")
      }
      #expect(try TLSPeers.hellos(daemon, "name") == 3)
      // An old client that names no server has nowhere to go.
      let nameless = try Child(
        [openssl, "s_client", "-connect", "\(daemon.address)", "-noservername"], directory: directory, name: "s_client")
      #expect(nameless.wait(seconds: 20).map { $0 != .exited(0) } ?? false)
      #expect(try daemon.waitForError("FL1205"))
      #expect(try TLSPeers.hellos(daemon, "unnamed") == 1)
    }
  }

  @Test("every byte arrives, however it is cut, and half-close goes through both ways", arguments: [0, 1, 5, 9, 100])
  func bytes(_ cut: Int) throws {
    let hello = HelloBuilder(extensions: [(0, .names(["web"])), (21, .raw([UInt8](repeating: 0, count: 200)))])
    let fragments = cut == 0 ? [hello.message] : [Array(hello.message[..<cut]), Array(hello.message[cut...])]
    let sent = HelloBuilder.records(fragments) + (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    let upstream = try ScriptedUpstream { connection in
      connection.waitForEnd()
      try connection.send("goodbye")
    }
    try withFairlead(TLSPeers.options(["web": [upstream.address]]), upstreams: [upstream]) { (daemon) throws in
      let whole = try daemon.connect()
      try whole.send(sent)
      whole.shutdownWrite()
      #expect(try whole.readToEnd().bytes == Array("goodbye".utf8))
      let pieces = try daemon.connect()
      for start in stride(from: 0, to: sent.count, by: 97) {
        try pieces.send(sent[start..<min(start + 97, sent.count)])
      }
      pieces.shutdownWrite()
      #expect(try pieces.readToEnd().bytes == Array("goodbye".utf8))
      #expect(upstream.wait { $0.count == 2 && $0.allSatisfy { $0.received == sent } })
    }
  }

  @Test("what is no ClientHello is refused and counted, and reaches nobody")
  func refused() throws {
    let upstream = try ScriptedUpstream(.answering)
    try withFairlead(TLSPeers.options(["web": [upstream.address]]), upstreams: [upstream]) { (daemon) throws in
      let hello = HelloBuilder(extensions: [(0, .names(["web"]))])
      var wrong = hello.bytes
      wrong[wrong.count - 4] = 9
      let cases: [(bytes: [UInt8], code: String, outcome: String)] = [
        (Array("GET / HTTP/1.1\r\nhost: web\r\n\r\n".utf8), "FL1201", "foreign"),
        ([0x80, 0x2E, 1, 3, 1, 0], "FL1201", "foreign"), (wrong, "FL1202", "malformed"),
        ([22, 3, 1, 0, 4, 1, 0xFF, 0xFF, 0xFF], "FL1203", "oversized"),
      ]
      for (bytes, code, outcome) in cases {
        let client = try daemon.connect()
        try client.send(bytes)
        try expectClosed(client)
        #expect(try daemon.waitForError(code), "\(code)")
        #expect(try TLSPeers.hellos(daemon, outcome) >= 1, "\(outcome)")
      }
      // Cut short by silence, and by the client's end.
      let silent = try daemon.connect()
      try silent.send(Array(hello.bytes.dropLast()))
      try expectClosed(silent)
      let ended = try daemon.connect()
      try ended.send(Array(hello.bytes.prefix(20)))
      ended.shutdownWrite()
      try expectClosed(ended)
      #expect(try daemon.waitForError("FL1204", count: 2))
      #expect(try TLSPeers.hellos(daemon, "truncated") == 2)
      // Who only looks whether somebody listens is no failure.
      let probe = try daemon.connect()
      probe.shutdownWrite()
      try expectClosed(probe)
      #expect(try TLSPeers.hellos(daemon, "truncated") == 2)
      // Too many bytes that never become a message.
      let flood = try daemon.connect()
      flood.sendRegardless(HelloBuilder.records([UInt8](repeating: 1, count: 9000).map { [$0] }))
      try expectClosed(flood)
      #expect(upstream.connections.isEmpty)
    }
  }
}

/// A real TLS client whose first flight goes out in tiny pieces.
private let dribbleScript = """
  import socket, ssl, sys, time
  port, name, kind = int(sys.argv[1]), sys.argv[2], sys.argv[3]
  context = ssl.create_default_context()
  context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
  incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
  tls = context.wrap_bio(incoming, outgoing, server_hostname=name)
  peer = socket.create_connection(("127.0.0.1", port), 10)
  peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
  first = True

  def flush():
      global first
      data = outgoing.read()
      if data and first:
          first = False
          if kind == "records":
              data = b"".join(data[:3] + b"\\0\\1" + data[i:i + 1] for i in range(5, len(data)))
          if kind == "bytes":
              for byte in data:
                  peer.sendall(bytes([byte]))
                  time.sleep(0.0005)
              return
      peer.sendall(data)

  def until(step):
      while True:
          try:
              return step()
          except ssl.SSLWantReadError:
              flush()
              got = peer.recv(65536)
              if not got: sys.exit("the server has ended")
              incoming.write(got)

  until(tls.do_handshake)
  tls.write(b"hello\\n")
  flush()
  got = b""
  while not got.endswith(b"\\n"): got += until(lambda: tls.read(100))
  print(got.decode(), end="")

  """
