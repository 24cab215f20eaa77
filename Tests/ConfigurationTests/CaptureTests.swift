// `capture` and the listeners' keys that go with it.

import Base
import Configuration
import Policy
import Testing

@Suite("Capture keys")
struct CaptureKeyTests {
  @Test("what is not written has its default")
  func defaults() throws {
    let capture = try Configuration.parse("listeners: [{name: a, address: \":0\"}]\n").capture
    #expect(capture == Configuration.Capture())
    #expect(capture.processes && capture.interfaces.isEmpty && capture.onFailure == .bypass)
    #expect(capture.excludePorts.map(\.description) == ["22"])
    #expect(capture.mark == 0xFA1 && capture.routingMark == 0xFA2 && capture.routingTable == 4140)
    #expect(capture.detectTimeout == .seconds(3))
    #expect(capture.serverFirstPorts.contains(3306))
  }

  @Test("every key is read, and written back the same")
  func everyKey() throws {
    let configuration = try Configuration.parse(
      """
      listeners:
        - { name: out, address: ":4140", capture: redirect, unresolved: refuse }
        - { name: in, address: ":4143", direction: inbound, capture: tproxy }
        - { name: redis, address: ":6379", protocol: tcp, to: /svc/redis }
      discovery: [{ kind: static, prefix: static, services: { redis: ["127.0.0.1:1"] } }]
      delegations: "/svc => /#/static ;"
      capture:
        processes: false
        interfaces: [br-+, veth0]
        ports: [80, 9000-9100]
        excludePorts: []
        excludeAddresses: [10.0.0.0/8, "fd00::/8", 1.2.3.4]
        excludeUsers: [root, "1000"]
        inboundPorts: [8080]
        user: proxy
        mark: 0x10
        routingMark: 17
        routingTable: 100
        onFailure: refuse
        detectTimeout: 250ms
        serverFirstPorts: [25, 5000-5002]
      services: [{ name: /svc, timeouts: { stream: 2h } }]

      """)
    let capture = configuration.capture
    #expect(!capture.processes)
    #expect(capture.interfaces == ["br-+", "veth0"])
    #expect(capture.ports.map(\.description) == ["80", "9000-9100"])
    #expect(capture.excludePorts.isEmpty)
    #expect(capture.excludeAddresses.map(\.description) == ["10.0.0.0/8", "fd00::/8", "1.2.3.4"])
    #expect(capture.excludeUsers == ["root", "1000"])
    #expect(capture.inboundPorts.map(\.description) == ["8080"])
    #expect(capture.user == "proxy")
    #expect((capture.mark, capture.routingMark, capture.routingTable) == (16, 17, 100))
    #expect(capture.onFailure == .refuse)
    #expect(capture.detectTimeout == .milliseconds(250))
    #expect(capture.serverFirstPorts == [25, 5000, 5001, 5002])
    #expect(configuration.listeners.map(\.capture) == [.redirect, .tproxy, .none])
    #expect(configuration.listeners.map(\.unresolved) == [.refuse, .forward, .forward])
    #expect(configuration.listeners[2].to?.description == "/svc/redis")
    #expect(configuration.policy(forServiceName: "/svc/redis").timeouts.stream == .seconds(7200))
    let again = try Configuration.parse(configuration.render())
    #expect(again.capture == capture)
    #expect(again.listeners == configuration.listeners)
  }

  @Test("where CONNECT may lead is a list of destinations, and nothing for what cannot take it")
  func connect() throws {
    func listener(_ keys: String) -> String { "listeners: [{name: outbound, address: \":4140\", \(keys)}]" }
    let entries = #"connect: ["10.0.0.0/8:443", "db.example:5432", "*.svc:*", "[::1]:80-90"]"#
    let configuration = try Configuration.parse(listener(entries))
    #expect(
      configuration.listeners[0].connect.map(\.description) == [
        "10.0.0.0/8:443", "db.example:5432", "*.svc:*", "[::1]:80-90",
      ])
    let again = try Configuration.parse(configuration.render())
    #expect(again.listeners == configuration.listeners)
    #expect(try Configuration.parse(listener("protocol: http2")).listeners[0].connect.isEmpty)
    #expect(
      findings(listener(#"connect: ["db.example", "10.0.0.1/8:443", ":80"]"#)).map { $0.split(separator: ": ")[1] } == [
        "'db.example' is not a destination", "'10.0.0.1/8:443' is not a destination", "':80' is not a destination",
      ])
    #expect(
      findings(listener("capture: redirect, \(entries)")).contains {
        $0.hasSuffix("captured connections go where their clients meant to; write capture: none")
      })
    #expect(
      findings(listener("protocol: tls, \(entries)")).contains {
        $0.hasSuffix("'connect' is for listeners that take HTTP requests; write protocol: detect")
      })
  }

  @Test(
    "a wrong value is refused with what it may be",
    arguments: [
      ("ports: [http]", "2:19: 'http' is not a port: "),
      ("ports: [0]", "2:19: '0' is not a port: "),
      ("ports: [90-80]", "2:19: '90-80' is not a port: "),
      ("excludeAddresses: [10.0.0.0/33]", "2:30: '10.0.0.0/33' is not a network: "),
      ("excludeUsers: [\"-j ACCEPT\"]", "2:26: '-j ACCEPT' is no name of a user"),
      ("interfaces: [\"eth0 -j\"]", "2:24: 'eth0 -j' is no name of an interface"),
      ("interfaces: [averyverylongname]", "2:24: 'averyverylongname' is no name of an interface"),
      ("interfaces: [a+b]", "2:24: 'a+b' is no name of an interface"),
      ("mark: 0", "2:17: 'capture.mark' must be a number between 1 and 0xffffffff, not '0'"),
      ("mark: 0x100000000", "2:17: 'capture.mark' must be a number between 1 and 0xffffffff, not '0x100000000'"),
      ("mark: -1", "2:17: 'capture.mark' must be a number between 1 and 0xffffffff, not '-1'"),
      ("mark: 0xfa2", "2:17: 'capture.mark' and 'capture.routingMark' must differ"),
      ("onFailure: open", "2:22: 'capture.onFailure' must be 'bypass' or 'refuse', not 'open'"),
      ("detectTimeout: 1h", "2:26: 'capture.detectTimeout' must be between 10ms and 1m, not 1h"),
      ("port: [80]", "2:11: unknown key 'port' in capture; did you mean 'ports'?"),
    ])
  func wrong(entry: String, expected: String) {
    let found = findings("listeners: [{name: a, address: \":0\"}]\ncapture: {\(entry)}\n")
    #expect(found.count == 1)
    #expect(found.first?.hasPrefix(expected) == true, "\(found)")
  }

  @Test("one entry more than the limit is refused, the limit is not")
  func bounded() {
    func file(_ count: Int) -> String {
      let ports = (1...count).map(String.init).joined(separator: ", ")
      return "listeners: [{name: a, address: \":0\"}]\ncapture: {ports: [\(ports)]}\n"
    }
    #expect(findings(file(256)).isEmpty)
    #expect(findings(file(257)).map { $0.contains("'capture.ports' has more than 256 entries") } == [true])
  }
}
