// The DNS source against a real dnsmasq.

import Base
import Discovery
import EventLoop
import Policy
import TestSupport
import Testing

@Suite(
  "The DNS source and dnsmasq", .enabled(if: DnsmasqProcess.isInstalled, Comment(rawValue: DnsmasqProcess.unavailable)))
final class DnsmasqTests {
  private let loop: ControlLoop
  private let listener = Listener()
  private var source: DNSSource?

  init() throws { loop = try ControlLoop() }

  deinit { source?.stop() }

  private func start(_ server: DnsmasqProcess, _ change: (inout DNSSettings) -> Void = { _ in }) -> DNSSource {
    var settings = DNSSettings(prefix: "dns")
    settings.servers = [.v4(.loopback, port: server.address.port)]
    settings.search = []
    settings.timeoutMilliseconds = 500
    change(&settings)
    let source = DNSSource(settings, loop: loop, log: { _ in })
    source.delegate = listener
    source.start()
    self.source = source
    return source
  }

  private func endpoints(_ name: String) throws -> [String] {
    try #require(source).endpoints(of: try bound("/#/dns/\(name)")).map(\.description)
  }

  private func answered(_ name: String) throws -> Change? {
    let service = try bound("/#/dns/\(name)")
    _ = source?.lookup(service)
    #expect(loop.turn { listener.last(service) != nil })
    return listener.last(service)
  }

  @Test("A, AAAA and SRV records become endpoints; what is not there is negative")
  func records() throws {
    let server = try DnsmasqProcess(
      hosts: "10.0.0.1 web.test\n10.0.0.2 web.test\nfd00::1 web.test\n10.0.0.3 api.test\n",
      arguments: [
        "--srv-host=_http._tcp.shop.test,web.test,8080,1,10", "--srv-host=_http._tcp.shop.test,api.test,8081,1,5",
        "--srv-host=_http._tcp.shop.test,spare.test,8082,2,5", "--txt-record=text.test,hello",
        "--cname=alias.test,api.test",
      ])
    let source = start(server)
    #expect(try answered("web.test/9001") == .appeared)
    #expect(try endpoints("web.test/9001") == ["10.0.0.1:9001", "10.0.0.2:9001", "[fd00::1]:9001"])
    #expect(try answered("alias.test") == .appeared)
    #expect(try endpoints("alias.test") == ["10.0.0.3:80"])
    #expect(try answered("_http._tcp.shop.test") == .appeared)
    #expect(
      try endpoints("_http._tcp.shop.test").map { $0.prefix { $0 != " " } } == [
        "10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8081", "[fd00::1]:8080",
      ])
    #expect(try answered("nothing.test") == .vanished)
    // A name that is there without an address exists, and has no endpoint.
    #expect(try answered("text.test") == .appeared)
    #expect(try endpoints("text.test") == [])
    #expect(source.report().freshness.state == .fresh && source.report().errors == 0)
  }

  @Test("what changes in the zone is seen when its time to live is over")
  func changes() throws {
    let server = try DnsmasqProcess(hosts: "10.0.0.1 web.test\n")
    let source = start(server)
    #expect(try answered("web.test") == .appeared)
    try server.set(hosts: "10.0.0.2 web.test\n10.0.0.3 web.test\n")
    #expect(try loop.turn { try endpoints("web.test") == ["10.0.0.2:80", "10.0.0.3:80"] })
    try server.set(hosts: "10.0.0.9 other.test\n")
    let web = try bound("/#/dns/web.test")
    #expect(loop.turn { listener.last(web) == .vanished })
    try server.set(hosts: "10.0.0.4 web.test\n")
    #expect(loop.turn { source.lookup(web) == .service(web) })
    #expect(try endpoints("web.test") == ["10.0.0.4:80"])
  }

  @Test("a server that ends leaves the last good answer, and one that comes back is believed")
  func restart() throws {
    let server = try DnsmasqProcess(hosts: "10.0.0.1 web.test\n")
    let source = start(server)
    #expect(try answered("web.test") == .appeared)
    server.stop()
    let web = try bound("/#/dns/web.test")
    #expect(loop.turn { source.freshness(of: web)?.state == .stale })
    #expect(try endpoints("web.test") == ["10.0.0.1:80"] && source.lookup(web) == .service(web))
    let next = try DnsmasqProcess(hosts: "10.0.0.2 web.test\n", port: server.address.port)
    #expect(try loop.turn(seconds: 20) { try endpoints("web.test") == ["10.0.0.2:80"] })
    #expect(source.freshness(of: web)?.state == .fresh)
    next.stop()
  }

  @Test("three hundred addresses do not fit a datagram and come over TCP")
  func longAnswer() throws {
    let server = try DnsmasqProcess(
      hosts: (0..<300).map { "10.1.\($0 / 100).\($0 % 100 + 1) web.test\n" }.joined())
    _ = start(server)
    #expect(try answered("web.test") == .appeared)
    #expect(try endpoints("web.test").count == 300)
  }

  @Test("a short name is found in a search domain")
  func search() throws {
    let server = try DnsmasqProcess(hosts: "10.0.0.1 web.mesh.test\n")
    _ = start(server) { $0.search = ["nowhere.test", "mesh.test"] }
    #expect(try answered("web/81") == .appeared)
    #expect(try endpoints("web/81") == ["10.0.0.1:81"])
  }
}
