// The DNS source against a scripted server on the same loop: one that is slow, silent, broken, lying, or says too much.

import Base
import EventLoop
import Glibc
import Policy
import TestSupport
import Testing

@testable import Discovery

@Suite("The DNS source")
final class DNSSourceTests {
  private let loop: ControlLoop
  private let listener = Listener()
  private var log: [String] = []
  private var server: ScriptedNameServer?
  private var source: DNSSource?

  init() throws { loop = try ControlLoop() }

  deinit { source?.stop() }

  /// A server that knows the A records of `answers` in the given number of seconds, and what a script says.
  @discardableResult
  private func serve(_ script: @escaping (ScriptedNameServer.Question) -> AnswerWriter?) throws -> ScriptedNameServer {
    let server = try ScriptedNameServer(loop, script)
    self.server = server
    return server
  }

  @discardableResult
  private func start(_ change: (inout DNSSettings) -> Void = { _ in }) throws -> DNSSource {
    var settings = DNSSettings(prefix: "dns")
    settings.servers = [.v4(.loopback, port: try #require(server).address.port)]
    settings.search = []
    settings.family = .ipv4
    settings.timeoutMilliseconds = 200
    settings.tries = 1
    change(&settings)
    let source = DNSSource(settings, loop: loop, random: RandomSource(seed: 1)) { [unowned self] in log.append($0) }
    source.delegate = listener
    source.start()
    self.source = source
    return source
  }

  private func a(_ name: String, _ last: Int, ttl: Int = 60) -> AnswerWriter {
    AnswerWriter(answers: [AnswerWriter.a(name, 10, 0, 0, last, ttl: ttl)])
  }

  private func name(_ name: String) throws -> BoundName { try bound("/#/dns/\(name)") }

  private func endpoints(_ service: String) throws -> [String] {
    try #require(source).endpoints(of: try name(service)).map(\.description)
  }

  private func settled(_ service: String) throws -> Change? {
    let name = try name(service)
    #expect(loop.turn { listener.last(name) != nil })
    return listener.last(name)
  }

  @Test("a name is pending, then a service, with one question for many look-ups")
  func lookup() throws {
    try serve { [self] in a($0.name, 1) }
    let source = try start()
    let web = try name("web.test/8080")
    #expect(source.lookup(web) == .pending(web))
    #expect(source.lookup(try name("WEB.test/8080/more")) == .pending(web))
    #expect(try settled("web.test/8080") == .appeared)
    #expect(source.lookup(web) == .service(web))
    #expect(try endpoints("web.test/8080") == ["10.0.0.1:8080"])
    #expect(server?.questions.count == 1)
    #expect(source.freshness(of: web)?.state == .fresh)
    let report = source.report()
    #expect(report.services == 1 && report.endpoints == 1 && report.freshness.state == .fresh && report.updates == 1)
    #expect(report.origin == server?.address.description)
  }

  @Test("both families are asked for, and SRV records with their targets")
  func families() throws {
    try serve { question in
      switch (question.type, question.name) {
      case (1, "web.test"): AnswerWriter(answers: [AnswerWriter.a("web.test", 10, 0, 0, 1)])
      case (28, "web.test"): AnswerWriter(answers: [AnswerWriter.aaaa("web.test", 1)])
      case (33, _): AnswerWriter(answers: [AnswerWriter.srv(question.name, "web.test", port: 8000)])
      default: AnswerWriter(responseCode: 3)
      }
    }
    let source = try start { $0.family = .any }
    for service in ["web.test", "_http._tcp.shop.test"] { _ = source.lookup(try name(service)) }
    #expect(try settled("web.test") == .appeared && settled("_http._tcp.shop.test") == .appeared)
    #expect(try endpoints("web.test") == ["10.0.0.1:80", "[fd00::1]:80"])
    #expect(try endpoints("_http._tcp.shop.test") == ["10.0.0.1:8000", "[fd00::1]:8000"])
  }

  @Test("an address in the name needs no server and no memory")
  func literal() throws {
    try serve { _ in nil }
    let source = try start()
    let service = try name("10.1.2.3/80")
    #expect(
      source.lookup(service) == .service(service) && source.endpoints(of: service).map(\.description) == ["10.1.2.3:80"]
    )
    #expect(source.freshness(of: service)?.state == .fresh && source.report().services == 0)
    #expect(source.lookup(try name("a..b")) == .negative(until: nil))
  }

  @Test("what is not there is negative for as long as the server says, and asked for again then")
  func negative() throws {
    try serve { _ in AnswerWriter(authorities: [AnswerWriter.soa("test", ttl: 60, minimum: 1)], responseCode: 3) }
    let source = try start()
    let web = try name("web.test")
    _ = source.lookup(web)
    #expect(try settled("web.test") == .vanished)
    guard case .negative(.some) = source.lookup(web) else {
      Issue.record("\(source.lookup(web))")
      return
    }
    server?.script = { [self] in a($0.name, 1) }
    listener.forget()
    #expect(loop.turn { source.lookup(web) == .service(web) })
    #expect(listener.all(web) == [.appeared])
  }

  @Test("a name that is held is renewed before its time ends, and tells what is new")
  func renewal() throws {
    var last = 1
    try serve { [self] in a($0.name, last, ttl: 1) }
    let source = try start()
    _ = source.lookup(try name("web.test"))
    _ = try settled("web.test")
    last = 2
    #expect(try loop.turn { try endpoints("web.test") == ["10.0.0.2:80"] })
    #expect(try loop.turn { listener.all(try name("web.test")) == [.appeared, .endpoints] })
    let asked = try #require(server).questions.count
    source.release(try name("web.test"))
    // Nobody holds it: it is forgotten, not renewed.
    #expect(loop.turn { source.report().services == 0 })
    #expect(try #require(server).questions.count <= asked + 1)
  }

  @Test("while the server is silent, refuses or talks nonsense, the last good answer stays", arguments: [0, 1, 2, 3])
  func stale(_ trouble: Int) throws {
    try serve { [self] in a($0.name, 1, ttl: 1) }
    let source = try start()
    let web = try name("web.test")
    _ = source.lookup(web)
    _ = try settled("web.test")
    server?.script = { _ in
      switch trouble {
      case 0: nil
      case 1: AnswerWriter(responseCode: 2)
      case 2: AnswerWriter(responseCode: 5)
      default: AnswerWriter(answers: [AnswerWriter.cname("web.test", "web.test")])
      }
    }
    #expect(loop.turn { source.freshness(of: web)?.state == .stale })
    #expect(source.lookup(web) == .service(web))
    #expect(try endpoints("web.test") == ["10.0.0.1:80"])
    #expect(source.report().freshness.state == .stale && source.report().errors > 0)
    #expect(log.count == 1 && log.first?.hasSuffix("; keeping 1 endpoints") == true, "\(log)")
    server?.script = { [self] in a($0.name, 2, ttl: 1) }
    #expect(try loop.turn { try endpoints("web.test") == ["10.0.0.2:80"] })
    #expect(source.report().freshness.state == .fresh)
    #expect(log.last == "discovery /#/dns: web.test: answers again")
  }

  @Test("a name that no server answers for has failed, which is not negative, and is tried again")
  func down() throws {
    try serve { _ in nil }
    let source = try start()
    let web = try name("web.test")
    _ = source.lookup(web)
    #expect(try settled("web.test") == .failed)
    guard case .failed(let reason, _) = source.lookup(web) else {
      Issue.record("\(source.lookup(web))")
      return
    }
    #expect(reason == "no name server answered in time")
    server?.script = { [self] in a($0.name, 1) }
    #expect(loop.turn { source.lookup(web) == .service(web) })
  }

  @Test("nobody at the server's port is a failure, too, and soon")
  func nobody() throws {
    try serve { _ in nil }
    server = nil
    let port = try probablyFreePort()
    let server = try ScriptedNameServer(loop, port: nil) { _ in nil }
    self.server = server
    let source = try start { $0.servers = [.v4(.loopback, port: port)] }
    _ = source.lookup(try name("web.test"))
    #expect(try settled("web.test") == .failed)
    #expect(source.report().errors == 1)
  }

  @Test("of two servers the one that answers is enough")
  func secondServer() throws {
    try serve { [self] in a($0.name, 1) }
    let silent = try ScriptedNameServer(loop) { _ in AnswerWriter(responseCode: 2) }
    let good = try #require(server).address.port
    try start { $0.servers = [.v4(.loopback, port: silent.address.port), .v4(.loopback, port: good)] }
    _ = source?.lookup(try name("web.test"))
    #expect(try settled("web.test") == .appeared)
    #expect(!silent.questions.isEmpty)
  }

  @Test("an answer that is cut off is asked for again over TCP, and five thousand records are cut to the limit")
  func manyRecords() throws {
    try serve { question in
      var writer = AnswerWriter()
      writer.isTruncated = !question.isTCP
      let name: [UInt8] = [0xC0, 12]
      if question.isTCP {
        // One message holds 65,535 bytes: 4,000 IPv4 addresses and 1,000 IPv6 ones are two.
        for number in 0..<(question.type == 1 ? 4000 : 1000) {
          var data = [UInt8](repeating: 0, count: question.type == 1 ? 4 : 16)
          data[0] = question.type == 1 ? 10 : 0xFD
          data.replaceSubrange((data.count - 2)..<data.count, with: AnswerWriter.uint16(number + 1))
          writer.answers.append(AnswerWriter.record(name, question.type, data))
        }
      }
      return writer
    }
    let source = try start { $0.family = .any }
    _ = source.lookup(try name("web.test"))
    #expect(try settled("web.test") == .appeared)
    #expect(try endpoints("web.test").count == 1000 && endpoints("web.test").first == "10.0.0.1:80")
    #expect(source.report().badEntries == 4000)
    #expect(server?.questions.map(\.isTCP).filter { $0 }.count == 2)
  }

  @Test("lies are left out and counted")
  func lies() throws {
    try serve { question in
      AnswerWriter(answers: [
        AnswerWriter.a("web.test", 0, 0, 0, 0), AnswerWriter.a("bank.test", 10, 0, 0, 66),
        AnswerWriter.a("web.test", 10, 0, 0, 1), AnswerWriter.aaaa("web.test", 1),
        AnswerWriter.record(AnswerWriter.name("web.test"), 1, [1, 2]),
      ])
    }
    let source = try start()
    _ = source.lookup(try name("web.test"))
    #expect(try settled("web.test") == .appeared)
    #expect(try endpoints("web.test") == ["10.0.0.1:80"])
    #expect(source.report().badEntries == 4)
  }

  @Test("names that nobody holds make room for others; when all are held, a new one has to wait")
  func nameLimit() throws {
    try serve { [self] question in question.name.hasPrefix("no") ? AnswerWriter(responseCode: 3) : a(question.name, 1) }
    let source = try start { $0.nameLimit = 4 }
    for number in 0..<20 {
      let made = try name("no\(number).test")
      #expect(source.lookup(made) == .pending(made))
      #expect(loop.turn { listener.last(made) == .vanished })
    }
    for number in 0..<4 {
      _ = source.lookup(try name("web\(number).test"))
      #expect(try settled("web\(number).test") == .appeared)
    }
    guard case .failed(let reason, _) = source.lookup(try name("more.test")) else {
      Issue.record("\(source.lookup(try name("more.test")))")
      return
    }
    #expect(reason == "4 names are in use already")
    source.release(try name("web2.test"))
    #expect(source.lookup(try name("more.test")) == .pending(try name("more.test")))
    #expect(source.report().services == 3)
  }

  @Test("names that are made up without an end do not each have all others looked through")
  func madeUpNames() throws {
    try serve { _ in AnswerWriter(authorities: [AnswerWriter.soa("test", ttl: 30, minimum: 30)], responseCode: 3) }
    let source = try start {
      $0.nameLimit = 64
      $0.timeoutMilliseconds = 2000
    }
    func isNegative(_ number: Int) throws -> Bool {
      if case .negative = source.lookup(try name("no\(number).test")) { true } else { false }
    }
    let made = try (0...64).map { try name("no\($0).test") }
    for name in made[..<64] { _ = source.lookup(name) }
    #expect(loop.turn { made[..<64].allSatisfy { listener.last($0) == .vanished } })
    _ = source.lookup(made[64])
    #expect(loop.turn { listener.last(made[64]) == .vanished })
    // The oldest have gone together: there is room for some to come.
    #expect(try (4...64).allSatisfy(isNegative))
    for number in 0..<3 { #expect(try !isNegative(number), "\(number)") }
    #expect(try (4...64).allSatisfy(isNegative))
  }

  @Test("a thousand names at once are all answered, a few at a time")
  func manyNames() throws {
    try serve { [self] in a($0.name, 1) }
    let source = try start { $0.timeoutMilliseconds = 2000 }
    for number in 0..<1000 { _ = source.lookup(try name("web\(number).test")) }
    #expect(loop.turn(seconds: 30) { source.report().services == 1000 })
    #expect(source.report().errors == 0)
  }

  @Test("search domains are tried in the order that is written")
  func search() throws {
    try serve { [self] question in
      question.name == "web.b.test" ? a(question.name, 1) : AnswerWriter(responseCode: 3)
    }
    try start { $0.search = ["a.test", "b.test"] }
    _ = source?.lookup(try name("web"))
    #expect(try settled("web") == .appeared)
    #expect(server?.questions.map(\.name) == ["web.a.test", "web.b.test"])
  }

  @Test("the hosts file is believed before any server")
  func hosts() throws {
    try #require(readFile("/etc/hosts").contains("localhost"), "this host's hosts file has no localhost")
    try serve { _ in AnswerWriter(responseCode: 3) }
    try start()
    _ = source?.lookup(try name("localhost/81"))
    #expect(try settled("localhost/81") == .appeared)
    #expect(try endpoints("localhost/81") == ["127.0.0.1:81"] && server?.questions.isEmpty == true)
  }

  @Test("nothing is told after the end, even if questions are under way")
  func end() throws {
    try serve { [self] in a($0.name, 1) }
    let source = try start()
    for number in 0..<300 { _ = source.lookup(try name("web\(number).test")) }
    source.stop()
    for _ in 0..<20 { loop.turn(maximumWaitMilliseconds: 5) }
    #expect(listener.news.isEmpty)
  }
}
