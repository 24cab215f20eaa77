// Captured connections: real kernel rules in namespaces of the test's own, clients that know nothing of a proxy, and a server
// that says who it saw.

import TestSupport
import Testing

@Suite("Captured traffic", needsDaemon, needsNetworks)
struct CapturedTrafficTests {
  @Test("the node's own processes: HTTP by name and by original destination, TCP as it is", arguments: Family.allCases)
  func local(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let server = family.server
      // An unknown name goes where the client meant to; the server sees the node.
      #expect(try network.client(.node, "get", server, "8080", "other", "/x") == "200 \(family.node) other /x")
      // A known name goes to its service, wherever the client had connected to: nobody listens at this port.
      let name = family == .v4 ? "web" : "web6"
      #expect(try network.client(.node, "get", server, "9", name) == "200 \(family.node) \(name) /")
      #expect(try network.client(.node, "echo", server, "7777", "\u{1}opaque") == "\u{1}opaque")
      #expect(try network.client(.node, "greeted", server, "7025") == "220 hello xbye")
      #expect(try network.client(.node, "bulk", server, "7777", "24", seconds: 60) == "True")
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"http1\"}") == 2)
      #expect(try proxy.admin.value("fairlead_streams_total{listener=\"outbound\",service=\"(original)\"}") == 3)
      let bytes = try proxy.admin.value("fairlead_stream_bytes_total{service=\"(original)\",direction=\"in\"}") ?? 0
      #expect(bytes == Double(24 << 20) + 7 + 1)
    }
  }

  @Test("HTTP/2 is known by its preface, whole or in pieces, and goes where its requests' names lead")
  func http2() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    let services = "services: [{ name: /svc, protocol: http1 }]\n"
    try network.withProxy(network.captureConfiguration(services)) { (proxy) throws in
      let answer = try network.run(
        .node,
        [
          "curl", "-s", "--max-time", "10", "--http2-prior-knowledge", "-H", "Host: web", "-o", "/dev/null", "-w",
          "%{http_version} %{http_code}", "http://10.9.0.2:9/x",
        ])
      #expect(answer.line == "2 200")
      // A preface byte by byte is HTTP/2 all the same: it is answered with settings, not echoed.
      let dribble = """
        import socket, time
        s = socket.create_connection(('10.9.0.2', 7777), 10)
        for b in b'PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n' + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]):
            s.sendall(bytes([b])); time.sleep(0.002)
        print(s.recv(9)[3])
        """
      #expect(try network.run(.node, ["python3", "-c", dribble]).line == "4")
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"http2\"}") == 2)
    }
  }

  @Test("TLS: where a rule says, else to its original destination; and other protocols at the same port")
  func tls() throws {
    let network = try TestNetwork()
    try makeCertificate(in: network.directory, names: ["shop.local"])
    let files = ["-cert", network.directory.path("cert.pem"), "-key", network.directory.path("key.pem")]
    for port in ["7443", "7444"] {
      try network.start(.server, ["openssl", "s_server", "-accept", port, "-www", "-quiet"] + files, name: "s\(port)")
    }
    try network.startServer()
    try network.redirectLocal()
    let routes = """
      routes: [{ name: moved, match: { sni: ["*.moved.local"] }, to: /svc/moved }]
      """
    let configuration = network.captureConfiguration(routes).replacing(
      "services: { web:", with: "services: { moved: [\"10.9.0.2:7444\"], web:")
    try network.withProxy(configuration) { (proxy) throws in
      func curl(_ name: String, _ port: String) throws -> String {
        try network.run(
          .node,
          [
            "curl", "-sk", "--max-time", "10", "-o", "/dev/null", "-w", "%{http_code}", "--connect-to",
            "::10.9.0.2:\(port)", "https://\(name)/",
          ]
        ).line
      }
      func hellos(_ outcome: String) throws -> Double {
        try proxy.admin.value("fairlead_client_hellos_total{listener=\"outbound\",outcome=\"\(outcome)\"}") ?? 0
      }
      #expect(eventually(seconds: 10) { (try? curl("shop.local", "7443")) == "200" })
      let before = try hellos("original")
      #expect(before >= 1)
      // Nobody listens at this port: the name alone leads to its service.
      #expect(try curl("x.moved.local", "9") == "200")
      #expect(try hellos("route") == 1 && hellos("original") == before)
      #expect(try proxy.admin.value("fairlead_streams_total{listener=\"outbound\",service=\"moved\"}") == 1)
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"tls\"}")
          == before + 1)
      // What begins like TLS and is none goes on, and so does what never comes to its end.
      let malformed = "\u{16}\u{3}\u{1}\u{1}\u{1}\u{1}\u{7F}\u{7F}\u{7F}rest"
      #expect(try network.client(.node, "echo", "10.9.0.2", "7777", malformed) == malformed)
      let started = "\u{16}\u{3}\u{1}\u{1}\u{1}\u{1}"
      #expect(try network.client(.node, "echo", "10.9.0.2", "7777", started) == started)
      #expect(try hellos("oversized") == 1 && hellos("truncated") == 1)
      // The same port takes the others as before.
      #expect(try network.client(.node, "get", "10.9.0.2", "9", "web") == "200 10.9.0.1 web /")
      #expect(try network.client(.node, "greeted", "10.9.0.2", "7025") == "220 hello xbye")
    }
  }

  @Test("detection waits for a whole line, a while, or the client's end", arguments: Family.allCases)
  func detection(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let server = family.server
      // Byte by byte, with a method nobody has heard of.
      let answer = try network.client(
        .node, "dribble", server, "8080", "GET /slow HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n")
      #expect(answer.hasPrefix("'HTTP/1.1 200"), "\(answer)")
      #expect(try network.client(.node, "dribble", server, "7777", "SET a b\\r\\n", "0.001").hasPrefix("'S"))
      // Silence first: then even HTTP is carried as it is, and nothing of it is lost.
      #expect(try network.client(.node, "late", server, "7777", "0.8", "GET / HTTP/1.1") == "GET / HTTP/1.1")
      // Cut in the middle of what could have become a request line.
      #expect(try network.client(.node, "echo", server, "7777", "GE") == "GE")
      #expect(try network.client(.node, "echo", server, "7777", "CONNECT a:1 HTTP/1.1") == "CONNECT a:1 HTTP/1.1")
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"http1\"}") == 1)
      #expect(try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"tcp\"}") == 4)
    }
  }

  @Test("what the destination refuses is reset, and an HTTP request gets 502", arguments: Family.allCases)
  func refusedDestination(_ family: Family) throws {
    let network = try TestNetwork()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      #expect(try network.client(.node, "ending", family.server, "9") == "ConnectionResetError")
      #expect(try network.client(.node, "get", family.server, "9", "other") == "502 FL2101")
      #expect(try proxy.waitForError("FL2101", count: 2))
    }
  }

  @Test("straight connections and loops are refused with a code", arguments: Family.allCases)
  func straight(_ family: Family) throws {
    let network = try TestNetwork()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let loopback = family == .v4 ? "127.0.0.1" : "::1"
      #expect(try network.client(.node, "get", loopback, "4140", "web") == "421 FL2302")
      #expect(try network.client(.client, "get", family.node, "4141", "web") == "421 FL2302")
      #expect(try network.client(.node, "get", family.node, "4140", "web") == "508 FL2303")
      #expect(try proxy.waitForError("FL2302", count: 2))
      // It serves on.
      #expect(try proxy.admin.get("/ready").status == 200)
    }
  }

  @Test("unresolved: refuse answers requests of unknown names; streams have no name and pass")
  func refuseUnresolved() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration(unresolved: "refuse")) { (_) throws in
      #expect(try network.client(.node, "get", "10.9.0.2", "8080", "other") == "404 FL2003")
      #expect(try network.client(.node, "get", "10.9.0.2", "9", "web") == "200 10.9.0.1 web /")
      #expect(try network.client(.node, "echo", "10.9.0.2", "7777", "\u{1}x") == "\u{1}x")
    }
  }

  @Test("a namespace behind the node, by REDIRECT: the server sees the node", arguments: Family.allCases)
  func forwarded(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectForwarded()
    try network.withProxy(network.captureConfiguration()) { (_) throws in
      #expect(try network.client(.client, "get", family.server, "8080", "other") == "200 \(family.node) other /")
      #expect(try network.client(.client, "get", family.server, "9", "web") == "200 10.9.0.1 web /")
      #expect(try network.client(.client, "echo", family.server, "7777", "\u{1}x") == "\u{1}x")
    }
  }

  @Test("a namespace behind the node, by TPROXY: the server sees the client", arguments: Family.allCases)
  func transparent(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.transparent()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let name = family == .v4 ? "web" : "web6"
      #expect(try network.client(.client, "get", family.server, "8080", "other") == "200 \(family.client) other /")
      #expect(try network.client(.client, "get", family.server, "9", name) == "200 \(family.client) \(name) /")
      // Kept connections belong to the client they speak for.
      #expect(try network.client(.client, "get", family.server, "9", name) == "200 \(family.client) \(name) /")
      #expect(try network.client(.client, "echo", family.server, "7777", "\u{1}x") == "\u{1}x")
      #expect(try network.client(.client, "bulk", family.server, "7777", "8", seconds: 60) == "True")
      #expect(try proxy.admin.value("fairlead_sources_not_kept_total") == 0)
    }
  }

  @Test("inbound: a request goes to the workload it was sent to, whatever its name", arguments: Family.allCases)
  func inbound(_ family: Family) throws {
    let network = try TestNetwork()
    // A server elsewhere that its name would lead to, and the workload that the client means.
    try network.startServer()
    try network.startServer(on: .node)
    let rule = [
      "-t", "nat", "-A", "PREROUTING", "-i", "toclient", "-p", "tcp", "-m", "multiport", "--dports", "8080,7777",
    ]
    try network.run(.node, [family.iptables] + rule + ["-j", "REDIRECT", "--to-ports", "4143"]).expectSuccess()
    try network.withProxy(network.captureConfiguration(shards: 2)) { (proxy) throws in
      let node = family == .v4 ? "10.8.0.1" : "fd08::1"
      #expect(try network.client(.client, "get", node, "8080", "web") == "200 \(node) web /")
      #expect(try network.client(.client, "echo", node, "7777", "\u{1}x") == "\u{1}x")
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"inbound\",protocol=\"http1\"}") == 1)
    }
  }

  @Test("as many destinations as the limit are carried at once, one more is refused, and room comes back")
  func destinationLimit() throws {
    let network = try TestNetwork()
    try network.startServer()
    // Every address of the network is the server's.
    try network.run(.server, ["ip", "route", "add", "local", "10.50.0.0/24", "dev", "lo"]).expectSuccess()
    try network.run(.node, ["ip", "route", "add", "10.50.0.0/24", "via", "10.9.0.2"]).expectSuccess()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration(limits: "destinations: 8")) { (proxy) throws in
      #expect(try network.client(.node, "many", "10.50.0.1", "7777", "8") == "8")
      #expect(try network.client(.node, "many", "10.50.0.100", "7777", "9") == "8")
      #expect(try proxy.waitForError("FL2206"))
      // Idle connections of HTTP hold no place against others.
      for number in 1...20 {
        #expect(try network.client(.node, "get", "10.50.0.\(number)", "8080", "other") == "200 10.9.0.1 other /")
      }
      #expect(try proxy.admin.value("fairlead_original_destinations") == 8)
    }
  }

  @Test("connections whose kernel state is taken away end, and the proxy serves on")
  func kernelStateLost() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectForwarded()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      for tool in [["conntrack", "-D"], ["ss", "-K", "dport", "=", "7777"], ["ss", "-K", "sport", "=", "4140"]] {
        guard findTool(tool[0]) != nil else { continue }
        let held = try network.start(
          .client, ["python3", network.directory.path("peer.py"), "many", "10.9.0.2", "7777", "1", "1"],
          name: "held-\(tool.joined())".replacing(" ", with: ""))
        #expect(
          eventually(seconds: 10) { (try? proxy.admin.value("fairlead_connections{direction=\"upstream\"}")) ?? 0 >= 1 }
        )
        try network.run(.node, tool)
        #expect(held.wait(seconds: 20) == .exited(0))
        #expect(try network.client(.client, "echo", "10.9.0.2", "7777", "\u{1}x") == "\u{1}x")
        #expect(try network.client(.client, "get", "10.9.0.2", "8080", "other") == "200 10.9.0.1 other /")
      }
      // A host that vanishes takes its connections with it.
      let lost = try network.start(
        .client, ["python3", network.directory.path("peer.py"), "many", "10.9.0.2", "7777", "20", "60"], name: "lost")
      #expect(
        eventually(seconds: 10) { (try? proxy.admin.value("fairlead_connections{direction=\"downstream\"}")) ?? 0 >= 1 }
      )
      lost.signal(9)
      try network.run(.node, ["ip", "link", "del", "toclient"]).expectSuccess()
      #expect(try proxy.admin.get("/ready").status == 200)
      try network.run(.node, ["ss", "-K", "sport", "=", "4140"])
    }
  }
}
