// Keys and answers of WebSocket's handshake over HTTP/1.

import HTTP
import Testing

@Suite("WebSocket's handshake")
struct WebSocketHandshakeTests {
  @Test(
    "a key has one answer, RFC 6455's own among them",
    arguments: [
      ("dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
      ("AAAAAAAAAAAAAAAAAAAAAA==", "ICX+Yqv66kxgM0FcWaLWlFLwTAI="),
      ("/////////////////////w==", "XXpj4jYzLM2yUE0C7TIgMwTQh2g="),
      ("x3JJHMbDL1EzLkh9GBhXDw==", "HSmrc0sMlYUkAGmm5OPpG2HaGWk="),
    ])
  func answers(_ key: String, _ expected: String) {
    let answer = UnsafeMutableRawBufferPointer.allocate(byteCount: WebSocketHandshake.answerByteCount, alignment: 1)
    defer { answer.deallocate() }
    #expect(withCopy(Array(key.utf8)) { WebSocketHandshake.writeAnswer(to: $0, into: answer) })
    #expect(String(decoding: answer, as: UTF8.self) == expected)
    let short = UnsafeMutableRawBufferPointer(rebasing: answer.dropLast())
    #expect(!withCopy(Array(key.utf8)) { WebSocketHandshake.writeAnswer(to: $0, into: short) })
  }

  @Test(
    "what is no key has none",
    arguments: [
      "", "abc", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZQAA",
      "dGhlIHNhbXBsZSBub25jZ===", "dGhlIHNhbXBsZSBub2-jZQ==", "dGhlIHNhbXBsZSBub25j Q==",
    ])
  func noKeys(_ key: String) {
    #expect(!withCopy(Array(key.utf8)) { WebSocketHandshake.isKey($0) })
  }

  @Test(
    "only a request that asks for WebSocket alone has a key",
    arguments: [
      ("GET", "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", true),
      ("GET", "upgrade: WebSocket\r\nSEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n", true),
      ("POST", "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", false),
      ("GET", "Upgrade: websocket, echo\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", false),
      ("GET", "Upgrade: websocket\r\nUpgrade: echo\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", false),
      ("GET", "Upgrade: echo\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", false),
      ("GET", "Upgrade: websocket\r\n", false),
      ("GET", "Upgrade: websocket\r\nSec-WebSocket-Key: short\r\n", false),
      ("GET", "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 1\r\n", false),
    ])
  func requests(_ method: String, _ fields: String, _ hasKey: Bool) {
    let text = "\(method) /chat HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\(fields)\r\n"
    var head = RequestHead()
    let key = withCopy(Array(text.utf8)) { bytes in
      let outcome = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits())
      #expect(outcome == .complete)
      return head.webSocketKey(in: bytes).map { String(decoding: $0, as: UTF8.self) }
    }
    #expect(key == (hasKey ? "dGhlIHNhbXBsZSBub25jZQ==" : nil))
  }
}
