// Which protocol a client speaks, from its first bytes. Only what is certain counts: a request to an origin server, recognised
// by its request line, is HTTP/1; everything else is carried as it is and loses nothing by it.
//
// Not HTTP/1 here although it looks like it: CONNECT and absolute-form targets, which are meant for a forward proxy, and the
// HTTP/2 preface. `GET key` of a line protocol is none either: a target starts with `/`, or the line ends in ` HTTP/1.x`.

/// What the first bytes of a connection tell.
enum ProtocolDetection: Equatable {
  case http1
  case opaque
  /// More bytes could still make it HTTP/1.
  case undecided

  /// Looks at all bytes that have come so far. RFC 9112 section 3: request-line = method SP request-target SP HTTP-version.
  static func detect(_ bytes: UnsafeRawBufferPointer) -> ProtocolDetection {
    var position = 0
    while position < bytes.count, isToken(bytes[position]) {
      position += 1
      if position > longestMethod { return .opaque }
    }
    guard position < bytes.count else { return .undecided }
    guard position > 0, bytes[position] == space else { return .opaque }
    let method = UnsafeRawBufferPointer(rebasing: bytes[..<position])
    guard position + 1 < bytes.count else { return .undecided }
    let isOrigin = bytes[position + 1] == UInt8(ascii: "/")
    guard isOrigin || bytes[position + 1] == UInt8(ascii: "*") else { return .opaque }
    if isOrigin, isKnown(method) { return .http1 }
    guard let end = bytes[position...].firstIndex(of: newline) else { return .undecided }
    return endsInVersion(bytes[position..<end]) ? .http1 : .opaque
  }

  /// Whether bytes that follow `count` undecided ones can tell more. Once the method and the start of the target are there,
  /// only the end of the line can: a client that sends a long line byte by byte must not have all of it read each time.
  static func canDecide(_ bytes: UnsafeRawBufferPointer, after count: Int) -> Bool {
    count < longestMethod + 2 || bytes.contains(newline)
  }

  private static func endsInVersion(_ line: Slice<UnsafeRawBufferPointer>) -> Bool {
    var line = line
    if line.last == UInt8(ascii: "\r") { line = line.dropLast() }
    let suffix = line.suffix(9)
    return suffix.count == 9 && suffix.dropLast().elementsEqual(version.utf8)
  }

  private static func isKnown(_ method: UnsafeRawBufferPointer) -> Bool {
    methods.contains { $0.utf8.count == method.count && method.elementsEqual($0.utf8) }
  }

  /// RFC 9110 section 5.6.2: tchar. In practice letters and a hyphen; the others only make an unknown method.
  private static func isToken(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "-"),
      UInt8(ascii: "_"), UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }

  private static let space = UInt8(ascii: " ")
  private static let newline = UInt8(ascii: "\n")
  private static let version = " HTTP/1."
  /// The longest registered method is UPDATEREDIRECTREF.
  private static let longestMethod = 24
  private static let methods = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"]
}
