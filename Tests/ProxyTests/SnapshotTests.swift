// What a host name leads to, and what a configuration's policies become on a shard.

import Base
import Configuration
import Policy
import Testing

@testable import Proxy

/// A host and the service it leads to, or the error.
struct HostCase: Sendable, CustomTestStringConvertible {
  let host: String
  let service: String?
  let error: ProxyError?
  var testDescription: String { "'\(host)'" }

  init(_ host: String, _ service: String) { (self.host, self.service, error) = (host, service, nil) }
  init(_ host: String, _ error: ProxyError) { (self.host, service, self.error) = (host, nil, error) }
}

private let namedHosts: [HostCase] = [
  .init("web", "web"), .init("web:8080", "web"), .init("web:", "web"), .init("WEB", "web"), .init("Web.:80", "web"),
  .init("shop.local", "shop"), .init("SHOP.LOCAL:4140", "shop"), .init("direct", "web"),
  .init("unknown", .unknownName), .init("web.local", .unknownName), .init("webb", .unknownName),
  .init("", .noHost), .init("a b", .badName), .init("../etc", .badName), .init("web:port", .badName),
  .init("web:99999", .badName), .init("a..b", .badName), .init(".", .badName), .init("[::1", .badName),
  .init(String(repeating: "x", count: 300), .badName), .init("w\u{E9}b", .badName), .init("web/admin", .badName),
  .init("round", .delegationFailed), .init("ROUND:80", .delegationFailed), .init("lost", .unknownName),
]

@Suite("Snapshot")
struct SnapshotTests {
  private func resolve(_ snapshot: Snapshot, _ host: String) -> Resolution {
    var bytes = Array(host.utf8)
    return bytes.withUnsafeMutableBytes { snapshot.resolve(host: UnsafeRawBufferPointer($0)) }
  }

  private func expect(_ snapshot: Snapshot, _ expected: HostCase) {
    switch resolve(snapshot, expected.host) {
    case .service(let index): #expect(snapshot.services[Int(index)].name == expected.service)
    case .failed(let error): #expect(error == expected.error)
    }
  }

  @Test(
    "a host leads to its service, whatever its port and case, or to the error that says why not",
    arguments: namedHosts)
  func resolves(_ expected: HostCase) throws {
    let snapshot = Snapshot(
      try configuration(
        services: ["web", "shop"],
        delegations: [
          ("/svc/web", "/#/static/web"), ("/svc/shop.local", "/#/static/shop"), ("/svc/direct", "/svc/web"),
          ("/svc/round", "/svc/turn"), ("/svc/turn", "/svc/round"), ("/svc/lost", "/#/static/gone"),
        ]), generation: 1)
    expect(snapshot, expected)
  }

  @Test("of two delegations that match, the later one goes first and the earlier one is what it falls back to")
  func laterFirst() throws {
    let snapshot = Snapshot(
      try configuration(
        services: ["one", "two"],
        delegations: [
          ("/svc/a", "/#/static/one"), ("/svc/a", "/#/static/two"),
          ("/svc/b", "/#/static/one"), ("/svc/b", "/#/static/gone"),
        ]), generation: 1)
    expect(snapshot, HostCase("a", "two"))
    expect(snapshot, HostCase("b", "one"))
  }

  @Test("a whole prefix of discovery serves hosts by their names")
  func prefix() throws {
    let snapshot = Snapshot(
      try configuration(services: ["web", "shop"], delegations: [("/svc", "/#/static")]), generation: 1)
    expect(snapshot, HostCase("shop", "shop"))
    expect(snapshot, HostCase("web:1", "web"))
    expect(snapshot, HostCase("other", .unknownName))
    expect(snapshot, HostCase("", .noHost))
    expect(snapshot, HostCase("a b", .badName))
  }

  @Test(
    "the straight configuration serves every request, whatever its host says",
    arguments: ["", "web", "WEB:80", "any.thing.at.all", "127.0.0.1:4140", "[::1]:4140", "a b", "../etc", "\u{0}"])
  func straight(host: String) throws {
    let straight = try Configuration.straight(listen: loopback(0), to: [endpoint(9001)], adminSocket: nil)
    expect(Snapshot(straight, generation: 1), HostCase(host, "default"))
  }

  @Test("no bytes of a host trap, whatever they are")
  func randomHosts() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("SnapshotTests.randomHosts seed \(seed)")
    var random = RandomSource(seed: seed)
    let snapshot = Snapshot(
      try configuration(services: ["web"], delegations: [("/svc", "/#/static")]), generation: 1)
    for _ in 0..<5_000 {
      let bytes = (0..<Int(random.next(below: 40))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let resolution = bytes.withUnsafeBytes { snapshot.resolve(host: $0) }
      guard case .failed(let error) = resolution else { continue }
      #expect([.noHost, .badName, .unknownName].contains(error))
    }
  }

  @Test("the via line carries the node's name, and is not there where via is off")
  func via() throws {
    let on = Snapshot(try configuration(services: [], delegations: []), generation: 1)
    #expect(on.sendsVia)
    #expect(on.viaLine == Array("via: 1.1 node-a\r\n".utf8))
    #expect(on.viaPseudonym == Array("node-a".utf8))
    let off = Snapshot(try configuration(services: [], delegations: [], via: false), generation: 1)
    #expect(!off.sendsVia)
    #expect(off.viaLine.isEmpty)
  }

  @Test("services keep the order of the configuration, with bound names and their own policies")
  func services() throws {
    var entry = Configuration.ServiceEntry(name: try path("/svc/shop"))
    entry.connections = 7
    let snapshot = Snapshot(
      try configuration(services: ["web", "shop"], delegations: [], entries: [entry]), generation: 3)
    #expect(snapshot.generation == 3)
    #expect(snapshot.services.map(\.boundName) == ["/#/static/web", "/#/static/shop"])
    #expect(snapshot.services.map(\.policy.limits.connections) == [1024, 7])
    #expect(snapshot.services[1].addresses.pointee.peer.socketAddress == loopback(9001))
  }
}

@Suite("ShardPolicy")
struct ShardPolicyTests {
  @Test("a policy's durations are nanoseconds and its limits plain numbers")
  func units() {
    var policy = ServicePolicy()
    policy.timeouts.connect = .milliseconds(250)
    policy.timeouts.request = .seconds(2)
    policy.timeouts.idle = .seconds(60)
    policy.limits.connections = 3
    policy.limits.pending = 4
    policy.limits.requests = 5
    let shard = ShardPolicy(policy)
    #expect(shard.connectTimeoutNanoseconds == 250_000_000)
    #expect(shard.requestTimeoutNanoseconds == 2_000_000_000)
    #expect(shard.idleTimeoutNanoseconds == 60_000_000_000)
    #expect(shard.connectionLimit == 3)
    #expect(shard.pendingLimit == 4)
    #expect(shard.requestLimit == 5)
  }

  @Test(
    "the shorter of the request's and the attempt's time counts",
    arguments: [(nil, 2000), (1, 1), (1999, 1999), (2000, 2000), (5000, 2000)] as [(Int?, UInt64)])
  func attempt(milliseconds: Int?, expected: UInt64) {
    var policy = ServicePolicy()
    policy.timeouts.request = .seconds(2)
    policy.timeouts.attempt = milliseconds.map { .milliseconds($0) }
    #expect(ShardPolicy(policy).requestTimeoutNanoseconds == expected * 1_000_000)
  }

  @Test("the balancer's load is taken over")
  func metric() {
    var policy = ServicePolicy()
    policy.balancer.load = .inFlight
    if case .inFlight = ShardPolicy(policy).metric {} else { Issue.record("in-flight was asked for") }
    policy.balancer.load = .ewma
    if case .ewma = ShardPolicy(policy).metric {} else { Issue.record("ewma was asked for") }
  }
}
