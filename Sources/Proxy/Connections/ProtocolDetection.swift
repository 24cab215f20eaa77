// Which protocol a client speaks, from its first bytes. Only what is certain counts: a request to an origin server, recognised
// by its request line, is HTTP/1; the whole connection preface is HTTP/2; a handshake record that begins a ClientHello is TLS;
// everything else is carried as it is and loses nothing by it.
//
// Not HTTP/1 here although it looks like it: CONNECT and absolute-form targets, which are meant for a forward proxy. `GET key`
// of a line protocol is none either: a target starts with `/`, or the line ends in ` HTTP/1.x`.

/// What the first bytes of a connection tell.
enum ProtocolDetection: Equatable {
  case http1
  /// With prior knowledge: the preface stands in front of everything else (RFC 9113 section 3.4).
  case http2
  /// The first record begins a ClientHello; whether it goes on as one is not looked at.
  case tlsClientHello
  case opaque
  /// More bytes could still make it one of the above.
  case undecided

  /// Looks at all bytes that have come so far.
  static func detect(_ bytes: UnsafeRawBufferPointer) -> ProtocolDetection {
    if bytes.first == handshakeRecord { return detectTLS(bytes) }
    if isPreface(bytes) { return bytes.count >= preface.utf8CodeUnitCount ? .http2 : .undecided }
    return detectRequest(bytes)
  }

  /// RFC 8446 section 5.1: type(1) version(2) length(2), and of the message behind it the type.
  private static func detectTLS(_ bytes: UnsafeRawBufferPointer) -> ProtocolDetection {
    if bytes.count >= 2, bytes[1] != 3 { return .opaque }
    guard bytes.count >= 6 else { return .undecided }
    return bytes[5] == clientHello ? .tlsClientHello : .opaque
  }

  /// Whether the bytes begin as the preface does, or it as they do.
  private static func isPreface(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let wanted = UnsafeRawBufferPointer(start: preface.utf8Start, count: preface.utf8CodeUnitCount)
    return !bytes.isEmpty && zip(bytes, wanted).allSatisfy { $0 == $1 }
  }

  /// RFC 9112 section 3: request-line = method SP request-target SP HTTP-version.
  private static func detectRequest(_ bytes: UnsafeRawBufferPointer) -> ProtocolDetection {
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

  private static let handshakeRecord: UInt8 = 22
  private static let clientHello: UInt8 = 1
  private static let preface: StaticString = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
  private static let space = UInt8(ascii: " ")
  private static let newline = UInt8(ascii: "\n")
  private static let version = " HTTP/1."
  /// The longest registered method is UPDATEREDIRECTREF.
  private static let longestMethod = 24
  private static let methods = ["GET", "POST", "PUT", "HEAD", "DELETE", "PATCH", "OPTIONS", "TRACE"]
}
