// Heads that are changed on their way: what goes, what comes, and that nothing else differs from a head without edits.

import HTTP
import Testing

@Suite("Edited heads")
struct EditedHeadTests {
  /// Edits over memory that stays for the call of `body`.
  private func withEdits<Result>(
    removed: [String] = [], added: String = "", target: String = "", host: String = "",
    _ body: (HeadEdits) throws -> Result
  ) rethrows -> Result {
    var buffers: [UnsafeMutableRawBufferPointer] = []
    defer { for buffer in buffers { buffer.deallocate() } }
    func keep(_ text: String) -> UnsafeRawBufferPointer {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: text.utf8.count, alignment: 1)
      buffer.copyBytes(from: text.utf8)
      buffers.append(buffer)
      return UnsafeRawBufferPointer(buffer)
    }
    let names = removed.map(keep)
    return try names.withUnsafeBufferPointer { names in
      try body(HeadEdits(removed: names, added: keep(added), target: keep(target), host: keep(host)))
    }
  }

  private func forwardEdited(
    _ string: String, connection: ConnectionOption = .none, capacity: Int? = nil, _ edits: HeadEdits
  ) -> String? {
    withCopy(Array(string.utf8)) { bytes in
      withCopy(Array("via: 1.1 n\r\n".utf8)) { extra in
        var head = RequestHead()
        guard HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) == .complete else { return nil }
        let bound = HTTP1Serializer.requestBound(head, extra: extra) + edits.addedByteCount
        return written(capacity: capacity ?? bound) { output in
          HTTP1Serializer.writeRequest(
            head, from: bytes, connection: connection, extra: extra, edits: edits, into: output)
        }
      }
    }
  }

  private func forwardEditedResponse(
    _ string: String, method: Method = .get, towards version: Version = .http11, capacity: Int? = nil,
    _ edits: HeadEdits
  ) -> String? {
    withCopy(Array(string.utf8)) { bytes in
      withCopy(Array("via: 1.1 n\r\n".utf8)) { extra in
        var head = ResponseHead()
        let context = ResponseContext(method: method, wantsUpgrade: true)
        guard
          HTTP1Parser.parseResponse(bytes, into: &head, context: context, limits: HTTP1Limits()) == .complete
        else { return nil }
        let bound = HTTP1Serializer.responseBound(head, extra: extra) + edits.addedByteCount
        let framing = head.framing(towards: version)
        return written(capacity: capacity ?? bound) { output in
          HTTP1Serializer.writeResponse(head, from: bytes, framing: framing, extra: extra, edits: edits, into: output)
        }
      }
    }
  }

  @Test("fields go by name whatever their case, lines come behind what stays, all else is as it was")
  func fields() {
    let text =
      "POST /a HTTP/1.1\r\nX-Debug: 1\r\nHost: a\r\nConnection: close\r\nx-debug: 2\r\nx-debugs: 3\r\n"
      + "Content-Length: 2\r\n\r\n"
    withEdits(removed: ["x-debug", "absent"], added: "x-a: 1\r\nx-b: 2\r\n") { edits in
      #expect(
        forwardEdited(text, edits)
          == "POST /a HTTP/1.1\r\nHost: a\r\nx-debugs: 3\r\nx-a: 1\r\nx-b: 2\r\ncontent-length: 2\r\nvia: 1.1 n\r\n\r\n"
      )
    }
  }

  @Test("another target and another host, whatever form they came in")
  func targetAndHost() {
    let expected = "GET /new?q HTTP/1.1\r\nA: 1\r\nhost: b:81\r\nvia: 1.1 n\r\n\r\n"
    withEdits(target: "/new?q", host: "b:81") { edits in
      for line in ["GET /old?q HTTP/1.1\r\nhost: a", "GET http://c/old?q HTTP/1.1\r\nHost: a"] {
        #expect(forwardEdited("\(line)\r\nA: 1\r\n\r\n", edits) == expected)
      }
      #expect(forwardEdited("GET /old HTTP/1.0\r\nA: 1\r\n\r\n", edits) == expected)
    }
    withEdits(target: "/new") { edits in
      #expect(
        forwardEdited("GET http://c/old HTTP/1.1\r\nHost: a\r\n\r\n", edits)
          == "GET /new HTTP/1.1\r\nhost: c\r\nvia: 1.1 n\r\n\r\n")
    }
  }

  @Test("an upgrade goes on with edits as without")
  func upgrade() {
    let text = "GET / HTTP/1.1\r\nhost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: y\r\n\r\n"
    withEdits(removed: ["x"]) { edits in
      #expect(
        forwardEdited(text, connection: .upgrade, edits)
          == "GET / HTTP/1.1\r\nhost: a\r\nUpgrade: websocket\r\nconnection: upgrade\r\nvia: 1.1 n\r\n\r\n")
    }
  }

  @Test("a response's fields, with its framing written anew")
  func responses() {
    let text = "HTTP/1.0 200 Fine\r\nServer: s\r\nSet-Cookie: a\r\nset-cookie: b\r\nContent-Length: 3\r\nX: y\r\n\r\n"
    withEdits(removed: ["server", "set-cookie"], added: "set-cookie: c\r\n") { edits in
      #expect(
        forwardEditedResponse(text, edits)
          == "HTTP/1.1 200 Fine\r\nX: y\r\nset-cookie: c\r\ncontent-length: 3\r\nvia: 1.1 n\r\n\r\n")
      #expect(
        forwardEditedResponse("HTTP/1.1 304\r\nServer: s\r\nContent-Length: 9\r\n\r\n", edits)
          == "HTTP/1.1 304 \r\nset-cookie: c\r\ncontent-length: 9\r\nvia: 1.1 n\r\n\r\n")
    }
  }

  @Test("output that does not fit is nil at every size, never a part")
  func capacity() throws {
    let text = "POST http://b/p HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nX: y\r\nContent-Length: 12\r\n\r\n"
    let answer = "HTTP/1.0 200 OK\r\nConnection: x\r\nX: y\r\nZ: 1\r\nContent-Length: 12\r\n\r\n"
    try withEdits(removed: ["x"], added: "x: z\r\n", target: "/longer/than/before", host: "c.local") { edits in
      let whole = try #require(forwardEdited(text, edits))
      for capacity in 0..<whole.utf8.count { #expect(forwardEdited(text, capacity: capacity, edits) == nil) }
      let wholeAnswer = try #require(forwardEditedResponse(answer, edits))
      for capacity in 0..<wholeAnswer.utf8.count {
        #expect(forwardEditedResponse(answer, capacity: capacity, edits) == nil)
      }
    }
  }

  @Test("without edits both ways of writing give the same", arguments: validRequests)
  func sameRequests(_ valid: ValidRequest) {
    #expect(forwardEdited(valid.text, HeadEdits()) == forwardRequest(valid.text, extra: "via: 1.1 n\r\n"))
  }

  @Test("without edits both ways of writing a response give the same", arguments: validResponses)
  func sameResponses(_ valid: ValidResponse) {
    guard !valid.wantsUpgrade else { return }
    #expect(
      forwardEditedResponse(valid.text, method: valid.method, HeadEdits())
        == forwardResponse(valid.text, method: valid.method, wantsUpgrade: true, extra: "via: 1.1 n\r\n"))
  }
}
