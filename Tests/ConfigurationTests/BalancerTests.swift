// `balancer` of services, zones of nodes and endpoints: values, defaults, merging, and what is wrong with them.

import Base
import Configuration
import Policy
import Testing

@Suite("Which endpoint gets a request")
struct BalancerTests {
  @Test("what is not written has the documented default")
  func defaults() throws {
    let configuration = try good()
    let balancer = configuration.policy(forServiceName: "/svc/web").balancer
    #expect(balancer.kind == .p2c && balancer.load == .ewma && balancer.decay == .seconds(10))
    #expect(balancer.hash == .source && balancer.tableSize == nil && balancer.slowStart == .zero)
    #expect(balancer.prefer == .none && balancer.spillOver == 70 && balancer.panic == 50)
    if case .ewma = balancer.settings.metric {} else { Issue.record("ewma is the default") }
    #expect(balancer.settings.spillOver == 0.7 && balancer.settings.panic == 0.5)
    #expect(configuration.node.zone == nil)
  }

  private static let full = """
    node: {zone: eu-1a}
    services:
      - name: /svc
        balancer:
          {kind: least-loaded, load: in-flight, decay: 5s, slowStart: 30s, panic: 0,
           locality: {prefer: node, spillOver: 80}}
      - name: /svc/web
        balancer: {kind: maglev, hash: {header: X-User}, tableSize: 1009}
      - name: /svc/api
        balancer: {kind: ring-hash, hash: {cookie: Session}, panic: 30}
      - name: /svc/api/far
        balancer: {kind: aperture, aperture: {size: 20, peers: 8, position: 3}}
      - name: /svc/api/far/x
        balancer: {aperture: {size: 5}}
      - name: /svc/api/x
        balancer: {hash: {source: true}}
    """

  @Test("entries are laid over each other key by key")
  func merging() throws {
    let configuration = try good(Self.full)
    #expect(configuration.node.zone == "eu-1a")
    let other = configuration.policy(forServiceName: "/svc/other").balancer
    if case .inFlight = other.settings.metric {} else { Issue.record("in-flight was asked for") }
    #expect(other.kind == .leastLoaded && other.load == .inFlight && other.slowStart == .seconds(30))
    #expect(other.prefer == .node && other.spillOver == 80 && other.panic == 0)
    let web = configuration.policy(forServiceName: "/svc/web").balancer
    #expect(web.kind == .maglev && web.hash == .header("x-user") && web.tableSize == 1009 && web.decay == .seconds(5))
    let api = configuration.policy(forServiceName: "/svc/api").balancer
    #expect(api.kind == .ringHash && api.hash == .cookie("Session") && api.panic == 30 && api.prefer == .node)
    let far = configuration.policy(forServiceName: "/svc/api/far/x").balancer
    #expect(far.kind == .aperture && far.settings.aperture == Aperture(size: 5, peers: 8, position: 3))
    #expect(web.aperture == Aperture(size: 12))
    #expect(configuration.policy(forServiceName: "/svc/api/x").balancer.hash == .source)
  }

  @Test("what is shown of it can be read again and says the same")
  func roundTrip() throws {
    let configuration = try good(Self.full)
    let again = try Configuration.parse(configuration.render(), hostName: "other")
    #expect(again.services == configuration.services && again.node.zone == configuration.node.zone)
  }

  @Test(
    "what is wrong is found where it stands",
    arguments: [
      (
        "{kind: aperture, locality: {prefer: zone}}",
        "2:62: 'services[0].balancer.locality' does not apply to kind: aperture, which has a slice of its own"
      ),
      ("{kind: p2c, aperture: {size: 5}}", "2:57: 'services[0].balancer.aperture' is for kind: aperture"),
      ("{aperture: {peers: 5}}", "2:54: 'services[0].balancer.aperture.peers' needs 'position: 0' beside it"),
      ("{aperture: {position: 5}}", "2:57: 'services[0].balancer.aperture.position' needs 'peers: 10' beside it"),
      (
        "{aperture: {peers: 5, position: 5}}",
        "2:67: 'services[0].balancer.aperture.position' must be below its 'peers', 5, not 5"
      ),
      ("{aperture: {size: 0}}", "2:53: 'services[0].balancer.aperture.size' must be between 1 and 1000000, not 0"),
      (
        "{kind: roundrobin}",
        "2:42: 'services[0].balancer.kind' must be 'p2c', 'least-loaded', 'round-robin', 'random', 'aperture', "
          + "'ring-hash' or 'maglev', not 'roundrobin'; did you mean 'round-robin'?"
      ),
      (
        "{kind: maglev, slowStart: 3s}",
        "2:61: 'services[0].balancer.slowStart' does not apply to kind: maglev, with which all nodes choose alike"
      ),
      (
        "{kind: ring-hash, locality: {prefer: zone}}",
        "2:63: 'services[0].balancer.locality' does not apply to kind: ring-hash, with which all nodes choose alike"
      ),
      (
        "{kind: p2c, hash: {source: true}}",
        "2:53: 'services[0].balancer.hash' is for kind: ring-hash and kind: maglev"
      ),
      (
        "{hash: {header: a, cookie: b}}",
        "2:42: 'services[0].balancer.hash' needs one of header: x-user, cookie: session and source: true"
      ),
      ("{hash: {}}", "2:42: 'services[0].balancer.hash' needs one of header: x-user, cookie: session and source: true"),
      ("{hash: {source: false}}", "2:51: 'services[0].balancer.hash.source' can only be true"),
      (
        "{hash: {header: \"a b\"}}",
        "2:51: 'services[0].balancer.hash.header' must be a name such as x-user, not 'a b'"
      ),
      ("{tableSize: 63}", "2:47: 'services[0].balancer.tableSize' must be between 64 and 1048576, not 63"),
      ("{panic: 101}", "2:43: 'services[0].balancer.panic' must be between 0 and 100, not 101"),
      (
        "{locality: {spillOver: 0}}",
        "2:58: 'services[0].balancer.locality.spillOver' must be between 1 and 100, not 0"
      ),
      (
        "{locality: {prefer: host}}",
        "2:55: 'services[0].balancer.locality.prefer' must be 'none', 'zone' or 'node', not 'host'"
      ),
    ])
  func findings(balancer: String, finding: String) {
    #expect(ConfigurationTests.findings(in: "services: [{name: /svc, balancer: \(balancer)}]") == [finding])
  }

  @Test("an endpoint may have a zone after its weight")
  func zones() throws {
    for (text, zone, weight, shown) in [
      ("127.0.0.1:9001 @ zone-a", "zone-a", 1, "127.0.0.1:9001 @ zone-a"),
      ("127.0.0.1:9001*2@eu_1.b", "eu_1.b", 2, "127.0.0.1:9001 * 2.0 @ eu_1.b"),
      ("[::1]:80 * 0.5 @ 1", "1", 0.5, "[::1]:80 * 0.5 @ 1"),
      ("unix:/run/app@1.sock", nil, 1, "unix:/run/app@1.sock"),
      ("unix:/run/app@1.sock * 2 @ b", "b", 2, "unix:/run/app@1.sock * 2.0 @ b"),
    ] as [(String, String?, Double, String)] {
      let endpoint = try Endpoint(parsing: text)
      #expect(endpoint.zone == zone && endpoint.weight == weight && endpoint.description == shown)
      #expect(try Endpoint(parsing: endpoint.description) == endpoint)
    }
    for text in [
      "127.0.0.1:80 @", "127.0.0.1:80 @ a b", "127.0.0.1:80 @ a * 2",
      "127.0.0.1:80 @ \(String(repeating: "a", count: 64))",
    ] {
      #expect(throws: TextError.self, "\(text)") { try Endpoint(parsing: text) }
    }
  }

  @Test("a zone that is no name is found")
  func badZone() {
    #expect(
      ConfigurationTests.findings(in: "node: {zone: \"a b\"}") == [
        "2:14: a zone's name has at most 63 letters, digits and any of -._, not 'a b'"
      ])
  }
}
