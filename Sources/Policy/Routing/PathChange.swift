// Paths that become others: in the request line towards an endpoint, and in the Location of a redirect. The query is not
// touched. All bytes that go in were checked to be a path's, when the rule was read or when the request was parsed, so none
// of them can end a line.

public import HTTP

/// What came of a rewriting.
@frozen public enum TargetOutcome: Equatable, Sendable {
  /// The target goes on as it is: its pattern matched nothing, or it has no path (`*`, CONNECT).
  case unchanged
  /// So many bytes were written: path, `?` and query.
  case written(Int)
  /// It does not fit.
  case tooLong
  /// The pattern was stopped by its limit; the target goes on as it is.
  case limited
}

/// A `RouteAction.PathRewrite`, compiled. Trivial.
struct PathChange: BitwiseCopyable {
  enum Kind: UInt8 { case none, prefix, full, regex }

  /// A part of a replacement: text, or a group of the match where the text is absent.
  struct Part: BitwiseCopyable {
    let text: UnsafeRawBufferPointer
    let group: Int8
  }

  let kind: Kind
  /// The new prefix or path.
  let text: UnsafeRawBufferPointer
  /// Bytes of the path that a new prefix takes the place of.
  let prefixCount: Int
  let pattern: OpaquePointer?
  let parts: UnsafeBufferPointer<Part>

  init(_ rewrite: RouteAction.PathRewrite?, of path: RouteMatch.PathMatch?, in memory: CompiledMemory) {
    var prefixCount = 0
    if case .prefix(let prefix) = path { prefixCount = prefix.utf8.count }
    self.prefixCount = prefixCount
    var pattern: OpaquePointer?
    var parts: [Part] = []
    switch rewrite {
    case nil: (kind, text) = (.none, memory.copy(""))
    case .prefix(let new): (kind, text) = (.prefix, memory.copy(new))
    case .full(let new): (kind, text) = (.full, memory.copy(new))
    case .regex(let regex, let replacement):
      (kind, text) = (.regex, memory.copy(""))
      pattern = regex.code.pointer
      parts = replacement.parts.map { part in
        switch part {
        case .text(let bytes): Part(text: memory.copy(bytes), group: -1)
        case .group(let number): Part(text: memory.copy(""), group: Int8(truncatingIfNeeded: number))
        }
      }
    }
    self.pattern = pattern
    self.parts = memory.copy(parts)
  }

  /// Bytes that surely suffice for a path of `count` bytes.
  func bound(_ count: Int) -> Int {
    var total = count &+ text.count &+ 2
    for part in parts { total &+= part.group < 0 ? part.text.count : count }
    return total
  }

  /// Writes the new path; `.unchanged` and `.limited` write nothing.
  func write(_ path: UnsafeRawBufferPointer, _ matcher: PatternMatcher, _ writer: inout HTTP1Writer) -> TargetOutcome {
    switch kind {
    case .none: return .unchanged
    case .full: writer.append(text)
    case .prefix:
      guard prefixCount <= path.count else { return .unchanged }
      let rest = UnsafeRawBufferPointer(rebasing: path[prefixCount...])
      let endsOpen = text.last == UInt8(ascii: "/")
      switch rest.first {
      case nil: writer.append(text)
      case UInt8(ascii: "/"):
        writer.append(endsOpen ? UnsafeRawBufferPointer(rebasing: text.dropLast()) : text)
        writer.append(rest)
      default:
        writer.append(text)
        if !endsOpen { writer.append(UInt8(ascii: "/")) }
        writer.append(rest)
      }
    case .regex: return writeReplaced(path, matcher, &writer)
    }
    return .written(writer.count ?? 0)
  }

  private func writeReplaced(
    _ path: UnsafeRawBufferPointer, _ matcher: PatternMatcher, _ writer: inout HTTP1Writer
  ) -> TargetOutcome {
    guard let pattern else { return .unchanged }
    switch matcher.match(pattern, path) {
    case .notMatched: return .unchanged
    case .limited: return .limited
    case .matched: break
    }
    guard let whole = matcher.group(0, in: path) else { return .unchanged }
    let first = firstByte(path, whole, matcher)
    // What a pattern takes away must leave an absolute path: nothing else is a target.
    if first != UInt8(ascii: "/") { writer.append(UInt8(ascii: "/")) }
    writer.append(UnsafeRawBufferPointer(rebasing: path[..<whole.lowerBound]))
    for part in parts {
      if part.group < 0 {
        writer.append(part.text)
      } else if let range = matcher.group(Int(part.group), in: path) {
        writer.append(UnsafeRawBufferPointer(rebasing: path[range]))
      }
    }
    writer.append(UnsafeRawBufferPointer(rebasing: path[whole.upperBound...]))
    return .written(writer.count ?? 0)
  }

  /// The byte that the replaced path would begin with.
  private func firstByte(_ path: UnsafeRawBufferPointer, _ whole: Range<Int>, _ matcher: PatternMatcher) -> UInt8? {
    if whole.lowerBound > 0 { return path[0] }
    for part in parts {
      if part.group < 0 { return part.text.first }
      if let range = matcher.group(Int(part.group), in: path), !range.isEmpty { return path[range.lowerBound] }
    }
    return whole.upperBound < path.count ? path[whole.upperBound] : nil
  }
}

extension RouteTable {
  /// A size that surely suffices for `writeTarget` with the same arguments, in bytes.
  public func targetBound(_ number: RouteNumber, _ head: borrowing RequestHead) -> Int {
    plan(number).pointee.rewrite.bound(head.pathAndQueryRange.count)
  }

  /// Writes the request target that a rule makes of the one that came: the changed path, and the query as it was.
  ///
  /// - Returns: `.written` with the number of bytes; otherwise the target goes on as it is, or is too long.
  public func writeTarget(
    _ number: RouteNumber, _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ matcher: PatternMatcher,
    into output: UnsafeMutableRawBufferPointer
  ) -> TargetOutcome {
    guard head.form == .origin || head.form == .absolute else { return .unchanged }
    var writer = HTTP1Writer(output)
    let outcome = plan(number).pointee.rewrite.write(RoutedRequest.path(head, bytes), matcher, &writer)
    guard case .written = outcome else { return outcome }
    writer.append(RouteTable.query(head, bytes))
    return writer.count.map { .written($0) } ?? .tooLong
  }

  /// `?` and what follows, or nothing.
  static func query(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: head.pathAndQueryRange.slice(of: bytes).dropFirst(head.pathRange.count))
  }
}
