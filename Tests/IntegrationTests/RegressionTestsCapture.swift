// Regressions in captured traffic and in what it shares with other traffic: places of connections, clients that say nothing,
// endpoints on the node itself. Each test names the bug it was written for.

import TestSupport
import Testing

@Suite("Regressions: captured traffic", needsDaemon, needsNetworks)
struct CaptureRegressionTests {
  // Bug: the connection was closed, as one nobody had used.
  @Test("a client that ends its side without a byte still hears a server that speaks first", arguments: Family.allCases)
  func silentClient(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    let configuration = network.captureConfiguration().replacing("[7025]", with: "[]")
    try network.withProxy(configuration) { (_) throws in
      #expect(try network.client(.node, "silent", family.server, "7025") == "['220', 'hello', 'bye']")
    }
  }

  // Bug: with all places taken by idle connections to other destinations, a request waited until its time was over.
  @Test("an idle connection to one destination gives its place to another destination")
  func placesOfDestinations() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.run(.server, ["ip", "route", "add", "local", "10.50.0.0/24", "dev", "lo"]).expectSuccess()
    try network.run(.node, ["ip", "route", "add", "10.50.0.0/24", "via", "10.9.0.2"]).expectSuccess()
    try network.redirectLocal()
    try network.withProxy(network.captureConfiguration(limits: "connections: 3")) { (proxy) throws in
      for number in 1...5 {
        #expect(try network.client(.node, "get", "10.50.0.\(number)", "8080", "other") == "200 10.9.0.1 other /")
      }
      #expect(try network.client(.node, "echo", "10.50.0.9", "7777", "\u{1}x") == "\u{1}x")
      #expect(try proxy.admin.value("fairlead_pending_requests") == 0)
    }
  }

  // Bug: the same for a stream, which can never use an idle connection of its own service.
  @Test("a stream takes the place of its service's idle connection, and passes over endpoints that refuse")
  func placesOfStreams() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    let configuration =
      network.captureConfiguration("services: [{ name: /svc/web, limits: { connections: 1 } }]")
      .replacing("discovery:", with: "  - { name: plain, address: \":4142\", protocol: tcp, to: /svc/web }\ndiscovery:")
      .replacing("web: [", with: "web: [\"10.9.0.2:9\", \"10.9.0.2:10\", ")
    try network.withProxy(configuration) { (proxy) throws in
      for _ in 0..<3 {
        #expect(try network.client(.node, "get", "10.9.0.2", "9", "web") == "200 10.9.0.1 web /")
        #expect(try network.client(.node, "get", "127.0.0.1", "4142", "any") == "200 10.9.0.1 any /")
      }
      #expect(try proxy.admin.value("fairlead_streams_total{listener=\"plain\",service=\"web\"}") == 3)
    }
  }

  // Bug: the endpoint answered to the client itself, past the proxy: a time-out.
  @Test("TPROXY: an endpoint on the node is spoken to from the node's own address", arguments: Family.allCases)
  func endpointOnNode(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer(on: .node)
    try network.transparent()
    let configuration = network.captureConfiguration()
      .replacing("web: [", with: "near: [\"10.9.0.1:8080\"], near6: [\"[fd09::1]:8080\"], web: [")
    try network.withProxy(configuration) { (proxy) throws in
      let name = family == .v4 ? "near" : "near6"
      #expect(try network.client(.client, "get", family.server, "9", name) == "200 \(family.node) \(name) /")
      #expect(try proxy.admin.value("fairlead_sources_not_kept_total") == 1)
    }
  }

  // Bug: with net.ipv4.ip_nonlocal_bind every address counted as the node's own, so no client's address was kept, and what was
  // on its way to another host's port 4141 was taken for a loop.
  @Test("TPROXY on a host that may bind to any address", arguments: Family.allCases)
  func floatingAddresses(_ family: Family) throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.transparent()
    for setting in ["net.ipv4.ip_nonlocal_bind=1", "net.ipv6.ip_nonlocal_bind=1"] {
      try network.run(.node, ["sysctl", "-qw", setting]).expectSuccess()
    }
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let name = family == .v4 ? "web" : "web6"
      for port in ["8080", "4141"] {
        #expect(try network.client(.client, "get", family.server, port, name) == "200 \(family.client) \(name) /")
      }
      #expect(try proxy.admin.value("fairlead_sources_not_kept_total") == 0)
    }
  }

  // Bug: one lost packet of a handshake reset the client, which by itself would have tried again.
  @Test("a destination that does not answer a connect is asked again")
  func lostHandshake() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    let dropped = ["INPUT", "-p", "tcp", "--dport", "7777", "--syn", "-j", "DROP"]
    try network.run(.server, ["iptables", "-A"] + dropped).expectSuccess()
    try network.withProxy(network.captureConfiguration()) { (proxy) throws in
      let client = try network.start(
        .node, ["python3", network.directory.path("peer.py"), "echo", "10.9.0.2", "7777", "again"], name: "asking")
      #expect(try eventually { try proxy.admin.value("fairlead_connect_failures_total") == 1 })
      try network.run(.server, ["iptables", "-D"] + dropped).expectSuccess()
      #expect(client.wait(seconds: 20) == .exited(0))
      #expect(client.standardOutput == "again\n")
    }
  }

  // Bug: only connections that detection had looked at were counted.
  @Test("captured connections of a listener that knows its protocol are counted as well")
  func countedWithoutDetection() throws {
    let network = try TestNetwork()
    try network.startServer()
    try network.redirectLocal()
    let configuration = network.captureConfiguration()
      .replacing("capture: redirect,", with: "capture: redirect, protocol: http1,")
    try network.withProxy(configuration) { (proxy) throws in
      #expect(try network.client(.node, "get", "10.9.0.2", "8080", "other") == "200 10.9.0.1 other /")
      #expect(
        try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"http1\"}") == 1)
    }
  }
}

@Suite("Regressions: places of connections", needsDaemon)
struct PlaceRegressionTests {
  // Bug: a connection that came free on one shard was kept idle there while a request waited for its place on another.
  @Test("a request that waits on one shard gets the place of a connection that comes free on another")
  func placesOfShards() throws {
    let mayAnswer = Gate()
    let upstream = try ScriptedUpstream(
      Script { connection in
        while let request = try connection.readRequest() {
          guard mayAnswer.wait() else { return }
          try connection.respond(to: request, body: "ok")
        }
      })
    var options = FairleadOptions(upstream)
    options.shards = 2
    options.policy = ["limits": "{ connections: 1 }"]
    try withFairlead(options, upstreams: [upstream]) { daemon in
      let clients = try (0..<12).map { _ in try daemon.connect() }
      for client in clients { try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n") }
      #expect(try eventually { try daemon.admin.value("fairlead_pending_requests") == 11 })
      mayAnswer.open()
      for client in clients { #expect(try client.readResponse().status == 200) }
    }
  }
}
