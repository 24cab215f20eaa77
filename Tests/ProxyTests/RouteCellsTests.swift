// What rules count, from one configuration to the next.

import Base
import Configuration
import Policy
import Telemetry
import Testing

@testable import Proxy

@Suite("RouteCells")
struct RouteCellsTests {
  private let metrics = NodeMetrics(registry: Registry(shardCount: 2))

  private func route(_ name: String?, _ prefix: String, _ rate: Int?) -> Configuration.Route {
    var match = RouteMatch()
    match.path = .prefix(prefix)
    return Configuration.Route(
      Policy.Route(match: match), name: name, rateLimit: rate.map { Configuration.RateLimit(count: $0) })
  }

  private func cells(_ routes: [Configuration.Route], former: RouteCells? = nil) -> RouteCells {
    let configuration = Configuration(node: Configuration.Node(name: "node-a"), listeners: [], routes: routes)
    return RouteCells(configuration, metrics: metrics, shardCount: 2, former: former)
  }

  @Test("without rates there is no table; with some each rule that has one has a cell and counters of its own")
  func tables() throws {
    #expect(cells([route("a", "/a", nil)]).rates == nil)
    let cells = cells([route("a", "/a", 1), route(nil, "/b", nil), route(nil, "/c", 1)])
    let table = try #require(cells.rates?.table)
    #expect(table[0].cell != nil && table[1].cell == nil && table[2].cell != nil && table[0].cell != table[2].cell)
    table[2].refused?[1].add(3)
    #expect(metrics.workloads.rateLimited.family.value(labels: ["route", "#2"]) == .counter(3))
  }

  @Test("a rule that stays with its rate keeps its cell: by its name, or by what it matches when nobody named it")
  func kept() throws {
    let one = cells([route("a", "/a", 1), route(nil, "/b", 1), route("c", "/c", 1), route(nil, "/d", 1)])
    let two = cells(
      [route(nil, "/d", 2), route(nil, "/b", 1), route("a", "/x", 1), route("c", "/c", 9)], former: one)
    let (first, second) = (try #require(one.rates?.table), try #require(two.rates?.table))
    #expect(second[1].cell == first[1].cell && second[2].cell == first[0].cell)
    #expect(second[0].cell != first[3].cell && second[3].cell != first[2].cell)
    let three = cells([route("a", "/a", 1)], former: cells([], former: two))
    #expect(three.rates?.table[0].cell != first[0].cell, "what was gone begins anew")
  }
}
