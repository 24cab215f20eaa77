// What the tests of routing share: rules in few words, requests from text, and tables over both.

import Base
import HTTP
import Policy
import Testing

func whole(_ text: String) -> Pattern {
  do { return try Pattern(parsing: text, scope: .whole) } catch { fatalError("\(text): \(error)") }
}

func part(_ text: String) -> Pattern {
  do { return try Pattern(parsing: text, scope: .part) } catch { fatalError("\(text): \(error)") }
}

func host(_ text: String) -> HostPattern {
  do { return try HostPattern(parsing: text) } catch { fatalError("\(text): \(error)") }
}

func logical(_ text: String) -> Path {
  do { return try Path(parsing: text) } catch { fatalError("\(text): \(error)") }
}

func percent(_ text: String) -> Percent {
  do { return try Percent(parsing: text) } catch { fatalError("\(text): \(error)") }
}

/// A rule for these hosts and this path.
func route(
  hosts: [String] = [], _ path: RouteMatch.PathMatch? = nil, methods: [String] = [],
  headers: [RouteMatch.HeaderMatch] = [], query: [RouteMatch.QueryMatch] = [], workloads: [String] = []
) -> Route {
  var match = RouteMatch()
  match.hosts = hosts.map(host)
  match.path = path
  match.methods = methods
  match.headers = headers
  match.query = query
  match.workloads = workloads
  return Route(match: match)
}

/// A rule for every request.
func route(matching path: RouteMatch.PathMatch? = nil, _ change: (inout RouteAction) -> Void) -> Route {
  var rule = route(path)
  change(&rule.action)
  return rule
}

func table(_ routes: [Route], workloads: [String: UInt16] = [:], seed: UInt64 = 1) -> RouteTable {
  var random = RandomSource(seed: seed)
  return RouteTable(routes, workloads: workloads, random: &random)
}

/// The text of a request with this line.
func request(_ line: String, host: String = "shop.local", _ fields: String = "") -> String {
  "\(line) HTTP/1.1\r\nhost: \(host)\r\n\(fields)\r\n"
}

/// Calls `body` with the parsed head of `text` and a matcher.
func withHead<Result>(
  _ text: String, _ body: (borrowing RequestHead, UnsafeRawBufferPointer, PatternMatcher) throws -> Result
) throws -> Result {
  let matcher = PatternMatcher()
  defer { matcher.destroy() }
  var text = text
  return try text.withUTF8 { utf8 in
    let bytes = UnsafeRawBufferPointer(utf8)
    var head = RequestHead()
    let limits = HTTP1Limits(headerBytes: 1 << 17, requestLineBytes: 1 << 16)
    try #require(HTTP1Parser.parseRequest(bytes, into: &head, limits: limits) == .complete)
    return try body(head, bytes, matcher)
  }
}

extension RouteTable {
  /// The number of the rule that has the request.
  func find(_ text: String, workload: UInt16 = 0) throws -> RouteLookup {
    try withHead(text) { head, bytes, matcher in lookup(head, bytes, workload: workload, matcher) }
  }

  func number(_ text: String, workload: UInt16 = 0) throws -> Int? {
    try find(text, workload: workload).number.map(Int.init)
  }

  func explanation(_ text: String, workload: UInt16 = 0) throws -> [RouteMismatch?] {
    try withHead(text) { head, bytes, matcher in
      explain(head, bytes, workload: workload, matcher).map(\.mismatch)
    }
  }
}
