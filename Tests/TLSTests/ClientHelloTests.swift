// What is read out of a ClientHello, however it is cut; and that nothing wrong in it is taken for right.

import TLS
import TestSupport
import Testing

/// What came of it, as values that can be compared.
enum Parsed: Equatable {
  case hello(name: String?, protocols: [String])
  case incomplete(atLeast: Int)
  case refused(ClientHelloError)
}

func parse(_ bytes: [UInt8]) -> Parsed {
  let joined = UnsafeMutableRawBufferPointer.allocate(byteCount: ClientHello.maximumMessageByteCount, alignment: 1)
  defer { joined.deallocate() }
  // A copy of exactly these bytes, so that what is read beyond them is found out.
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  switch ClientHello.parse(UnsafeRawBufferPointer(copy), joined: joined) {
  case .incomplete(let count): return .incomplete(atLeast: count)
  case .refused(let error): return .refused(error)
  case .complete(let hello):
    var protocols: [String] = []
    var rest = hello.protocols[...]
    while let count = rest.first {
      let name = rest.dropFirst().prefix(Int(count))
      #expect(name.count == count && hello.offers(UnsafeRawBufferPointer(rebasing: name)))
      protocols.append(String(decoding: name, as: UTF8.self))
      rest = rest.dropFirst(Int(count) + 1)
    }
    return .hello(name: hello.serverName.map { String(decoding: $0, as: UTF8.self) }, protocols: protocols)
  }
}

@Suite("ClientHello")
struct ClientHelloTests {
  @Test("what real clients send", arguments: realHellos)
  func real(_ hello: RealHello) {
    #expect(parse(hello.bytes) == .hello(name: hello.name, protocols: hello.protocols))
  }

  @Test("cut short at every byte it waits for more, and never for more than there is", arguments: realHellos)
  func truncated(_ hello: RealHello) {
    for count in 0..<hello.bytes.count {
      guard case .incomplete(let least) = parse(Array(hello.bytes[..<count])) else {
        Issue.record("\(count) bytes are taken for something")
        return
      }
      #expect(least > count && least <= hello.bytes.count, "after \(count) bytes it waits for \(least)")
    }
  }

  @Test("in two records, cut at every byte, and cut short there", arguments: realHellos)
  func twoRecords(_ hello: RealHello) {
    let message = Array(hello.bytes[5...])
    for cut in 1..<message.count {
      let bytes = HelloBuilder.records([Array(message[..<cut]), Array(message[cut...])])
      #expect(parse(bytes) == .hello(name: hello.name, protocols: hello.protocols), "cut at \(cut)")
      for count in [cut + 4, cut + 5, cut + 6, cut + 9, cut + 10, bytes.count - 1] where count < bytes.count {
        guard case .incomplete(let least) = parse(Array(bytes[..<count])) else {
          Issue.record("cut at \(cut), \(count) bytes are taken for something")
          return
        }
        #expect(least > count && least <= bytes.count)
      }
    }
  }

  @Test("in records of one byte each, received byte by byte, with few looks")
  func dribble() {
    let hello = realHellos[0]
    let bytes = HelloBuilder.records(hello.bytes[5...].map { [$0] })
    var looks = 0
    var least = 1
    for count in 1...bytes.count where count >= least {
      looks += 1
      switch parse(Array(bytes[..<count])) {
      case .incomplete(let more):
        #expect(more > count && count < bytes.count)
        least = more
      case let parsed:
        #expect(parsed == .hello(name: hello.name, protocols: hello.protocols) && count == bytes.count)
      }
    }
    #expect(looks < 80, "\(looks) looks at \(bytes.count) bytes")
  }

  @Test("what follows it is nobody's business")
  func followed() {
    let hello = HelloBuilder()
    let expected = Parsed.hello(name: "shop.local", protocols: ["h2"])
    #expect(parse(hello.bytes + [22, 3, 3, 0]) == expected)
    #expect(parse(hello.bytes + [0xFF, 0xFF]) == expected)
    // In the same record as well, where a TLS 1.3 server would object.
    #expect(parse(HelloBuilder.records([hello.message + [1, 2, 3]])) == expected)
  }

  @Test("without extensions there is no name: a client of long ago")
  func old() {
    #expect(
      parse(HelloBuilder(version: [3, 0], session: [], extensions: nil).bytes) == .hello(name: nil, protocols: []))
    #expect(parse(HelloBuilder(extensions: []).bytes) == .hello(name: nil, protocols: []))
  }

  @Test("GREASE and what nobody has heard of are passed over")
  func grease() {
    let hello = HelloBuilder(
      suites: [0x1A, 0x1A, 0x13, 0x01],
      extensions: [
        (0x0A0A, .raw([])), (0x2A2A, .raw([0])), (16, .protocols(["\u{7A}\u{7A}", "h2"])), (0x1234, .raw([1, 2, 3])),
        (0, .names(["a.example"])), (0xFAFA, .raw([0])),
      ])
    #expect(parse(hello.bytes) == .hello(name: "a.example", protocols: ["zz", "h2"]))
  }

  @Test("of a hello within a hello (ECH) the outer name counts")
  func encrypted() {
    let inner =
      [0] + [0, 1, 0, 1, 9, 0, 32] + [UInt8](repeating: 5, count: 32) + [0, 144]
      + [UInt8](repeating: 0xEE, count: 144)
    let hello = HelloBuilder(extensions: [(0xFE0D, .raw(inner)), (0, .names(["public.example"]))])
    #expect(parse(hello.bytes) == .hello(name: "public.example", protocols: []))
  }

  @Test(
    "names",
    arguments: [
      ("shop.local", "shop.local"), ("Shop.LOCAL", "Shop.LOCAL"), ("shop.local.", "shop.local"), ("x", "x"),
      ("_dmarc.a-b.example", "_dmarc.a-b.example"), ("10.0.0.1", "10.0.0.1"),
      ("xn--bcher-kva.example", "xn--bcher-kva.example"),
      (String(repeating: "a", count: 63) + ".b", String(repeating: "a", count: 63) + ".b"),
      ("", nil), (".", nil), ("..", nil), (".a", nil), ("a..b", nil), ("a..", nil), ("a b", nil), ("a\0b", nil),
      ("a/b", nil), ("::1", nil), ("[::1]", nil), ("b\u{FC}cher.example", nil), ("*.example", nil), ("a:443", nil),
      (String(repeating: "a", count: 64) + ".b", nil), (String(repeating: "abcdefg.", count: 32) + "x", nil),
    ] as [(String, String?)])
  func names(_ written: String, _ name: String?) {
    let parsed = parse(HelloBuilder(extensions: [(0, .names([written]))]).bytes)
    if let name {
      #expect(parsed == .hello(name: name, protocols: []))
    } else {
      #expect(parsed == .refused(written.isEmpty ? .badNameLength : .badName))
    }
  }

  @Test("names that are none of a host's are passed over; two of a host's are refused")
  func nameTypes() {
    let names: [(UInt8, [UInt8])] = [(9, [0xFF]), (0, Array("a.example".utf8))]
    #expect(
      parse(HelloBuilder(extensions: [(0, .typedNames(names))]).bytes) == .hello(name: "a.example", protocols: []))
    #expect(parse(HelloBuilder(extensions: [(0, .names(["a", "b"]))]).bytes) == .refused(.duplicateName))
  }
}

@Suite("ClientHellos that are wrong")
struct WrongHelloTests {
  @Test("every length that does not fit is found, whatever it becomes")
  func lengths() {
    let hello = HelloBuilder(
      extensions: [(0, .names(["shop.local"])), (16, .protocols(["h2", "http/1.1"]))])
    let right = Parsed.hello(name: "shop.local", protocols: ["h2", "http/1.1"])
    #expect(parse(hello.bytes) == right)
    for (place, width, what) in hello.lengths {
      let field = hello.message[place..<(place + width)].reduce(0) { $0 << 8 | Int($1) }
      let most = 1 << (width * 8) - 1
      for value in Set([0, 1, field - 1, field + 1, field + 2, field * 2, most - 1, most])
      where (0...most).contains(value) {
        if value == field { continue }
        var message = hello.message
        for index in 0..<width {
          message[place + index] = UInt8(truncatingIfNeeded: value >> ((width - 1 - index) * 8))
        }
        let parsed = parse(HelloBuilder.records([message]))
        if case .hello = parsed { Issue.record("\(what): \(value) in the place of \(field) gives \(parsed)") }
      }
    }
  }

  private struct Case: Sendable {
    let bytes: [UInt8]
    let error: ClientHelloError
  }

  private static let cases: [Case] = {
    let good = HelloBuilder()
    let message = good.message
    func record(_ header: [UInt8]) -> [UInt8] { header + message }
    func built(_ hello: HelloBuilder, _ error: ClientHelloError) -> Case { Case(bytes: hello.bytes, error: error) }
    let high = UInt8(message.count >> 8)
    let low = UInt8(message.count & 0xFF)
    let two = HelloBuilder.records([Array(message[..<20]), Array(message[20...])])
    var otherType = two
    otherType[25] = 23
    var otherVersion = two
    otherVersion[26] = 2
    var emptySecond = two
    emptySecond[28] = 0
    emptySecond[29] = 0
    return [
      Case(bytes: Array("GET / HTTP/1.1\r\n".utf8), error: .notTLS),
      Case(bytes: [22, 2, 0], error: .notTLS),
      Case(bytes: record([23, 3, 1, high, low]), error: .notTLS),
      Case(bytes: record([22, 3, 5, high, low]), error: .badRecordVersion),
      Case(bytes: [22, 3, 1, 0, 0], error: .emptyRecord),
      Case(bytes: [22, 3, 1, 0x40, 0x01], error: .recordTooLong),
      Case(bytes: [22, 3, 1, 0, 4, 2], error: .notClientHello),
      Case(bytes: [22, 3, 1, 0, 4, 1, 0, 0x40, 0], error: .tooLong),
      Case(bytes: [22, 3, 1, 0, 4, 1, 0xFF, 0xFF, 0xFF], error: .tooLong),
      Case(bytes: [22, 3, 1, 0, 4, 1, 0, 0, 0], error: .shortMessage),
      Case(bytes: otherType, error: .badRecordType), Case(bytes: otherVersion, error: .badRecordVersion),
      Case(bytes: emptySecond, error: .emptyRecord),
      // openssl 0.9's hello in the form of SSL 2, and random bytes with the same first bit.
      Case(bytes: [0x80, 0x2E, 1, 3, 1, 0, 0x15, 0, 0, 0, 0x10], error: .sslv2),
      Case(bytes: [0x80, 0x2E, 1, 0, 2], error: .sslv2), Case(bytes: [0xFF, 0xFF, 0xFF], error: .notTLS),
      built(HelloBuilder(version: [2, 3]), .badVersion),
      built(HelloBuilder(session: [UInt8](repeating: 1, count: 33)), .badSessionIDLength),
      built(HelloBuilder(suites: []), .badCipherSuitesLength),
      built(HelloBuilder(suites: [1, 2, 3]), .badCipherSuitesLength),
      built(HelloBuilder(methods: []), .badCompressionMethodsLength),
      built(HelloBuilder(extensions: [(0, .names(["a"])), (0, .names(["a"]))]), .duplicateExtension),
      built(HelloBuilder(extensions: [(16, .protocols(["h2"])), (16, .protocols(["h2"]))]), .duplicateExtension),
      built(HelloBuilder(extensions: [(0, .raw([]))]), .badNameListLength),
      built(HelloBuilder(extensions: [(0, .raw([0, 0]))]), .badNameListLength),
      built(HelloBuilder(extensions: [(0, .raw([0, 4, 0, 0, 1, 0x61, 0x62]))]), .badNameListLength),
      built(HelloBuilder(extensions: [(0, .raw([0, 3, 0, 0, 0]))]), .badNameLength),
      built(HelloBuilder(extensions: [(0, .raw([0, 4, 0, 0, 2, 0x61]))]), .badNameLength),
      built(HelloBuilder(extensions: [(16, .raw([0]))]), .badProtocolListLength),
      built(HelloBuilder(extensions: [(16, .raw([0, 0]))]), .badProtocolListLength),
      built(HelloBuilder(extensions: [(16, .raw([0, 2, 0, 0]))]), .badProtocolLength),
      built(HelloBuilder(extensions: [(16, .raw([0, 2, 2, 0x68]))]), .badProtocolLength),
    ]
  }()

  @Test("each mistake has its name", arguments: cases.indices)
  func refused(_ number: Int) {
    let wrong = Self.cases[number]
    #expect(parse(wrong.bytes) == .refused(wrong.error))
  }

  @Test("16 KiB are a message, one byte more is none, and headers are bounded as well")
  func size() {
    let other = HelloBuilder(extensions: []).message.count + 4
    let most = ClientHello.maximumMessageByteCount - other
    let fits = HelloBuilder(extensions: [(21, .raw([UInt8](repeating: 0, count: most)))])
    #expect(fits.message.count == ClientHello.maximumMessageByteCount)
    #expect(parse(fits.bytes) == .hello(name: nil, protocols: []))
    let larger = HelloBuilder(extensions: [(21, .raw([UInt8](repeating: 0, count: most + 1)))])
    #expect(
      parse(HelloBuilder.records([Array(larger.message.prefix(100)), Array(larger.message[100...])]))
        == .refused(.tooLong))
    let cut = HelloBuilder.records(fits.message.map { [$0] })
    #expect(parse(Array(cut.prefix(40000))) == .refused(.tooLong))
  }

  @Test("bytes changed at random are never read beyond, and what is found lies within")
  func random() {
    var generator = SystemRandomNumberGenerator()
    let seed = UInt64.random(in: .min ... .max, using: &generator)
    var state = seed
    func next() -> Int {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return Int(truncatingIfNeeded: state >> 33)
    }
    for _ in 0..<3000 {
      var bytes = realHellos[next() % realHellos.count].bytes
      for _ in 0...(next() % 4) { bytes[next() % bytes.count] = UInt8(next() & 0xFF) }
      if case .incomplete(let least) = parse(bytes) { #expect(least > bytes.count, "seed \(seed)") }
    }
  }
}
