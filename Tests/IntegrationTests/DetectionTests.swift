// Every protocol by one captured port, each with a client and a server that nobody here wrote: none of them says which it is, and none
// knows of a proxy.

import TestSupport
import Testing

@Suite("Detection on a captured port", needsDaemon, needsNetworks)
struct DetectionTests {
  /// A client on the node, and what it is to say when it was served.
  struct Visitor: Sendable, CustomTestStringConvertible {
    var name: String
    var protocolLabel: String
    var command: [String]
    var answer: String

    var testDescription: String { name }
  }

  /// Whatever they want goes to this port of the server, where only an echo listens: names lead elsewhere.
  private static let port = "7777"
  private static let server = "10.9.0.2"

  private static func visitors(_ python: String) -> [Visitor] {
    func curl(_ url: String, _ more: String...) -> [String] {
      ["curl", "-sSk", "--max-time", "10", "--connect-to", "::\(server):\(port)", "-o", "/dev/null", "-w"]
        + ["%{http_code} %{http_version}"] + more + [url]
    }
    func peer(_ what: String, _ port: String = DetectionTests.port) -> [String] {
      [python, ConformanceCases.directory + "/detection_peers.py", what, server, port]
    }
    return [
      Visitor(name: "HTTP/1", protocolLabel: "http1", command: curl("http://web/x", "--http1.1"), answer: "200 1.1"),
      Visitor(
        name: "HTTP/2", protocolLabel: "http2", command: curl("http://web/x", "--http2-prior-knowledge"),
        answer: "200 2"),
      Visitor(name: "gRPC", protocolLabel: "http2", command: peer("grpc"), answer: "THREE SMALL WORDS"),
      Visitor(name: "WebSocket", protocolLabel: "http1", command: peer("websocket"), answer: "A MESSAGE"),
      Visitor(
        name: "TLS", protocolLabel: "tls", command: curl("https://www.shop.local/", "--http1.1"), answer: "200 1"),
      Visitor(
        name: "opaque TCP", protocolLabel: "tcp", command: peer("echo"), answer: #"b'SET key value\r\n\x00\xff'"#),
      Visitor(
        name: "the server speaks first", protocolLabel: "tcp", command: peer("smtp", "7025"),
        answer: "mail.local speaks first, noop"),
    ]
  }

  private func withServers(_ body: (TestNetwork, FairleadProcess, [Visitor]) throws -> Void) throws {
    let python = try #require(ConformanceCases.python, "\(ConformanceCases.problem)")
    let network = try TestNetwork()
    try makeCertificate(in: network.directory, names: ["www.shop.local"])
    try network.start(
      .server,
      [
        "openssl", "s_server", "-accept", "7443", "-www", "-quiet", "-cert", network.directory.path("cert.pem"), "-key",
        network.directory.path("key.pem"),
      ], name: "tls")
    _ = try network.directory.write("x", "content")
    try network.start(
      .server, ["python3", "-m", "http.server", "8080", "--directory", network.directory.path("")], name: "web")
    let peers = try network.start(
      .server, [python, ConformanceCases.directory + "/detection_peers.py", "serve", Self.server], name: "peers")
    #expect(
      eventually(seconds: 20) { peers.standardOutput.contains("ready") || !peers.isRunning } && peers.isRunning,
      "\(peers.standardError)")
    for port in ["7443", "8080"] {
      let probe = "import socket, sys; socket.create_connection(('\(Self.server)', \(port)), 1)"
      #expect(eventually(seconds: 20) { (try? network.run(.node, ["python3", "-c", probe]).status) == .exited(0) })
    }
    try network.redirectLocal()
    let extra = """
      routes: [{ name: shop, match: { sni: ["*.shop.local"] }, to: /svc/shop }]
      services: [{ name: /svc, protocol: http1 }, { name: /svc/grpc, protocol: http2 }]
      """
    let configuration = network.captureConfiguration(extra).replacing(
      "services: { web:",
      with: "services: { grpc: [\"10.9.0.2:7001\"], ws: [\"10.9.0.2:7002\"], shop: [\"10.9.0.2:7443\"], web:")
    try network.withProxy(configuration) { proxy in
      try body(network, proxy, Self.visitors(python))
    }
  }

  private func captured(_ proxy: FairleadProcess, _ label: String) throws -> Double {
    try proxy.admin.value("fairlead_captured_connections_total{listener=\"outbound\",protocol=\"\(label)\"}") ?? 0
  }

  @Test("HTTP/1, HTTP/2, gRPC, WebSocket, TLS, TCP and servers that speak first, one after the other and all at once")
  func everything() throws {
    try withServers { network, proxy, visitors in
      for visitor in visitors {
        let before = try captured(proxy, visitor.protocolLabel)
        let output = try network.run(.node, visitor.command)
        #expect(output.line == visitor.answer, "\(visitor): \(output.text)\(output.errors)")
        #expect(try captured(proxy, visitor.protocolLabel) == before + 1, "\(visitor)")
      }
      let children = try visitors.enumerated().map { place, visitor in
        (visitor, try network.start(.node, visitor.command, name: "visitor\(place)"))
      }
      for (visitor, child) in children {
        #expect(child.wait(seconds: 30) == .exited(0), "\(visitor): \(child.standardError)")
        #expect(child.standardOutput.hasPrefix(visitor.answer), "\(visitor): \(child.standardOutput)")
      }
      for label in ["http1", "http2", "tcp"] { #expect(try captured(proxy, label) == 4, "\(label)") }
      #expect(try captured(proxy, "tls") == 2)
      #expect(try proxy.admin.metrics().sum("fairlead_errors_total") == 0)
    }
  }
}
