// The trailer section of a chunked body (RFC 9112 7.1.2): field lines like those of a head, but allowed to say much
// less. What would have framed, routed, authenticated or described the message comes too late and is dropped
// (RFC 9110 6.5.1), never merged into the head.

extension HTTP1Parser {
  /// Parses the trailer section at the start of `bytes`, up to its empty line, into `table`; `consumed` is then its
  /// length. Fields that may not be trailers are in the table with `isForwarded` false.
  ///
  /// Pure: any thread, no allocation.
  public static func parseTrailers(
    _ bytes: UnsafeRawBufferPointer, into table: inout FieldTable, limits: HTTP1Limits, consumed: inout Int
  ) -> HeadOutcome {
    guard let view = ByteView(bytes, limit: limits.headerBytes) else {
      return limits.headerBytes == 0 ? .refused(.trailersTooLong) : .incomplete
    }
    do throws(HeadStop) {
      table.removeAll()
      var facts = FieldFacts(message: .trailers, version: .http11)
      consumed = try parseFieldLines(view, from: 0, into: &table, maximum: limits.headers, facts: &facts)
    } catch {
      if case .incomplete = error, bytes.count >= limits.headerBytes { return .refused(.trailersTooLong) }
      return error.outcome
    }
    for index in 0..<table.count {
      let field = table[index]
      table.setForwarded(isAllowed(field, view), at: index)
    }
    return .complete
  }

  /// Names that the proxy knows are head fields, all of them; of those it does not, `content-…` describes the body.
  /// Content-Digest is made for trailers (RFC 9530 section 6).
  private static func isAllowed(_ field: Field, _ view: ByteView) -> Bool {
    switch field.kind {
    case .other, .etag:
      let isContent = view.matches(ByteRange(field.name.start, min(field.name.start &+ 8, field.name.end)), "content-")
      return !isContent || view.matches(field.name, "content-digest")
    default: return false
    }
  }
}
