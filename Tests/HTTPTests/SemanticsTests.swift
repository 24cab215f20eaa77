// The words of HTTP: methods, statuses, field names, Via.

import HTTP
import Testing

/// The wire name of every known field, lower case.
let wireNames: [FieldName: String] = [
  .host: "host", .connection: "connection", .contentLength: "content-length", .transferEncoding: "transfer-encoding",
  .te: "te", .upgrade: "upgrade", .expect: "expect", .via: "via", .traceparent: "traceparent",
  .keepAlive: "keep-alive", .proxyConnection: "proxy-connection", .http2Settings: "http2-settings", .l5d: "l5d-x",
  .authorization: "authorization", .proxyAuthorization: "proxy-authorization",
  .proxyAuthenticate: "proxy-authenticate", .wwwAuthenticate: "www-authenticate", .cookie: "cookie",
  .setCookie: "set-cookie", .origin: "origin", .referer: "referer", .userAgent: "user-agent",
  .forwarded: "forwarded", .xForwardedFor: "x-forwarded-for", .xForwardedHost: "x-forwarded-host",
  .xForwardedPort: "x-forwarded-port", .xForwardedProto: "x-forwarded-proto", .xRealIP: "x-real-ip",
  .tracestate: "tracestate", .accept: "accept", .acceptEncoding: "accept-encoding",
  .acceptLanguage: "accept-language", .cacheControl: "cache-control", .pragma: "pragma", .range: "range",
  .maxForwards: "max-forwards", .ifMatch: "if-match", .ifNoneMatch: "if-none-match", .ifRange: "if-range",
  .ifModifiedSince: "if-modified-since", .ifUnmodifiedSince: "if-unmodified-since", .age: "age", .date: "date",
  .etag: "etag", .expires: "expires", .lastModified: "last-modified", .location: "location",
  .retryAfter: "retry-after", .server: "server", .vary: "vary", .warning: "warning", .contentType: "content-type",
  .contentEncoding: "content-encoding", .contentRange: "content-range", .contentLocation: "content-location",
  .contentLanguage: "content-language", .contentDisposition: "content-disposition", .trailer: "trailer",
]

@Suite("Semantics")
struct SemanticsTests {
  /// The kind the parser gives a field of this name, in a response, where no value is special but framing's.
  func kind(of name: String) -> FieldName? {
    let value = name.lowercased() == "content-length" ? "1" : "chunked"
    return parseResponse("HTTP/1.1 200 OK\r\n\(name): \(value)\r\n\r\n").head?.fields.first?.kind
  }

  @Test("every known name is recognised in any case, and only that name", arguments: FieldName.allCases)
  func names(_ name: FieldName) throws {
    if name == .other { return }
    let text = try #require(wireNames[name])
    #expect(kind(of: text) == name)
    #expect(kind(of: text.uppercased()) == name)
    if name == .l5d { return }
    for index in text.indices {
      var other = text
      other.replaceSubrange(index...index, with: "~")
      #expect(kind(of: other) == .other, "\(other)")
      other.remove(at: index)
      #expect(kind(of: other) == .other, "\(other)")
    }
    #expect(kind(of: "\(text)x") == .other)
    #expect(kind(of: "x\(text)") == .other)
  }

  @Test("names are found in a table, known or not, from a given index on")
  func lookup() {
    withCopy(Array("GET / HTTP/1.1\r\nHost: a\r\nX-A: 1\r\nVia: 1.1 b\r\nx-a: 2\r\nVIA: 1.1 c\r\n\r\n".utf8)) { bytes in
      var head = RequestHead()
      let outcome = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits())
      #expect(outcome == .complete)
      let known = [
        head.fields.firstIndex(of: .via), head.fields.firstIndex(of: .via, from: 3),
        head.fields.firstIndex(of: .cookie),
      ]
      #expect(known == [2, 4, nil])
      withCopy(Array("X-a".utf8)) { name in
        let found = [0, 2, 4].map { head.fields.firstIndex(named: name, in: bytes, from: $0) }
        #expect(found == [1, 3, nil])
      }
    }
  }

  @Test(
    "Via members that name this node are counted",
    arguments: [
      ("Via: 1.1 node-a\r\n", 1), ("Via: 1.1 NODE-A\r\n", 1), ("Via: HTTP/1.1 node-a (x)\r\n", 1), ("", 0),
      ("Via: 1.1 node-b\r\n", 0), ("Via: 1.1 node-a2\r\n", 0), ("Via: 1.1 node-a:80\r\n", 0), ("Via: node-a\r\n", 0),
      ("Via: 1.1 node-a, 1.0 b,1.1\tnode-a\r\nX: 1.1 node-a\r\nvia: 2 node-a\r\n", 3),
      ("Via: 1.1 b (a, 1.1 node-a), 1.1 node-a\r\n", 1), ("Via: 1.1 b (\\), 1.1 node-a)\r\n", 0),
      ("Via: 1.1 b ((), 1.1 node-a), 1.1 node-a(c)\r\n", 1), ("Via: 1.1 b (\\\r\n", 0), ("Via: ,, 1.1 node-a,\r\n", 1),
      ("Via: 1.1 b node-a\r\n", 0),
    ])
  func via(_ lines: String, _ expected: Int) {
    withCopy(Array("GET / HTTP/1.1\r\nHost: a\r\n\(lines)\r\n".utf8)) { bytes in
      var head = RequestHead()
      let outcome = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits())
      #expect(outcome == .complete)
      let count = withCopy(Array("node-a".utf8)) { head.countVia(pseudonym: $0, in: bytes) }
      #expect(count == expected)
    }
  }

  @Test("methods know what may be repeated")
  func methods() {
    #expect(Method.allCases.filter(\.isSafe) == [.get, .head, .options, .trace])
    #expect(Method.allCases.filter(\.isIdempotent) == [.get, .head, .put, .delete, .options, .trace])
    for method in Method.allCases where method != .other && method != .connect {
      #expect(parseRequest("\(method.name) / HTTP/1.1\r\nHost: a\r\n\r\n").head?.method == method)
    }
  }

  @Test("statuses know their class and whether a body can follow")
  func statuses() {
    for (code, category): (UInt16, UInt8) in [
      (100, 1), (199, 1), (200, 2), (299, 2), (304, 3), (404, 4), (599, 5), (600, 5), (999, 5),
    ] {
      #expect(Status(code).category == category)
    }
    #expect(
      [100, 101, 204, 304, 200, 404].map { Status($0).isAlwaysBodiless } == [true, true, true, true, false, false])
    #expect([100, 101, 103, 200].map { Status($0).isInterim } == [true, false, true, false])
    #expect("\(Status(503).reason)" == "Service Unavailable")
    #expect("\(Status(299).reason)".isEmpty)
  }

  @Test("refusals have distinct words, one-line messages and a status a client understands")
  func refusals() {
    #expect(Set(Refusal.allCases.map { "\($0.identifier)" }).count == Refusal.allCases.count)
    #expect(Set(Refusal.allCases.map { "\($0.message)" }).count == Refusal.allCases.count)
    for refusal in Refusal.allCases {
      #expect(!"\(refusal.message)".contains("\n") && !"\(refusal.message)".isEmpty)
      #expect(!"\(refusal.identifier)".contains { !$0.isLowercase && $0 != "-" && !$0.isNumber })
      #expect([400, 414, 431, 505].contains(refusal.status))
    }
  }

  @Test("a table holds what it was made for, and no more")
  func table() {
    var table = FieldTable(capacity: 1)
    let field = Field(name: .empty, value: .empty, lineEnd: 0, kind: .other, isForwarded: true)
    let fits = [table.append(field), table.append(field)]
    #expect(fits == [true, false])
    let full = table.count
    table.removeAll()
    let empty = table.count
    #expect([full, empty] == [1, 0])
    #expect(MemoryLayout<Field>.stride == 24)
  }

  @Test("a range outside the bytes is empty")
  func ranges() {
    withCopy(Array("abc".utf8)) { bytes in
      #expect(text(ByteRange(offset: 1, length: 2), bytes) == "bc")
      #expect(ByteRange(offset: 1, length: 3).slice(of: bytes).isEmpty)
      #expect(ByteRange(offset: .max, length: .max).slice(of: bytes).isEmpty)
    }
  }
}
