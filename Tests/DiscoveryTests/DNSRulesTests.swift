// The pure parts of DNS discovery: names, resolution over a table of answers, and the life of an entry on a clock of the test.

import Base
import Policy
import TestSupport
import Testing

@testable import Discovery

@Suite("Names for name servers")
struct DNSQuestionTests {
  @Test(
    "a name is a host with a port, or an SRV name",
    arguments: [
      ("/#/dns/web/8080", "/#/dns/web/8080", DNSQuestion.Subject.host("web", isAbsolute: false, port: 8080)),
      ("/#/dns/Web.Local/8080/more", "/#/dns/web.local/8080", .host("web.local", isAbsolute: false, port: 8080)),
      ("/#/dns/web", "/#/dns/web", .host("web", isAbsolute: false, port: 80)),
      ("/#/dns/web/cart/1", "/#/dns/web", .host("web", isAbsolute: false, port: 80)),
      ("/#/dns/web.local./80", "/#/dns/web.local./80", .host("web.local", isAbsolute: true, port: 80)),
      (
        "/#/dns/_http._tcp.web.local", "/#/dns/_http._tcp.web.local",
        .service("_http._tcp.web.local", isAbsolute: false)
      ),
      ("/#/dns/_http._tcp.web./80", "/#/dns/_http._tcp.web.", .service("_http._tcp.web", isAbsolute: true)),
      ("/#/dns/_dmarc.web/80", "/#/dns/_dmarc.web/80", .host("_dmarc.web", isAbsolute: false, port: 80)),
    ])
  func names(_ name: String, _ service: String, _ subject: DNSQuestion.Subject) throws {
    let question = try #require(DNSQuestion(try bound(name)))
    #expect(question.subject == subject)
    #expect(try question.service == bound(service))
  }

  @Test(
    "an address is its own answer",
    arguments: [
      ("/#/dns/10.0.0.1/80", "10.0.0.1:80"), ("/#/dns/[::1]/81", "[::1]:81"), ("/#/dns/fd00::1", "[fd00::1]:80"),
    ])
  func addresses(_ name: String, _ endpoint: String) throws {
    #expect(try DNSQuestion(bound(name))?.subject == .address(try Endpoint(parsing: endpoint)))
  }

  @Test(
    "what no name server could know is no question",
    arguments: [
      "/#/dns/web/0", "/#/dns/web/65536", "/#/dns/web/080", "/#/dns/a..b", "/#/dns/a:b", "/#/dns/1.2.3", "/#/dns/1",
      "/#/dns/1.2.3.400", "/#/dns/0.0.0.0/80", "/#/dns/[::]/80", "/#/dns/a@b", "/#/dns/-%/80",
    ])
  func impossible(_ name: String) throws { #expect(DNSQuestion(try bound(name)) == nil) }

  @Test("search domains come first for names with few dots, last for others, never for absolute ones")
  func search() {
    let rules = DNSRules(search: ["a.test", "B.test"], ndots: 2)
    #expect(rules.candidates("web", isAbsolute: false) == ["web.a.test", "web.b.test", "web"])
    #expect(rules.candidates("web.x.y", isAbsolute: false) == ["web.x.y", "web.x.y.a.test", "web.x.y.b.test"])
    #expect(rules.candidates("web", isAbsolute: true) == ["web"])
  }
}

@Suite("Looking up one name")
struct DNSResolutionTests {
  private typealias Table = [String: DNSAnswer]

  private func v4(_ last: UInt8, ttl: UInt32 = 60, ignored: Int = 0) -> DNSAnswer {
    .records([.v4(IPv4Address(10, 0, 0, last))], ttlSeconds: ttl, additionals: [], ignored: ignored)
  }

  private func v6(_ last: UInt64, ttl: UInt32 = 60) -> DNSAnswer {
    .records([.v6(IPv6Address(high: 0xFD << 56, low: last))], ttlSeconds: ttl, additionals: [], ignored: 0)
  }

  private func srv(
    _ targets: [(String, UInt16, UInt16, UInt16)], additionals: [DNSRecord] = [], ttl: UInt32 = 60
  ) -> DNSAnswer {
    .records(
      targets.map { .service(priority: $0.2, weight: $0.3, port: $0.1, target: $0.0) }, ttlSeconds: ttl,
      additionals: additionals, ignored: 0)
  }

  /// What becomes of a name with these answers (`A web`); a question that is not in the table has no such name.
  private func resolve(
    _ name: String, _ table: Table, rules: DNSRules = DNSRules(), asked: inout [String]
  ) throws -> DNSOutcome {
    let question = try #require(DNSQuestion(try bound("/#/dns/\(name)")))
    var outcome: DNSOutcome?
    var waiting: [() -> Void] = []
    var names: [String] = []
    let resolution = DNSResolution(
      question, rules,
      ask: { name, type, reply in
        let key = "\(type) \(name)"
        names.append(key)
        waiting.append { reply(table[key] ?? .nameError(ttlSeconds: nil)) }
      }, done: { outcome = $0 })
    resolution.begin()
    while !waiting.isEmpty { waiting.removeLast()() }
    asked = names
    return try #require(outcome)
  }

  private func resolve(_ name: String, _ table: Table, rules: DNSRules = DNSRules()) throws -> DNSOutcome {
    var asked: [String] = []
    return try resolve(name, table, rules: rules, asked: &asked)
  }

  private func endpoints(_ outcome: DNSOutcome) -> [String] {
    if case .found(let found) = outcome { found.endpoints.map(\.description) } else { ["\(outcome)"] }
  }

  @Test("both families are asked for and put together, with the shorter time to live")
  func families() throws {
    let outcome = try resolve("web/81", ["a web": v4(1, ttl: 9), "aaaa web": v6(1, ttl: 5)])
    #expect(endpoints(outcome) == ["10.0.0.1:81", "[fd00::1]:81"])
    if case .found(let found) = outcome { #expect(found.ttlSeconds == 5 && found.gap == nil) }
    var asked: [String] = []
    _ = try resolve("web", ["a web": v4(1)], rules: DNSRules(families: [.a]), asked: &asked)
    #expect(asked == ["a web"])
  }

  @Test("one family alone is enough; one that fails leaves a gap")
  func oneFamily() throws {
    #expect(
      endpoints(try resolve("web", ["a web": v4(1), "aaaa web": .noData(ttlSeconds: 3, ignored: 0)])) == ["10.0.0.1:80"]
    )
    #expect(endpoints(try resolve("web", ["a web": v4(1)])) == ["10.0.0.1:80"])
    let outcome = try resolve("web", ["a web": v4(1), "aaaa web": .failed("late")])
    guard case .found(let found) = outcome else {
      Issue.record("\(outcome)")
      return
    }
    #expect(found.gap == DNSOutcome.Gap(part: .ipv6, reason: "late"))
  }

  @Test("no name, no records, and no answer stay three things")
  func negatives() throws {
    #expect(try resolve("web", ["a web": .nameError(ttlSeconds: 7)]) == .negative(ttlSeconds: 7))
    #expect(
      try resolve("web", ["a web": .noData(ttlSeconds: 7, ignored: 1)])
        == .found(DNSOutcome.Found(ttlSeconds: 7, ignored: 1)))
    #expect(try resolve("web", ["a web": .failed("down")]) == .failed("down"))
    #expect(
      try resolve("web", ["a web": .noData(ttlSeconds: 7, ignored: 0), "aaaa web": .failed("down")]) == .failed("down"))
  }

  @Test("search domains are tried in turn, until one has the name or one cannot say")
  func searching() throws {
    let rules = DNSRules(search: ["x.test", "y.test"], ndots: 1)
    var asked: [String] = []
    let outcome = try resolve("web", ["a web.y.test": v4(2), "a web": v4(3)], rules: rules, asked: &asked)
    #expect(endpoints(outcome) == ["10.0.0.2:80"])
    #expect(asked == ["a web.x.test", "aaaa web.x.test", "a web.y.test", "aaaa web.y.test"])
    // What one server cannot say must not lead to another service of the same name.
    #expect(try resolve("web", ["a web.x.test": .failed("down"), "a web": v4(3)], rules: rules) == .failed("down"))
    #expect(
      endpoints(try resolve("web", ["a web.x.test": .noData(ttlSeconds: 1, ignored: 0), "a web": v4(3)], rules: rules))
        == ["10.0.0.3:80"])
  }

  @Test("SRV targets bring their ports and weights; only the best priority counts")
  func services() throws {
    let name = "_http._tcp.web"
    let outcome = try resolve(
      name,
      [
        "srv \(name)": srv([("a", 81, 1, 10), ("b", 82, 1, 5), ("c", 83, 2, 0)]), "a a": v4(1), "aaaa a": v6(1),
        "a b": v4(2),
      ])
    #expect(endpoints(outcome) == ["10.0.0.1:81 * 0.5", "10.0.0.2:82 * 0.5", "[fd00::1]:81 * 0.5"])
    let equal = try resolve(
      name, ["srv \(name)": srv([("a", 81, 0, 0), ("b", 82, 0, 0)]), "a a": v4(1), "a b": v4(2)])
    #expect(endpoints(equal) == ["10.0.0.1:81", "10.0.0.2:82"])
    let zero = try resolve(name, ["srv \(name)": srv([("a", 81, 0, 3), ("b", 82, 0, 0)]), "a a": v4(1), "a b": v4(2)])
    #expect(endpoints(zero) == ["10.0.0.1:81", "10.0.0.2:82 * 0.001"])
  }

  @Test("addresses that come along with SRV records are not asked for")
  func additionals() throws {
    let name = "_http._tcp.web"
    let along = DNSRecord(name: "a", ttlSeconds: 3, content: .v4(IPv4Address(10, 0, 0, 9)))
    let lie = DNSRecord(name: "b", ttlSeconds: 3, content: .v4(IPv4Address(0, 0, 0, 0)))
    var asked: [String] = []
    let outcome = try resolve(
      name, ["srv \(name)": srv([("a", 81, 0, 0), ("b", 82, 0, 0)], additionals: [along, lie]), "a b": v4(2)],
      asked: &asked)
    #expect(endpoints(outcome) == ["10.0.0.2:82", "10.0.0.9:81"] && asked == ["srv \(name)", "a b", "aaaa b"])
    if case .found(let found) = outcome { #expect(found.ttlSeconds == 3) }
  }

  @Test("a service that is not there on purpose is negative, targets without addresses are empty")
  func emptyServices() throws {
    let name = "_http._tcp.web"
    #expect(try resolve(name, ["srv \(name)": srv([("", 0, 0, 0)])]) == .negative(ttlSeconds: 60))
    let outcome = try resolve(name, ["srv \(name)": srv([("a", 81, 0, 0)])])
    #expect(outcome == .found(DNSOutcome.Found(ttlSeconds: 60, ignored: 1)))
    #expect(try resolve(name, ["srv \(name)": srv([("a", 81, 0, 0)]), "a a": .failed("down")]) == .failed("down"))
  }

  @Test("too many records are cut, and always the same ones are left")
  func tooMany() throws {
    var records = (0..<5000).map { DNSRecord.Content.v4(IPv4Address(value: 0x0A00_0000 + UInt32($0) + 1)) }
    var random = RandomSource(seed: 3)
    var kept: Set<[String]> = []
    for _ in 0..<3 {
      records.shuffle(using: &random)
      let outcome = try resolve("web", ["a web": .records(records, ttlSeconds: 9, additionals: [], ignored: 0)])
      kept.insert(endpoints(outcome))
      if case .found(let found) = outcome { #expect(found.endpoints.count == 1000 && found.ignored == 4000) }
    }
    #expect(kept.count == 1 && kept.first?.first == "10.0.0.1:80" && kept.first?.last == "10.0.3.232:80")
    let targets = (0..<3000).map { ("t\($0)", UInt16(80), UInt16(0), UInt16(0)) }
    var asked: [String] = []
    _ = try resolve("_http._tcp.web", ["srv _http._tcp.web": srv(targets)], asked: &asked)
    #expect(asked.count == 201)
  }

  @Test("the same address twice is one endpoint; a mapped one is what it maps")
  func duplicates() throws {
    let mapped = IPv6Address(mapping: IPv4Address(10, 0, 0, 1))
    let outcome = try resolve(
      "web",
      ["a web": v4(1), "aaaa web": .records([.v6(mapped)], ttlSeconds: 9, additionals: [], ignored: 0)])
    #expect(endpoints(outcome) == ["10.0.0.1:80"])
  }
}

@Suite("What is known of one name")
struct DNSEntryTests {
  private let start = MonotonicInstant(nanoseconds: 1_000_000_000_000)
  private var random = RandomSource(seed: 5)
  private var entry: DNSEntry
  private var now: MonotonicInstant

  init() throws {
    now = start
    entry = DNSEntry(try #require(DNSQuestion(try bound("/#/dns/web/80"))), now: start)
  }

  private mutating func end(_ outcome: DNSOutcome, times: DNSTimes = DNSTimes()) -> Change? {
    entry.ended(outcome, now: now, times: times, random: &random)
  }

  private func found(_ endpoints: [String], ttl: UInt32 = 60, gap: DNSOutcome.Gap? = nil) throws -> DNSOutcome {
    .found(
      DNSOutcome.Found(
        endpoints: try endpoints.map { try Endpoint(parsing: $0) }, ttlSeconds: ttl, gap: gap))
  }

  private func secondsUntilDue() -> Double { Double(entry.due.nanoseconds(since: now)) / 1e9 }

  @Test("an answer is renewed in the last part of its time, within the bounds")
  mutating func renewal() throws {
    for (ttl, bounds) in [(60, 51.0...57.1), (0, 0.85...0.96), (4_000_000, 3060...3430)]
      as [(UInt32, ClosedRange<Double>)]
    {
      _ = end(try found(["10.0.0.1:80"], ttl: ttl))
      #expect(bounds.contains(secondsUntilDue()), "\(secondsUntilDue())")
    }
    var dues: Set<UInt64> = []
    for _ in 0..<50 {
      _ = end(try found(["10.0.0.1:80"]))
      dues.insert(entry.due.nanoseconds)
    }
    #expect(dues.count > 5)
  }

  @Test("it appears once, and tells later only of what is other")
  mutating func changes() throws {
    #expect(end(try found(["10.0.0.1:80"])) == .appeared)
    #expect(end(try found(["10.0.0.1:80"])) == nil)
    #expect(end(try found(["10.0.0.2:80"])) == .endpoints)
    #expect(end(try found([])) == .endpoints)
    #expect(entry.state == .service && entry.endpoints.isEmpty)
    #expect(end(.negative(ttlSeconds: 5)) == .vanished)
    #expect(!entry.isHeld && entry.state == .negative && secondsUntilDue() == 5)
  }

  @Test("while no answer comes the last good one stays, and it is asked for less and less often")
  mutating func stale() throws {
    _ = end(try found(["10.0.0.1:80"]))
    var waits: [Double] = []
    for _ in 0..<8 {
      now = entry.due
      #expect(end(.failed("down")) == nil)
      waits.append(secondsUntilDue())
    }
    #expect(entry.endpoints.count == 1 && entry.isHeld)
    #expect(entry.freshness == Freshness(confirmed: start, failure: "down") && entry.freshness.state == .stale)
    for (wait, expected) in zip(waits, [1.0, 2, 4, 8, 16, 30, 30, 30]) {
      #expect(wait >= 0.75 * expected && wait <= 1.26 * expected, "\(waits)")
    }
    #expect(end(try found(["10.0.0.1:80"])) == nil)
    #expect(entry.freshness.state == .fresh && secondsUntilDue() > 50)
  }

  @Test("a name about which nothing can be found out has failed, for a while")
  mutating func failed() throws {
    #expect(end(.failed("down")) == .failed)
    #expect(entry.state == .failed && !entry.isHeld && entry.freshness.state == .failing)
    entry.beginAgain()
    #expect(entry.state == .pending && entry.isHeld)
    #expect(end(try found([])) == .appeared)
  }

  @Test("a family that cannot be found out is as it was")
  mutating func gaps() throws {
    _ = end(try found(["10.0.0.1:80", "[fd00::1]:80"]))
    let gap = DNSOutcome.Gap(part: .ipv6, reason: "late")
    #expect(end(try found(["10.0.0.2:80"], gap: gap)) == .endpoints)
    #expect(entry.endpoints.map(\.description) == ["10.0.0.2:80", "[fd00::1]:80"])
    #expect(entry.freshness.state == .stale && secondsUntilDue() < 2)
    #expect(end(try found(["10.0.0.3:80"], gap: DNSOutcome.Gap(part: .targets, reason: "late"))) == nil)
    #expect(end(try found(["10.0.0.2:80"])) == .endpoints)
    #expect(entry.endpoints.map(\.description) == ["10.0.0.2:80"])
  }

  @Test("that a name is not there is believed within bounds")
  mutating func negativeBounds() {
    for (ttl, expected) in [(nil, 5), (0, 1), (20, 20), (86_400, 30)] as [(UInt32?, Double)] {
      _ = end(.negative(ttlSeconds: ttl))
      #expect(secondsUntilDue() == expected)
    }
  }

  @Test("deadlines come out in their order, and not before their time")
  func deadlines() {
    var random = RandomSource(seed: 9)
    var queue = DeadlineQueue<UInt64>()
    let numbers = (0..<500).map { _ in UInt64(random.next(below: 200)) }
    for number in numbers { queue.push(number, at: MonotonicInstant(nanoseconds: number)) }
    var popped: [UInt64] = []
    for now in stride(from: UInt64(0), through: 200, by: 20) {
      while let number = queue.pop(until: MonotonicInstant(nanoseconds: now)) {
        #expect(number <= now)
        popped.append(number)
      }
    }
    #expect(popped == numbers.sorted() && queue.count == 0)
  }
}
