// What a host name leads to.

import Base
import Configuration
import EventLoop
import Policy
import Telemetry
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

/// A shard's question for a host.
func question(_ host: [UInt8], dtab: String? = nil) -> NameQuestion {
  NameQuestion(
    subject: .host(host), override: dtab.map { Array($0.utf8) }, snapshotGeneration: 1, shard: 0, exchange: 0,
    exchangeGeneration: 0)
}

func question(_ host: String, dtab: String? = nil) -> NameQuestion { question(Array(host.utf8), dtab: dtab) }

/// A configuration's services and names, without shards.
struct Names {
  let directory: ServiceDirectory
  let binder: NameBinder

  init(_ configuration: Configuration) throws {
    directory = ServiceDirectory(
      metrics: NodeMetrics(registry: Registry(shardCount: 1)), shardCount: 1, listeners: [], logNames: NameTable()
    ) { _ in }
    directory.setStatic(configuration, hasDestinations: false)
    let sources = DiscoverySources(configuration, directory, try ControlLoop(), log: { _ in })
    binder = NameBinder(configuration, directory, sources) { _ in }
  }
}

@Suite("NameBinder")
struct NameBinderTests {
  private func expect(_ names: Names, _ expected: HostCase) {
    switch names.binder.resolve(question(expected.host)) {
    case .service(let number): #expect(names.directory.namesByNumber[Int(number)] == expected.service)
    case .failed(let error): #expect(error == expected.error)
    case nil: Issue.record("no answer")
    case .tree: Issue.record("several services for \(expected)")
    }
  }

  @Test(
    "a host leads to its service, whatever its port and case, or to the error that says why not",
    arguments: namedHosts)
  func resolves(_ expected: HostCase) throws {
    let names = try Names(
      configuration(
        services: ["web", "shop"],
        delegations: [
          ("/svc/web", "/#/static/web"), ("/svc/shop.local", "/#/static/shop"), ("/svc/direct", "/svc/web"),
          ("/svc/round", "/svc/turn"), ("/svc/turn", "/svc/round"), ("/svc/lost", "/#/static/gone"),
        ]))
    expect(names, expected)
  }

  @Test("of two delegations that match, the later one goes first and the earlier one is what it falls back to")
  func laterFirst() throws {
    let names = try Names(
      configuration(
        services: ["one", "two"],
        delegations: [
          ("/svc/a", "/#/static/one"), ("/svc/a", "/#/static/two"),
          ("/svc/b", "/#/static/one"), ("/svc/b", "/#/static/gone"),
        ]))
    expect(names, HostCase("a", "two"))
    expect(names, HostCase("b", "one"))
  }

  @Test("a whole prefix of discovery serves hosts by their names")
  func prefix() throws {
    let names = try Names(
      configuration(services: ["web", "shop"], delegations: [("/svc", "/#/static")]))
    expect(names, HostCase("shop", "shop"))
    expect(names, HostCase("web:1", "web"))
    expect(names, HostCase("other", .unknownName))
    expect(names, HostCase("", .noHost))
    expect(names, HostCase("a b", .badName))
  }

  @Test(
    "the straight configuration serves every request, whatever its host says",
    arguments: ["", "web", "WEB:80", "any.thing.at.all", "127.0.0.1:4140", "[::1]:4140", "a b", "../etc", "\u{0}"])
  func straight(host: String) throws {
    let straight = try Configuration.straight(listen: loopback(0), to: [endpoint(9001)], adminSocket: nil)
    expect(try Names(straight), HostCase(host, "default"))
  }

  @Test("no bytes of a host trap, whatever they are")
  func randomHosts() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("NameBinderTests.randomHosts seed \(seed)")
    var random = RandomSource(seed: seed)
    let names = try Names(
      configuration(services: ["web"], delegations: [("/svc", "/#/static")]))
    for _ in 0..<5_000 {
      let bytes = (0..<Int(random.next(below: 40))).map { _ in UInt8(truncatingIfNeeded: random.next()) }
      let resolution = names.binder.resolve(question(bytes))
      guard case .failed(let error) = resolution else { continue }
      #expect([.noHost, .badName, .unknownName].contains(error))
    }
  }
}

@Suite("ServiceDirectory")
struct ServiceDirectoryTests {
  @Test("services keep the order of the configuration, with bound names and their own policies")
  func services() throws {
    var entry = Configuration.ServiceEntry(name: try path("/svc/shop"))
    entry.connections = 7
    let names = try Names(configuration(services: ["web", "shop"], delegations: [], entries: [entry]))
    #expect(names.directory.all.map(\.service.boundName) == ["/#/static/web", "/#/static/shop"])
    #expect(names.directory.all.map(\.policy.limits.connections) == [1024, 7])
    #expect(names.directory.all[1].endpoints.map(\.address) == [loopback(9001)])
  }
}
