// What a shard makes of the changes of a service: slots stay with their endpoints, drain, and are used again.

import Base
import Configuration
import Policy
import Telemetry
import Testing

@testable import Proxy

/// A directory and one shard that takes every message at once.
private final class OneShard {
  private(set) var directory: ServiceDirectory
  let services: ShardServices
  var random = RandomSource(seed: 11)
  var drained: [UInt32] = []
  var removed: [ServiceNumber] = []

  init() throws {
    let services = try ShardServices(shard: 0)
    self.services = services
    let box = Box()
    directory = ServiceDirectory(
      metrics: NodeMetrics(registry: Registry(shardCount: 1)), shardCount: 1, listeners: ["out"], logNames: NameTable()
    ) { box.take($0) }
    box.owner = self
  }

  private final class Box {
    weak var owner: OneShard?
    func take(_ message: ShardMessage) { owner?.take(message) }
  }

  private func take(_ message: ShardMessage) {
    switch message {
    case .service(let update): drained = services.apply(update, now: .now(), random: &random)
    case .serviceRemoved(let number):
      removed.append(number)
      _ = services.leave(number)
    default: Issue.record("an unexpected message: \(message)")
    }
  }

  func set(_ name: String, _ ports: [UInt16], weights: [Double] = []) throws -> ServiceNumber {
    let endpoints = try ports.enumerated().map { place, port in
      weights.isEmpty
        ? try endpoint(port) : try Endpoint(parsing: "127.0.0.1:\(port) * \(weights[place])")
    }
    return try #require(directory.set("/#/file/\(name)", label: name, policy: ServicePolicy(), endpoints: endpoints))
  }

  func pick(_ number: ServiceNumber, _ key: HashKey = .none) throws -> Int {
    let service = services.service(number)
    let balancer = try #require(service.pointee.balancer)
    return Int(balancer.pointee.pick(service.pointee.loads, key: key, random: &random, now: .now()))
  }

  /// The ports of the slots, 0 for those that are free.
  func slots(_ number: ServiceNumber) -> [UInt16] {
    guard let service = services.find(number) else { return [] }
    return (0..<service.pointee.endpointCount).map { slot in
      let endpoint = service.pointee.endpoints[slot]
      return endpoint.state == .free ? 0 : endpoint.address.pointee.peer.port
    }
  }

  func slot(_ number: ServiceNumber, _ slot: Int) -> UnsafeMutablePointer<ShardEndpoint> {
    services.service(number).pointee.endpoints + slot
  }
}

@Suite("ShardServices")
struct ShardServicesTests {
  @Test(
    "a service whose endpoints the node's breakers or checks have all taken out has none, until one is due for a probe")
  func outOnNode() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001, 1002])
    let now = MonotonicInstant.now()
    let ejections = EjectionCount()
    var random = RandomSource(seed: 3)
    #expect(shard.services.hasEndpoint(web, now: now))
    // Another shard's requests fail; this one has sent none.
    let policy = AccrualPolicy(
      kind: .consecutiveFailures(1),
      backoff: Backoff(
        minimumNanoseconds: 5_000_000_000, maximumNanoseconds: 5_000_000_000, isJittered: false))
    for slot in 0..<2 {
      #expect(shard.services.hasEndpoint(web, now: now))
      _ = shard.slot(web, slot).pointee.accrual?.pointee.failed(
        isProbe: false, policy: policy, ejections: ejections, limit: 2, now: now, random: &random)
    }
    #expect(!shard.services.hasEndpoint(web, now: now))
    #expect(shard.services.hasEndpoint(web, now: now.advanced(byNanoseconds: 5_000_000_001)))
    for slot in 0..<2 {
      _ = shard.slot(web, slot).pointee.accrual?.pointee.checked(isHealthy: false, ejections: ejections)
    }
    #expect(!shard.services.hasEndpoint(web, now: now.advanced(byNanoseconds: 50_000_000_000)))
    _ = shard.slot(web, 1).pointee.accrual?.pointee.checked(isHealthy: true, ejections: ejections)
    #expect(shard.services.hasEndpoint(web, now: now))
    // What this shard found out itself still counts.
    shard.services.service(web).pointee.loads[1].brokenCount = 1
    shard.services.service(web).pointee.loads[1].updated = now
    #expect(!shard.services.hasEndpoint(web, now: now))
    #expect(!shard.services.hasEndpoint(99, now: now))
  }

  @Test("an endpoint keeps its slot through changes of the others, with its load")
  func keepsSlots() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001, 1002, 1003])
    #expect(shard.slots(web) == [1001, 1002, 1003])
    shard.services.service(web).pointee.loads[1].costNanoseconds = 77
    _ = try shard.set("web", [1002, 1004, 1005])
    #expect(shard.drained == [0, 2])
    #expect(shard.services.service(web).pointee.liveCount == 3)
    #expect(shard.services.service(web).pointee.loads[1].costNanoseconds == 77)
    #expect(shard.services.service(web).pointee.loads[0].flags == .draining)
    shard.services.sweep()
    #expect(shard.slots(web) == [0, 1002, 0, 1004, 1005])
    _ = try shard.set("web", [1002, 1004, 1005, 1006])
    #expect(shard.slots(web) == [1006, 1002, 0, 1004, 1005])
  }

  @Test("a slot with connections is not given away, and an endpoint that comes back meanwhile is a new one")
  func drains() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001])
    shard.slot(web, 0).pointee.openCount = 2
    _ = try shard.set("web", [])
    #expect(shard.services.service(web).pointee.liveCount == 0)
    shard.services.sweep()
    #expect(shard.slots(web) == [1001])
    #expect(shard.services.needsSweep)
    _ = try shard.set("web", [1001])
    #expect(shard.slots(web) == [1001, 1001])
    #expect(shard.slot(web, 0).pointee.state == .draining)
    #expect(shard.slot(web, 1).pointee.state == .live)
    shard.slot(web, 0).pointee.openCount = 0
    shard.services.sweep()
    #expect(!shard.services.needsSweep)
    #expect(shard.slots(web) == [0, 1001])
  }

  @Test("only live slots are picked, by their weights, while others drain")
  func picks() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001, 1002, 1003])
    _ = try shard.set("web", [1002, 1003], weights: [3, 1])
    var counts = [0, 0, 0]
    for _ in 0..<10_000 { counts[try shard.pick(web)] += 1 }
    #expect(counts[0] == 0)
    // 9,375 of 10,000 draws of two have the heavier one, which wins a tie only when drawn first: 3 to 1 in all.
    #expect(abs(counts[1] - 7_500) < 250, "\(counts)")
  }

  @Test("endpoints are picked by key, by zone and by age as the policy says, and by a changed policy from then on")
  func policies() throws {
    let shard = try OneShard()
    shard.directory.zone = "a"
    var policy = ServicePolicy()
    func set(_ texts: [String]) throws -> ServiceNumber {
      let endpoints = try texts.map { try Endpoint(parsing: $0) }
      return try #require(shard.directory.set("/#/file/web", label: "web", policy: policy, endpoints: endpoints))
    }
    func used(_ web: ServiceNumber) throws -> Set<Int> { Set(try (0..<200).map { _ in try shard.pick(web) }) }

    // 203.0.113.0/24 is nobody's: not this host's, either.
    let texts = ["203.0.113.1:80 @ b", "203.0.113.2:80 @ a", "203.0.113.3:80", "127.0.0.1:80 @ b"]
    var web = try set(texts)
    #expect(try used(web) == [0, 1, 2, 3])
    policy.balancer.prefer = .zone
    web = try set(texts)
    #expect(try used(web) == [1, 3])
    policy.balancer.prefer = .node
    web = try set(texts)
    #expect(try used(web) == [3])
    shard.directory.zone = "b"
    policy.balancer.prefer = .zone
    web = try set(texts)
    #expect(try used(web) == [0, 3])

    policy = ServicePolicy()
    policy.balancer.kind = .maglev
    web = try set(texts)
    for number in 0..<50 {
      let key = HashKey(high: 0, low: UInt64(number))
      #expect(Set(try (0..<10).map { _ in try shard.pick(web, key) }).count == 1)
    }

    policy = ServicePolicy()
    policy.balancer.kind = .random
    policy.balancer.slowStart = .seconds(3600)
    web = try set(texts)
    #expect(shard.directory["/#/file/web"]?.effectiveWeight(of: try Endpoint(parsing: texts[0]), now: .now()) == 1)
    let another = "203.0.113.9:80 * 2"
    web = try set(texts + [another])
    let weight = try #require(
      shard.directory["/#/file/web"]?.effectiveWeight(of: try Endpoint(parsing: another), now: .now()))
    #expect(weight >= 0.2 && weight < 0.3)
    let newcomers = try (0..<10_000).count { _ in try shard.pick(web) == 4 }
    // 0.2 of 4.2, with a standard deviation of 21.
    #expect((340...650).contains(newcomers))
  }

  @Test("a service that is given up stays until its last exchange has ended; then its number is another's")
  func leaves() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001])
    shard.services.service(web).pointee.exchangeCount = 1
    shard.directory.remove("/#/file/web")
    #expect(shard.removed == [web])
    shard.services.sweep()
    #expect(shard.services.find(web) != nil)
    let shop = try shard.set("shop", [1002])
    #expect(shop != web)
    shard.services.service(web).pointee.exchangeCount = 0
    shard.services.sweep()
    #expect(shard.services.find(web) == nil)
    #expect(try shard.set("cart", [1003]) == web)
    #expect(shard.directory.namesByNumber == ["cart", "shop"])
  }

  @Test("services that are made up and given up leave no series behind, and their room is another's")
  func series() throws {
    let registry = Registry(shardCount: 1, maxSeries: 60)
    let directory = ServiceDirectory(
      metrics: NodeMetrics(registry: registry), shardCount: 1, listeners: ["out"], logNames: NameTable()
    ) { _ in }
    func count() -> Int { registry.allFamilies.reduce(0) { $0 + $1.seriesCount } }
    let before = count()
    for number in 0..<1000 {
      let name = "/#/dns/made-up-\(number)"
      let endpoints = [try endpoint(1001)]
      _ = try #require(directory.set(name, label: "made-up-\(number)", policy: ServicePolicy(), endpoints: endpoints))
      directory.remove(name)
    }
    #expect(count() == before)
    #expect(registry.allFamilies.filter { $0.overflowedLookups > 0 }.map(\.descriptor.name) == [])
  }

  @Test("what has not changed is not told again")
  func unchanged() throws {
    let shard = try OneShard()
    let web = try shard.set("web", [1001])
    let updates = shard.services.service(web).pointee.updates
    _ = try shard.set("web", [1001])
    #expect(shard.services.service(web).pointee.updates == updates)
  }

  @Test("two discoveries may have a service of the same name: the second is called by its discovery, too")
  func labels() throws {
    let shard = try OneShard()
    _ = try shard.set("web", [1001])
    _ = shard.directory.set("/#/static/web", label: "web", policy: ServicePolicy(), endpoints: [try endpoint(1002)])
    #expect(shard.directory.namesByNumber == ["web", "static/web"])
  }

  @Test("10,000 endpoints come, change by half, and go")
  func many() throws {
    let shard = try OneShard()
    let ports = (0..<10_000).map { UInt16($0 + 10_000) }
    let web = try shard.set("web", ports)
    #expect(shard.services.service(web).pointee.liveCount == 10_000)
    _ = try shard.set("web", ports[5_000...] + (0..<5_000).map { UInt16($0 + 1_000) })
    #expect(shard.drained.count == 5_000)
    shard.services.sweep()
    _ = try shard.set("web", ports)
    #expect(shard.services.service(web).pointee.endpointCount <= 15_000)
    shard.directory.remove("/#/file/web")
    shard.services.sweep()
    #expect(shard.services.find(web) == nil)
  }

  @Test(
    "an endpoint that leaves its service can be chosen until the shard hears of it, and frees its place among those out"
  )
  func leavesOpen() throws {
    let messages = Messages()
    let directory = ServiceDirectory(
      metrics: NodeMetrics(registry: Registry(shardCount: 1)), shardCount: 1, listeners: [], logNames: NameTable()
    ) { messages.all.append($0) }
    directory.set("/#/file/web", label: "web", policy: ServicePolicy(), endpoints: [try endpoint(1001)])
    guard case .service(let first)? = messages.all.last, let shared = first.endpoints.first else {
      Issue.record("no update")
      return
    }
    let ejections = first.service.shared.pointee.ejections.value
    _ = shared.accrual.pointee.checked(isHealthy: false, ejections: first.service.shared.pointee.ejections)
    directory.set("/#/file/web", label: "web", policy: ServicePolicy(), endpoints: [try endpoint(1002)])
    #expect(shared.accrual.pointee.state == .inService(failures: 0))
    #expect(first.service.shared.pointee.ejections.value == ejections)
  }
}

/// What a directory has told.
private final class Messages {
  var all: [ShardMessage] = []
}
