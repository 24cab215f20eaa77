// Answers that a rule gives by itself: a redirect, or a response whose bytes stand ready. Head and body are written here, in
// one place; the connection's own lines are the caller's.

public import HTTP

/// A `RouteAction.Answer`, compiled. Trivial.
struct AnswerPlan: BitwiseCopyable {
  let status: UInt16
  /// The status line and all fields but Location and those of the connection.
  let head: UnsafeRawBufferPointer
  let body: UnsafeRawBufferPointer
  let isRedirect: Bool
  /// `https://new.local:8443`, as far as the rule says it.
  let scheme: UnsafeRawBufferPointer
  let host: UnsafeRawBufferPointer
  let port: UInt16
  let path: PathChange

  init(_ answer: RouteAction.Answer, of match: RouteMatch.PathMatch?, in memory: CompiledMemory) {
    switch answer {
    case .redirect(let redirect):
      status = redirect.status
      head = memory.copy("HTTP/1.1 \(redirect.status) \(Status(redirect.status).reason)\r\ncontent-length: 0\r\n")
      body = memory.copy("")
      isRedirect = true
      scheme = memory.copy(redirect.scheme ?? "")
      host = memory.copy(redirect.host ?? "")
      port = redirect.port ?? 0
      path = PathChange(redirect.path, of: match, in: memory)
    case .respond(let respond):
      status = respond.status
      var text = "HTTP/1.1 \(respond.status) \(Status(respond.status).reason)\r\n"
      if !respond.body.isEmpty { text += "content-type: \(respond.contentType)\r\n" }
      // RFC 9110 8.6: a 204 has none; a 304 would speak of another response's body.
      if respond.status != 204, respond.status != 304 { text += "content-length: \(respond.body.utf8.count)\r\n" }
      text += respond.headers.map(\.line).joined()
      head = memory.copy(text)
      body = memory.copy(respond.body)
      isRedirect = false
      scheme = memory.copy("")
      host = memory.copy("")
      port = 0
      path = PathChange(nil, of: match, in: memory)
    }
  }

  /// Where a redirect leads. Absolute wherever a host is known, so that a path with two slashes at its front cannot be
  /// taken for another host.
  func writeLocation(
    _ request: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ matcher: PatternMatcher,
    _ writer: inout HTTP1Writer
  ) {
    let authority = request.authorityRange.slice(of: bytes)
    if !host.isEmpty || !authority.isEmpty {
      if scheme.isEmpty { writer.append("http") } else { writer.append(scheme) }
      writer.append("://")
      if !host.isEmpty {
        writer.append(host)
      } else if port != 0 || !scheme.isEmpty {
        writer.append(Self.withoutPort(authority))
      } else {
        writer.append(authority)
      }
      if port != 0 {
        writer.append(UInt8(ascii: ":"))
        writer.append(decimal: UInt64(port))
      }
    } else {
      writer.append("/.")
    }
    let original = RoutedRequest.path(request, bytes)
    switch path.write(original, matcher, &writer) {
    case .written, .tooLong: break
    case .unchanged, .limited: writer.append(original)
    }
    writer.append(RouteTable.query(request, bytes))
  }

  /// `host[:port]` without its port; a colon inside brackets is no port's.
  private static func withoutPort(_ authority: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    guard let colon = authority.lastIndex(of: UInt8(ascii: ":")), authority.last != UInt8(ascii: "]") else {
      return authority
    }
    return UnsafeRawBufferPointer(rebasing: authority[..<colon])
  }
}

extension RouteTable {
  /// The status of the answer that the rule gives by itself; nil when it gives none.
  public func answerStatus(_ number: RouteNumber) -> UInt16? { plan(number).pointee.answer?.status }

  /// A size that surely suffices for `writeAnswer` with the same arguments, in bytes.
  public func answerBound(
    _ number: RouteNumber, _ head: borrowing RequestHead, via: UnsafeRawBufferPointer
  ) -> Int {
    guard let answer = plan(number).pointee.answer else { return 0 }
    return answer.head.count &+ answer.body.count &+ answer.scheme.count &+ answer.host.count
      &+ head.authorityRange.count &+ answer.path.bound(head.pathAndQueryRange.count) &+ via.count &+ 96
  }

  /// Writes the answer that the rule gives by itself, whole.
  ///
  /// - Parameters:
  ///   - via: a whole `via` line, or nothing.
  ///   - closes: whether the connection ends after it.
  ///   - withBody: false for the answer to a HEAD request, which has the same head.
  /// - Returns: The number of bytes written; nil when they do not fit, or the rule answers nothing.
  public func writeAnswer(
    _ number: RouteNumber, _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ matcher: PatternMatcher,
    via: UnsafeRawBufferPointer, closes: Bool = false, withBody: Bool,
    into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    guard let answer = plan(number).pointee.answer else { return nil }
    var writer = HTTP1Writer(output)
    writer.append(answer.head)
    if answer.isRedirect {
      writer.append("location: ")
      answer.writeLocation(head, bytes, matcher, &writer)
      writer.append("\r\n")
    }
    writer.append(via)
    if closes { writer.append("connection: close\r\n") }
    writer.append("\r\n")
    if withBody { writer.append(answer.body) }
    return writer.count
  }
}
