// HTTP/2 fields as the text of an HTTP/1 head: what becomes of good ones, and that nothing bad becomes text at all.

import HTTP
import Testing

typealias Fields = [(String, String)]

/// What `fields` become: the text, or the refusal.
private func text(
  _ kind: HTTP2HeadText.Kind, _ fields: Fields, endsStream: Bool = true, hasNoBody: Bool = false, key: String? = nil,
  capacity: Int = 4096
) -> (outcome: HTTP2HeadText.Outcome, text: String, connect: HTTP2HeadText.Connect) {
  let memory = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
  defer { memory.deallocate() }
  var head = HTTP2HeadText(kind, in: memory, capacity: capacity)
  for (name, value) in fields {
    // As nghttp2 gives them, latin-1.
    let (name, value) = (name.unicodeScalars.map { UInt8($0.value) }, value.unicodeScalars.map { UInt8($0.value) })
    name.withUnsafeBytes { name in value.withUnsafeBytes { head.add(name: name, value: $0) } }
  }
  let outcome = Array((key ?? "").utf8).withUnsafeBytes {
    head.finish(endsStream: endsStream, hasNoBody: hasNoBody, webSocketKey: key == nil ? nil : $0)
  }
  guard case .complete(let count) = outcome else { return (outcome, "", head.connect) }
  let bytes = UnsafeRawBufferPointer(start: memory, count: count)
  return (outcome, String(String.UnicodeScalarView(bytes.map { Unicode.Scalar($0) })), head.connect)
}

private let get: Fields = [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "/a")]
private let ok: Fields = [(":status", "200")]

/// Requests that lack something, or have something wrong.
private let unfit: [Fields] = [
  [],
  [(":method", "GET")],
  [(":method", "GET"), (":scheme", "http"), (":authority", "web")],
  [(":method", "GET"), (":authority", "web"), (":path", "/")],
  [(":scheme", "http"), (":authority", "web"), (":path", "/")],
  [(":method", ""), (":scheme", "http"), (":authority", "web"), (":path", "/")],
  [(":method", "GET"), (":scheme", "http"), (":authority", ""), (":path", "/")],
  [(":method", "GET"), (":scheme", ""), (":authority", "web"), (":path", "/")],
  [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "")],
  [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "a")],
  [(":method", "GET"), (":scheme", "http"), (":authority", "web"), (":path", "*")],
  [(":method", "GET"), (":scheme", "ftp"), (":authority", "web"), (":path", "http://other/")],
  [(":method", "CONNECT")],
  [(":method", "CONNECT"), (":authority", "web:80"), (":path", "/")],
  [(":method", "CONNECT"), (":authority", "web:80"), (":scheme", "http")],
  [(":method", "CONNECT"), (":protocol", "websocket"), (":authority", "web")],
  [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/")],
]

/// What a good request must not have besides.
private let unfitBehindGood: [Fields] = [
  [(":path", "/b")],
  [(":status", "200")],
  [(":what", "x")],
  [(":", "x")],
  [(":protocol", "websocket")],
  [("a", "b"), (":method", "GET")],
  [("host", "other")],
  [("host", "web"), ("host", "web")],
  [("connection", "close")],
  [("keep-alive", "a")],
  [("proxy-connection", "a")],
  [("transfer-encoding", "chunked")],
  [("upgrade", "h2c")],
  [("", "a")],
  [("A", "b")],
]

private let unfitResponses: [Fields] = [
  [], [("a", "b")], [(":status", "20")], [(":status", "2000")], [(":status", "")],
  [(":status", "200"), (":status", "200")], [(":status", "200"), (":path", "/")],
  [(":status", "200"), ("connection", "close")], [(":status", "200"), ("transfer-encoding", "chunked")],
  [(":status", "200"), ("upgrade", "x")], [("a", "b"), (":status", "200")],
]

@Suite("HTTP2HeadText")
struct HTTP2HeadTextTests {
  @Test("a request becomes the HTTP/1 head that says the same")
  func request() {
    let head = text(.request, get + [("accept", "*/*"), ("x-empty", "")])
    #expect(head.text == "GET /a HTTP/1.1\r\nhost: web\r\naccept: */*\r\nx-empty: \r\n\r\n")
    #expect(head.connect == .nothing)
  }

  @Test("what has a body and no length is chunked, what has a length keeps it")
  func framing() {
    #expect(text(.request, get, endsStream: false).text.hasSuffix("\r\ntransfer-encoding: chunked\r\n\r\n"))
    let length = text(.request, get + [("content-length", "5")], endsStream: false).text
    #expect(length.hasSuffix("\r\ncontent-length: 5\r\n\r\n") && !length.contains("chunked"))
    let none = get + [("content-length", "0")]
    #expect(text(.request, none, endsStream: true).text.hasSuffix("\r\ncontent-length: 0\r\n\r\n"))
    let unproven = text(.request, none, endsStream: false).text
    #expect(unproven.hasSuffix("\r\ntransfer-encoding: chunked\r\n\r\n") && !unproven.contains("content-length"))
  }

  @Test("cookies become one line behind the others, in their order")
  func cookies() {
    let head = text(.request, get + [("cookie", "a=1"), ("x", "y"), ("cookie", ""), ("cookie", "b=2; c=3")])
    #expect(head.text == "GET /a HTTP/1.1\r\nhost: web\r\nx: y\r\ncookie: a=1; ; b=2; c=3\r\n\r\n")
  }

  @Test("cookies of a response are none of a request's")
  func cookiesOfResponses() {
    #expect(text(.response, ok + [("cookie", "a"), ("cookie", "b")]).text.contains("cookie: a\r\ncookie: b\r\n"))
  }

  @Test("Host stands in for the authority, and may repeat it in other letters")
  func host() {
    let alone: Fields = [(":method", "GET"), (":scheme", "http"), (":path", "/"), ("host", "web")]
    #expect(text(.request, alone).text == "GET / HTTP/1.1\r\nhost: web\r\n\r\n")
    #expect(text(.request, get + [("host", "WEB")]).text == "GET /a HTTP/1.1\r\nhost: web\r\n\r\n")
  }

  @Test("OPTIONS may ask for *")
  func options() {
    let fields: Fields = [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "web"), (":path", "*")]
    #expect(text(.request, fields).text.hasPrefix("OPTIONS * HTTP/1.1\r\n"))
  }

  @Test("an extended CONNECT for WebSocket becomes an upgrade")
  func webSocket() {
    let fields: Fields = [
      (":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", "web"), (":path", "/ws"),
      ("sec-websocket-version", "13"),
    ]
    let head = text(.request, fields, endsStream: false, key: "abc")
    #expect(head.connect == .webSocket)
    #expect(head.text.hasPrefix("GET /ws HTTP/1.1\r\nhost: web\r\nconnection: upgrade\r\nupgrade: websocket\r\n"))
    #expect(head.text.contains("sec-websocket-key: abc\r\n") && !head.text.contains("chunked"))
  }

  @Test("a plain CONNECT has no body, and one for another protocol is told apart")
  func connect() {
    let plain: Fields = [(":method", "CONNECT"), (":authority", "db.example:5432"), ("user-agent", "x")]
    let head = text(.request, plain, endsStream: false)
    #expect(head.connect == .tunnel)
    #expect(
      head.text == "CONNECT db.example:5432 HTTP/1.1\r\nhost: db.example:5432\r\nuser-agent: x\r\n\r\n")
    let other: Fields = [
      (":method", "CONNECT"), (":protocol", "connect-udp"), (":scheme", "http"), (":authority", "web"), (":path", "/"),
    ]
    let foreign = text(.request, other, endsStream: false)
    #expect(foreign.connect == .other)
  }

  @Test("a response's head says how its body ends")
  func response() {
    #expect(text(.response, ok + [("x", "y")]).text == "HTTP/1.1 200 OK\r\nx: y\r\ncontent-length: 0\r\n\r\n")
    #expect(text(.response, ok, endsStream: false).text == "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    #expect(text(.response, ok, hasNoBody: true).text == "HTTP/1.1 200 OK\r\n\r\n")
  }

  @Test("a status that has a reason phrase is given it", arguments: [("204", "No Content"), ("299", ""), ("2xx", "")])
  func reasons(_ status: String, _ reason: String) {
    #expect(text(.response, [(":status", status)], hasNoBody: true).text == "HTTP/1.1 \(status) \(reason)\r\n\r\n")
  }

  @Test("trailers are lines and nothing else")
  func trailers() {
    #expect(text(.trailers, [("x-sum", "5"), ("y", "z")]).text == "x-sum: 5\r\ny: z\r\n\r\n")
    #expect(text(.trailers, []).text == "\r\n")
  }

  @Test(
    "a request that breaks a rule never becomes text",
    arguments: unfit + unfitBehindGood.map { get + $0 } + [[("a", "b")] + get])
  func malformedRequests(_ fields: Fields) {
    #expect(text(.request, fields).outcome == .malformed)
  }

  @Test(
    "a response that breaks a rule never becomes text",
    arguments: unfitResponses)
  func malformedResponses(_ fields: Fields) {
    #expect(text(.response, fields).outcome == .malformed)
  }

  @Test(
    "trailers have no pseudo-fields, and no connection fields",
    arguments: [":path", ":status", "connection", "upgrade"])
  func malformedTrailers(_ name: String) {
    #expect(text(.trailers, [(name, "200")]).outcome == .malformed)
  }

  @Test("no byte that could end a line or a word gets into a name, a value or a target", arguments: 0...255)
  func bytes(_ code: Int) throws {
    let byte = String(Unicode.Scalar(UInt8(code)))
    let isToken = byte.wholeMatch(of: /[!#$%&'*+.^_`|~0-9a-z-]/) != nil
    #expect((text(.request, get + [("x\(byte)y", "1")]).outcome != .malformed) == isToken)
    let isControl = code < 0x20 && code != 0x09 || code == 0x7F
    #expect((text(.request, get + [("x", "a\(byte)b")]).outcome == .malformed) == isControl)
    #expect((text(.request, get + [("cookie", "a\(byte)b")]).outcome == .malformed) == isControl)
    let isBlank = code == 0x20 || code == 0x09
    #expect((text(.request, get + [("x", "a\(byte)")]).outcome == .malformed) == (isControl || isBlank))
    #expect((text(.request, get + [("x", "\(byte)a")]).outcome == .malformed) == (isControl || isBlank))
    for place in 0..<4 {
      var fields = get
      fields[place].1 += "\(byte)z"
      #expect((text(.request, fields).outcome == .malformed) == (isControl || isBlank), "\(fields[place])")
    }
  }

  @Test("whatever the room, a head is whole or too long, and never reaches past its memory", arguments: 0...160)
  func room(_ capacity: Int) {
    let fields = get + [("accept", "*/*"), ("cookie", "a=1"), ("cookie", "bb=22"), ("x", "yyyyyyyyyyyyyyyy")]
    let whole = text(.request, fields)
    let head = text(.request, fields, capacity: capacity)
    #expect(head.outcome == .tooLong || head.outcome == whole.outcome)
    if head.outcome == whole.outcome { #expect(head.text == whole.text) }
  }
}
