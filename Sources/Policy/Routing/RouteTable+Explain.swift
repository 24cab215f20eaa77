// Why a rule has a request and those before it do not: for people who ask, on the control thread. It goes through the rules
// one by one, from the same conditions that the data path uses.

public import HTTP

/// What was found about one rule.
public struct RouteExplanation: Equatable, Sendable {
  public let number: RouteNumber
  /// Nil where the rule matches.
  public let mismatch: RouteMismatch?
}

/// The first thing about a request that a rule does not match.
public enum RouteMismatch: Equatable, Sendable, CustomStringConvertible {
  /// The rule is for TLS connections.
  case notStream
  case host
  case path
  case method
  case workload
  /// The name of the field.
  case header(String)
  /// The name in the query.
  case query(String)
  /// A pattern was stopped by its limit.
  case patternLimit

  public var description: String {
    switch self {
    case .notStream: "for TLS connections only"
    case .host: "another host"
    case .path: "another path"
    case .method: "another method"
    case .workload: "another workload"
    case .header(let name): "the field \(name)"
    case .query(let name): "\(name) in the query"
    case .patternLimit: "a pattern was stopped by its limit"
    }
  }
}

extension RouteTable {
  /// What each rule says to the request, up to the first that matches; all of them when none does. It allocates.
  public func explain(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, workload: UInt16, _ matcher: PatternMatcher
  ) -> [RouteExplanation] {
    var explanations: [RouteExplanation] = []
    for number in routes.indices {
      var request = RoutedRequest(head, bytes, workload: workload, matcher: matcher, ruleCount: 1)
      var mismatch = self.mismatch(number, head, &request)
      if mismatch != nil, request.limitedCount > 0 || request.isExhausted { mismatch = .patternLimit }
      explanations.append(RouteExplanation(number: RouteNumber(truncatingIfNeeded: number), mismatch: mismatch))
      if mismatch == nil { break }
    }
    return explanations
  }

  private func mismatch(
    _ number: Int, _ head: borrowing RequestHead, _ request: inout RoutedRequest
  ) -> RouteMismatch? {
    let match = routes[number].match
    let condition = conditions[number]
    if match.isForStreams { return .notStream }
    let bytes = request.bytes
    let host = Self.normalizedHost(head.hostRange.slice(of: bytes))
    if !match.hosts.isEmpty, !match.hosts.contains(where: { $0.matches(host) }) { return .host }
    if let path = match.path, !path.matches(request.path, &request) { return .path }
    if !condition.methodHolds(head, bytes) { return .method }
    if !condition.workloadHolds(request.workload) { return .workload }
    for header in condition.headers where !header.holds(head, &request) {
      return .header(String(decoding: header.name, as: UTF8.self))
    }
    for query in condition.query where !query.holds(head.queryRange.slice(of: bytes), &request) {
      return .query(String(decoding: query.name, as: UTF8.self))
    }
    return nil
  }

  /// As rules have it: in lower case, without the final dot; empty where it is too long for any.
  private static func normalizedHost(_ host: UnsafeRawBufferPointer) -> [UInt8] {
    var name = host.map { $0 &- 0x41 < 26 ? $0 | 0x20 : $0 }
    if name.last == UInt8(ascii: ".") { name.removeLast() }
    return name.count <= HostPattern.maximumByteCount ? name : []
  }
}

extension HostPattern {
  fileprivate func matches(_ host: [UInt8]) -> Bool {
    let pattern = Array(text.utf8)
    guard isWildcard else { return host == pattern }
    return host.count > pattern.count && host.suffix(pattern.count).elementsEqual(pattern)
  }
}

extension RouteMatch.PathMatch {
  fileprivate func matches(_ path: UnsafeRawBufferPointer, _ request: inout RoutedRequest) -> Bool {
    switch self {
    case .exact(let text): return path.elementsEqual(text.utf8)
    case .regex(let pattern): return request.matches(pattern.code.pointer, path)
    case .prefix(let text):
      let prefix = text.utf8
      guard path.starts(with: prefix) else { return false }
      return path.count == prefix.count || prefix.last == UInt8(ascii: "/") || path[prefix.count] == UInt8(ascii: "/")
    }
  }
}
