// The admin server's request parser: what it takes, what it refuses, and that it does not care how the bytes arrive.

import Base
import Testing

@testable import Admin

@Suite struct AdminRequestTests {
  @Test("a request is taken apart")
  func whole() throws {
    let text =
      "POST /logging?level=debug&x=%41%2f HTTP/1.1\r\nHost: a\r\nAccept: x\r\naccept: y\r\nContent-Length: 3\r\n\r\nabcGET"
    guard case .request(let request, let count) = parse(text) else {
      Issue.record("not a request")
      return
    }
    #expect(count == text.utf8.count - 3)
    #expect(request.method == "POST" && request.path == "/logging" && request.accept == "x,y" && request.keepsAlive)
    #expect(request.query == ["level": "debug", "x": "A/"])
    #expect(request.body == Array("abc".utf8))
  }

  @Test(
    "keep-alive follows version and Connection",
    arguments: [
      ("HTTP/1.1", "", true), ("HTTP/1.1", "Connection: close\r\n", false),
      ("HTTP/1.1", "Connection: x, Close\r\n", false),
      ("HTTP/1.0", "", false), ("HTTP/1.0", "Connection: keep-alive\r\n", true),
    ])
  func keepAlive(version: String, field: String, expected: Bool) {
    guard case .request(let request, _) = parse("GET / \(version)\r\nHost: a\r\n\(field)\r\n") else {
      Issue.record("not a request")
      return
    }
    #expect(request.keepsAlive == expected)
  }

  @Test(
    "targets",
    arguments: [
      ("/", "/"), ("/a%20b", "/a b"), ("http://fairlead/status", "/status"), ("HTTP://x", "/"), ("/?", "/"),
      ("/a?b", "/a"),
    ])
  func targets(target: String, path: String) {
    guard case .request(let request, _) = parse("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n") else {
      Issue.record("not a request")
      return
    }
    #expect(request.path == path)
  }

  @Test(
    "what is out of line is refused",
    arguments: [
      ("GET /\r\n\r\n", 400), ("GET / HTTP/2.0\r\n\r\n", 505), ("G ET / HTTP/1.1\r\n\r\n", 400),
      ("GE(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400), (" / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\r\n folded: b\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\nx: y\r\n\r\n", 400), ("GET / HTTP/1.1\r\nHost: a\u{0}\r\n\r\n", 400),
      ("GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", 400), ("GET / HTTP/1.1\r\nnocolon\r\n\r\n", 400),
      ("GET x HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /%4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("GET /?a=%f HTTP/1.1\r\nHost: a\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n", 400),
      ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413),
      ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
      ("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", 417),
    ])
  func refused(text: String, status: Int) {
    guard case .refused(let got, let reason) = parse(text) else {
      Issue.record("not refused")
      return
    }
    #expect(got == status, "\(reason)")
    #expect(!reason.isEmpty && !reason.contains("\n"))
  }

  @Test("a head that is too long is refused, before and after its end", arguments: ["", "\r\n\r\n"])
  func longHead(end: String) {
    guard case .refused(431, _) = parse("GET / HTTP/1.1\r\nHost: a\r\nx: " + String(repeating: "y", count: 9000) + end)
    else {
      Issue.record("not refused")
      return
    }
  }

  @Test("every prefix of a request is incomplete")
  func prefixes() {
    let bytes = Array("\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab".utf8)
    for length in 0..<bytes.count {
      #expect(AdminRequest.parse(Array(bytes[..<length]), limits: AdminRequestLimits()) == .incomplete)
    }
    guard case .request(_, bytes.count) = AdminRequest.parse(bytes, limits: AdminRequestLimits()) else {
      Issue.record("not a request")
      return
    }
  }

  @Test("nothing is decoded as long as the body is not there: it may come byte by byte")
  func bodyFirst() {
    let head = "POST /%zz?%f HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n"
    #expect(parse(head) == .incomplete && parse(head + "a") == .incomplete)
    #expect(parse(head + "ab") == .refused(status: 400, reason: "the path is not well encoded"))
  }

  @Test("no bytes trap the parser", arguments: [UInt64(21), 22])
  func noise(seed: UInt64) {
    print("seed \(seed)")
    var random = RandomSource(seed: seed)
    let valid = Array("POST /a?b=%41 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nAccept: */*\r\n\r\nab".utf8)
    var outcomes = Set<String>()
    for _ in 0..<20_000 {
      var bytes = valid
      for _ in 0..<(1 + random.next() % 4) {
        let place = Int(random.next() % UInt64(bytes.count))
        switch random.next() % 3 {
        case 0: bytes[place] = UInt8(truncatingIfNeeded: random.next())
        case 1: bytes.insert([0x0D, 0x0A, 0x20, 0x25, 0x3A][Int(random.next() % 5)], at: place)
        default: bytes.remove(at: place)
        }
      }
      switch AdminRequest.parse(bytes, limits: AdminRequestLimits()) {
      case .incomplete: outcomes.insert("incomplete")
      case .request(_, let count):
        #expect(count <= bytes.count)
        outcomes.insert("request")
      case .refused: outcomes.insert("refused")
      }
    }
    #expect(outcomes.count == 3)
  }

  private func parse(_ text: String) -> AdminParse {
    AdminRequest.parse(Array(text.utf8), limits: AdminRequestLimits())
  }
}
