// The chunk decoder: against a naive reference, at every split, and refused as early as the byte that is wrong.

import HTTP
import Testing

struct RefusedChunks: Sendable, CustomTestStringConvertible {
  var text: String
  var refusal: Refusal

  init(_ text: String, _ refusal: Refusal) {
    self.text = text
    self.refusal = refusal
  }

  var testDescription: String { "\(refusal.identifier) \(text.prefix(60).debugDescription)" }
}

@Suite("Chunked decoder")
struct ChunkedDecoderTests {
  enum Result: Equatable {
    case reference(ReferenceResult)
    case refused(Refusal)
  }

  /// Decodes `bytes` cut into the given pieces, the last of which is all that is left.
  static func decode(_ bytes: [UInt8], pieces: [Int] = []) -> Result {
    var decoder = ChunkedDecoder()
    var body: [UInt8] = []
    var start = 0
    for piece in pieces + [bytes.count] {
      let slice = Array(bytes[start..<min(start + piece, bytes.count)])
      var offset = 0
      while true {
        switch withCopy(slice, { decoder.next($0, from: offset) }) {
        case .data(let range):
          guard range.lowerBound == offset || range.lowerBound > offset, !range.isEmpty else {
            return .refused(.badMethod)
          }
          body += slice[range]
          offset = range.upperBound
          continue
        case .needMore: break
        case .trailers(let at): return .reference(.trailers(body, start: start + at))
        case .end(let at): return .reference(.body(body, end: start + at))
        case .refused(let refusal): return .refused(refusal)
        }
        break
      }
      start += slice.count
    }
    return .reference(.unfinished)
  }

  static let valid: [(String, String)] = [
    ("0\r\n\r\n", ""),
    ("5\r\nhello\r\n0\r\n\r\n", "hello"),
    ("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", "hello world"),
    ("a\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n", "01234567890123456789"),
    ("0000000000000003\r\n\r\n\0\r\n0000000000000000\r\n\r\n", "\r\n\0"),
    ("3;a\r\nabc\r\n0;b=c\r\n\r\n", "abc"),
    ("3 ;a=\"x;y\"; b\tc\r\nabc\r\n0\t;\r\n\r\n", "abc"),
    ("3;\u{E9}\r\nabc\r\n0\r\n\r\n", "abc"),
  ]

  @Test("a valid body is decoded at every split", arguments: valid)
  func decodes(_ text: String, _ body: String) {
    let bytes = Array(text.utf8)
    let expected = Result.reference(referenceDecode(bytes))
    guard case .reference(.body(let decoded, _)) = expected else {
      Issue.record("the reference does not accept this")
      return
    }
    #expect(decoded == Array(body.utf8))
    for first in 0...bytes.count {
      for second in 0...(bytes.count - first) {
        #expect(Self.decode(bytes, pieces: [first, second]) == expected)
      }
    }
    #expect(Self.decode(bytes, pieces: Array(repeating: 1, count: bytes.count)) == expected)
    for count in 0..<bytes.count where referenceDecode(Array(bytes[..<count])) == .unfinished {
      #expect(Self.decode(Array(bytes[..<count])) == .reference(.unfinished))
    }
  }

  @Test("trailers are handed over where they start, at every split")
  func trailers() {
    let bytes = Array("3\r\nabc\r\n0\r\nX: y\r\n\r\n".utf8)
    for cut in 0...bytes.count {
      #expect(Self.decode(bytes, pieces: [cut]) == .reference(.trailers(Array("abc".utf8), start: 11)))
    }
  }

  static let refused: [RefusedChunks] = [
    .init("\r\n", .badChunkSize), .init("x\r\n", .badChunkSize), .init("-1\r\n", .badChunkSize),
    .init("+1\r\n", .badChunkSize), .init("0x1\r\n", .badChunkSize), .init(" 1\r\n", .badChunkSize),
    .init("1 \r\na\r\n", .badChunkSize), .init("1\t\r\na\r\n", .badChunkSize), .init("1 1\r\n", .badChunkSize),
    .init("1,1\r\n", .badChunkSize), .init("1g\r\n", .badChunkSize), .init(";a\r\n", .badChunkSize),
    .init("\0\r\n", .badChunkSize), .init("1\0\r\n", .badChunkSize), .init("\u{E9}\r\n", .badChunkSize),
    .init("\n", .badChunkSize), .init("1\na\r\n", .bareLineFeed), .init("1\ra\r\n", .bareCarriageReturn),
    .init("1\r\r\n", .bareCarriageReturn), .init("1;a\na\r\n", .badChunkExtension),
    .init("1;a\0\r\n", .badChunkExtension), .init("1;\u{1}\r\n", .badChunkExtension),
    .init("1;a\u{7F}\r\n", .badChunkExtension), .init("1;a=\"\u{8}\"\r\n", .badChunkExtension),
    .init("1;a\rb\r\n", .bareCarriageReturn),
    .init("8000000000000000\r\n", .chunkSizeOverflow), .init("ffffffffffffffff\r\n", .chunkSizeOverflow),
    .init("10000000000000000\r\n", .chunkSizeOverflow), .init("00000000000000001\r\n", .chunkSizeOverflow),
    .init("100000000000000000000\r\n", .chunkSizeOverflow),
    .init("1\r\nab\r\n", .badChunkEnd), .init("1\r\na\n", .badChunkEnd), .init("1\r\na\rb", .badChunkEnd),
    .init("2\r\na\r\n\r\n", .badChunkEnd), .init("1\r\na0\r\n\r\n", .badChunkEnd),
    .init("0\r\n\rX", .bareCarriageReturn),
    .init("1;\(String(repeating: "a", count: 256))\r\n", .chunkExtensionTooLong),
    .init("1\(String(repeating: " ", count: 257));\r\n", .chunkExtensionTooLong),
    .init(String(repeating: "1;\(String(repeating: "a", count: 200))\r\na\r\n", count: 90), .chunkExtensionTooLong),
  ]

  @Test("a malformed body is refused for its reason, however it is cut", arguments: refused)
  func refuses(_ refused: RefusedChunks) {
    let bytes = Array(refused.text.utf8)
    #expect(Self.decode(bytes) == .refused(refused.refusal))
    #expect(Self.decode(bytes, pieces: Array(repeating: 1, count: bytes.count)) == .refused(refused.refusal))
    for cut in 0...min(bytes.count, 300) {
      #expect(Self.decode(bytes, pieces: [cut]) == .refused(refused.refusal))
    }
  }

  @Test("every refusal of chunks is in the table")
  func tableIsComplete() {
    let wanted: Set<Refusal> = [
      .badChunkSize, .chunkSizeOverflow, .badChunkExtension, .chunkExtensionTooLong, .badChunkEnd, .bareLineFeed,
      .bareCarriageReturn,
    ]
    #expect(Set(Self.refused.map(\.refusal)) == wanted)
  }

  @Test("the largest size is taken, one more is not")
  func largestSize() {
    #expect(Self.decode(Array("7fffffffffffffff\r\na".utf8)) == .reference(.unfinished))
    #expect(Self.decode(Array("8000000000000000\r\na".utf8)) == .refused(.chunkSizeOverflow))
  }

  @Test("a long body with a short extension on each chunk passes")
  func paidExtensions() {
    let chunk = "20;sig=0123456789\r\n\(String(repeating: "a", count: 32))\r\n"
    let bytes = Array("\(String(repeating: chunk, count: 5000))0\r\n\r\n".utf8)
    #expect(
      Self.decode(bytes) == .reference(.body(Array(repeating: UInt8(ascii: "a"), count: 160_000), end: bytes.count)))
  }

  @Test("random bodies in random pieces decode as the reference says")
  func randomBodies() {
    let seed = UInt64.random(in: 0 ... .max)
    var random = SeededGenerator(seed)
    let alphabet = Array("0123abAB; \t\r\n=\"x\0\u{7F}".utf8) + [0x80, 0xFF]
    for _ in 0..<4000 {
      var bytes: [UInt8] = []
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        let data = (0..<Int.random(in: 1...40, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        let size = String(data.count, radix: 16, uppercase: Bool.random(using: &random))
        bytes += Array("\(size)\(Bool.random(using: &random) ? ";x=y" : "")\r\n".utf8) + data + [13, 10]
      }
      bytes += Array((Bool.random(using: &random) ? "0\r\n\r\n" : "0\r\nA: b\r\n\r\n").utf8)
      for _ in 0..<Int.random(in: 0...2, using: &random) {
        let index = Int.random(in: 0..<bytes.count, using: &random)
        bytes[index] = alphabet.randomElement(using: &random) ?? 0
      }
      let pieces = (0..<Int.random(in: 0...10, using: &random)).map { _ in Int.random(in: 0...9, using: &random) }
      let result = Self.decode(bytes, pieces: pieces)
      switch (result, referenceDecode(bytes)) {
      case (.refused, .invalid): break
      case (.reference(let got), let wanted): #expect(got == wanted, "seed \(seed): \(bytes) \(pieces)")
      default: Issue.record("seed \(seed): \(result) for \(bytes) \(pieces)")
      }
      #expect(result == Self.decode(bytes), "seed \(seed)")
    }
  }

  @Test("the decoder is small, and an offset past the end needs more")
  func small() {
    #expect(MemoryLayout<ChunkedDecoder>.size <= 32)
    var decoder = ChunkedDecoder()
    let event = withCopy([UInt8(ascii: "5")]) { decoder.next($0, from: 7) }
    #expect(event == .needMore)
    let nothing = decoder.next(UnsafeRawBufferPointer(start: nil, count: 0), from: 0)
    #expect(nothing == .needMore)
  }
}
