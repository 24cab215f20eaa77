// Where the fields of an HTTP/2 head are gathered, as the text of the HTTP/1 head that says the same (RFC 9113 section 8):
//
//     :method GET, :path /a, :authority web, cookie a=1, cookie b=2      GET /a HTTP/1.1
//                                                                        host: web
//                                                                        cookie: a=1; b=2
//
// The HTTP/1 parser then judges the text by its own rules, and everything behind it meets one kind of head. What HTTP/2 alone
// forbids is refused by nghttp2 or here, before it becomes text: no line break, no space in a target, no second authority
// reaches the parser, so one field can never become two.
//
//     +-------------------------------+ · · · · · +----------------------+----------------+
//     | the text, growing upwards  →  |           |  ← cookies, downward | pseudo-fields  |
//     +-------------------------------+ · · · · · +----------------------+----------------+

import Glibc

/// What gathers the fields of one head in memory lent to it. A plain value; one thread.
public struct HTTP2HeadText {
  public enum Kind: UInt8, Sendable {
    case request
    case response
    /// The fields that follow a body: no pseudo-fields.
    case trailers
  }

  /// What came of a head.
  public enum Outcome: Equatable, Sendable {
    /// So many bytes of text, from the start of the memory.
    case complete(Int)
    /// RFC 9113 section 8.1.1: a stream error of type PROTOCOL_ERROR.
    case malformed
    /// More bytes than the memory has.
    case tooLong
  }

  private struct Value {
    var offset = 0
    /// -1: absent.
    var count = -1
    var isPresent: Bool { count >= 0 }
  }

  public let kind: Kind
  private let base: UnsafeMutableRawPointer
  private var count = 0
  /// Where what waits at the memory's end begins.
  private var waiting: Int
  /// Where the cookies among it end.
  private var cookies = 0
  private var method = Value()
  private var path = Value()
  private var scheme = Value()
  private var authority = Value()
  private var `protocol` = Value()
  private var status = Value()
  private var hasHost = false
  private var hasLength = false
  /// A request that promises to have no body. Passed on as a promise only where the stream has ended: a server would take it for
  /// complete before the bytes that break it have come.
  private var saysEmpty = false
  private var isMalformed = false
  private var isTooLong = false
  private var hasBegun = false

  /// - Parameter memory: stays with the caller, and where it is until the head is complete.
  public init(_ kind: Kind, in memory: UnsafeMutableRawPointer, capacity: Int) {
    self.kind = kind
    base = memory
    waiting = capacity
  }

  /// What a request asks a connection for.
  public enum Connect: UInt8, Sendable {
    case nothing
    /// A plain CONNECT (RFC 9113 section 8.5): what follows is no body.
    case tunnel
    /// An extended CONNECT (RFC 8441) for WebSocket.
    case webSocket
    /// One for something else.
    case other
  }

  /// Once the request is complete.
  public private(set) var connect = Connect.nothing

  // MARK: Fields

  /// Takes a field.
  public mutating func add(name: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer) {
    if isTooLong || isMalformed { return }
    if name.first == UInt8(ascii: ":") {
      addPseudo(name, value)
    } else {
      if !hasBegun { begin() }
      addRegular(name, value)
    }
  }

  private mutating func addRegular(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    guard HTTP2HeadText.isName(name), HTTP2HeadText.isValue(value) else {
      isMalformed = true
      return
    }
    switch name.count {
    case 4 where same(name, "host"):
      // The authority wins, and must not be contradicted (RFC 9113 section 8.3.1).
      if hasHost || authority.isPresent && !equalIgnoringCase(bytes(authority), value) { isMalformed = true }
      hasHost = true
      if authority.isPresent { return }
    case 6 where kind == .request && same(name, "cookie"):
      addCookie(value)
      return
    case 14 where same(name, "content-length"):
      hasLength = true
      if kind == .request, !value.isEmpty, value.allSatisfy({ $0 == UInt8(ascii: "0") }) {
        saysEmpty = true
        return
      }
    case 7 where same(name, "upgrade"), 10 where same(name, "connection"), 10 where same(name, "keep-alive"),
      16 where same(name, "proxy-connection"), 17 where same(name, "transfer-encoding"):
      // Connection-level fields are HTTP/1's own (section 8.2.2).
      isMalformed = true
      return
    default: break
    }
    append(name)
    append(": ")
    append(value)
    append("\r\n")
  }

  private mutating func addPseudo(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer) {
    guard !hasBegun, HTTP2HeadText.isTarget(value) else {
      isMalformed = true
      return
    }
    switch (kind, name.count) {
    case (.request, 7) where same(name, ":method"): method = keep(value, insteadOf: method)
    case (.request, 5) where same(name, ":path"): path = keep(value, insteadOf: path)
    case (.request, 7) where same(name, ":scheme"): scheme = keep(value, insteadOf: scheme)
    case (.request, 10) where same(name, ":authority"): authority = keep(value, insteadOf: authority)
    case (.request, 9) where same(name, ":protocol"): `protocol` = keep(value, insteadOf: `protocol`)
    case (.response, 7) where same(name, ":status"): status = keep(value, insteadOf: status)
    default: isMalformed = true
    }
  }

  /// Keeps a value until its line is written. There may be only one of it.
  private mutating func keep(_ value: UnsafeRawBufferPointer, insteadOf place: Value) -> Value {
    if place.isPresent {
      isMalformed = true
      return place
    }
    guard value.count <= waiting - count else {
      isTooLong = true
      return place
    }
    waiting -= value.count
    copy(value, to: waiting)
    return Value(offset: waiting, count: value.count)
  }

  /// A cookie waits with its length above it: all of them become one line (section 8.2.3).
  private mutating func addCookie(_ value: UnsafeRawBufferPointer) {
    guard value.count + 4 <= waiting - count else {
      isTooLong = true
      return
    }
    waiting -= 4
    (base + waiting).storeBytes(of: UInt32(truncatingIfNeeded: value.count), as: UInt32.self)
    waiting -= value.count
    copy(value, to: waiting)
  }

  // MARK: Lines

  /// The pseudo-fields are all there: writes the first line, and Host.
  private mutating func begin() {
    hasBegun = true
    cookies = waiting
    switch kind {
    case .trailers: break
    case .response:
      guard status.count == 3 else {
        isMalformed = true
        return
      }
      append("HTTP/1.1 ")
      append(bytes(status))
      append(" ")
      // HTTP/2 has no reason phrase, and not every client of HTTP/1 takes a line without one.
      append(Status(digits(of: bytes(status))).reason)
      append("\r\n")
    case .request: beginRequest()
    }
  }

  private mutating func beginRequest() {
    guard method.count > 0, !isEmpty(authority) else {
      isMalformed = true
      return
    }
    let isConnect = same(bytes(method), "CONNECT")
    // A whole URI as the path would be a second authority (section 8.3.1).
    if path.count > 0, bytes(path).first != UInt8(ascii: "/"),
      !same(bytes(path), "*") || !same(bytes(method), "OPTIONS")
    {
      isMalformed = true
      return
    }
    if `protocol`.isPresent {
      guard isConnect, path.count > 0, scheme.isPresent, authority.isPresent else {
        isMalformed = true
        return
      }
      connect = same(bytes(`protocol`), "websocket") ? .webSocket : .other
    } else if isConnect
      ? path.isPresent || scheme.isPresent || !authority.isPresent : path.count <= 0 || scheme.count <= 0
    {
      isMalformed = true
      return
    }
    if isConnect, connect == .nothing { connect = .tunnel }
    let isWebSocket = connect == .webSocket
    append(isWebSocket ? UnsafeRawBufferPointer(start: HTTP2HeadText.get.utf8Start, count: 3) : bytes(method))
    append(" ")
    append(bytes(isConnect && !isWebSocket ? authority : path))
    append(" HTTP/1.1\r\n")
    if authority.isPresent {
      append("host: ")
      append(bytes(authority))
      append("\r\n")
    }
    if isWebSocket { append("connection: upgrade\r\nupgrade: websocket\r\n") }
  }

  private static let get: StaticString = "GET"

  /// All fields are there: writes what is left.
  ///
  /// - Parameters:
  ///   - endsStream: no body follows.
  ///   - hasNoBody: a response that has no body whatever it says: to HEAD, 1xx, 204 and 304.
  ///   - webSocketKey: what an HTTP/1 handshake needs and HTTP/2 knows nothing of (RFC 8441 section 5).
  public mutating func finish(
    endsStream: Bool, hasNoBody: Bool = false, webSocketKey: UnsafeRawBufferPointer? = nil
  ) -> Outcome {
    if isTooLong, !isMalformed { return .tooLong }
    if !hasBegun, !isMalformed { begin() }
    if !isMalformed { appendCookies() }
    if isMalformed { return .malformed }
    if connect == .webSocket, let webSocketKey {
      append("sec-websocket-key: ")
      append(webSocketKey)
      append("\r\n")
    } else if saysEmpty, connect != .tunnel {
      append(endsStream ? "content-length: 0\r\n" : "transfer-encoding: chunked\r\n")
    } else if kind != .trailers, !hasLength, !hasNoBody, connect != .tunnel {
      if !endsStream {
        append("transfer-encoding: chunked\r\n")
      } else if kind == .response {
        append("content-length: 0\r\n")
      }
    }
    append("\r\n")
    return isTooLong ? .tooLong : .complete(count)
  }

  private mutating func appendCookies() {
    var top = cookies
    if top <= waiting { return }
    append("cookie: ")
    while top > waiting, !isTooLong {
      let length = Int((base + top - 4).loadUnaligned(as: UInt32.self))
      top -= 4 + length
      append(UnsafeRawBufferPointer(start: base + top, count: length))
      if top > waiting { append("; ") }
    }
    append("\r\n")
  }

  // MARK: Bytes

  /// Three digits as a number; 0 for anything else, which the parser refuses.
  private func digits(of text: UnsafeRawBufferPointer) -> UInt16 {
    var number: UInt16 = 0
    for byte in text {
      guard (0x30...0x39).contains(byte), number < 1000 else { return 0 }
      number = number * 10 + UInt16(byte - 0x30)
    }
    return number
  }

  private func isEmpty(_ value: Value) -> Bool { value.count == 0 }

  private func bytes(_ value: Value) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base + value.offset, count: max(value.count, 0))
  }

  private mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  private mutating func append(_ source: UnsafeRawBufferPointer) {
    guard source.count <= waiting - count else {
      isTooLong = true
      return
    }
    copy(source, to: count)
    count += source.count
  }

  /// The caller has seen that there is room.
  private func copy(_ source: UnsafeRawBufferPointer, to offset: Int) {
    guard let start = source.baseAddress else { return }
    memmove(base + offset, start, source.count)
  }

  private func same(_ name: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard let start = name.baseAddress else { return false }
    return name.count == text.utf8CodeUnitCount && memcmp(start, text.utf8Start, name.count) == 0
  }

  /// A token without capitals (section 8.2).
  static func isName(_ bytes: UnsafeRawBufferPointer) -> Bool {
    for byte in bytes where !isToken(byte) || byte &- 0x41 < 26 { return false }
    return !bytes.isEmpty
  }

  /// No control byte but the tab, and no blank at either end (section 8.2.1).
  static func isValue(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let first = bytes.first, let last = bytes.last else { return true }
    if isBlank(first) || isBlank(last) { return false }
    for byte in bytes where byte < 0x20 && byte != 0x09 || byte == 0x7F { return false }
    return true
  }

  /// Nothing that could end the word it becomes in a first line.
  static func isTarget(_ bytes: UnsafeRawBufferPointer) -> Bool {
    for byte in bytes where byte <= 0x20 || byte == 0x7F { return false }
    return true
  }
}
