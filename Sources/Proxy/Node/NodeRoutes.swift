// The node's part in rules: what was counted, and why a request would be one rule's.

import Capture
import Configuration
import HTTP
import Policy
import Telemetry

extension Node {
  /// The requests that each rule has had, in the configuration's order. Rules over the cap on series count nothing.
  public func routeRequestCounts() -> [UInt64] {
    configuration.routeLabels.map { counter(metrics.routing.requests.family, [$0]) }
  }

  /// Of them, those that the rule's own rate refused.
  public func routeLimitedCounts() -> [UInt64] {
    zip(configuration.routes, configuration.routeLabels).map { route, label in
      route.rateLimit == nil ? 0 : counter(metrics.workloads.rateLimited.family, ["route", label])
    }
  }

  /// What each rule says to a request, up to the first that matches. Nothing is sent.
  ///
  /// - Parameters:
  ///   - head: a whole HTTP/1 request head.
  ///   - workload: the caller's; nil for one that is none.
  /// - Returns: nil when `head` is none, or there is no such workload.
  public func explainRoutes(head bytes: [UInt8], workload: String? = nil) -> [RouteExplanation]? {
    guard let number = snapshot.workloads.numbers[workload ?? WorkloadTable.other] else { return nil }
    let matcher = PatternMatcher()
    defer { matcher.destroy() }
    return bytes.withUnsafeBytes { bytes in
      var head = RequestHead()
      guard case .complete = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) else { return nil }
      return snapshot.routes.explain(head, bytes, workload: number, matcher)
    }
  }
}
