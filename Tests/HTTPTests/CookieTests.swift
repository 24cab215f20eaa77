// One cookie out of Cookie fields.

import HTTP
import Testing

@Suite struct CookieTests {
  private func cookie(_ name: String, _ fields: String) throws -> String? {
    try withCopy("GET / HTTP/1.1\r\nHost: web\r\n\(fields)\r\n".utf8) { bytes in
      var head = RequestHead()
      try #require(HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) == .complete)
      return Array(name.utf8).withUnsafeBytes { name in
        head.fields.cookie(named: name, in: bytes).map { String(decoding: $0, as: UTF8.self) }
      }
    }
  }

  @Test(
    "a cookie is found among others by its whole name",
    arguments: [
      ("Cookie: id=1\r\n", "1"), ("Cookie: a=b; id=1; c=d\r\n", "1"), ("cookie: a=b;id=\"x y\"\r\n", "x y"),
      ("Cookie: xid=1; ID=2; id =3; id=4\r\n", "4"), ("Cookie: a=1\r\nCookie: id=2\r\n", "2"), ("Cookie: id=\r\n", ""),
      ("Cookie: ;; ;id=a=b ; \r\n", "a=b"), ("Cookie: id=\"\r\n", "\""), ("Cookie: id=1; id=2\r\n", "1"),
      ("Cookie: id\r\n", nil), ("Cookie: xid=1\r\n", nil), ("Cookie:\r\n", nil), ("X-Cookie: id=1\r\n", nil), ("", nil),
    ] as [(String, String?)])
  func found(fields: String, value: String?) throws {
    #expect(try cookie("id", fields) == value)
  }
}
