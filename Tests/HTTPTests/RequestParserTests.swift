// The request parser: what it accepts and understands, what it refuses, and that neither depends on how the bytes
// were cut.

import HTTP
import Testing

struct ValidRequest: Sendable, CustomTestStringConvertible {
  var text: String
  var method = Method.get
  var path = "/"
  var query = ""
  var authority = "a"
  var host = "a"
  var port: UInt16 = 0
  var form = TargetForm.origin
  var framing = BodyFraming.none
  var keepAlive = true

  var testDescription: String { text.debugDescription }
}

let validRequests: [ValidRequest] = [
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
  .init(text: "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
  .init(text: "GET / HTTP/1.1\r\nHost:a\r\n\r\n"),
  .init(text: "GET / HTTP/1.1\r\nHOST: \t a \t \r\n\r\n"),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nEmpty:\r\nBlank:   \r\nTabs: a\tb\r\nLatin: \u{E9}\u{FF}\r\n\r\n"),
  .init(text: "GET / HTTP/1.1\r\n!#$%&'*+-.^_`|~09azAZ: b\r\nHost: a\r\n\r\n"),
  .init(text: "get / HTTP/1.1\r\nHost: a\r\n\r\n", method: .other),
  .init(text: "PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n", method: .other),
  .init(text: "GETS / HTTP/1.1\r\nHost: a\r\n\r\n", method: .other),
  .init(text: "CONNECTX / HTTP/1.1\r\nHost: a\r\n\r\n", method: .other),
  .init(text: "HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", method: .head),
  .init(text: "PUT / HTTP/1.1\r\nHost: a\r\n\r\n", method: .put),
  .init(text: "DELETE / HTTP/1.1\r\nHost: a\r\n\r\n", method: .delete),
  .init(text: "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", method: .trace),
  .init(text: "PATCH / HTTP/1.1\r\nHost: a\r\n\r\n", method: .patch),
  .init(text: "OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n", method: .options),
  .init(text: "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", method: .options, path: "*", form: .asterisk),
  .init(
    text: "CONNECT b:443 HTTP/1.1\r\nHost: a\r\n\r\n", method: .connect, path: "", authority: "b:443", host: "b",
    port: 443, form: .authority),
  .init(
    text: "CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n", method: .connect, path: "", authority: "[::1]:443",
    host: "::1", port: 443, form: .authority),
  .init(text: "GET /a/b.c;d=1?x=1&y=/?z HTTP/1.1\r\nHost: a\r\n\r\n", path: "/a/b.c;d=1", query: "x=1&y=/?z"),
  .init(text: "GET /? HTTP/1.1\r\nHost: a\r\n\r\n"),
  .init(text: "GET //b HTTP/1.1\r\nHost: a\r\n\r\n", path: "//b"),
  .init(text: "GET /{}|\"<>^`\\%zz HTTP/1.1\r\nHost: a\r\n\r\n", path: "/{}|\"<>^`\\%zz"),
  .init(
    text: "GET http://b:80/p?q HTTP/1.1\r\nHost: a\r\n\r\n", path: "/p", query: "q", authority: "b:80", host: "b",
    port: 80, form: .absolute),
  .init(
    text: "GET HTTPS://b HTTP/1.1\r\nHost: a\r\n\r\n", path: "", authority: "b", host: "b", form: .absolute),
  .init(
    text: "GET http://b?q/r HTTP/1.1\r\nHost: a\r\n\r\n", path: "", query: "q/r", authority: "b", host: "b",
    form: .absolute),
  .init(
    text: "GET / HTTP/1.1\r\nHost: a-b_c.d~e:8080\r\n\r\n", authority: "a-b_c.d~e:8080", host: "a-b_c.d~e", port: 8080),
  .init(
    text: "GET / HTTP/1.1\r\nHost: 127.0.0.1:65535\r\n\r\n", authority: "127.0.0.1:65535", host: "127.0.0.1",
    port: 65535),
  .init(text: "GET / HTTP/1.1\r\nHost: a:\r\n\r\n", authority: "a:"),
  .init(text: "GET / HTTP/1.1\r\nHost: %61!$&'()*+;=\r\n\r\n", authority: "%61!$&'()*+;=", host: "%61!$&'()*+;="),
  .init(text: "GET / HTTP/1.1\r\nHost: [::]\r\n\r\n", authority: "[::]", host: "::"),
  .init(text: "GET / HTTP/1.1\r\nHost: [1::]:1\r\n\r\n", authority: "[1::]:1", host: "1::", port: 1),
  .init(
    text: "GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6:7:ABCD]\r\n\r\n", authority: "[1:2:3:4:5:6:7:ABCD]",
    host: "1:2:3:4:5:6:7:ABCD"),
  .init(text: "GET / HTTP/1.1\r\nHost: [1:2:3::6:7:8]\r\n\r\n", authority: "[1:2:3::6:7:8]", host: "1:2:3::6:7:8"),
  .init(
    text: "GET / HTTP/1.1\r\nHost: [::ffff:1.2.3.255]\r\n\r\n", authority: "[::ffff:1.2.3.255]",
    host: "::ffff:1.2.3.255"),
  .init(
    text: "GET / HTTP/1.1\r\nHost: [1:2:3:4:5:6:1.2.3.4]\r\n\r\n", authority: "[1:2:3:4:5:6:1.2.3.4]",
    host: "1:2:3:4:5:6:1.2.3.4"),
  .init(text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", method: .post, framing: .length(0)),
  .init(text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 007\r\n\r\nX", method: .post, framing: .length(7)),
  .init(
    text: "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n", method: .post,
    framing: .length(9_223_372_036_854_775_807)),
  .init(text: "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", method: .post, framing: .chunked),
  .init(text: "POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding:CHUNKED \r\n\r\n", method: .post, framing: .chunked),
  .init(text: "GET / HTTP/1.0\r\n\r\n", authority: "", host: "", keepAlive: false),
  .init(text: "GET http://b/ HTTP/1.0\r\n\r\n", authority: "b", host: "b", form: .absolute, keepAlive: false),
  .init(text: "GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n"),
  .init(text: "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n", keepAlive: false),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: CLOSE\r\n\r\n", keepAlive: false),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: x,, close ,\r\n\r\n", keepAlive: false),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n", keepAlive: false),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nConnection: closed, not-close\r\n\r\n"),
  .init(text: "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n"),
]

@Suite("Request parser")
struct RequestParserTests {
  @Test("a valid request is understood", arguments: validRequests)
  func understands(_ valid: ValidRequest) throws {
    let (outcome, parsed) = parseRequest(valid.text)
    #expect(outcome == .complete)
    let head = try #require(parsed)
    #expect(head.method == valid.method)
    #expect(head.path == valid.path)
    #expect(head.query == valid.query)
    #expect(head.authority == valid.authority)
    #expect(head.host == valid.host)
    #expect(head.port == valid.port)
    #expect(head.form == valid.form)
    #expect(head.framing == valid.framing)
    #expect(head.keepAlive == valid.keepAlive)
    let end = try #require(valid.text.utf8.firstRange(of: Array("\r\n\r\n".utf8)))
    #expect(head.headLength == valid.text.utf8.distance(from: valid.text.utf8.startIndex, to: end.upperBound))
  }

  @Test("every cut of a valid request is incomplete, and what follows it changes nothing", arguments: validRequests)
  func cutsAreIncomplete(_ valid: ValidRequest) throws {
    let bytes = Array(valid.text.utf8)
    let whole = try #require(parseRequest(bytes).head)
    for count in 0..<whole.headLength {
      #expect(parseRequest(bytes[..<count]).outcome == .incomplete, "after \(count) bytes")
    }
    let head = bytes[..<whole.headLength]
    #expect(parseRequest(head).head == whole)
    for rest in ["\0\0\0\0\0\0\0\0\0\0", "\r\n\r\n", "GET / HTTP/1.1\r\n"] {
      #expect(parseRequest(head + rest.utf8).head == whole)
    }
  }

  @Test("a malformed request is refused for its reason", arguments: refusedRequests)
  func refuses(_ refused: RefusedHead) {
    #expect(parseRequest(refused.bytes).outcome == .refused(refused.refusal))
  }

  @Test("a cut of a malformed request is incomplete or refused for the same reason", arguments: refusedRequests)
  func cutsAreRefusedAlike(_ refused: RefusedHead) {
    var isRefused = false
    for count in 0...refused.bytes.count {
      let outcome = parseRequest(refused.bytes[..<count]).outcome
      if outcome == .refused(refused.refusal) {
        isRefused = true
      } else {
        #expect(outcome == .incomplete && !isRefused, "after \(count) bytes: \(outcome)")
      }
    }
    #expect(isRefused)
  }

  @Test("the tables name every refusal a head can meet")
  func tablesAreComplete() {
    let elsewhere: Set<Refusal> = [
      .requestLineTooLong, .headTooLong, .tooManyFields, .trailersTooLong, .badChunkSize, .chunkSizeOverflow,
      .badChunkExtension, .chunkExtensionTooLong, .badChunkEnd,
    ]
    let named = Set((refusedRequests + refusedResponses).map(\.refusal))
    #expect(named.union(elsewhere) == Set(Refusal.allCases))
    #expect(named.isDisjoint(with: elsewhere))
  }

  @Test("a request line over its limit is refused, at the limit it passes")
  func requestLineLimit() {
    let limits = HTTP1Limits(headerBytes: 1000, requestLineBytes: 30)
    let fitting = "GET /\(String(repeating: "a", count: 16)) HTTP/1.1"
    #expect(fitting.utf8.count == 30)
    for (prefix, line, outcome): (String, String, HeadOutcome) in [
      ("", fitting, .complete), ("\r\n", fitting, .complete),
      ("", "GET /a\(fitting.dropFirst(5))", .refused(.requestLineTooLong)),
      ("\r\n", "GET /a\(fitting.dropFirst(5))", .refused(.requestLineTooLong)),
      ("", String(repeating: "A", count: 40), .refused(.requestLineTooLong)),
    ] {
      let bytes = Array("\(prefix)\(line)\r\nHost: a\r\n\r\n".utf8)
      #expect(parseRequest(bytes, limits: limits).outcome == outcome)
      for count in 0..<bytes.count {
        let cut = parseRequest(bytes[..<count], limits: limits).outcome
        #expect(cut == .incomplete || cut == outcome)
      }
    }
  }

  @Test("a head over its limit is refused as soon as that many bytes came, at the limit it passes")
  func headLimit() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nX: \(String(repeating: "b", count: 50))\r\n\r\n".utf8)
    #expect(parseRequest(bytes, limits: HTTP1Limits(headerBytes: bytes.count)).outcome == .complete)
    let limits = HTTP1Limits(headerBytes: bytes.count - 1)
    #expect(parseRequest(bytes, limits: limits).outcome == .refused(.headTooLong))
    #expect(parseRequest(bytes.dropLast(), limits: limits).outcome == .refused(.headTooLong))
    #expect(parseRequest(bytes.dropLast(2), limits: limits).outcome == .incomplete)
    #expect(parseRequest(bytes, limits: HTTP1Limits(headerBytes: 0)).outcome == .refused(.headTooLong))
  }

  @Test("more fields than allowed, or than the table holds, are refused")
  func fieldLimit() {
    let bytes = Array("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n".utf8)
    #expect(parseRequest(bytes, limits: HTTP1Limits(headers: 3)).outcome == .complete)
    #expect(parseRequest(bytes, limits: HTTP1Limits(headers: 2)).outcome == .refused(.tooManyFields))
    #expect(parseRequest(bytes, maximumFields: 2).outcome == .refused(.tooManyFields))
    #expect(parseRequest(bytes, maximumFields: 0).outcome == .refused(.tooManyFields))
  }

  @Test("an upgrade needs field, option and HTTP/1.1, and is never to h2c")
  func upgrades() {
    for (fields, version, expected) in [
      ("Upgrade: websocket\r\nConnection: Upgrade\r\n", "1.1", true),
      ("Connection: keep-alive, upgrade\r\nUpgrade: websocket\r\n", "1.1", true),
      ("Upgrade: websocket\r\n", "1.1", false),
      ("Connection: upgrade\r\n", "1.1", false),
      ("Upgrade: websocket\r\nConnection: upgrade\r\n", "1.0", false),
      ("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\nHTTP2-Settings: AAM\r\n", "1.1", false),
      ("Upgrade: websocket, H2C\r\nConnection: upgrade\r\n", "1.1", false),
    ] {
      let head = parseRequest("GET / HTTP/\(version)\r\nHost: a\r\n\(fields)\r\n").head
      #expect(head?.wantsUpgrade == expected, "\(fields)")
    }
  }

  @Test("expectation, trace context and TE are noticed")
  func facts() {
    let head = parseRequest(
      "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTraceparent: 00-a-b-01\r\nTE: gzip, Trailers\r\n\r\n"
    ).head
    #expect(head?.expectsContinue == true)
    #expect(head?.hasTraceparent == true)
    #expect(head?.acceptsTrailers == true)
    let plain = parseRequest("GET / HTTP/1.1\r\nHost: a\r\nExpect: cake\r\nTE: gzip\r\n\r\n").head
    #expect(plain?.expectsContinue == false)
    #expect(plain?.hasTraceparent == false)
    #expect(plain?.acceptsTrailers == false)
  }

  @Test("an HTTP/1.0 expectation or TE is ignored, and the expectation goes no further")
  func oldExpectation() {
    let head = parseRequest("GET / HTTP/1.0\r\nExpect: 100-continue\r\nTE: trailers\r\n\r\n").head
    #expect(head?.expectsContinue == false)
    #expect(head?.acceptsTrailers == false)
    #expect(head?.fields.first?.isForwarded == false)
  }

  @Test("a head can be parsed into again and again: nothing is left of the one before")
  func reuse() {
    var head = RequestHead()
    for valid in validRequests + validRequests.reversed() {
      withCopy(Array(valid.text.utf8)) { bytes in
        let outcome = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits())
        let reused = snapshot(head, bytes)
        #expect(outcome == .complete)
        #expect(reused == parseRequest(valid.text).head)
      }
    }
  }

  @Test("random changes to a request never trap, and cuts agree with the whole")
  func randomChanges() {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SeededGenerator(seed)
    let alphabet = Array("\r\n\t :,;a0/?#\0\u{7F}".utf8) + [0xFF]
    for _ in 0..<3000 {
      var bytes = Array((validRequests.randomElement(using: &random)?.text ?? "").utf8)
      for _ in 0..<Int.random(in: 1...3, using: &random) {
        let index = bytes.indices.randomElement(using: &random) ?? 0
        let byte = alphabet.randomElement(using: &random) ?? 0
        if Bool.random(using: &random) { bytes[index] = byte } else { bytes.insert(byte, at: index) }
      }
      let whole = parseRequest(bytes).outcome
      let cut = parseRequest(bytes[..<Int.random(in: 0...bytes.count, using: &random)]).outcome
      #expect(cut == .incomplete || cut == whole, "seed \(seed): \(bytes)")
    }
  }
}
