// The request head, in place and in one pass:
//
//     [CRLF] method SP request-target SP HTTP-version CRLF *( field-line CRLF ) CRLF        RFC 9112 sections 2 to 5
//
// Everything is decided by bytes in the order they come: a head cut short is `incomplete`, or refused for the very
// reason the whole would be. Only absolute-form targets of http and https are taken, and bytes that a URI may not
// contain but clients send (`|`, `"`, `{`) pass where they cannot confuse anybody.

extension HTTP1Parser {
  /// Parses a request head at the start of `bytes`. On `.complete` the ranges in `head` refer to `bytes`.
  ///
  /// Pure: any thread, no allocation. What follows the head is not looked at.
  public static func parseRequest(
    _ bytes: UnsafeRawBufferPointer, into head: inout RequestHead, limits: HTTP1Limits
  ) -> HeadOutcome {
    guard let view = ByteView(bytes, limit: limits.headerBytes) else {
      return limits.headerBytes == 0 ? .refused(.headTooLong) : .incomplete
    }
    do throws(HeadStop) {
      try parse(view, &head, limits)
      return .complete
    } catch {
      if case .incomplete = error, bytes.count >= limits.headerBytes { return .refused(.headTooLong) }
      return error.outcome
    }
  }

  @inline(__always)
  private static func parse(_ view: ByteView, _ head: inout RequestHead, _ limits: HTTP1Limits) throws(HeadStop) {
    var start = 0
    if view[0] == carriageReturn {
      guard view[1] == lineFeed else { throw controlStop(view, at: 0) }
      start = 2
    }
    let line = view.prefix(start &+ limits.requestLineBytes &+ 2)
    do throws(HeadStop) {
      try parseRequestLine(line, from: start, &head)
    } catch {
      if case .incomplete = error, line.count < view.count { throw .refused(.requestLineTooLong) }
      throw error
    }

    head.fields.removeAll()
    var facts = FieldFacts(message: .request, version: head.version)
    head.headLength = try parseFieldLines(
      view, from: head.fieldsStart, into: &head.fields, maximum: limits.headers, facts: &facts)
    try finish(view, &head, facts)
  }

  @inline(__always)
  private static func parseRequestLine(_ line: ByteView, from start: Int, _ head: inout RequestHead) throws(HeadStop) {
    head.lineStart = start
    let methodEnd = try parseMethod(line, from: start, &head)
    let targetStart = methodEnd &+ 1
    var query = -1
    var targetEnd = line.firstTargetStop(from: targetStart)
    while line[targetEnd] == UInt8(ascii: "?") {
      if query < 0 { query = targetEnd }
      targetEnd = line.firstTargetStop(from: targetEnd &+ 1)
    }
    guard line[targetEnd] == 0x20, targetEnd > targetStart else { throw targetStop(line, at: targetEnd) }
    try parseVersion(line, from: targetEnd &+ 1, &head)
    head.fieldsStart = targetEnd &+ 11

    head.methodRange = ByteRange(start, methodEnd)
    head.targetRange = ByteRange(targetStart, targetEnd)
    head.forwardedTarget = nil
    let pathEnd = query < 0 ? targetEnd : query
    head.queryRange = query < 0 ? .empty : ByteRange(query &+ 1, targetEnd)
    if line[targetStart] == UInt8(ascii: "/"), head.method != .connect {
      head.form = .origin
      head.pathRange = ByteRange(targetStart, pathEnd)
      head.pathAndQueryRange = head.targetRange
    } else {
      try parseOtherTarget(line, pathEnd: pathEnd, &head)
    }
  }

  /// The index of the space after the method.
  @inline(__always)
  private static func parseMethod(_ line: ByteView, from start: Int, _ head: inout RequestHead) throws(HeadStop) -> Int
  {
    let word = line.word(at: start)
    if word & 0xFFFF_FFFF == packed("GET ") {
      head.method = .get
      return start &+ 3
    }
    if word & 0xFF_FFFF_FFFF == packed("POST ") {
      head.method = .post
      return start &+ 4
    }
    let end = line.firstNonToken(from: start, to: line.count)
    guard end < line.count else { throw .incomplete }
    guard line[end] == 0x20, end > start else {
      throw line[end] == 0 ? .refused(.nulByte) : .refused(.badMethod)
    }
    head.method = otherMethod(end &- start, word)
    return end
  }

  @inline(never) private static func otherMethod(_ length: Int, _ word: UInt64) -> Method {
    // `word` holds the token's first eight bytes and what follows it.
    guard length < 8 else { return .other }
    switch (length, word & ((1 << UInt64(8 &* length)) &- 1)) {
    case (3, packed("PUT")): return .put
    case (4, packed("HEAD")): return .head
    case (5, packed("TRACE")): return .trace
    case (5, packed("PATCH")): return .patch
    case (6, packed("DELETE")): return .delete
    case (7, packed("OPTIONS")): return .options
    case (7, packed("CONNECT")): return .connect
    default: return .other
    }
  }

  /// Why the target ends with something else than a space.
  @inline(never) private static func targetStop(_ line: ByteView, at index: Int) -> HeadStop {
    if index >= line.count { return .incomplete }
    switch line[index] {
    case carriageReturn where line[index &+ 1] == lineFeed: return .refused(.badVersion)
    case carriageReturn, lineFeed, 0: return controlStop(line, at: index)
    default: return .refused(.badTarget)
    }
  }

  /// `HTTP/1.1` or `HTTP/1.0`, and the line's end.
  @inline(__always)
  private static func parseVersion(_ line: ByteView, from start: Int, _ head: inout RequestHead) throws(HeadStop) {
    let word = line.word(at: start)
    guard line[start &+ 8] == carriageReturn, line[start &+ 9] == lineFeed else { throw versionStop(line, from: start) }
    if word == packed("HTTP/1.1") {
      head.version = .http11
    } else if word == packed("HTTP/1.0") {
      head.version = .http10
    } else {
      throw versionStop(line, from: start)
    }
  }

  /// Why there is no `HTTP/1.1 CRLF` at `start`: judged by the first byte that differs.
  @inline(never) static func versionStop(_ line: ByteView, from start: Int) -> HeadStop {
    for index in 0..<5 {
      if start &+ index >= line.count { return .incomplete }
      let expected = UInt8(truncatingIfNeeded: packed("HTTP/") >> UInt64(8 &* index))
      guard line[start &+ index] == expected else { return .refused(.badVersion) }
    }
    for index in 5..<8 {
      if start &+ index >= line.count { return .incomplete }
      let byte = line[start &+ index]
      guard index == 6 ? byte == UInt8(ascii: ".") : byte &- 0x30 < 10 else { return .refused(.badVersion) }
    }
    guard line[start &+ 5] == UInt8(ascii: "1"), line[start &+ 7] <= UInt8(ascii: "1") else {
      return .refused(.unsupportedVersion)
    }
    if start &+ 8 >= line.count { return .incomplete }
    let end = line[start &+ 8]
    guard end == carriageReturn || end == lineFeed || end == 0 else { return .refused(.badVersion) }
    return controlStop(line, at: start &+ 8)
  }

  /// absolute-form, authority-form and asterisk-form. RFC 9112 3.2.2 to 3.2.4.
  @inline(never) private static func parseOtherTarget(
    _ line: ByteView, pathEnd: Int, _ head: inout RequestHead
  ) throws(HeadStop) {
    let target = head.targetRange
    head.pathRange = .empty
    head.pathAndQueryRange = .empty
    if head.method == .connect {
      guard let authority = Authority(line, target), authority.port != 0 else { throw .refused(.badTarget) }
      head.form = .authority
      take(authority, target, &head)
    } else if target.count == 1, line[target.start] == UInt8(ascii: "*"), head.method == .options {
      head.form = .asterisk
      head.pathRange = target
      head.pathAndQueryRange = target
    } else {
      let start: Int
      if line.matches(ByteRange(target.start, min(target.start &+ 7, target.end)), "http://") {
        start = target.start &+ 7
      } else if line.matches(ByteRange(target.start, min(target.start &+ 8, target.end)), "https://") {
        start = target.start &+ 8
      } else {
        throw .refused(.badTarget)
      }
      var end = start
      while end < pathEnd, line[end] != UInt8(ascii: "/") { end &+= 1 }
      guard let authority = Authority(line, ByteRange(start, end)) else { throw .refused(.badTarget) }
      head.form = .absolute
      head.pathRange = ByteRange(end, pathEnd)
      head.pathAndQueryRange = ByteRange(end, target.end)
      take(authority, ByteRange(start, end), &head)
    }
  }

  private static func take(_ authority: Authority, _ range: ByteRange, _ head: inout RequestHead) {
    head.authorityRange = range
    head.hostRange = authority.host
    head.port = authority.port
  }

  /// What the fields say together.
  @inline(__always)
  private static func finish(_ view: ByteView, _ head: inout RequestHead, _ facts: FieldFacts) throws(HeadStop) {
    let flags = facts.flags
    guard flags.contains(.host) || head.version == .http10 else { throw .refused(.missingHost) }
    if head.form == .origin || head.form == .asterisk {
      head.authorityRange = facts.authority
      head.hostRange = facts.host
      head.port = facts.port
      head.hostIsForwarded = flags.contains(.host)
    } else {
      // RFC 9112 3.2.2: the target's authority wins, and Host is written anew from it.
      head.hostIsForwarded = false
      if let index = head.fields.firstIndex(of: .host) { head.fields.setForwarded(false, at: index) }
    }
    head.framing =
      flags.contains(.chunked) ? .chunked : flags.contains(.contentLength) ? .length(facts.contentLength) : .none
    // RFC 9112 9.3. An HTTP/1.0 client that asks for it is kept too: to that client this proxy is the origin.
    head.keepAlive = !flags.contains(.close) && (head.version == .http11 || flags.contains(.keepAlive))
    // An offer of h2c is not passed on (RFC 9113 3.1 retired it): its requests would bypass every route and policy.
    head.wantsUpgrade =
      flags.contains(.upgrade) && flags.contains(.upgradeOption) && !flags.contains(.http2Offer)
      && head.version == .http11
    head.expectsContinue = flags.contains(.expectsContinue)
    head.hasTraceparent = flags.contains(.traceparent)
    head.acceptsTrailers = flags.contains(.acceptsTrailers) && head.version == .http11
    if flags.contains(.nominates) { FieldFacts.dropNominated(view, &head.fields) }
  }
}
