// A second, naive decoder of chunked bodies, written from RFC 9112 section 7.1 line by line over the whole text: slow,
// obvious, and nothing in common with the one under test. It knows a valid body from an invalid one, not the reason.

enum ReferenceResult: Equatable {
  case body([UInt8], end: Int)
  case trailers([UInt8], start: Int)
  case unfinished
  case invalid
}

func referenceDecode(_ bytes: [UInt8]) -> ReferenceResult {
  var body: [UInt8] = []
  var position = 0
  while true {
    guard let line = bytes[position...].firstRange(of: [13, 10]) else {
      return isPossibleSizeLine(Array(bytes[position...])) ? .unfinished : .invalid
    }
    let sizeLine = Array(bytes[position..<line.lowerBound])
    guard let size = chunkSize(sizeLine) else { return .invalid }
    position = line.upperBound
    if size == 0 {
      let rest = bytes[position...]
      if rest.isEmpty || Array(rest) == [13] { return .unfinished }
      if rest.starts(with: [13, 10]) { return .body(body, end: position + 2) }
      return rest.first == 13 ? .invalid : .trailers(body, start: position)
    }
    guard bytes.count - position >= size else { return .unfinished }
    body += bytes[position..<(position + size)]
    position += size
    let end = Array(bytes[position...].prefix(2))
    if end != [13, 10] { return [13, 10].starts(with: end) ? .unfinished : .invalid }
    position += 2
  }
}

/// The size of `1*HEXDIG [ *( SP / HTAB ) ";" … ]`; nil when malformed.
private func chunkSize(_ line: [UInt8]) -> Int? {
  let digits = line.prefix { Character(UnicodeScalar($0)).isHexDigit && $0 < 128 }
  guard !digits.isEmpty, digits.count <= 16 else { return nil }
  let rest = line[digits.endIndex...].drop { $0 == 32 || $0 == 9 }
  guard rest.isEmpty ? digits.count == line.count : rest.first == UInt8(ascii: ";") else { return nil }
  guard line.count - digits.count <= 256, !rest.contains(where: { $0 < 32 && $0 != 9 || $0 == 127 }) else { return nil }
  return Int(String(decoding: digits, as: UTF8.self), radix: 16)
}

/// Whether a line without its CRLF yet can still become a size line.
private func isPossibleSizeLine(_ part: [UInt8]) -> Bool {
  var line = part
  if line.last == 13 { return chunkSize(Array(line.dropLast())) != nil }
  if line.isEmpty { return true }
  if let last = line.last, last == 32 || last == 9, !line.contains(UInt8(ascii: ";")) {
    guard line.count < 256 else { return chunkSize(line + [UInt8(ascii: ";")]) != nil }
    line.append(UInt8(ascii: ";"))
  }
  return chunkSize(line) != nil
}
