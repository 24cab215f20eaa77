// Heads on their way out: what stays, what goes, what is added; and that a head written and parsed again is the same
// but for what one connection keeps to itself.

import HTTP
import Testing

@Suite("Serializer")
struct SerializerTests {
  @Test("a plain request goes out byte for byte, with the extra lines before its end")
  func plainRequest() {
    let head = "GET /a?b HTTP/1.1\r\nhOsT:  a \r\nX: \t y\r\nAccept: */*\r\n"
    #expect(forwardRequest("\(head)\r\n") == "\(head)\r\n")
    #expect(forwardRequest("\r\n\(head)\r\nbody") == "\(head)\r\n")
    #expect(forwardRequest("\(head)\r\n", extra: "via: 1.1 n\r\n") == "\(head)via: 1.1 n\r\n\r\n")
  }

  @Test("connection fields and what they nominate stay behind, wherever they stand")
  func hopByHop() {
    let text = """
      GET / HTTP/1.1\r
      Connection: keep-alive, X-One, x-two\r
      Host: a\r
      Keep-Alive: timeout=5\r
      A: 1\r
      X-ONE: 1\r
      Proxy-Connection: keep-alive\r
      B: 2\r
      TE: gzip\r
      Upgrade: websocket\r
      HTTP2-Settings: x\r
      l5d-dtab: /svc => /x\r
      L5D-Ctx: y\r
      x-Two: 2\r
      X-One: again\r
      X-One-More: 3\r
      \r

      """
    #expect(forwardRequest(text) == "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nX-One-More: 3\r\n\r\n")
  }

  @Test("Connection cannot strip what is meant for everybody")
  func protectedNames() {
    let kept =
      "GET / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nCookie: y\r\nX-Forwarded-For: z\r\nVia: 1.1 b\r\n"
      + "Cache-Control: no-store\r\nContent-Type: a/b\r\nTraceparent: t\r\n"
    let options =
      "host, authorization, cookie, x-forwarded-for, via, cache-control, content-type, traceparent, content-length"
    #expect(forwardRequest("\(kept)Connection: \(options)\r\n\r\n") == "\(kept)\r\n")
  }

  @Test("a body's framing is written anew")
  func framing() {
    let start = "POST / HTTP/1.1\r\nHost: a\r\n"
    #expect(
      forwardRequest("\(start)Content-Length: 007\r\nX: y\r\n\r\n") == "\(start)X: y\r\ncontent-length: 7\r\n\r\n")
    #expect(
      forwardRequest("\(start)Connection: content-length\r\nContent-Length: 7\r\n\r\n")
        == "\(start)content-length: 7\r\n\r\n")
    #expect(
      forwardRequest("\(start)TRANSFER-ENCODING:chunked\r\nConnection: transfer-encoding\r\n\r\n")
        == "\(start)transfer-encoding: chunked\r\n\r\n")
  }

  @Test("an absolute-form target becomes origin-form, and Host becomes its authority")
  func absoluteForm() {
    for (line, expected, host) in [
      ("GET http://b:8/p?q", "GET /p?q", "b:8"), ("GET http://b", "GET /", "b"), ("GET http://b?q", "GET /?q", "b"),
      ("OPTIONS http://b", "OPTIONS *", "b"), ("OPTIONS http://b/", "OPTIONS /", "b"),
      ("OPTIONS http://b?q", "OPTIONS /?q", "b"), ("GET HTTP://[::1]:8/", "GET /", "[::1]:8"),
    ] {
      #expect(
        forwardRequest("\(line) HTTP/1.1\r\nA: 1\r\nHost: evil\r\nB: 2\r\n\r\n")
          == "\(expected) HTTP/1.1\r\nA: 1\r\nB: 2\r\nhost: \(host)\r\n\r\n")
    }
  }

  @Test(
    "a part of the path goes out as the target, with the slash that it may lack",
    arguments: [
      ("GET /a/b?c HTTP/1.1", 6, 4, "/b?c"), ("GET /a?c HTTP/1.1", 6, 2, "/?c"), ("GET /a HTTP/1.1", 6, 0, "/"),
      ("GET http://a/a/b HTTP/1.1", 14, 2, "/b"), ("GET /a/b HTTP/1.0", 6, 2, "/b"), ("GET /a/b HTTP/1.1", 900, 9, "/"),
    ] as [(String, UInt32, UInt32, String)])
  func forwardedTargets(line: String, offset: UInt32, length: UInt32, target: String) {
    let bytes = Array("\(line)\r\nHost: a\r\n\r\n".utf8)
    var output = [UInt8](repeating: 0, count: 1024)
    bytes.withUnsafeBytes { bytes in
      var head = RequestHead()
      guard case .complete = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) else {
        Issue.record("\(line) is a request")
        return
      }
      head.forwardTarget(ByteRange(offset: offset, length: length))
      let count = output.withUnsafeMutableBytes { HTTP1Serializer.writeRequest(head, from: bytes, into: $0) }
      #expect(String(decoding: output[..<(count ?? 0)], as: UTF8.self).hasPrefix("GET \(target) HTTP/1.1\r\n"))
      // The next head has its own.
      _ = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits())
      #expect(head.forwardedTarget == nil)
    }
  }

  @Test("other forms and versions: CONNECT keeps its target, HTTP/1.0 goes out as HTTP/1.1 with a Host")
  func otherForms() {
    #expect(
      forwardRequest("CONNECT b:80 HTTP/1.1\r\nHost: a\r\n\r\n") == "CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n")
    #expect(forwardRequest("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n") == "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    #expect(forwardRequest("GET /a HTTP/1.0\r\nX: y\r\n\r\n") == "GET /a HTTP/1.1\r\nX: y\r\nhost: \r\n\r\n")
    #expect(forwardRequest("GET /a HTTP/1.0\r\nHost: b\r\n\r\n") == "GET /a HTTP/1.1\r\nHost: b\r\n\r\n")
  }

  @Test("what the request says about its own connection")
  func requestConnection() {
    let start = "GET / HTTP/1.1\r\nHost: a\r\n"
    #expect(forwardRequest("\(start)\r\n", connection: .close) == "\(start)connection: close\r\n\r\n")
    #expect(
      forwardRequest("\(start)TE: gzip, trailers\r\n\r\n") == "\(start)te: trailers\r\nconnection: te\r\n\r\n")
    #expect(
      forwardRequest("\(start)TE: trailers\r\n\r\n", connection: .close)
        == "\(start)te: trailers\r\nconnection: close, te\r\n\r\n")
    let upgrade = "Upgrade: websocket\r\n"
    #expect(
      forwardRequest("\(start)\(upgrade)Connection: Upgrade\r\nX: y\r\n\r\n", connection: .upgrade)
        == "\(start)X: y\r\n\(upgrade)connection: upgrade\r\n\r\n")
    #expect(forwardRequest("\(start)\(upgrade)\r\n", connection: .upgrade) == "\(start)\r\n")
    #expect(
      forwardRequest("\(start)Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", connection: .upgrade) == "\(start)\r\n")
  }

  @Test("a response goes out in HTTP/1.1, with framing for its client and without connection fields")
  func responses() {
    let ok = "HTTP/1.1 200 OK\r\nServer: s\r\n"
    #expect(
      forwardResponse("\(ok)Content-Length: 3\r\nConnection: keep-alive\r\nKeep-Alive: x\r\n\r\n")
        == "\(ok)content-length: 3\r\n\r\n")
    #expect(forwardResponse("\(ok)Transfer-Encoding: chunked\r\n\r\n") == "\(ok)transfer-encoding: chunked\r\n\r\n")
    #expect(
      forwardResponse("\(ok)Transfer-Encoding: chunked\r\n\r\n", towards: .http10, connection: .close)
        == "\(ok)connection: close\r\n\r\n")
    #expect(forwardResponse("\(ok)\r\n") == "\(ok)transfer-encoding: chunked\r\n\r\n")
    #expect(
      forwardResponse("HTTP/1.0 404 Not  Here\r\nContent-Length: 0\r\n\r\n", connection: .keepAlive)
        == "HTTP/1.1 404 Not  Here\r\ncontent-length: 0\r\nconnection: keep-alive\r\n\r\n")
    #expect(forwardResponse("HTTP/1.1 204\r\nA: b\r\n\r\n") == "HTTP/1.1 204 \r\nA: b\r\n\r\n")
    #expect(forwardResponse("HTTP/1.0 204\r\nA: b\r\n\r\n") == "HTTP/1.1 204 \r\nA: b\r\n\r\n")
    #expect(
      forwardResponse("\(ok)X: y\r\nConnection: x\r\nl5d-err: e\r\nContent-Length: 0\r\n\r\n", extra: "via: 1.1 n\r\n")
        == "\(ok)l5d-err: e\r\ncontent-length: 0\r\nvia: 1.1 n\r\n\r\n")
  }

  @Test("a length without a body stays where it informs, and goes where it may not be")
  func bodilessResponses() {
    for (status, method, stays) in [
      ("200", Method.head, true), ("304", .get, true), ("204", .get, false), ("103", .get, false),
      ("200", .connect, false),
    ] {
      let start = "HTTP/1.1 \(status) R\r\n"
      #expect(
        forwardResponse("\(start)Content-Length: 9\r\n\r\n", method: method)
          == (stays ? "\(start)content-length: 9\r\n\r\n" : "\(start)\r\n"))
    }
    #expect(
      forwardResponse("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", method: .head)
        == "HTTP/1.1 200 OK\r\n\r\n")
  }

  @Test("a switch of protocols keeps its Upgrade")
  func switching() {
    let start = "HTTP/1.1 101 Go\r\nSec-WebSocket-Accept: x\r\n"
    #expect(
      forwardResponse(
        "\(start)Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n", wantsUpgrade: true, connection: .upgrade)
        == "\(start)Upgrade: websocket\r\nconnection: upgrade\r\n\r\n")
    #expect(
      forwardResponse("HTTP/1.1 426 No\r\nUpgrade: x\r\nContent-Length: 0\r\n\r\n", connection: .upgrade)
        == "HTTP/1.1 426 No\r\ncontent-length: 0\r\n\r\n")
  }

  @Test("output that does not fit is nil at every size, never a part")
  func capacity() throws {
    let request = "POST http://b/p HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX: y\r\nContent-Length: 12\r\n\r\n"
    let whole = try #require(forwardRequest(request, extra: "v: 1\r\n"))
    for capacity in 0...whole.utf8.count {
      let output = forwardRequest(request, extra: "v: 1\r\n", capacity: capacity)
      #expect(output == (capacity == whole.utf8.count ? whole : nil))
    }
    let response = "HTTP/1.0 200 OK\r\nConnection: x\r\nX: y\r\nZ: 1\r\nContent-Length: 12\r\n\r\n"
    let answer = try #require(forwardResponse(response, extra: "v: 1\r\n"))
    for capacity in 0...answer.utf8.count {
      let output = forwardResponse(response, extra: "v: 1\r\n", capacity: capacity)
      #expect(output == (capacity == answer.utf8.count ? answer : nil))
    }
  }

  @Test("a request parsed, written and parsed again is the same but for its connection", arguments: validRequests)
  func requestRoundTrip(_ valid: ValidRequest) throws {
    let before = try #require(parseRequest(valid.text).head)
    let output = try #require(forwardRequest(valid.text))
    if before.version == .http10, before.authority.isEmpty {
      #expect(parseRequest(output).outcome == .refused(.badHost))
      return
    }
    let after = try #require(parseRequest(output).head)
    #expect(after.methodText == before.methodText)
    #expect(after.authority == before.authority)
    #expect(after.host == before.host)
    #expect(after.port == before.port)
    #expect(after.query == before.query)
    #expect(after.path == (before.path.isEmpty && before.form == .absolute ? "/" : before.path))
    #expect(after.framing == before.framing)
    #expect(after.version == .http11)
    #expect(after.keepAlive)
    let kept = before.fields.filter { $0.isForwarded }.map(\.line)
    #expect(after.fields.filter { $0.isForwarded && $0.kind != .host }.map(\.line) == kept.filter { !isHost($0) })
    #expect(forwardRequest(output) == output || before.framing != .none)
  }

  func isHost(_ line: String) -> Bool { line.lowercased().hasPrefix("host:") }

  @Test("a response parsed, written and parsed again is the same but for its connection", arguments: validResponses)
  func responseRoundTrip(_ valid: ValidResponse) throws {
    let before = try #require(parseResponse(valid.text, method: valid.method, wantsUpgrade: valid.wantsUpgrade).head)
    let output = try #require(forwardResponse(valid.text, method: valid.method, wantsUpgrade: valid.wantsUpgrade))
    let after = try #require(parseResponse(output, method: valid.method, wantsUpgrade: valid.wantsUpgrade).head)
    #expect(after.status == before.status)
    #expect(after.reason == before.reason)
    #expect(after.framing == (before.framing == .untilClose ? .chunked : before.framing))
    #expect(after.version == .http11)
    let kept = before.fields.filter(\.isForwarded).map(\.line)
    #expect(after.fields.filter(\.isForwarded).map(\.line) == kept)
  }
}
