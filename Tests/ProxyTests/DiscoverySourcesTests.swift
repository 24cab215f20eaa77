// What the node makes of discovery: which services it knows, and what questions that wait become.

import Base
import Configuration
import Discovery
import EventLoop
import Glibc
import Policy
import Telemetry
import TestSupport
import Testing

@testable import Proxy

@Suite("DiscoverySources")
final class DiscoverySourcesTests {
  private let root: TemporaryDirectory
  private let loop: ControlLoop
  private let directory: ServiceDirectory
  private var sources: DiscoverySources?
  private var news: [(names: [BoundName], mayLeadElsewhere: Bool)] = []

  init() throws {
    root = try TemporaryDirectory()
    loop = try ControlLoop()
    directory = ServiceDirectory(
      metrics: NodeMetrics(registry: Registry(shardCount: 1)), shardCount: 1, listeners: [], logNames: NameTable()
    ) { _ in }
  }

  deinit { sources?.stop() }

  private func configuration(_ directories: [String], request: Duration = .seconds(3)) throws -> Configuration {
    Configuration(
      node: Configuration.Node(name: "n"), listeners: [],
      discovery: directories.map { .file(.init(prefix: $0, directory: root.path($0))) },
      services: [try policy(request)])
  }

  private func policy(_ request: Duration) throws -> Configuration.ServiceEntry {
    var entry = Configuration.ServiceEntry(name: try path("/svc"))
    entry.requestTimeout = request
    return entry
  }

  private func start(_ directories: [String]) throws -> DiscoverySources {
    for name in directories { mkdir(root.path(name), 0o755) }
    let sources = DiscoverySources(try configuration(directories), directory, loop, log: { _ in })
    sources.onNews = { [unowned self] in news.append(($0, $1)) }
    self.sources = sources
    return sources
  }

  private func turn(until condition: () throws -> Bool) rethrows -> Bool {
    try eventually {
      loop.turn(maximumWaitMilliseconds: 1)
      return try condition()
    }
  }

  private func bound(_ text: String) throws -> BoundName { try #require(BoundName(try path(text))) }

  private func endpoints(_ name: String) -> [String]? { directory[name]?.endpoints.map(\.description) }

  @Test("a service of a file is in the directory from the first lookup on, and follows its file")
  func follows() throws {
    let sources = try start(["file"])
    try root.write("file/web", "127.0.0.1 1\n")
    #expect(try turn { try sources.lookup(path("/#/file/web/more")) == .service(try bound("/#/file/web")) })
    #expect(endpoints("/#/file/web") == ["127.0.0.1:1"] && directory.count == 1)
    try root.write("file/web", "127.0.0.1 2\n")
    try root.write("file/unused", "127.0.0.1 2\n")
    #expect(turn { endpoints("/#/file/web") == ["127.0.0.1:2"] })
    #expect(directory.count == 1, "nobody asked for the other one")
    news = []
    unlink(root.path("file/web"))
    #expect(turn { directory.count == 0 })
    #expect(news.map(\.mayLeadElsewhere) == [true])
    #expect(try sources.lookup(path("/#/file/web")) == .negative)
  }

  @Test("names are forgotten for a name that comes only where it was said not to be there")
  func forgetting() throws {
    let sources = try start(["file"])
    try root.write("file/web", "127.0.0.1 1\n")
    #expect(turn { !news.isEmpty })
    #expect(news.allSatisfy { !$0.mayLeadElsewhere })
    news = []
    #expect(try sources.lookup(path("/#/file/shop")) == .negative)
    try root.write("file/shop", "127.0.0.1 1\n")
    #expect(turn { !news.isEmpty })
    #expect(news.map(\.mayLeadElsewhere) == [true])
    sources.namesForgotten()
    news = []
    unlink(root.path("file/shop"))
    #expect(turn { !news.isEmpty })
    #expect(news.allSatisfy { !$0.mayLeadElsewhere }, "nobody used it")
  }

  @Test("what is under no prefix is not there")
  func unknownPrefix() throws {
    let sources = try start(["file"])
    #expect(try sources.lookup(path("/#/dns/web")) == .negative && sources.lookup(path("/#/file")) == .negative)
  }

  @Test("another configuration keeps the sources that are the same, and gives up services of those that are gone")
  func following() throws {
    let sources = try start(["one", "two"])
    try root.write("one/web", "127.0.0.1 1\n")
    try root.write("two/web", "127.0.0.1 2\n")
    for name in ["one", "two"] { #expect(try turn { try sources.lookup(path("/#/\(name)/web")) != .negative }) }
    #expect(directory.count == 2)
    let before = directory["/#/one/web"]?.service.number
    news = []
    sources.follow(try configuration(["one"], request: .seconds(9)))
    #expect(directory.count == 1 && endpoints("/#/one/web") == ["127.0.0.1:1"])
    #expect(directory["/#/one/web"]?.service.number == before)
    #expect(directory["/#/one/web"]?.policy.timeouts.request == .seconds(9))
    #expect(try sources.lookup(path("/#/two/web")) == .negative)
    #expect(news.map(\.mayLeadElsewhere) == [true] && sources.reports().map(\.prefix) == ["one"])
  }

  @Test("questions wait by name, and are taken once, in their order")
  func waiting() throws {
    func question(_ exchange: UInt32) -> NameQuestion {
      NameQuestion(
        subject: .host([]), snapshotGeneration: 1, shard: 0, exchange: exchange, exchangeGeneration: 0)
    }
    let (one, two) = (try bound("/#/dns/one"), try bound("/#/dns/two"))
    let waiting = WaitingQuestions()
    waiting.add(question(1), for: [one])
    waiting.add(question(2), for: [one, two])
    waiting.add(question(3), for: [two])
    waiting.add(question(4), for: [one, one])
    #expect(waiting.take([one]).map(\.exchange) == [1, 2, 4] && waiting.count == 1)
    #expect(waiting.take([one]).isEmpty)
    waiting.add(question(5), for: [one])
    #expect(waiting.takeAll().map(\.exchange) == [3, 5] && waiting.count == 0 && waiting.take([two]).isEmpty)
  }
}
