// Trailer sections: what passes, what is dropped, what is refused, and chunk framing on its way out.

import HTTP
import Testing

@Suite("Trailers and chunk framing")
struct TrailerTests {
  func forward(_ text: String, limits: HTTP1Limits = HTTP1Limits()) -> (outcome: HeadOutcome, output: String?) {
    withCopy(Array(text.utf8)) { bytes in
      var table = FieldTable(capacity: 16)
      var consumed = 0
      let outcome = HTTP1Parser.parseTrailers(bytes, into: &table, limits: limits, consumed: &consumed)
      guard outcome == .complete else { return (outcome, nil) }
      let output = written(capacity: consumed + 3) { HTTP1Serializer.writeTrailers(table, from: bytes, into: $0) }
      return (outcome, output)
    }
  }

  @Test("trailers the proxy does not know pass, in their order")
  func pass() {
    let text =
      "grpc-status: 0\r\nGrpc-Message: ok\r\nServer-Timing: x\r\nETag: \"a\"\r\nContent-Digest: sha-256=:a:\r\n\r\n"
    #expect(forward("\(text)rest").output == "0\r\n\(text)")
    #expect(forward("\r\n").output == "0\r\n\r\n")
  }

  @Test(
    "what frames, routes, authenticates or describes the message is dropped",
    arguments: [
      "Content-Length: 5", "Transfer-Encoding: chunked", "Host: b", "Connection: close", "TE: trailers", "Trailer: x",
      "Content-Type: a/b", "Content-Encoding: gzip", "Content-Range: bytes", "content-md5: x", "Content-Security: x",
      "Authorization: x", "Cookie: x", "Set-Cookie: x", "Proxy-Authorization: x", "WWW-Authenticate: x",
      "Cache-Control: no-store", "Expect: 100-continue", "Range: x", "Location: /", "Vary: *", "Upgrade: x",
      "Via: 1.1 x", "traceparent: x", "X-Forwarded-For: x", "Forwarded: x", "l5d-dtab: x", "Keep-Alive: x", "Date: x",
      // Malformed for a head, but only dropped here.
      "Content-Length: -1", "Transfer-Encoding: x", "Host: a b",
    ])
  func drop(_ line: String) {
    #expect(forward("a: b\r\n\(line)\r\nc: d\r\n\r\n").output == "0\r\na: b\r\nc: d\r\n\r\n")
  }

  @Test("a malformed trailer section is refused, and every cut of a good one is incomplete")
  func refuse() {
    for (text, refusal) in [
      ("a : b\r\n\r\n", Refusal.whitespaceInFieldName), (" a: b\r\n\r\n", .lineFolding), ("a\r\n\r\n", .missingColon),
      (": b\r\n\r\n", .emptyFieldName), ("a: b\n\r\n", .bareLineFeed), ("a: \0\r\n\r\n", .nulByte),
      ("a: \r\r\n\r\n", .bareCarriageReturn), ("a=: b\r\n\r\n", .badFieldName), ("a: \u{1}\r\n\r\n", .controlByte),
    ] {
      #expect(forward(text).outcome == .refused(refusal))
    }
    let good = "a: b\r\nc: d\r\n\r\n"
    for count in 0..<good.utf8.count {
      #expect(forward(String(good.prefix(count))).outcome == (count < good.count ? .incomplete : .complete))
    }
    #expect(forward(good, limits: HTTP1Limits(headerBytes: 8)).outcome == .refused(.trailersTooLong))
    #expect(forward(good, limits: HTTP1Limits(headers: 1)).outcome == .refused(.tooManyFields))
  }

  @Test("chunk headers are hexadecimal, and the last chunk is five bytes")
  func chunkFraming() {
    for (size, expected) in [
      (1, "1\r\n"), (9, "9\r\n"), (10, "a\r\n"), (16, "10\r\n"), (255, "ff\r\n"), (65536, "10000\r\n"),
      (Int.max, "7fffffffffffffff\r\n"),
    ] {
      let capacity = HTTP1Serializer.maximumChunkHeaderBytes
      #expect(written(capacity: capacity) { HTTP1Serializer.writeChunkHeader(size, into: $0) } == expected)
      let short = written(capacity: expected.utf8.count - 1) { HTTP1Serializer.writeChunkHeader(size, into: $0) }
      #expect(short == nil)
    }
    #expect(written(capacity: 5) { HTTP1Serializer.writeLastChunk(into: $0) } == "0\r\n\r\n")
    #expect(written(capacity: 4) { HTTP1Serializer.writeLastChunk(into: $0) } == nil)
  }

  @Test("decimal numbers of every length")
  func decimals() {
    var number: UInt64 = 1
    var numbers: [UInt64] = [0, .max]
    for _ in 0..<19 {
      numbers += [number, number - 1, number + 1]
      number *= 10
    }
    for number in numbers {
      let output = written(capacity: 20) { buffer in
        var writer = HTTP1Writer(buffer)
        writer.append(decimal: number)
        return writer.count
      }
      #expect(output == String(number))
    }
  }
}
