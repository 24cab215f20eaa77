// The response head, in place and in one pass:
//
//     HTTP-version SP 3DIGIT SP [ reason ] CRLF *( field-line CRLF ) CRLF        RFC 9112 sections 4 and 6.3
//
// As strict as towards clients, for an upstream that frames badly poisons a connection others will use. One leniency:
// the space before an absent reason may be missing, as many servers have it.

extension HTTP1Parser {
  /// Parses a response head at the start of `bytes`. On `.complete` the ranges in `head` refer to `bytes`.
  ///
  /// Pure: any thread, no allocation. What follows the head is not looked at.
  public static func parseResponse(
    _ bytes: UnsafeRawBufferPointer, into head: inout ResponseHead, context: ResponseContext, limits: HTTP1Limits
  ) -> HeadOutcome {
    guard let view = ByteView(bytes, limit: limits.headerBytes) else {
      return limits.headerBytes == 0 ? .refused(.headTooLong) : .incomplete
    }
    do throws(HeadStop) {
      try parseStatusLine(view, &head)
      head.fields.removeAll()
      var facts = FieldFacts(message: .response, version: head.version)
      head.headLength = try parseFieldLines(
        view, from: head.fieldsStart, into: &head.fields, maximum: limits.headers, facts: &facts)
      try finish(view, &head, facts, context)
      return .complete
    } catch {
      if case .incomplete = error, bytes.count >= limits.headerBytes { return .refused(.headTooLong) }
      return error.outcome
    }
  }

  @inline(__always) private static func parseStatusLine(_ view: ByteView, _ head: inout ResponseHead) throws(HeadStop) {
    let word = view.word(at: 0)
    if word == packed("HTTP/1.1") {
      head.version = .http11
    } else if word == packed("HTTP/1.0") {
      head.version = .http10
    } else {
      throw versionStop(view)
    }
    // The code and the spaces around it: " 200 ".
    let first = view[9] &- 0x30
    let second = view[10] &- 0x30
    let third = view[11] &- 0x30
    guard view[8] == 0x20, first &- 1 < 9, second < 10, third < 10 else { throw codeStop(view) }
    head.status = Status(UInt16(first) &* 100 &+ UInt16(second) &* 10 &+ UInt16(third))
    guard view[12] == 0x20 || view[12] == carriageReturn else { throw codeStop(view) }
    let reasonStart = view[12] == 0x20 ? 13 : 12
    let end = try endOfValue(view, from: reasonStart)
    head.reasonRange = ByteRange(reasonStart, end)
    head.fieldsStart = end &+ 2
  }

  @inline(never) private static func versionStop(_ view: ByteView) -> HeadStop {
    let stop = versionStop(view.prefix(8), from: 0)
    guard case .refused(.badVersion) = stop else { return stop }
    return .refused(.badStatusLine)
  }

  /// Why there is no ` 200 ` after the version: judged by the first byte that differs.
  @inline(never) private static func codeStop(_ view: ByteView) -> HeadStop {
    for index in 8...12 {
      if index >= view.count { return .incomplete }
      let byte = view[index]
      let isGood =
        switch index {
        case 8: byte == 0x20
        case 9: byte &- 0x31 < 9
        case 10, 11: byte &- 0x30 < 10
        default: byte == 0x20 || byte == carriageReturn
        }
      if !isGood { return .refused(.badStatusLine) }
    }
    return .refused(.badStatusLine)
  }

  /// Where the body ends and whether the connection outlives it. RFC 9112 6.3 and 9.3.
  @inline(__always) private static func finish(
    _ view: ByteView, _ head: inout ResponseHead, _ facts: FieldFacts, _ context: ResponseContext
  ) throws(HeadStop) {
    let flags = facts.flags
    let status = head.status
    head.contentLength = flags.contains(.contentLength) ? facts.contentLength : nil
    head.isSwitch = status.code == 101
    head.isTunnel = context.method == .connect && status.category == 2 && status.code < 300
    guard !head.isSwitch || context.wantsUpgrade else { throw .refused(.unexpectedSwitch) }
    var keepAlive = !flags.contains(.close) && (head.version == .http11 || flags.contains(.keepAlive))
    if status.isAlwaysBodiless || context.method == .head || head.isTunnel {
      head.framing = .none
      // An upstream that announces a body where none can be may well send it: do not use the connection again.
      if status.code == 204, flags.contains(.chunked) || facts.contentLength != 0 { keepAlive = false }
      if head.isSwitch || head.isTunnel { keepAlive = false }
    } else if flags.contains(.chunked) {
      head.framing = .chunked
    } else if flags.contains(.contentLength) {
      head.framing = .length(facts.contentLength)
    } else {
      head.framing = .untilClose
      keepAlive = false
    }
    head.keepAlive = keepAlive
    if flags.contains(.nominates) { FieldFacts.dropNominated(view, &head.fields) }
  }
}
