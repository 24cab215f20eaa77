// What rules have besides what they say: counters, what each says of retries, and how many of its requests go on in a time.
// Made on the control thread, for every shard at once: with many rules it takes a while.

import Configuration
import Policy
import Telemetry

/// The cells of one configuration's rules, by their numbers. Immutable but for what they count; any thread.
final class RouteCells: @unchecked Sendable {
  private let cells: UnsafeMutablePointer<CounterCell>
  private let count: Int
  let retries: UnsafePointer<RouteRetries>?
  /// Nil where no rule has a rate.
  let rates: RouteRates?
  /// What the access log calls each; nil where none is written.
  let logNames: UnsafePointer<UInt32>?

  /// - Parameters:
  ///   - logNames: the access log's table of names; nil where none is written.
  ///   - former: what held before: rules that are still there with the same rate go on counting where they were.
  init(
    _ configuration: Configuration, metrics: NodeMetrics, shardCount: Int, logNames: NameTable? = nil,
    former: RouteCells? = nil
  ) {
    let labels = configuration.routeLabels
    count = labels.count
    if configuration.routes.contains(where: { $0.retries != Configuration.Retries() }) {
      let retries = UnsafeMutablePointer<RouteRetries>.allocate(capacity: count)
      for (number, route) in configuration.routes.enumerated() {
        (retries + number).initialize(to: RouteRetries(route.retries))
      }
      self.retries = UnsafePointer(retries)
    } else {
      retries = nil
    }
    self.logNames = logNames.map { names in
      let numbers = UnsafeMutablePointer<UInt32>.allocate(capacity: max(labels.count, 1))
      for (number, label) in labels.enumerated() { (numbers + number).initialize(to: names.number(of: label)) }
      return UnsafePointer(numbers)
    }
    rates = RouteRates(configuration, metrics: metrics, shardCount: shardCount, former: former?.rates)
    cells = .allocate(capacity: max(count * shardCount, 1))
    for shard in 0..<shardCount {
      for (number, label) in labels.enumerated() {
        (cells + shard * count + number).initialize(to: metrics.routing.requests.cell(shard: shard, labels: [label]))
      }
    }
  }

  deinit {
    cells.deallocate()
    retries?.deallocate()
    logNames?.deallocate()
  }

  func cells(of shard: Int) -> UnsafePointer<CounterCell> { UnsafePointer(cells + shard * count) }
}

/// A rule's rate in the units the data path takes it. Trivial; its memory is `RouteRates`'.
struct RouteRate {
  let limit: RateLimit
  /// The node's; nil for a rule without a rate.
  let cell: UnsafeMutablePointer<RateCell>?
  /// What it refuses, by shard.
  let refused: UnsafePointer<CounterCell>?
}

/// The rates of one configuration's rules.
final class RouteRates: @unchecked Sendable {
  /// By rule.
  let table: UnsafePointer<RouteRate>
  private let states: [Key: State]
  private let refused: UnsafeMutablePointer<CounterCell>

  /// A rule with its rate: while both stay the same, the cell does. A rule without a name is what it matches: its number
  /// changes with those before it.
  private struct Key: Hashable {
    enum Rule: Hashable {
      case named(String)
      case matching(RouteMatch)
    }

    let rule: Rule
    let limit: Configuration.RateLimit

    init(_ route: Configuration.Route, _ limit: Configuration.RateLimit) {
      rule = route.name.map { .named($0) } ?? .matching(route.rule.match)
      self.limit = limit
    }
  }

  /// One rate's cell, which goes from configuration to configuration.
  private final class State: @unchecked Sendable {
    let cell = UnsafeMutablePointer<RateCell>.allocate(capacity: 1)
    init() { cell.initialize(to: RateCell()) }
    deinit { cell.deallocate() }
  }

  /// - Returns: nil when no rule has a rate.
  init?(_ configuration: Configuration, metrics: NodeMetrics, shardCount: Int, former: RouteRates?) {
    let limitedCount = configuration.routes.count { $0.rateLimit != nil }
    if limitedCount == 0 { return nil }
    let refused = UnsafeMutablePointer<CounterCell>.allocate(capacity: max(limitedCount * shardCount, 1))
    let table = UnsafeMutablePointer<RouteRate>.allocate(capacity: configuration.routes.count)
    var states: [Key: State] = [:]
    var position = 0
    for (number, route) in configuration.routes.enumerated() {
      guard let limit = route.rateLimit else {
        (table + number).initialize(
          to: RouteRate(limit: RateLimit(count: 1, periodNanoseconds: 1, burst: 1), cell: nil, refused: nil))
        continue
      }
      let key = Key(route, limit)
      // Of two rules that match the same the second never has a request.
      let state = states[key] ?? former?.states[key] ?? State()
      states[key] = state
      let cells = refused + position * shardCount
      position += 1
      for shard in 0..<shardCount {
        (cells + shard).initialize(
          to: metrics.workloads.rateLimited.cell(shard: shard, labels: ["route", route.label(number: number)]))
      }
      (table + number).initialize(
        to: RouteRate(limit: limit.compiled, cell: state.cell, refused: UnsafePointer(cells)))
    }
    self.states = states
    self.refused = refused
    self.table = UnsafePointer(table)
  }

  deinit {
    table.deallocate()
    refused.deallocate()
  }
}
