// Names that lead to several services: numbered once, told to every shard before an answer names them, gone together.

import Base
import Configuration
import EventLoop
import Policy
import Synchronization
import Telemetry
import Testing

@testable import Proxy

@Suite("NameTrees")
struct NameTreeTests {
  /// Services `a`, `b` and `empty`, and a table.
  private final class Names {
    let directory: ServiceDirectory
    let binder: NameBinder
    let trees = ShardTrees()
    private let box: Box

    final class Box {
      var trees: [(TreeNumber, SharedTree)] = []
    }

    init(_ table: String, identifiers: [Identifier] = [.host()]) throws {
      let parser = DelegationParser(Array(table.unicodeScalars), maximumEntryCount: 100)
      try #require(parser.flaws == [])
      let services = try ["a", "b"].map { Configuration.StaticService(name: $0, endpoints: [try endpoint(9001)]) }
      let configuration = Configuration(
        node: Configuration.Node(name: "n"),
        listeners: [Configuration.Listener(name: "outbound", address: loopback(0))],
        discovery: [
          .static(
            Configuration.StaticDiscovery(
              prefix: "static", services: services + [Configuration.StaticService(name: "empty", endpoints: [])]))
        ],
        identifiers: identifiers, delegations: parser.entries.map { Configuration.Delegation($0.value) })
      let box = Box()
      self.box = box
      directory = ServiceDirectory(
        metrics: NodeMetrics(registry: Registry(shardCount: 1)), shardCount: 1, listeners: [], logNames: NameTable()
      ) { _ in }
      directory.setStatic(configuration, hasDestinations: false)
      let sources = DiscoverySources(configuration, directory, try ControlLoop(), log: { _ in })
      binder = NameBinder(configuration, directory, sources) { message in
        if case .tree(let number, let tree) = message { box.trees.append((number, tree)) }
      }
    }

    /// What shards were told since the last time.
    func told() -> [TreeNumber] {
      defer { box.trees = [] }
      for (number, tree) in box.trees { trees.add(number, tree) }
      return box.trees.map(\.0)
    }

    func host(_ host: String, dtab: String? = nil) -> Resolution? { binder.resolve(question(host, dtab: dtab)) }

    func number(_ name: String) -> ServiceNumber? { directory.number(of: "/#/static/\(name)") }
  }

  @Test("equal trees are one, and shards hear of each before they are named it")
  func numbers() throws {
    let names = try Names(
      "/svc/* => /#/static/a & /#/static/b ; /svc/x => 2 * /#/static/a & /#/static/b ; /svc/a => /#/static/a")
    #expect(names.host("one") == .tree(0))
    #expect(names.told() == [0])
    #expect(names.host("two") == .tree(0))
    #expect(names.told() == [])
    #expect(names.host("x") == .tree(1))
    #expect(names.told() == [1])
    #expect(names.host("a") == .service(names.number("a") ?? .max))
    names.binder.forget()
    names.trees.forget()
    var random = RandomSource(seed: 1)
    #expect(names.trees.pick(1, &random) { _ in false } == nil)
    #expect(names.host("x") == .tree(0))
    #expect(names.told() == [0])
    let picked = names.trees.pick(0, &random) { $0 == names.number("b") }
    #expect(picked == names.number("a").map { .service($0) } || picked == names.number("b").map { .empty($0) })
  }

  @Test("a tree that a full letter-box has lost is unknown, and the next one is not taken for it")
  func lost() throws {
    let names = try Names("/svc/a => /#/static/a & /#/static/b ; /svc/b => /#/static/b & /#/static/b & /#/static/a")
    #expect(names.host("a") == .tree(0) && names.host("b") == .tree(1))
    let trees = ShardTrees()
    var random = RandomSource(seed: 1)
    let shared = SharedTree(
      ServiceTree(try bound("/svc => /#/static/b & /#/static/a")) { names.directory.number(of: $0.description) ?? 99 })
    trees.add(1, shared)
    #expect(trees.pick(0, &random) { _ in false } == nil)
    #expect(trees.pick(1, &random) { _ in false } != nil)
  }

  private func bound(_ text: String) throws -> BoundTree {
    let parser = DelegationParser(Array(text.unicodeScalars), maximumEntryCount: 1)
    let table = Delegation(entries: parser.entries.map(\.value))
    guard case .bound(let tree) = table.bind(try path("/svc"), lookup: { .service($0, segmentCount: 3) }) else {
      throw NoTree()
    }
    return tree
  }

  private struct NoTree: Error {}

  @Test(
    "what a request brings along is bound for it alone: one service, and nothing for shards to keep",
    arguments: [
      ("/svc/web => /#/static/b", "b", nil), ("/svc/web => /#/static/empty |! /#/static/b", "b", nil),
      ("/svc/web => /#/static/b & /#/static/b |! /#/static/a", "b", nil), ("", "a", nil), (" ; # nothing", "a", nil),
      ("/svc/web => !", nil, .nameRefused), ("/svc/web => $", nil, .noEndpoint),
      ("/svc/web => /svc/web", nil, .delegationFailed), ("/svc => ~", "a", nil),
      ("/svc/web => ", nil, .badDelegation(column: 13)), ("x", nil, .badDelegation(column: 1)),
    ] as [(String, String?, ProxyError?)])
  func override(dtab: String, service: String?, error: ProxyError?) throws {
    let names = try Names("/svc/web => /#/static/a")
    let expected = try service.map { .service(try #require(names.number($0))) } ?? error.map { Resolution.failed($0) }
    #expect(names.host("web", dtab: dtab) == expected)
    #expect(names.told() == [])
  }

  @Test("an override that is longer than a header's may be is refused with the place where it is too long")
  func longOverride() throws {
    let names = try Names("/svc/web => /#/static/a")
    let long = String(repeating: " ", count: 8193)
    #expect(names.host("web", dtab: long) == .failed(.badDelegation(column: 8193)))
  }

  @Test("a logical name out of a head is bound as it is, in its case")
  func logical() throws {
    let names = try Names("/svc/x/Y => /#/static/b ; /svc => /#/static")
    let resolve = { (name: String) in
      names.binder.resolve(
        NameQuestion(
          subject: .logical(Array(name.utf8)), snapshotGeneration: 1, shard: 0, exchange: 0, exchangeGeneration: 0))
    }
    #expect(resolve("/svc/a") == .service(names.number("a") ?? .max))
    #expect(resolve("/svc/x/Y") == .service(names.number("b") ?? .max))
    #expect(resolve("/svc/x/y") == .failed(.unknownName))
    #expect(resolve("svc") == .failed(.badName))
  }

  @Test("a host's port counts where an identifier keeps it")
  func ports() throws {
    let table = "/svc/web => /#/static/a ; /svc/web:80 => /#/static/b"
    #expect(try Names(table).host("web:80") == .service(0))
    let keeping = try Names(table, identifiers: [.invoke, .host(keepsPort: true)])
    #expect(keeping.host("WEB:80") == .service(keeping.number("b") ?? .max))
    #expect(keeping.host("web") == .service(keeping.number("a") ?? .max))
  }

  @Test("fixed names are targets, each once")
  func targets() throws {
    let names = [try path("/svc/a"), try path("/svc/b")]
    let snapshot = Snapshot(
      Configuration(
        node: Configuration.Node(name: "n"),
        listeners: [
          Configuration.Listener(name: "t", address: loopback(0), protocol: .tcp, to: names[1])
        ],
        identifiers: [.invoke, .fixed(names[0]), .fixed(names[1])]), generation: 1)
    #expect(snapshot.targets == [names[1], names[0]])
    #expect(snapshot.fixedTargets == [1: 1, 2: 0])
    #expect(!snapshot.identifiers.isHostOnly)
  }
}
