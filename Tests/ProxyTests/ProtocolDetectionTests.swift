// What the first bytes of a captured connection are taken for.

import Testing

@testable import Proxy

@Suite("Protocol detection")
struct ProtocolDetectionTests {
  private func detect(_ text: String) -> ProtocolDetection { detect(Array(text.utf8)) }
  private func detect(_ bytes: [UInt8]) -> ProtocolDetection { bytes.withUnsafeBytes { ProtocolDetection.detect($0) } }

  @Test(
    "requests to origin servers are HTTP/1",
    arguments: [
      "GET / HTTP/1.1\r\n", "GET /", "POST /a/b?c HTTP/1.0\r\nhost: x\r\n\r\n", "DELETE /x", "OPTIONS * HTTP/1.1\r\n",
      "PROPFIND /dav HTTP/1.1\r\n", "M-SEARCH * HTTP/1.1\r\n", "get /x HTTP/1.1\n", "TRACE /",
    ])
  func http(_ text: String) { #expect(detect(text) == .http1) }

  @Test(
    "everything else is carried as it is",
    arguments: [
      "PRI * HTTP/2.0\r\n\r\nXM\r\n\r\n", "PRI * HTTP/2.0\r\nhost: x\r\n\r\n",
      "CONNECT example.com:443 HTTP/1.1\r\n",
      "GET http://example.com/ HTTP/1.1\r\n",
      "*3\r\n$3\r\nSET\r\n", "SET a b\r\n", "GET key\r\n", "PING\r\n", "EHLO mail\r\n", "SSH-2.0-x\r\n",
      "\r\nGET / HTTP/1.1\r\n",
      "PROPFIND /dav FTP/1.1\r\n", "OPTIONS *\r\n", " GET / HTTP/1.1\r\n", "GET  / HTTP/1.1\r\n",
      "AVERYLONGWORDTHATISNOMETHODATALL", "\0", "PUT /x".replacingFirst("P", with: "\u{1}"),
    ])
  func opaque(_ text: String) { #expect(detect(text) == .opaque) }

  @Test("the whole preface is HTTP/2, and every beginning of it waits for the rest")
  func preface() {
    let preface = Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)
    for count in 0..<24 { #expect(detect(Array(preface.prefix(count))) == .undecided, "\(count) bytes") }
    #expect(detect(preface) == .http2 && detect(preface + [0, 0, 0, 4]) == .http2)
    for position in 0..<24 {
      var bytes = preface
      bytes[position] = 0x01
      #expect(detect(bytes) == .opaque, "byte \(position)")
    }
  }

  @Test("a record that begins a ClientHello is TLS; other records are carried as they are")
  func tls() {
    let hello: [UInt8] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]
    for count in 1...5 { #expect(detect(Array(hello.prefix(count))) == .undecided) }
    #expect(detect(Array(hello.prefix(6))) == .tlsClientHello && detect(hello) == .tlsClientHello)
    #expect(detect([0x16, 0x02]) == .opaque && detect([0x16, 0x03, 0x03, 0x00, 0x04, 0x02]) == .opaque)
    #expect(detect([0x17, 0x03, 0x03]) == .opaque && detect([0x80, 0x2E, 0x01, 0x03, 0x01]) == .opaque)
  }

  @Test("PostgreSQL and random bytes are carried as they are")
  func binary() {
    #expect(detect([0, 0, 0, 8, 4, 210, 22, 47]) == .opaque)
    #expect(detect([0x47, 0x45, 0x54, 0x00]) == .opaque)
    #expect(detect([0xFF]) == .opaque)
  }

  @Test("a beginning waits for more, and every further byte of a request keeps the answer possible")
  func undecided() {
    #expect(detect("") == .undecided)
    for (text, known) in [("GET /x HTTP/1.1\r\n", 5), ("REPORT /x HTTP/1.1\n", 19)] {
      for count in 0..<known { #expect(detect(String(text.prefix(count))) == .undecided, "\(count) bytes of \(text)") }
      #expect(detect(String(text.prefix(known))) == .http1)
    }
  }

  // Bug: a line sent byte by byte was read again from its start with every byte.
  @Test("within a long line only its end can tell more")
  func longLine() {
    let line = [UInt8]("REPORT /".utf8) + [UInt8](repeating: 120, count: 100)
    for count in 1...line.count {
      let isNeeded = detect(Array(line[..<count])) != detect(Array(line[..<(count - 1)]))
      let more = [line[count - 1]].withUnsafeBytes { ProtocolDetection.canDecide($0, after: count - 1) }
      #expect(more || !isNeeded, "byte \(count)")
      #expect(more == (count < 27))
    }
    #expect(
      [10].withUnsafeBytes { ProtocolDetection.canDecide(UnsafeRawBufferPointer(rebasing: $0[..<1]), after: 100) })
  }
}

extension String {
  fileprivate func replacingFirst(_ character: Character, with text: String) -> String {
    guard let index = firstIndex(of: character) else { return self }
    return self[..<index] + text + self[self.index(after: index)...]
  }
}
