// Heads that are changed on their way: as in HTTP1Serializer.swift, which stays as it is for the many that are not.

extension HTTP1Serializer {
  /// Writes the head for the next hop as `writeRequest` without edits does, and with them. An edited target stands for
  /// origin-form: it is not for CONNECT.
  ///
  /// `requestBound` and `edits.addedByteCount` together surely suffice.
  public static func writeRequest(
    _ head: borrowing RequestHead, from bytes: UnsafeRawBufferPointer, connection: ConnectionOption = .none,
    authority: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0),
    extra: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), edits: HeadEdits,
    into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(output)
    if edits.target.isEmpty {
      writeRequestLine(head, bytes, &writer)
    } else {
      writer.append(bytes, from: head.methodRange.start, to: head.methodRange.end)
      writer.append(" ")
      writer.append(edits.target)
      writer.append(" HTTP/1.1\r\n")
    }
    writeForwarded(
      head.fields, bytes, from: head.fieldsStart, to: head.headLength &- 2, edits, dropsHost: !edits.host.isEmpty,
      &writer)
    if !edits.host.isEmpty {
      writer.append("host: ")
      writer.append(edits.host)
      writer.append("\r\n")
    } else if !head.hostIsForwarded {
      writeHost(head, bytes, authority, &writer)
    }
    writer.append(edits.added)
    writeFraming(head.framing, &writer)
    let option: ConnectionOption = connection == .upgrade && !head.wantsUpgrade ? .none : connection
    if head.acceptsTrailers { writer.append("te: trailers\r\n") }
    if option == .upgrade { writeUpgrade(head.fields, bytes, &writer) }
    writeConnection(option, withTE: head.acceptsTrailers, &writer)
    writer.append(extra)
    writer.append("\r\n")
    return writer.count
  }

  /// Writes the head for the client as `writeResponse` without edits does, and with them.
  ///
  /// `responseBound` and `edits.addedByteCount` together surely suffice.
  public static func writeResponse(
    _ head: borrowing ResponseHead, from bytes: UnsafeRawBufferPointer, framing: BodyFraming,
    connection: ConnectionOption = .none,
    extra: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0), edits: HeadEdits,
    into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(output)
    writeStatusLine(head, bytes, &writer)
    writeForwarded(
      head.fields, bytes, from: head.fieldsStart, to: head.headLength &- 2, edits, dropsHost: false, &writer)
    writer.append(edits.added)
    writeFraming(of: head, framing, &writer)
    let option: ConnectionOption = connection == .upgrade && !head.isSwitch ? .none : connection
    if option == .upgrade { writeUpgrade(head.fields, bytes, &writer) }
    writeConnection(option, withTE: false, &writer)
    writer.append(extra)
    writer.append("\r\n")
    return writer.count
  }

  /// Copies the lines from `start` to `end`, save those that are not forwarded and those that the edits take out.
  private static func writeForwarded(
    _ fields: borrowing FieldTable, _ bytes: UnsafeRawBufferPointer, from start: Int, to end: Int, _ edits: HeadEdits,
    dropsHost: Bool, _ writer: inout HTTP1Writer
  ) {
    var runStart = start
    for index in 0..<fields.count {
      let field = fields[index]
      let stays = field.isForwarded && !(dropsHost && field.kind == .host) && !edits.removes(field, bytes)
      if stays { continue }
      writer.append(bytes, from: runStart, to: Int(field.lineStart))
      runStart = Int(field.lineEnd)
    }
    writer.append(bytes, from: runStart, to: end)
  }
}
