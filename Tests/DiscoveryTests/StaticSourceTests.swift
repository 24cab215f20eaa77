import Base
import Discovery
import Policy
import Testing

@Suite("The static source")
struct StaticSourceTests {
  private let source: StaticSource

  init() throws {
    source = StaticSource(
      prefix: "static",
      services: [
        "web": [try Endpoint(parsing: "127.0.0.1:9001"), try Endpoint(parsing: "127.0.0.1:9002 * 2")], "none": [],
      ], now: MonotonicInstant(nanoseconds: 5))
  }

  @Test("a name is a service by its first segment, and what follows is dropped")
  func leadingSegments() throws {
    #expect(source.lookup(try bound("/#/static/web")) == .service(try bound("/#/static/web")))
    #expect(source.lookup(try bound("/#/static/web/shop.local/x")) == .service(try bound("/#/static/web")))
    #expect(
      source.endpoints(of: try bound("/#/static/web")).map(\.description) == ["127.0.0.1:9001", "127.0.0.1:9002 * 2.0"])
  }

  @Test("a name nobody wrote down does not exist, and never will")
  func negative() throws {
    #expect(source.lookup(try bound("/#/static/other")) == .negative(until: nil))
    #expect(source.lookup(try bound("/#/file/web")) == .negative(until: nil))
    #expect(source.endpoints(of: try bound("/#/static/other")).isEmpty)
    #expect(source.freshness(of: try bound("/#/static/other")) == nil)
  }

  @Test("a service without endpoints exists")
  func empty() throws {
    #expect(source.lookup(try bound("/#/static/none")) == .service(try bound("/#/static/none")))
    #expect(source.endpoints(of: try bound("/#/static/none")).isEmpty)
  }

  @Test("it tells what it has, and that it is as fresh as the configuration")
  func report() throws {
    let report = source.report()
    #expect(report.kind == "static" && report.prefix == "static" && report.services == 2 && report.endpoints == 2)
    #expect(report.freshness == Freshness(confirmed: MonotonicInstant(nanoseconds: 5)))
    #expect(report.freshness.state == .fresh)
    #expect(source.freshness(of: try bound("/#/static/web"))?.state == .fresh)
  }

  @Test("a bound name has a prefix and at least one segment more", arguments: ["/svc/web", "/#/file", "/#", "/"])
  func boundNames(_ text: String) throws {
    #expect(BoundName(try Path(parsing: text)) == nil)
    let name = try bound("/#/dns/web.local/8080/rest")
    #expect(name.prefix == "dns" && name.name == "web.local/8080/rest")
    #expect(name.prefix(segments: 4) == (try bound("/#/dns/web.local/8080")))
    #expect(name.prefix(segments: 1) == (try bound("/#/dns/web.local")))
  }
}
