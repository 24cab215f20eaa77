// What RFC 9112 leaves ambiguous is refused: every case of the list, over real sockets, in one piece and byte by byte.
// Each asserts that the client gets the refusal and the end of its connection, that the failure is counted by its code,
// that the upstream was sent nothing, and that its kept-alive connection is still good.

import TestSupport
import Testing

@Suite("Refused framing", needsDaemon)
struct FramingRefusalTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var name: String
    var bytes: String
    var statuses: [Int] = [400]
    var testDescription: String { name }

    init(_ name: String, _ bytes: String, _ statuses: [Int] = [400]) {
      self.name = name
      self.bytes = bytes
      self.statuses = statuses
    }

    /// A GET with these lines after its Host.
    static func fields(_ name: String, _ lines: String, _ statuses: [Int] = [400]) -> Case {
      Case(name, "GET /bad HTTP/1.1\r\nHost: web\r\n\(lines)\r\n\r\n", statuses)
    }

    /// A POST with these framing fields and the body `hello`.
    static func framing(_ name: String, _ lines: String, _ body: String = "hello") -> Case {
      Case(name, "POST /bad HTTP/1.1\r\nHost: web\r\n\(lines)\r\n\r\n\(body)")
    }
  }

  static let bodyFraming: [Case] = [
    .framing(
      "both Transfer-Encoding and Content-Length", "Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    .framing("both, the other way round", "Transfer-Encoding: chunked\r\nContent-Length: 5", "0\r\n\r\n"),
    .framing("two Content-Lengths that differ", "Content-Length: 5\r\nContent-Length: 6"),
    .framing("a list in Content-Length", "Content-Length: 5, 6"),
    .framing("a plus sign in Content-Length", "Content-Length: +5"),
    .framing("a minus sign in Content-Length", "Content-Length: -5"),
    .framing("a hexadecimal Content-Length", "Content-Length: 0x5"),
    .framing("a space inside Content-Length", "Content-Length: 5 5"),
    .framing("an empty Content-Length", "Content-Length:"),
    .framing("letters after Content-Length", "Content-Length: 5a"),
    .framing("a fraction in Content-Length", "Content-Length: 5.0"),
    .framing("a Content-Length past 64 bits", "Content-Length: 18446744073709551621"),
    .framing("a Content-Length past 63 bits", "Content-Length: 9223372036854775808"),
    .framing("a Content-Length of 40 digits", "Content-Length: 1000000000000000000000000000000000000005"),
    Case(
      "Transfer-Encoding in HTTP/1.0",
      "POST /bad HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    .framing("chunked that is not last", "Transfer-Encoding: chunked, gzip", "0\r\n\r\n"),
    .framing("chunked twice", "Transfer-Encoding: chunked, chunked", "0\r\n\r\n"),
    .framing("chunked twice in two fields", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
    .framing("an unknown coding", "Transfer-Encoding: squash"),
    .framing("a known coding without chunked", "Transfer-Encoding: gzip"),
    .framing("an unknown coding before chunked", "Transfer-Encoding: squash, chunked", "0\r\n\r\n"),
    .framing("identity", "Transfer-Encoding: identity"),
    .framing("an empty Transfer-Encoding", "Transfer-Encoding:"),
    .framing("a control byte in Transfer-Encoding", "Transfer-Encoding: \u{0b}chunked", "0\r\n\r\n"),
    .framing("a quoted coding", "Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
  ]

  static let fieldLines: [Case] = [
    .fields("a space before the colon", "X-A : b"),
    .fields("a tab before the colon", "X-A\t: b"),
    Case("a space before the colon of Host", "GET /bad HTTP/1.1\r\nHost : web\r\n\r\n"),
    .framing("a space before the colon of Content-Length", "Content-Length : 5"),
    .fields("line folding with a space", "X-A: b\r\n c"),
    .fields("line folding with a tab", "X-A: b\r\n\tc"),
    Case("a first line that is folded", "GET /bad HTTP/1.1\r\n X-A: b\r\nHost: web\r\n\r\n"),
    .fields("a bare CR in a value", "X-A: b\rc"),
    .fields("a bare CR before CRLF", "X-A: b\r"),
    .fields("a bare LF in a value", "X-A: b\nX-C: d"),
    Case("bare LF after the request line", "GET /bad HTTP/1.1\nHost: web\r\n\r\n"),
    Case("bare LF everywhere", "GET /bad HTTP/1.1\nHost: web\n\n"),
    Case("bare LF at the end of the head", "GET /bad HTTP/1.1\r\nHost: web\r\n\n"),
    .fields("NUL in a value", "X-A: b\u{0}c"),
    .fields("NUL in a name", "X\u{0}A: b"),
    .fields("a control byte in a value", "X-A: b\u{1}c"),
    .fields("DEL in a value", "X-A: b\u{7f}c"),
    .fields("an empty field name", ": b"),
    .fields("a line without a colon", "nonsense"),
    .fields("a space in a name", "X A: b"),
    .fields("a bracket in a name", "X(A): b"),
    .fields("a byte over 127 in a name", "X\u{e9}: b"),
    Case("no Host", "GET /bad HTTP/1.1\r\nX-A: b\r\n\r\n"),
    Case("no field at all", "GET /bad HTTP/1.1\r\n\r\n"),
    Case("two Hosts", "GET /bad HTTP/1.1\r\nHost: web\r\nHost: other\r\n\r\n"),
    Case("the same Host twice", "GET /bad HTTP/1.1\r\nHost: web\r\nHost: web\r\n\r\n"),
    Case("a Host with a space", "GET /bad HTTP/1.1\r\nHost: web other\r\n\r\n"),
  ]

  static let requestLines: [Case] = [
    Case("no version", "GET /bad\r\nHost: web\r\n\r\n"),
    Case("an empty target", "GET  HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("two spaces", "GET  /bad HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a tab for a space", "GET\t/bad\tHTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("something after the version", "GET /bad HTTP/1.1 x\r\nHost: web\r\n\r\n"),
    Case("a space after the version", "GET /bad HTTP/1.1 \r\nHost: web\r\n\r\n"),
    Case("a version in small letters", "GET /bad http/1.1\r\nHost: web\r\n\r\n"),
    Case("a version without a minor", "GET /bad HTTP/1\r\nHost: web\r\n\r\n", [400, 505]),
    Case("a version with a long minor", "GET /bad HTTP/1.10\r\nHost: web\r\n\r\n", [400, 505]),
    Case("a major version we do not speak", "GET /bad HTTP/3.0\r\nHost: web\r\n\r\n", [505]),
    Case("an unknown method character", "G(T /bad HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a control byte in the method", "G\u{1}T /bad HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a space before the method", " GET /bad HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a control byte in the target", "GET /b\u{1}d HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("NUL in the target", "GET /b\u{0}d HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a bare CR in the target", "GET /b\rd HTTP/1.1\r\nHost: web\r\n\r\n"),
    Case("a TLS greeting", "\u{16}\u{3}\u{1}\u{0}\u{5}\u{1}\u{0}\u{0}\u{1}\u{3}\r\n\r\n"),
    Case("a target of 9 KiB", "GET /\(String(repeating: "a", count: 9 * 1024)) HTTP/1.1\r\nHost: web\r\n\r\n", [414]),
    Case(
      "a method of 9 KiB", "\(String(repeating: "A", count: 9 * 1024)) / HTTP/1.1\r\nHost: web\r\n\r\n",
      [400, 414, 431]),
    .fields("a field of 40 KiB", "X-A: \(String(repeating: "a", count: 40 * 1024))", [431]),
    .fields("130 fields", (0..<130).map { "X-\($0): b" }.joined(separator: "\r\n"), [431]),
  ]

  @Test("a head is refused and nothing is forwarded", arguments: bodyFraming + fieldLines + requestLines)
  func head(_ test: Case) throws {
    try withFairlead(.answering) { daemon, upstream in
      let good = try daemon.connect()
      #expect(try good.get("/before").status == 200)
      let bytes = Array(test.bytes.unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) })

      let whole = try daemon.connect()
      whole.sendRegardless(bytes)
      let response = try whole.readResponse()
      try expectProxyMade(response, test.statuses, by: daemon)
      #expect(response["connection"]?.lowercased() == "close")
      try expectClosed(whole)

      // The long ones would only be slow byte by byte; their ends arrive in pieces all the same.
      let piecewise = try daemon.connect()
      let step = max(1, bytes.count / 200)
      for start in stride(from: 0, to: bytes.count, by: step) {
        piecewise.sendRegardless(bytes[start..<min(start + step, bytes.count)])
      }
      let again = try piecewise.readResponse()
      #expect(again.status == response.status)
      #expect(again["fairlead-code"] == response["fairlead-code"])
      try expectClosed(piecewise)

      let code = try #require(response["fairlead-code"])
      #expect(try daemon.waitForError(code, count: 2))
      let after = try good.get("/after")
      #expect(after.status == 200)
      #expect(after["x-upstream-connection"] == "0")
      #expect(upstream.requests.map(\.target) == ["/before", "/after"])
      #expect(!upstream.connections.contains { $0.receivedText.contains("/bad") })
    }
  }

  static let chunks: [Case] = [
    Case("a chunk size of 2^64", "10000000000000000\r\nhello\r\n0\r\n\r\n"),
    Case("a chunk size of 2^64 - 1", "ffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    Case("a chunk size of 40 digits", "0000000000000000000000000000000000000005000000000000000000\r\nhello\r\n"),
    Case("a chunk size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
    Case("a chunk size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
    Case("a negative chunk size", "-5\r\nhello\r\n0\r\n\r\n"),
    Case("a chunk size with 0x", "0x5\r\nhello\r\n0\r\n\r\n"),
    Case("an empty chunk size", "\r\nhello\r\n0\r\n\r\n"),
    Case("a space before a chunk size", " 5\r\nhello\r\n0\r\n\r\n"),
    Case("a bare LF after a chunk size", "5\nhello\r\n0\r\n\r\n"),
    Case("a bare CR in a chunk extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    Case("a bare LF in a chunk extension", "5;a\nb\r\nhello\r\n0\r\n\r\n"),
    Case("NUL in a chunk extension", "5;a=\u{0}\r\nhello\r\n0\r\n\r\n"),
    Case(
      "a chunk extension of 20 KiB", "5;\(String(repeating: "a", count: 20 * 1024))\r\nhello\r\n0\r\n\r\n",
      [400, 413, 431]),
    Case("data longer than its chunk", "5\r\nhello!\r\n0\r\n\r\n"),
    Case("no CRLF after a chunk", "5\r\nhello0\r\n\r\n"),
    Case("a bare LF after a chunk", "5\r\nhello\n0\r\n\r\n"),
    Case("a trailer without a colon", "5\r\nhello\r\n0\r\nnonsense\r\n\r\n"),
    Case("a trailer with a space before its colon", "5\r\nhello\r\n0\r\nX : y\r\n\r\n"),
    Case("a folded trailer", "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n"),
    Case("NUL in a trailer", "5\r\nhello\r\n0\r\nX: \u{0}\r\n\r\n"),
    Case(
      "1,000 trailers", "0\r\n\((0..<1000).map { "X-\($0): y\r\n" }.joined())\r\n", [400, 413, 431]),
  ]

  @Test("a chunked body is refused, and the upstream never sees a complete request", arguments: chunks)
  func chunkedBody(_ test: Case) throws {
    try withFairlead(.answering) { daemon, upstream in
      #expect(try daemon.get("/before").status == 200)
      let head = "POST /bad HTTP/1.1\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n"
      let bytes = Array((head + test.bytes).unicodeScalars.map { UInt8(truncatingIfNeeded: $0.value) })

      let whole = try daemon.connect()
      whole.sendRegardless(bytes)
      let response = try whole.readResponse()
      try expectProxyMade(response, test.statuses, by: daemon)
      try expectClosed(whole)

      let piecewise = try daemon.connect()
      let step = max(1, bytes.count / 200)
      for start in stride(from: 0, to: bytes.count, by: step) {
        piecewise.sendRegardless(bytes[start..<min(start + step, bytes.count)])
      }
      #expect(try piecewise.readResponse().status == response.status)
      try expectClosed(piecewise)

      #expect(try daemon.get("/after").status == 200)
      let complete = upstream.requests.filter { $0.target == "/bad" && $0.truncated == nil && $0.framing != .none }
      #expect(complete.isEmpty, "forwarded: \(complete.map(\.head))")
    }
  }
}
