// The response parser: where a body ends and whether the connection outlives it, what is refused, and that neither
// depends on how the bytes were cut.

import HTTP
import Testing

struct ValidResponse: Sendable, CustomTestStringConvertible {
  var text: String
  var method = Method.get
  var wantsUpgrade = false
  var status: UInt16 = 200
  var reason = "OK"
  var framing = BodyFraming.length(0)
  var keepAlive = true
  var isInterim = false
  var isSwitch = false
  var isTunnel = false

  var testDescription: String { "\(method) → \(text.debugDescription)" }
}

let validResponses: [ValidResponse] = [
  .init(text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
  .init(text: "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", reason: ""),
  .init(text: "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", reason: ""),
  .init(text: "HTTP/1.1 200 A\tb  c \u{E9}\r\nContent-Length: 0\r\n\r\n", reason: "A\tb  c \u{E9}"),
  .init(
    text: "HTTP/1.1 404 Not Found\r\nContent-Length: 5\r\n\r\n", status: 404, reason: "Not Found", framing: .length(5)),
  .init(text: "HTTP/1.1 999 Odd\r\nContent-Length: 5\r\n\r\n", status: 999, reason: "Odd", framing: .length(5)),
  .init(text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", framing: .chunked),
  .init(text: "HTTP/1.1 200 OK\r\n\r\n", framing: .untilClose, keepAlive: false),
  .init(text: "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", framing: .untilClose, keepAlive: false),
  .init(text: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", keepAlive: false),
  .init(text: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", keepAlive: false),
  .init(text: "HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n"),
  .init(text: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method: .head, framing: .none),
  .init(text: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", method: .head, framing: .none),
  .init(text: "HTTP/1.1 200 OK\r\n\r\n", method: .head, framing: .none),
  .init(text: "HTTP/1.1 204 OK\r\n\r\n", status: 204, framing: .none),
  .init(text: "HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n", status: 204, framing: .none),
  .init(text: "HTTP/1.1 204 OK\r\nContent-Length: 3\r\n\r\n", status: 204, framing: .none, keepAlive: false),
  .init(text: "HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", status: 204, framing: .none, keepAlive: false),
  .init(text: "HTTP/1.1 304 OK\r\nContent-Length: 9\r\n\r\n", status: 304, framing: .none),
  .init(text: "HTTP/1.1 100 Continue\r\n\r\n", status: 100, reason: "Continue", framing: .none, isInterim: true),
  .init(text: "HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n", status: 103, reason: "Hints", framing: .none, isInterim: true),
  .init(
    text: "HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", wantsUpgrade: true, status: 101, reason: "Go",
    framing: .none, keepAlive: false, isSwitch: true),
  .init(
    text: "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", method: .connect, framing: .none, keepAlive: false,
    isTunnel: true),
  .init(text: "HTTP/1.1 403 OK\r\nContent-Length: 9\r\n\r\n", method: .connect, status: 403, framing: .length(9)),
  .init(text: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n", wantsUpgrade: true, framing: .length(1)),
  .init(text: "HTTP/1.1 200 OK\r\nHost: a b\r\nHost: c\r\nContent-Length: 0\r\n\r\n"),
]

@Suite("Response parser")
struct ResponseParserTests {
  @Test("a valid response is understood", arguments: validResponses)
  func understands(_ valid: ValidResponse) throws {
    let head = try #require(parseResponse(valid.text, method: valid.method, wantsUpgrade: valid.wantsUpgrade).head)
    #expect(head.status == valid.status)
    #expect(head.reason == valid.reason)
    #expect(head.framing == valid.framing)
    #expect(head.keepAlive == valid.keepAlive)
    #expect(head.isInterim == valid.isInterim)
    #expect(head.isSwitch == valid.isSwitch)
    #expect(head.isTunnel == valid.isTunnel)
    #expect(head.headLength == valid.text.utf8.count)
  }

  @Test("every cut of a valid response is incomplete, and what follows it changes nothing", arguments: validResponses)
  func cutsAreIncomplete(_ valid: ValidResponse) {
    let bytes = Array(valid.text.utf8)
    func parse(_ bytes: some Collection<UInt8>) -> (outcome: HeadOutcome, head: ResponseSnapshot?) {
      parseResponse(bytes, method: valid.method, wantsUpgrade: valid.wantsUpgrade)
    }
    for count in 0..<bytes.count {
      #expect(parse(bytes[..<count]).outcome == .incomplete, "after \(count) bytes")
    }
    for rest in ["\0\0\0\0\0\0\0\0\0\0", "\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
      #expect(parse(bytes + rest.utf8).head == parse(bytes).head)
    }
  }

  @Test("a malformed response is refused for its reason", arguments: refusedResponses)
  func refuses(_ refused: RefusedHead) {
    #expect(parseResponse(refused.bytes).outcome == .refused(refused.refusal))
  }

  @Test("a cut of a malformed response is incomplete or refused for the same reason", arguments: refusedResponses)
  func cutsAreRefusedAlike(_ refused: RefusedHead) {
    var isRefused = false
    for count in 0...refused.bytes.count {
      let outcome = parseResponse(refused.bytes[..<count]).outcome
      if outcome == .refused(refused.refusal) {
        isRefused = true
      } else {
        #expect(outcome == .incomplete && !isRefused, "after \(count) bytes: \(outcome)")
      }
    }
    #expect(isRefused)
  }

  @Test("a response head over its limits is refused")
  func limits() {
    let bytes = Array("HTTP/1.1 200 OK\r\nX: 1\r\nX: 2\r\n\r\n".utf8)
    #expect(parseResponse(bytes, limits: HTTP1Limits(headerBytes: bytes.count, headers: 2)).outcome == .complete)
    let short = HTTP1Limits(headerBytes: bytes.count - 1)
    #expect(parseResponse(bytes, limits: short).outcome == .refused(.headTooLong))
    #expect(parseResponse(bytes, limits: HTTP1Limits(headers: 1)).outcome == .refused(.tooManyFields))
  }

  @Test("the framing towards a client suits its version")
  func framingTowards() {
    for (fields, to10, to11) in [
      ("Transfer-Encoding: chunked\r\n", BodyFraming.untilClose, BodyFraming.chunked),
      ("", .untilClose, .chunked),
      ("Content-Length: 3\r\n", .length(3), .length(3)),
    ] {
      withCopy(Array("HTTP/1.1 200 OK\r\n\(fields)\r\n".utf8)) { bytes in
        var head = ResponseHead()
        let context = ResponseContext(method: .get)
        let outcome = HTTP1Parser.parseResponse(bytes, into: &head, context: context, limits: HTTP1Limits())
        let framings = [head.framing(towards: .http10), head.framing(towards: .http11)]
        #expect(outcome == .complete)
        #expect(framings == [to10, to11])
      }
    }
  }
}
