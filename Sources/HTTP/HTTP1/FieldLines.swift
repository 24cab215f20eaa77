// The field lines of a head, one pass: each is split, its name recognised, its value checked byte by byte, and put
// into the table. Shared by requests, responses and trailer sections; what a field means is FieldFacts' business.
//
//     field-line = field-name ":" OWS field-value OWS CRLF        RFC 9112 section 5
//
// Refused where RFC 9112 lets a recipient be lenient: line folding, whitespace before the colon, a bare LF or CR.

/// The parsers of HTTP/1 heads. Pure functions over bytes: no allocation, nothing kept.
public enum HTTP1Parser {}

extension HTTP1Parser {
  /// Parses field lines from `start` to the empty line that ends them; the index after that line.
  @inline(__always) static func parseFieldLines(
    _ view: ByteView, from start: Int, into table: inout FieldTable, maximum: Int, facts: inout FieldFacts
  ) throws(HeadStop) -> Int {
    var position = start
    while true {
      if view[position] == carriageReturn {
        guard view[position &+ 1] == lineFeed else { throw controlStop(view, at: position) }
        return position &+ 2
      }
      let colon = view.firstColon(from: position)
      let length = colon &- position
      guard view[colon] == UInt8(ascii: ":"), length > 0 else { throw nameStop(view, from: position) }
      let kind = FieldName.recognise(view, at: position, length: length)
      if kind == .other || kind == .l5d {
        guard view.firstNonToken(from: position, to: colon) == colon else { throw nameStop(view, from: position) }
      }

      var valueStart = colon &+ 1
      while isBlank(view[valueStart]) { valueStart &+= 1 }
      let lineEnd = try endOfValue(view, from: valueStart)
      var valueEnd = lineEnd
      while valueEnd > valueStart, isBlank(view[valueEnd &- 1]) { valueEnd &-= 1 }

      let value = ByteRange(valueStart, valueEnd)
      var isForwarded = true
      if kind.rawValue <= FieldName.l5d.rawValue {
        isForwarded = try facts.note(kind, value, view)
      }
      let field = Field(
        name: ByteRange(position, colon), value: value, lineEnd: UInt32(truncatingIfNeeded: lineEnd &+ 2), kind: kind,
        isForwarded: isForwarded)
      guard table.count < maximum, table.append(field) else { throw .refused(.tooManyFields) }
      position = lineEnd &+ 2
    }
  }

  /// The index of the CRLF that ends the value which starts at `start`.
  @inline(__always) static func endOfValue(_ view: ByteView, from start: Int) throws(HeadStop) -> Int {
    var end = view.firstControl(from: start)
    while view[end] == 0x09 { end = view.firstControl(from: end &+ 1) }
    guard view[end] == carriageReturn, view[end &+ 1] == lineFeed else { throw controlStop(view, at: end) }
    return end
  }

  /// Why a control byte at `index` that is not the start of CRLF stops the parser.
  @inline(never) static func controlStop(_ view: ByteView, at index: Int) -> HeadStop {
    if index >= view.count { return .incomplete }
    switch view[index] {
    case carriageReturn: return index &+ 1 >= view.count ? .incomplete : .refused(.bareCarriageReturn)
    case lineFeed: return .refused(.bareLineFeed)
    case 0: return .refused(.nulByte)
    default: return .refused(.controlByte)
    }
  }

  /// Why there is no field name at `start`. Decided by the first byte that is not a token character, so a head cut
  /// short is never judged otherwise than the whole.
  @inline(never) static func nameStop(_ view: ByteView, from start: Int) -> HeadStop {
    let index = view.firstNonToken(from: start, to: view.count)
    if index >= view.count { return .incomplete }
    switch view[index] {
    case UInt8(ascii: ":"): return .refused(.emptyFieldName)
    case 0x20, 0x09: return .refused(index == start ? .lineFolding : .whitespaceInFieldName)
    case carriageReturn where view[index &+ 1] == lineFeed: return .refused(.missingColon)
    case carriageReturn, lineFeed, 0: return controlStop(view, at: index)
    default: return .refused(.badFieldName)
    }
  }
}
