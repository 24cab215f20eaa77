import Base
import Testing

@testable import Discovery

@Suite("Answers of name servers")
struct DNSMessageTests {
  private func message(_ change: (inout AnswerWriter) -> Void) throws -> DNSMessage {
    var writer = AnswerWriter()
    change(&writer)
    return try #require(DNSMessage(writer.bytes(question: AnswerWriter.name("web.test") + [0, 1, 0, 1])))
  }

  private func answer(_ type: DNSType = .a, _ change: (inout AnswerWriter) -> Void) throws -> DNSAnswer {
    DNSAnswer(try message(change), to: "web.test", type)
  }

  @Test("records are read, whatever the case of their names")
  func records() throws {
    let message = try message {
      $0.answers = [
        AnswerWriter.a("WEB.test", 10, 0, 0, 1, ttl: 30), AnswerWriter.aaaa("web.test", 5),
        AnswerWriter.srv("web.test", "Target.Test", port: 80, priority: 1, weight: 2),
        AnswerWriter.cname("web.test", "other.test"),
      ]
      $0.authorities = [AnswerWriter.soa("test", ttl: 100, minimum: 20)]
      $0.additionals = [AnswerWriter.a("target.test", 10, 0, 0, 2)]
    }
    #expect(
      message.answers == [
        DNSRecord(name: "web.test", ttlSeconds: 30, content: .v4(IPv4Address(10, 0, 0, 1))),
        DNSRecord(name: "web.test", ttlSeconds: 60, content: .v6(IPv6Address(high: 0xFD << 56, low: 5))),
        DNSRecord(
          name: "web.test", ttlSeconds: 60, content: .service(priority: 1, weight: 2, port: 80, target: "target.test")),
        DNSRecord(name: "web.test", ttlSeconds: 60, content: .alias("other.test")),
      ])
    #expect(message.additionals.count == 1 && message.negativeTTLSeconds == 20 && message.ignoredCount == 0)
  }

  @Test("compressed names are followed backwards, and pointers that go round are no names")
  func compression() throws {
    // The question begins at 12; `test` at 16 stands in it.
    let pointer: [UInt8] = [0xC0, 12]
    let partial: [UInt8] = [3] + Array("api".utf8) + [0xC0, 16]
    let message = try message {
      $0.answers = [
        AnswerWriter.record(pointer, 1, [10, 0, 0, 1]), AnswerWriter.record(partial, 1, [10, 0, 0, 2]),
        // To itself, forwards, and round in a circle.
        AnswerWriter.record([0xC0, 0x4A], 1, [10, 0, 0, 3]), AnswerWriter.record([0xC3, 0xFF], 1, [10, 0, 0, 4]),
        AnswerWriter.record([1, 0x61, 0xC0, 0x58], 1, [10, 0, 0, 5]),
      ]
    }
    #expect(message.answers.map(\.name).prefix(2) == ["web.test", "api.test"])
    #expect(message.ignoredCount + message.answers.count == 5)
  }

  @Test("a name that is a long chain of pointers is no name", arguments: [(127, true), (128, false), (8000, false)])
  func chains(_ count: Int, _ isName: Bool) throws {
    // The question ends at 26. The text record behind it has its data at 38: one label, then pointers, each to the one before.
    var place = 38
    var data: [UInt8] = [1, UInt8(ascii: "a"), 0]
    for number in 1..<count {
      let target = place
      place = 41 + 2 * (number - 1)
      data += [0xC0 | UInt8(target >> 8), UInt8(target & 0xFF)]
    }
    let message = try message {
      $0.answers = [
        AnswerWriter.record([0xC0, 12], 16, data),
        AnswerWriter.record([0xC0 | UInt8(place >> 8), UInt8(place & 0xFF)], 1, [10, 0, 0, 1]),
      ]
    }
    #expect(message.answers.map(\.name) == (isName ? ["a"] : []))
  }

  @Test("records that make no sense are passed over and counted")
  func nonsense() throws {
    let message = try message {
      $0.answers = [
        AnswerWriter.record(AnswerWriter.name("web.test"), 1, [10, 0, 0]),
        AnswerWriter.record(AnswerWriter.name("web.test"), 28, [1, 2, 3]),
        AnswerWriter.record(AnswerWriter.name("web.test"), 33, [0, 1, 0]),
        AnswerWriter.record(AnswerWriter.name("web.test"), 1, recordClass: 3, [10, 0, 0, 1]),
        AnswerWriter.record([2, 0x20, 0x0A, 0], 1, [10, 0, 0, 1]), AnswerWriter.record([0], 1, [10, 0, 0, 1]),
        AnswerWriter.record(AnswerWriter.name("web.test"), 16, [4, 0x74, 0x65, 0x78, 0x74]),
        AnswerWriter.a("web.test", 10, 0, 0, 9),
      ]
    }
    #expect(message.answers.count == 1 && message.ignoredCount == 7)
  }

  @Test("no bytes that a server could send are a trap")
  func rubbish() {
    var random = RandomSource(seed: 11)
    var writer = AnswerWriter()
    writer.answers = [
      AnswerWriter.a("web.test", 10, 0, 0, 1), AnswerWriter.srv("web.test", "t.test", port: 1),
      AnswerWriter.cname("web.test", "x.test"), AnswerWriter.soa("test", ttl: 1, minimum: 1),
    ]
    writer.authorities = [AnswerWriter.soa("test", ttl: 1, minimum: 1)]
    let good = writer.bytes(question: AnswerWriter.name("web.test") + [0, 1, 0, 1])
    for length in 0...good.count { _ = DNSMessage(Array(good[..<length])) }
    for _ in 0..<20_000 {
      var bytes = good
      for _ in 0..<(1 + random.next(below: 6)) {
        bytes[Int(random.next(below: UInt32(bytes.count)))] = UInt8(truncatingIfNeeded: random.next())
      }
      if let message = DNSMessage(bytes) {
        for type in [DNSType.a, .aaaa, .srv] { _ = DNSAnswer(message, to: "web.test", type) }
      }
    }
  }

  @Test("aliases are followed, and the shortest time to live holds")
  func aliases() throws {
    let found = try answer {
      $0.answers = [
        AnswerWriter.cname("b.test", "c.test", ttl: 7), AnswerWriter.cname("web.test", "b.test", ttl: 50),
        AnswerWriter.a("c.test", 10, 0, 0, 1, ttl: 30),
      ]
    }
    #expect(found == .records([.v4(IPv4Address(10, 0, 0, 1))], ttlSeconds: 7, additionals: [], ignored: 0))
  }

  @Test("aliases that go round in circles, or on and on, fail")
  func circles() throws {
    let failure = DNSAnswer.failed("its aliases go round in circles, or are too many")
    #expect(try answer { $0.answers = [AnswerWriter.cname("web.test", "web.test")] } == failure)
    #expect(
      try answer { $0.answers = [AnswerWriter.cname("web.test", "b"), AnswerWriter.cname("b", "web.test")] } == failure)
    let long = (0..<40).map { AnswerWriter.cname($0 == 0 ? "web.test" : "n\($0)", "n\($0 + 1)") }
    #expect(try answer { $0.answers = long } == failure)
  }

  @Test("what was not asked for, and what nobody can connect to, is a lie and left out")
  func lies() throws {
    let found = try answer {
      $0.answers = [
        AnswerWriter.a("evil.test", 10, 0, 0, 1), AnswerWriter.aaaa("web.test", 1),
        AnswerWriter.a("web.test", 0, 0, 0, 0), AnswerWriter.a("web.test", 224, 0, 0, 1),
        AnswerWriter.a("web.test", 255, 255, 255, 255), AnswerWriter.a("web.test", 10, 0, 0, 2),
      ]
    }
    #expect(found == .records([.v4(IPv4Address(10, 0, 0, 2))], ttlSeconds: 60, additionals: [], ignored: 5))
    let none = try answer(.srv) { $0.answers = [AnswerWriter.srv("web.test", "t.test", port: 0)] }
    #expect(none == .noData(ttlSeconds: nil, ignored: 1))
    let v6 = try answer(.aaaa) {
      $0.answers = [
        AnswerWriter.record(AnswerWriter.name("web.test"), 28, Array(repeating: 0, count: 16)),
        AnswerWriter.record(AnswerWriter.name("web.test"), 28, [0xFF] + Array(repeating: 1, count: 15)),
        AnswerWriter.record(
          AnswerWriter.name("web.test"), 28, Array(repeating: 0, count: 10) + [0xFF, 0xFF, 0, 0, 0, 0]),
      ]
    }
    #expect(v6 == .noData(ttlSeconds: nil, ignored: 3))
  }

  @Test("no records, no name, and no answer are three things")
  func negatives() throws {
    let soa = AnswerWriter.soa("test", ttl: 100, minimum: 20)
    #expect(try answer { $0.authorities = [soa] } == .noData(ttlSeconds: 20, ignored: 0))
    #expect(
      try answer {
        $0.responseCode = 3
        $0.authorities = [soa]
      } == .nameError(ttlSeconds: 20))
    #expect(try answer { $0.responseCode = 3 } == .nameError(ttlSeconds: nil))
    #expect(try answer { $0.responseCode = 2 } == .failed("the name server answers with SERVFAIL"))
    #expect(try answer { $0.responseCode = 9 } == .failed("the name server answers with code 9"))
  }

  @Test("a time to live with its highest bit set is none")
  func signedTTL() throws {
    let found = try answer { $0.answers = [AnswerWriter.a("web.test", 10, 0, 0, 1, ttl: 0x8000_0001)] }
    #expect(found == .records([.v4(IPv4Address(10, 0, 0, 1))], ttlSeconds: 0, additionals: [], ignored: 0))
  }
}
