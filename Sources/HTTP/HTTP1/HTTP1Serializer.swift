// Heads on their way out. The lines that go on as they are lie next to each other in the bytes they were parsed from,
// so they are copied in runs, usually one, start line included; what this connection must say for itself follows.
//
//     start line · forwarded lines · host · framing · te · upgrade lines · connection · extra · empty line
//
// Framing is always our own (RFC 9112 section 6), and connection fields are never passed on (RFC 9110 7.6.1).

/// What a head says about the connection it is sent on.
public enum ConnectionOption: UInt8, Sendable {
  /// Nothing: the connection persists, as is the rule in HTTP/1.1.
  case none
  case close
  /// Said to an HTTP/1.0 client whose connection stays.
  case keepAlive
  /// The other side's Upgrade goes on: its lines are kept.
  case upgrade
}

/// Writes HTTP/1.1 heads and body framing into raw buffers. Pure: any thread, no allocation.
public enum HTTP1Serializer {
  /// A size that surely suffices for `writeRequest` with the same arguments, in bytes.
  @inlinable public static func requestBound(_ head: borrowing RequestHead, extra: UnsafeRawBufferPointer) -> Int {
    head.headLength &+ head.authorityRange.count &+ extra.count &+ overheadBytes
  }

  /// A size that surely suffices for `writeResponse` with the same arguments, in bytes.
  @inlinable public static func responseBound(_ head: borrowing ResponseHead, extra: UnsafeRawBufferPointer) -> Int {
    head.headLength &+ extra.count &+ overheadBytes
  }

  /// More than all lines of our own with the longest number: host, content-length, te and connection.
  public static var overheadBytes: Int { 160 + 64 }

  /// Writes the head for the next hop, in HTTP/1.1 and origin-form (authority-form for CONNECT), framed as `head` says.
  ///
  /// - Parameters:
  ///   - bytes: those `head` was parsed from.
  ///   - connection: `.upgrade` passes the Upgrade lines on if the head `wantsUpgrade`; otherwise they are dropped.
  ///   - authority: what Host says when the request names nothing (HTTP/1.0); at most 64 bytes.
  ///   - extra: whole lines, each with its CRLF, that go in before the empty line.
  /// - Returns: The number of bytes written; nil when they do not fit.
  public static func writeRequest(
    _ head: borrowing RequestHead, from bytes: UnsafeRawBufferPointer, connection: ConnectionOption = .none,
    authority: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    extra: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(output)
    var runStart = head.lineStart
    if head.version != .http11 || head.form == .absolute || head.forwardedTarget != nil {
      writeRequestLine(head, bytes, &writer)
      runStart = head.fieldsStart
    }
    writeForwarded(head.fields, bytes, from: runStart, to: head.headLength &- 2, &writer)
    if !head.hostIsForwarded { writeHost(head, bytes, authority, &writer) }
    writeFraming(head.framing, &writer)
    let option: ConnectionOption = connection == .upgrade && !head.wantsUpgrade ? .none : connection
    if head.acceptsTrailers { writer.append("te: trailers\r\n") }
    if option == .upgrade { writeUpgrade(head.fields, bytes, &writer) }
    writeConnection(option, withTE: head.acceptsTrailers, &writer)
    writer.append(extra)
    writer.append("\r\n")
    return writer.count
  }

  /// Writes the head for the client, in HTTP/1.1.
  ///
  /// - Parameters:
  ///   - bytes: those `head` was parsed from.
  ///   - framing: how the body goes out; usually `head.framing(towards:)`. Without a body, a Content-Length that HEAD
  ///     or 304 carried as information is kept.
  ///   - connection: `.upgrade` keeps the Upgrade lines of a 101.
  ///   - extra: whole lines, each with its CRLF, that go in before the empty line.
  /// - Returns: The number of bytes written; nil when they do not fit.
  public static func writeResponse(
    _ head: borrowing ResponseHead, from bytes: UnsafeRawBufferPointer, framing: BodyFraming,
    connection: ConnectionOption = .none,
    extra: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(output)
    var runStart = 0
    if head.version != .http11 || head.reasonRange.start == 12 {
      writeStatusLine(head, bytes, &writer)
      runStart = head.fieldsStart
    }
    writeForwarded(head.fields, bytes, from: runStart, to: head.headLength &- 2, &writer)
    writeFraming(of: head, framing, &writer)
    let option: ConnectionOption = connection == .upgrade && !head.isSwitch ? .none : connection
    if option == .upgrade { writeUpgrade(head.fields, bytes, &writer) }
    writeConnection(option, withTE: false, &writer)
    writer.append(extra)
    writer.append("\r\n")
    return writer.count
  }

  @inline(never) static func writeRequestLine(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ writer: inout HTTP1Writer
  ) {
    writer.append(bytes, from: head.methodRange.start, to: head.methodRange.end)
    writer.append(" ")
    if let target = head.forwardedTarget {
      if target.slice(of: bytes).first != UInt8(ascii: "/") { writer.append("/") }
      writer.append(bytes, from: target.start, to: target.end)
    } else if head.form == .absolute {
      if head.pathRange.isEmpty {
        // RFC 9112 3.2.4: OPTIONS for the whole server becomes asterisk-form.
        writer.append(head.method == .options && head.pathAndQueryRange.isEmpty ? "*" : "/")
      }
      writer.append(bytes, from: head.pathAndQueryRange.start, to: head.pathAndQueryRange.end)
    } else {
      writer.append(bytes, from: head.targetRange.start, to: head.targetRange.end)
    }
    writer.append(" HTTP/1.1\r\n")
  }

  /// The version is ours, code and reason are theirs; the space before an absent reason is put back.
  @inline(never) static func writeStatusLine(
    _ head: borrowing ResponseHead, _ bytes: UnsafeRawBufferPointer, _ writer: inout HTTP1Writer
  ) {
    writer.append("HTTP/1.1")
    writer.append(bytes, from: 8, to: 12)
    writer.append(" ")
    writer.append(bytes, from: head.reasonRange.start, to: head.reasonRange.end)
    writer.append("\r\n")
  }

  @inline(__always) static func writeHost(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ authority: UnsafeRawBufferPointer,
    _ writer: inout HTTP1Writer
  ) {
    writer.append("host: ")
    if head.authorityRange.isEmpty {
      writer.append(authority)
    } else {
      writer.append(bytes, from: head.authorityRange.start, to: head.authorityRange.end)
    }
    writer.append("\r\n")
  }

  /// Copies what lies from `start` to `end`, save the lines that are not forwarded.
  @inline(__always) private static func writeForwarded(
    _ fields: borrowing FieldTable, _ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int,
    _ writer: inout HTTP1Writer
  ) {
    var runStart = start
    for index in 0..<fields.count {
      let field = fields[index]
      if field.isForwarded { continue }
      writer.append(bytes, from: runStart, to: Int(field.lineStart))
      runStart = Int(field.lineEnd)
    }
    writer.append(bytes, from: runStart, to: end)
  }

  @inline(__always) static func writeFraming(
    of head: borrowing ResponseHead, _ framing: BodyFraming, _ writer: inout HTTP1Writer
  ) {
    guard case .none = framing else {
      writeFraming(framing, &writer)
      return
    }
    // RFC 9110 8.6: never in 1xx and 204, nor in a tunnel's 2xx.
    if let length = head.contentLength, head.status.code >= 200, head.status.code != 204, !head.isTunnel {
      writeFraming(.length(length), &writer)
    }
  }

  @inline(__always) static func writeFraming(_ framing: BodyFraming, _ writer: inout HTTP1Writer) {
    switch framing {
    case .none, .untilClose: break
    case .length(let length):
      writer.append("content-length: ")
      writer.append(decimal: length)
      writer.append("\r\n")
    case .chunked: writer.append("transfer-encoding: chunked\r\n")
    }
  }

  @inline(never) static func writeUpgrade(
    _ fields: borrowing FieldTable, _ bytes: UnsafeRawBufferPointer, _ writer: inout HTTP1Writer
  ) {
    for index in 0..<fields.count where fields[index].kind == .upgrade {
      writer.append(bytes, from: Int(fields[index].lineStart), to: Int(fields[index].lineEnd))
    }
  }

  /// RFC 9110 10.1.4: whoever sends TE says so in Connection.
  @inline(__always)
  static func writeConnection(_ option: ConnectionOption, withTE: Bool, _ writer: inout HTTP1Writer) {
    switch option {
    case .none: if withTE { writer.append("connection: te\r\n") }
    case .close: writer.append(withTE ? "connection: close, te\r\n" : "connection: close\r\n")
    case .keepAlive: writer.append(withTE ? "connection: keep-alive, te\r\n" : "connection: keep-alive\r\n")
    case .upgrade: writer.append(withTE ? "connection: upgrade, te\r\n" : "connection: upgrade\r\n")
    }
  }
}
