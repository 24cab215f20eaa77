// The scanner for heads in pieces: however the bytes come, it ends where the parser ends.

import HTTP
import Testing

@Suite("Head scanner")
struct HeadScannerTests {
  /// Feeds `bytes` cut into the given pieces; `.complete` carries the number of all bytes then.
  func scan(_ bytes: [UInt8], _ section: HeadScanner.Section, pieces: [Int]) -> HeadScanner.Outcome {
    var scanner = HeadScanner(section)
    var position = 0
    for piece in pieces {
      let end = min(position + piece, bytes.count)
      switch withCopy(bytes[position..<end], { scanner.feed($0) }) {
      case .complete(let count): return .complete(position + count)
      case .incomplete: position = end
      case .refused(let refusal): return .refused(refusal)
      }
    }
    return .incomplete
  }

  @Test("two pieces, cut anywhere, end where the parser says", arguments: validRequests.map(\.text))
  func agreesWithParser(_ text: String) throws {
    let bytes = Array(text.utf8)
    let length = try #require(parseRequest(bytes).head).headLength
    for cut in 0...bytes.count {
      #expect(scan(bytes, .head, pieces: [cut, bytes.count - cut]) == .complete(length))
    }
    #expect(scan(bytes, .head, pieces: Array(repeating: 1, count: bytes.count)) == .complete(length))
    for count in 0..<length {
      #expect(scan(bytes, .head, pieces: [count]) == .incomplete)
    }
  }

  @Test("responses end where the parser says", arguments: validResponses.map(\.text))
  func agreesOnResponses(_ text: String) {
    let bytes = Array(text.utf8)
    #expect(scan(bytes, .head, pieces: Array(repeating: 1, count: bytes.count)) == .complete(bytes.count))
  }

  @Test("what it refuses the parser refuses, and how the bytes came does not matter", arguments: refusedRequests)
  func refusals(_ refused: RefusedHead) {
    let whole = scan(refused.bytes, .head, pieces: [refused.bytes.count])
    for cut in 0...refused.bytes.count {
      #expect(scan(refused.bytes, .head, pieces: [cut, refused.bytes.count - cut]) == whole)
    }
    let byBytes = scan(refused.bytes, .head, pieces: Array(repeating: 1, count: refused.bytes.count))
    #expect(byBytes == whole)
  }

  @Test("bare CR, bare LF and NUL are refused where they stand")
  func invalidBytes() {
    for (text, refusal) in [
      ("GET / HTTP/1.1\nHost", Refusal.bareLineFeed), ("\n", .bareLineFeed), ("GET\r\n\n", .bareLineFeed),
      ("GET\rH", .bareCarriageReturn), ("\rG", .bareCarriageReturn), ("GET\r\n\rX", .bareCarriageReturn),
      ("\r\r", .bareCarriageReturn), ("G\0", .nulByte), ("\0", .nulByte), ("G\r\n\0", .nulByte),
    ] {
      let bytes = Array(text.utf8)
      #expect(scan(bytes, .head, pieces: Array(repeating: 1, count: bytes.count)) == .refused(refusal))
    }
  }

  @Test("a trailer section may be empty, a head may not")
  func sections() {
    #expect(scan(Array("\r\nX".utf8), .trailers, pieces: [3]) == .complete(2))
    #expect(scan(Array("a: b\r\n\r\nX".utf8), .trailers, pieces: [3, 6]) == .complete(8))
    #expect(scan(Array("\r\n".utf8), .head, pieces: [2]) == .incomplete)
    #expect(scan(Array("\r\n\r\n".utf8), .head, pieces: [4]) == .complete(4))
  }

  @Test("it counts what it was fed")
  func counts() {
    var scanner = HeadScanner()
    for _ in 0..<3 { _ = withCopy(Array("GET /".utf8)) { scanner.feed($0) } }
    #expect(scanner.count == 15)
    #expect(MemoryLayout<HeadScanner>.size <= 8)
  }
}
