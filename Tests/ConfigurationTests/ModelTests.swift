// Good configurations: what their values are, defaults included.

import Base
import Configuration
import Policy
import Testing

@Suite("Values of a good configuration")
struct ModelTests {
  @Test("what is not written has the documented default")
  func defaults() throws {
    let configuration = try Configuration.parse(
      "listeners: [{name: outbound, address: 127.0.0.1:4140}]", hostName: "node-a")
    #expect(configuration.node == .init(name: "node-a", shards: .auto, via: true, drainTimeout: .seconds(30)))
    #expect(
      configuration.admin == .init(socket: "/run/fairlead/admin.sock", group: nil, operators: nil, http: nil))
    #expect(
      configuration.listeners == [
        .init(
          name: "outbound", address: .v4(.loopback, port: 4140), direction: .outbound, protocol: .detect, trust: .none)
      ])
    #expect(configuration.discovery.isEmpty && configuration.delegations.isEmpty && configuration.services.isEmpty)
    #expect(configuration.workloads.isEmpty)
    let limits = configuration.limits
    #expect(limits.headerBytes.bytes == 32768 && limits.headers == 128 && limits.requestLineBytes.bytes == 8192)
    #expect(limits.connections == 100_000 && limits.viaHops == 10)
    #expect(limits.headerTimeout == .seconds(10) && limits.idleTimeout == .seconds(60))
    #expect(configuration.telemetry == .init(accessLog: nil, maxSeries: 10_000))
    let policy = configuration.policy(forServiceName: "/svc/web")
    #expect(policy.balancer.kind == .p2c && policy.balancer.load == .ewma && policy.balancer.decay == .seconds(10))
    #expect(policy.timeouts.connect == .seconds(1) && policy.timeouts.request == .seconds(15))
    #expect(policy.timeouts.attempt == nil && policy.timeouts.idle == .seconds(60))
    #expect(policy.timeouts.stream == .seconds(3600) && policy.timeouts.tunnel == .seconds(3600))
    #expect(policy.limits.connections == 1024 && policy.limits.pending == 1024 && policy.limits.requests == 1024)
    #expect(policy.protocol == .same)
  }

  static let full = """
    node: {name: node-a, shards: 4, via: false, drainTimeout: 5s}
    admin: {socket: /tmp/a.sock, group: fairlead, operators: wheel, http: "127.0.0.1:9990"}
    listeners:
      - {name: outbound, address: "0.0.0.0:4140", direction: outbound, capture: none, protocol: detect, trust: clients,
         proxyProtocol: false}
      - {name: inbound, address: "[fe80::1%2]:4143", direction: inbound, protocol: http1}
      - {name: local, address: "unix:/tmp/l.sock"}
    discovery:
      - kind: static
        prefix: static
        services:
          web: [127.0.0.1:9001, "127.0.0.1:9002 * 2.0", "unix:/tmp/web.sock*0.5"]
          api: []
    delegations: |
      /svc => /#/static ;
      /svc/shop => /svc/web ;
    services:
      - name: /svc
        balancer: {kind: p2c, load: in-flight, decay: 20s}
        timeouts: {connect: 250ms, request: 5m, attempt: 5s, idle: 1h}
        limits: {connections: 1, pending: 0, requests: 3}
        rateLimit: {requests: 10, per: 250ms}
        protocol: http1
    workloads:
      - {name: web, match: {addresses: [10.1.0.5/32, "2001:db8::/32"], users: [www-data, 0033], cgroups: [/web.slice/]},
         weight: 2.5, rateLimit: {requests: 100, per: 1m, burst: 7}, connectionRate: {connections: 5}, onFailure: refuse}
      - {name: batch, match: {cgroups: [/]}}
    limits: {headerBytes: 64KiB, headers: 64, requestLineBytes: 4096, connections: 10, headerTimeout: 1s,
      idleTimeout: 5s, viaHops: 3, overload: {loopLag: 20ms, memory: 512MiB}}
    telemetry: {accessLog: {path: /var/log/a.log, format: text}, labels: {maxSeries: 5}}
    """

  @Test("what is written is there")
  func full() throws {
    let configuration = try Configuration.parse(Self.full)
    #expect(configuration.node == .init(name: "node-a", shards: .count(4), via: false, drainTimeout: .seconds(5)))
    #expect(
      configuration.admin
        == .init(socket: "/tmp/a.sock", group: "fairlead", operators: "wheel", http: .v4(.loopback, port: 9990)))
    #expect(configuration.listeners.map(\.name) == ["outbound", "inbound", "local"])
    #expect(
      configuration.listeners.map(\.address) == [
        .v4(.unspecified, port: 4140), .v6(IPv6Address(high: 0xFE80 << 48, low: 1), port: 4143, scope: 2),
        .unix(path: "/tmp/l.sock"),
      ])
    #expect(configuration.listeners.map(\.direction) == [.outbound, .inbound, .outbound])
    #expect(configuration.listeners.map(\.protocol) == [.detect, .http1, .detect])
    #expect(configuration.listeners.map(\.trust) == [.clients, .none, .none])
    let services = try #require(configuration.discovery.first).staticServices
    #expect(services.map(\.name) == ["web", "api"])
    #expect(services.first?.endpoints.map(\.weight) == [1, 2, 0.5])
    #expect(services.first?.endpoints.last?.address == .unix(path: "/tmp/web.sock"))
    #expect(configuration.delegations.map(\.entry.prefix.segments) == [["svc"], ["svc", "shop"]])
    #expect(configuration.delegations.map(\.entry.destination.description) == ["/#/static", "/svc/web"])
    #expect(
      try configuration.workloads == [
        .init(
          name: "web", addresses: [IPNetwork(parsing: "10.1.0.5"), IPNetwork(parsing: "2001:db8::/32")],
          users: ["www-data", "33"], cgroups: ["/web.slice"], weight: 2.5,
          rateLimit: .init(count: 100, period: .seconds(60), burst: 7), connectionRate: .init(count: 5, burst: 5),
          onFailure: .refuse),
        .init(name: "batch", cgroups: ["/"], weight: 1, onFailure: nil),
      ])
    #expect(configuration.limits.overload == .init(loopLag: .milliseconds(20), memory: .size(.mebibytes(512))))
    #expect(configuration.limits.requestLineBytes.bytes == 4096 && configuration.limits.viaHops == 3)
    #expect(configuration.telemetry.accessLog == .init(path: "/var/log/a.log", format: .text))
  }

  @Test("the effective configuration, written as JSON, reads back as the same values")
  func roundTrip() throws {
    for text in [Self.full, "listeners: [{name: a, address: \":0\"}]\nadmin: {socket: none}"] {
      let configuration = try Configuration.parse(text)
      let again = try Configuration.parse(configuration.render())
      #expect(again.render() == configuration.render())
      #expect(again.services == configuration.services && again.discovery == configuration.discovery)
      #expect(again.node == configuration.node && again.admin == configuration.admin)
      #expect(again.listeners == configuration.listeners && again.limits == configuration.limits)
      #expect(again.telemetry == configuration.telemetry && again.workloads == configuration.workloads)
    }
  }

  @Test("of policies that match a name, later ones win key by key; others do not count")
  func policyMerging() throws {
    let configuration = try good(
      """
      services:
        - {name: /svc, timeouts: {connect: 2s, request: 3s, attempt: 1s}, limits: {pending: 5}}
        - {name: /svc/web, timeouts: {request: 4s, attempt: none}, balancer: {load: in-flight}}
        - {name: /svc/api, timeouts: {request: 9s}}
        - {name: /svc, limits: {requests: 7}, protocol: http1}
      """)
    let web = configuration.policy(forServiceName: "/svc/web")
    #expect(web.timeouts.connect == .seconds(2) && web.timeouts.request == .seconds(4) && web.timeouts.attempt == nil)
    #expect(web.balancer.load == .inFlight && web.balancer.decay == .seconds(10))
    #expect(web.limits.pending == 5 && web.limits.requests == 7 && web.limits.connections == 1024)
    #expect(web.protocol == .http1)
    let webster = configuration.policy(forServiceName: "/svc/webster")
    #expect(webster.timeouts.request == .seconds(3) && webster.timeouts.attempt == .seconds(1))
    #expect(webster.balancer.load == .ewma)
    #expect(try configuration.policy(for: Path(parsing: "/svc/api/v1")).timeouts.request == .seconds(9))
    #expect(configuration.policy(forServiceName: "/other") == ServicePolicy())
    #expect(configuration.policy(forServiceName: "no name") == ServicePolicy())
  }

  @Test("the command line's shorthand is what a file could say")
  func straight() throws {
    let endpoints = try [
      Endpoint(parsing: "127.0.0.1:9001"), Endpoint(parsing: "[::1]:9002 * 3"),
    ]
    let straight = try Configuration.straight(
      listen: .v4(.loopback, port: 4140), to: endpoints, adminSocket: "/tmp/s.sock", shards: .count(2), nodeName: "n")
    let file = try Configuration.parse(
      """
      node: {name: n, shards: 2}
      admin: {socket: /tmp/s.sock}
      listeners: [{name: outbound, address: 127.0.0.1:4140}]
      discovery: [{kind: static, prefix: static, services: {default: [127.0.0.1:9001, "[::1]:9002 * 3"]}}]
      delegations: /svc => /#/static/default ;
      """)
    #expect(straight.render() == file.render())
    #expect(try Configuration.parse(straight.render()).discovery == straight.discovery)
  }

  @Test("a shorthand that cannot work says why")
  func wrongStraight() throws {
    let endpoint = try Endpoint(parsing: "127.0.0.1:9001")
    func message(
      _ endpoints: [Endpoint], _ socket: String?, _ shards: Configuration.Shards
    ) -> String {
      do throws(Diagnostics) {
        _ = try Configuration.straight(
          listen: .v4(.loopback, port: 0), to: endpoints, adminSocket: socket, shards: shards)
        return ""
      } catch {
        return error.render()
      }
    }
    #expect(message([], nil, .auto) == "--to names no endpoint; write --to 127.0.0.1:9001\n1 error\n")
    #expect(
      message([endpoint, endpoint], "", .count(0)) == """
        --to names 127.0.0.1:9001 twice
        --admin-socket '': the path is empty
        --shards must be between 1 and 256, not 0
        3 errors

        """)
    #expect(message([endpoint], nil, .count(256)) == "")
  }

  @Test("the host's name can always stand in via")
  func hostName() {
    let name = Configuration.hostName()
    #expect(findings("listeners: [{name: a, address: \":0\"}]\nnode: {name: \"\(name)\"}\n") == [])
  }
}
