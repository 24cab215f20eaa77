// All rules, compiled: which one has a request, and what then becomes of it. Made on the control thread whenever the
// configuration changes, read by every shard without a lock and without counting references.

public import Base
public import HTTP

/// The number of a rule: its place in the order written, from 0.
public typealias RouteNumber = UInt32

/// What came of a lookup.
@frozen public struct RouteLookup: Equatable, Sendable {
  /// Nil where no rule matches: the request goes where its host says.
  public var number: RouteNumber?
  /// Patterns that were stopped by their limit on the way, and so did not match.
  public var limitedCount: UInt32
  /// Patterns took so long with this request that the search was given up: which rule has it nobody knows.
  public var isExhausted: Bool

  public init(number: RouteNumber?, limitedCount: UInt32 = 0, isExhausted: Bool = false) {
    self.number = number
    self.limitedCount = limitedCount
    self.isExhausted = isExhausted
  }
}

/// Immutable; any thread may use it.
public final class RouteTable: @unchecked Sendable {
  /// As they are written.
  public let routes: [Route]
  /// The names that rules send requests to, each once: `RoutePlan` speaks of them by their places here.
  public let destinations: [Path]
  private let memory: CompiledMemory
  let index: RouteIndex
  /// Of the rules for TLS connections; nil where there are none.
  let streamIndex: RouteIndex?
  let conditions: UnsafeBufferPointer<RouteConditions>
  private let plans: UnsafeBufferPointer<RoutePlan>
  let workloadNumbers: [String: UInt16]

  /// Compiles rules.
  /// - Parameters:
  ///   - workloads: the numbers of the workloads that rules name, `other` included.
  ///   - random: seeds the index.
  public init(_ routes: [Route], workloads: [String: UInt16] = [:], random: inout RandomSource) {
    let memory = CompiledMemory()
    self.routes = routes
    self.memory = memory
    workloadNumbers = workloads
    index = RouteIndex(routes.map(\.match), seed: random.next(), in: memory)
    streamIndex =
      routes.contains { $0.match.isForStreams }
      ? RouteIndex(routes.map(\.match), streams: true, seed: random.next(), in: memory) : nil
    conditions = memory.copy(
      routes.map { RouteConditions($0.match, workloadNumber: { workloads[$0] }, in: memory) })
    var destinations: [Path] = []
    var places: [Path: UInt32] = [:]
    plans = memory.copy(
      routes.map { route in
        RoutePlan(route, in: memory) { name in
          if let place = places[name] { return place }
          let place = UInt32(truncatingIfNeeded: destinations.count)
          places[name] = place
          destinations.append(name)
          return place
        }
      })
    self.destinations = destinations
  }

  public var isEmpty: Bool { plans.isEmpty }

  /// The first rule in the order written that matches. Allocates nothing.
  /// - Parameters:
  ///   - bytes: those `head` was parsed from.
  ///   - workload: the caller's number.
  public func lookup(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, workload: UInt16, _ matcher: PatternMatcher
  ) -> RouteLookup {
    var search = RouteSearch(
      index, conditions,
      RoutedRequest(head, bytes, workload: workload, matcher: matcher, ruleCount: conditions.count))
    search.run(head)
    let isExhausted = search.request.isExhausted
    return RouteLookup(
      number: search.best == .max || isExhausted ? nil : search.best, limitedCount: search.request.limitedCount,
      isExhausted: isExhausted)
  }

  /// What becomes of a request that the rule matches. Valid as long as the table.
  public func plan(_ number: RouteNumber) -> UnsafePointer<RoutePlan> {
    precondition(Int(number) < plans.count, "a rule of another table")
    // Not empty, so there is an address.
    guard let base = plans.baseAddress else { preconditionFailure("no rules") }
    return base + Int(number)
  }
}
