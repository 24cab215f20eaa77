// What of a rule the index does not answer: methods, callers, fields, query, and patterns. The cheap ones are asked first.

import Base
import HTTP

/// A request as rules see it. For the length of one call.
struct RoutedRequest {
  let bytes: UnsafeRawBufferPointer
  /// `/` where an absolute target has no path.
  let path: UnsafeRawBufferPointer
  let workload: UInt16
  let matcher: PatternMatcher
  /// Matches that a limit ended.
  var limitedCount: UInt32 = 0
  /// What is left of the time that matching with patterns may take. Each match has a limit of its own, but a head may have a
  /// hundred fields for each of a hundred rules.
  private var patience: Int64
  private var matchedAt = MonotonicInstant(nanoseconds: 0)

  /// - Parameter ruleCount: those that may have to be looked at.
  init(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, workload: UInt16, matcher: PatternMatcher,
    ruleCount: Int
  ) {
    self.bytes = bytes
    path = Self.path(head, bytes)
    self.workload = workload
    self.matcher = matcher
    patience = Self.patience &+ Int64(ruleCount) &* Self.patienceForRule
  }

  /// Matching takes so long that the request is not worth it.
  var isExhausted: Bool { patience <= 0 }

  /// Nanoseconds; many times what sensible patterns take.
  private static var patience: Int64 { 1_000_000 }
  private static var patienceForRule: Int64 { 5_000 }
  /// No match counts for more: the thread may have had to wait for its processor.
  private static var longestMatch: UInt64 { 125_000 }

  @inline(__always) static func path(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer {
    if head.pathRange.isEmpty, head.form == .absolute {
      return UnsafeRawBufferPointer(start: ("/" as StaticString).utf8Start, count: 1)
    }
    return head.pathRange.slice(of: bytes)
  }

  mutating func matches(_ code: OpaquePointer, _ subject: UnsafeRawBufferPointer) -> Bool {
    if isExhausted {
      limitedCount &+= 1
      return false
    }
    if matchedAt.nanoseconds == 0 { matchedAt = .now() }
    let outcome = matcher.match(code, subject)
    let now = MonotonicInstant.now()
    patience &-= Int64(truncatingIfNeeded: min(now.nanoseconds(since: matchedAt), Self.longestMatch))
    matchedAt = now
    switch outcome {
    case .matched: return true
    case .notMatched: return false
    case .limited:
      limitedCount &+= 1
      return false
    }
  }
}

/// A `RouteMatch.TextMatch`, compiled.
struct TextCondition: BitwiseCopyable {
  enum Kind: UInt8 { case present, exact, prefix, regex }

  let kind: Kind
  let text: UnsafeRawBufferPointer
  let code: OpaquePointer?

  init(_ match: RouteMatch.TextMatch, in memory: CompiledMemory) {
    switch match {
    case .present: (kind, text, code) = (.present, UnsafeRawBufferPointer(start: nil, count: 0), nil)
    case .exact(let value): (kind, text, code) = (.exact, memory.copy(value), nil)
    case .prefix(let value): (kind, text, code) = (.prefix, memory.copy(value), nil)
    case .regex(let pattern):
      (kind, text, code) = (.regex, UnsafeRawBufferPointer(start: nil, count: 0), pattern.code.pointer)
    }
  }

  func matches(_ value: UnsafeRawBufferPointer, _ request: inout RoutedRequest) -> Bool {
    switch kind {
    case .present: return true
    case .exact: return value.count == text.count && equalBytes(value, text)
    case .prefix:
      return value.count >= text.count && equalBytes(UnsafeRawBufferPointer(rebasing: value.prefix(text.count)), text)
    case .regex:
      guard let code else { return false }
      return request.matches(code, value)
    }
  }
}

struct HeaderCondition: BitwiseCopyable {
  let name: UnsafeRawBufferPointer
  let value: TextCondition
  let isInverted: Bool

  init(_ match: RouteMatch.HeaderMatch, in memory: CompiledMemory) {
    name = memory.copy(match.name)
    value = TextCondition(match.value, in: memory)
    isInverted = match.isInverted
  }

  /// With a pattern that its limit stopped it does not hold, inverted or not: nothing is known.
  func holds(_ head: borrowing RequestHead, _ request: inout RoutedRequest) -> Bool {
    let limitedCount = request.limitedCount
    var next = head.fields.firstIndex(named: name, in: request.bytes)
    while let index = next {
      let field = head.fields[index].value.slice(of: request.bytes)
      if value.matches(field, &request) { return !isInverted }
      next = head.fields.firstIndex(named: name, in: request.bytes, from: index &+ 1)
    }
    return isInverted && request.limitedCount == limitedCount
  }
}

struct QueryCondition: BitwiseCopyable {
  let name: UnsafeRawBufferPointer
  let value: TextCondition

  init(_ match: RouteMatch.QueryMatch, in memory: CompiledMemory) {
    name = memory.copy(match.name)
    value = TextCondition(match.value, in: memory)
  }

  func holds(_ query: UnsafeRawBufferPointer, _ request: inout RoutedRequest) -> Bool {
    var start = 0
    while start < query.count {
      var end = start
      var equals = -1
      while end < query.count, query[end] != UInt8(ascii: "&") {
        if equals < 0, query[end] == UInt8(ascii: "=") { equals = end }
        end &+= 1
      }
      let nameEnd = equals < 0 ? end : equals
      if nameEnd &- start == name.count, equalBytes(UnsafeRawBufferPointer(rebasing: query[start..<nameEnd]), name) {
        let valueStart = equals < 0 ? end : equals &+ 1
        if value.matches(UnsafeRawBufferPointer(rebasing: query[valueStart..<end]), &request) { return true }
      }
      start = end &+ 1
    }
    return false
  }
}

/// What must hold besides host and path; `isPlain` where that is nothing.
struct RouteConditions: BitwiseCopyable {
  let isPlain: Bool
  /// One bit a `Method`; all where any will do.
  let methods: UInt16
  /// Tokens that `Method` does not know.
  let otherMethods: UnsafeBufferPointer<UnsafeRawBufferPointer>
  let namesWorkloads: Bool
  let workloads: UnsafeBufferPointer<UInt16>
  let headers: UnsafeBufferPointer<HeaderCondition>
  let query: UnsafeBufferPointer<QueryCondition>
  let pathPattern: OpaquePointer?
  /// For `OPTIONS *` only: no path, so the index does not know it.
  let isForAsterisk: Bool
  /// Of a TLS connection; empty where any will do.
  let protocols: UnsafeBufferPointer<UnsafeRawBufferPointer>

  init(_ match: RouteMatch, workloadNumber: (String) -> UInt16?, in memory: CompiledMemory) {
    var mask: UInt16 = match.methods.isEmpty ? .max : 0
    var others: [UnsafeRawBufferPointer] = []
    for name in match.methods {
      if let method = Method.allCases.first(where: { $0 != .other && "\($0.name)" == name }) {
        mask |= 1 << UInt16(method.rawValue)
      } else {
        others.append(memory.copy(name))
      }
    }
    methods = mask
    otherMethods = memory.copy(others)
    namesWorkloads = !match.workloads.isEmpty
    workloads = memory.copy(match.workloads.compactMap(workloadNumber))
    headers = memory.copy(match.headers.map { HeaderCondition($0, in: memory) })
    query = memory.copy(match.query.map { QueryCondition($0, in: memory) })
    protocols = memory.copy(match.protocols.map { memory.copy($0) })
    if case .regex(let pattern) = match.path { pathPattern = pattern.code.pointer } else { pathPattern = nil }
    isForAsterisk = if case .exact("*") = match.path { true } else { false }
    isPlain =
      mask == .max && !namesWorkloads && headers.isEmpty && query.isEmpty && pathPattern == nil && !isForAsterisk
      && others.isEmpty
  }

  func hold(_ head: borrowing RequestHead, _ request: inout RoutedRequest) -> Bool {
    guard methodHolds(head, request.bytes), workloadHolds(request.workload) else { return false }
    if isForAsterisk, request.path.count != 1 || request.path[0] != UInt8(ascii: "*") { return false }
    for condition in headers where !condition.holds(head, &request) { return false }
    if !query.isEmpty {
      let text = head.queryRange.slice(of: request.bytes)
      for condition in query where !condition.holds(text, &request) { return false }
    }
    guard let pathPattern else { return true }
    return request.matches(pathPattern, request.path)
  }

  func methodHolds(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer) -> Bool {
    if methods & (1 << UInt16(head.method.rawValue)) != 0 { return true }
    guard head.method == .other else { return false }
    let token = head.methodRange.slice(of: bytes)
    for name in otherMethods where name.count == token.count && equalBytes(name, token) { return true }
    return false
  }

  func workloadHolds(_ workload: UInt16) -> Bool {
    guard namesWorkloads else { return true }
    for number in workloads where number == workload { return true }
    return false
  }
}
