// Which rule has a request: each condition by itself, and which of several rules comes first.

import Base
import HTTP
import Policy
import Testing

@Suite("Route matching")
struct RouteMatchTests {
  @Test(
    "hosts match whatever their case, port and final dot; a wildcard wants at least one label more",
    arguments: [
      ("shop.local", "shop.local", true), ("shop.local", "SHOP.Local:8080", true), ("Shop.Local", "shop.local", true),
      ("shop.local", "shop.local.", true), ("shop.local.", "shop.local", true), ("shop.local", "a.shop.local", false),
      ("shop.local", "shop.locals", false), ("*.shop.local", "a.shop.local", true),
      ("*.shop.local", "a.b.shop.local:80", true), ("*.shop.local", "shop.local", false),
      ("*.shop.local", "ashop.local", false), ("*.shop.local", "A.SHOP.LOCAL.", true), ("*.local", "a.b.local", true),
      ("*.shop.local", ".shop.local", false), ("*.local", ".shop.local", true),
      ("10.0.0.1", "10.0.0.1:80", true), ("[::1]", "[::1]:80", true), ("[::1]", "[::1]", true),
      ("[FE80::A]", "[fe80::a]", true), ("[::1]", "[::2]", false),
    ])
  func hosts(pattern: String, value: String, matches: Bool) throws {
    #expect(try table([route(hosts: [pattern])]).number(request("GET /", host: value)) == (matches ? 0 : nil))
  }

  @Test("a host of any length is looked at without harm, and none longer than a name can be is found")
  func longHosts() throws {
    let routes = table([route(hosts: ["*.a"]), route()])
    for count in [3, 101, 249, 251, 253, 255, 257, 1001, 8001] {
      let name = String(repeating: "a.", count: count / 2) + "a"
      #expect(try routes.number(request("GET /", host: name)) == (count <= 253 ? 0 : 1))
    }
    #expect(try routes.number(request("GET /", host: "a")) == 1)
  }

  @Test(
    "a prefix is whole segments, and bytes are compared as they came",
    arguments: [
      ("/cart", "/cart", true), ("/cart", "/cart/", true), ("/cart", "/cart/x", true), ("/cart", "/carts", false),
      ("/cart", "/cart?x", true), ("/cart", "/Cart", false), ("/cart", "/%63art", false), ("/cart", "//cart", false),
      ("/cart", "/cart//x", true), ("/cart/", "/cart", false), ("/cart/", "/cart/", true), ("/cart/", "/cart/x", true),
      ("/", "/", true), ("/", "/anything/at/all", true), ("/a/b", "/a", false), ("/a/b", "/a/b/c", true),
      ("/a//b", "/a//b/c", true), ("/a//b", "/a/b", false), ("//", "//x", true), ("//", "/x", false),
      ("/cart", "/a/../cart", false), ("/a", "/a/../cart", true),
    ])
  func prefixes(prefix: String, target: String, matches: Bool) throws {
    #expect(try table([route(.prefix(prefix))]).number(request("GET \(target)")) == (matches ? 0 : nil))
    let isExact = prefix == target.split(separator: "?", maxSplits: 1)[0]
    #expect(try table([route(.exact(prefix))]).number(request("GET \(target)")) == (isExact ? 0 : nil))
  }

  @Test(
    "a pattern matches the whole path",
    arguments: [
      ("/v[0-9]+/.*", "/v2/x", true), ("/v[0-9]+/.*", "/v2", false), ("/v[0-9]+", "/v2/x", false),
      ("^/a$", "/a", true), ("/a|/b", "/b", true), ("/a|/b", "/bc", false), ("/ab*", "/a", true),
      ("/ab?/c", "/a/c", true), ("(?i)/CART", "/cart", true), (".*", "/x", true), ("/a/b{0,1}/c", "/a//c", true),
      ("/a/", "/a/", true), ("/a\\.b", "/a.b", true), ("/a\\.b", "/axb", false),
    ])
  func patterns(pattern: String, target: String, matches: Bool) throws {
    let routes = table([route(.prefix("/never")), route(.regex(whole(pattern)))])
    #expect(try routes.number(request("GET \(target)")) == (matches ? 1 : nil))
  }

  @Test("a rule for * is for OPTIONS * and for no path")
  func asterisk() throws {
    let routes = table([route(.exact("*")), route(hosts: ["b"], .exact("*")), route(.prefix("/"))])
    #expect(try routes.number(request("OPTIONS *", host: "b")) == 0)
    for target in ["/", "/*", "/x", "/x?*"] {
      #expect(try routes.number(request("GET \(target)", host: "b")) == 2, "\(target)")
    }
    #expect(try table([route(.exact("*"))]).number("CONNECT b:80 HTTP/1.1\r\nhost: b:80\r\n\r\n") == nil)
  }

  @Test("targets without a path: absolute ones have /, the others match no prefix")
  func forms() throws {
    let routes = table([route(.exact("/")), route(.prefix("/")), route()])
    #expect(try routes.number("GET http://b HTTP/1.1\r\nhost: b\r\n\r\n") == 0)
    #expect(try routes.number("GET http://b?q HTTP/1.1\r\nhost: b\r\n\r\n") == 0)
    #expect(try routes.number("GET http://b/x HTTP/1.1\r\nhost: b\r\n\r\n") == 1)
    #expect(try routes.number("OPTIONS * HTTP/1.1\r\nhost: b\r\n\r\n") == 2)
    #expect(try routes.number("CONNECT b:80 HTTP/1.1\r\nhost: b\r\n\r\n") == 2)
    #expect(try routes.number("GET /x HTTP/1.0\r\n\r\n") == 1)
    let named = table([route(hosts: ["b"])])
    #expect(try named.number("GET http://b:8/x HTTP/1.1\r\nhost: a\r\n\r\n") == 0)
    #expect(try named.number("GET /x HTTP/1.0\r\n\r\n") == nil)
  }

  @Test("methods are compared as they are, the unknown ones by their bytes")
  func methods() throws {
    let routes = table([route(methods: ["GET", "PURGE"]), route(methods: ["POST"])])
    for (line, expected) in [
      ("GET", 0), ("PURGE", 0), ("POST", 1), ("HEAD", nil), ("get", nil), ("PURGES", nil), ("DELETE", nil),
    ] as [(String, Int?)] {
      #expect(try routes.number(request("\(line) /")) == expected)
    }
  }

  @Test(
    "a field matches by any of its lines; inverted when none does",
    arguments: [
      (RouteMatch.TextMatch.exact("beta"), "x-group: beta\r\n", true), (.exact("beta"), "X-GROUP: beta\r\n", true),
      (.exact("beta"), "x-group: Beta\r\n", false), (.exact("beta"), "x-group: a\r\nx-group: beta\r\n", true),
      (.exact("beta"), "", false), (.exact(""), "x-group:\r\n", true), (.present, "x-group:\r\n", true),
      (.present, "", false), (.prefix("be"), "x-group: beta\r\n", true), (.prefix("be"), "x-group: b\r\n", false),
      (.regex(whole("b.*a")), "x-group: beta\r\n", true), (.regex(whole("b.*a")), "x-group: xbeta\r\n", false),
    ])
  func headers(value: RouteMatch.TextMatch, fields: String, matches: Bool) throws {
    for isInverted in [false, true] {
      let condition = RouteMatch.HeaderMatch(name: "x-group", value: value, isInverted: isInverted)
      let found = try table([route(headers: [condition])]).number(request("GET /", fields))
      #expect(found == (matches != isInverted ? 0 : nil))
    }
  }

  @Test(
    "a name in the query matches by any of its values, undecoded",
    arguments: [
      (RouteMatch.TextMatch.exact("1"), "/?v=1", true), (.exact("1"), "/?a=b&v=1", true),
      (.exact("1"), "/?v=2&v=1&v=3", true), (.exact("1"), "/?v=11", false), (.exact("1"), "/?vv=1", false),
      (.exact("1"), "/", false), (.exact("1"), "/?", false), (.exact(""), "/?v", true), (.exact(""), "/?v=", true),
      (.exact("a=b"), "/?v=a=b", true), (.exact("1"), "/?&&v=1&", true), (.exact("1"), "/?%76=1", false),
      (.present, "/?v", true), (.present, "/?x&v&y", true), (.present, "/v?x", false),
      (.regex(whole("[0-9]+")), "/?v=12", true), (.regex(whole("[0-9]+")), "/?v=12x", false),
    ])
  func query(value: RouteMatch.TextMatch, target: String, matches: Bool) throws {
    let routes = table([route(query: [.init(name: "v", value: value)])])
    #expect(try routes.number(request("GET \(target)")) == (matches ? 0 : nil))
  }

  @Test("workloads match by number, and a rule whose workloads nobody knows matches nobody")
  func workloads() throws {
    let routes = table(
      [route(workloads: ["nobody"]), route(workloads: ["web", "batch"]), route(workloads: ["other"])],
      workloads: ["other": 0, "web": 1, "batch": 2])
    #expect(try routes.number(request("GET /"), workload: 0) == 2)
    #expect(try routes.number(request("GET /"), workload: 1) == 1)
    #expect(try routes.number(request("GET /"), workload: 2) == 1)
    #expect(try routes.number(request("GET /"), workload: 3) == nil)
  }

  @Test("the first rule in the order written wins, however it is found")
  func order() throws {
    let rules = [
      route(hosts: ["a.local"], .prefix("/x"), methods: ["POST"]), route(.exact("/x/y")),
      route(hosts: ["*.local"], .regex(whole("/x/.*"))), route(hosts: ["a.local"]), route(.prefix("/x")),
      route(hosts: ["b.other", "a.local"], .exact("/z")), route(),
    ]
    for (line, host, expected) in [
      ("POST /x/y", "a.local", 0), ("GET /x/y", "a.local", 1), ("GET /x/z", "a.local", 2), ("GET /z", "a.local", 3),
      ("GET /x/z", "c", 4), ("GET /z", "b.other", 5), ("GET /z", "c", 6),
    ] {
      #expect(try table(rules).number(request(line, host: host)) == expected)
    }
    #expect(try table([]).number(request("GET /")) == nil)
    #expect(table([]).isEmpty)
  }

  @Test("explaining names the first thing that does not match, and ends with the rule that does")
  func explanation() throws {
    let rules = [
      route(hosts: ["b"]), route(hosts: ["shop.local"], .prefix("/b")), route(.exact("/a"), methods: ["POST"]),
      route(workloads: ["web"]), route(headers: [.init(name: "x-a", value: .present)]),
      route(query: [.init(name: "q", value: .present)]), route(.regex(whole("/(a+)+b"))), route(.prefix("/a")), route(),
    ]
    let found = try table(rules, workloads: ["web": 1]).explanation(request("GET /a"))
    #expect(found == [.host, .path, .method, .workload, .header("x-a"), .query("q"), .path, nil])
    let evil = request("GET /" + String(repeating: "a", count: 40) + "!b")
    #expect(try table([rules[6]]).explanation(evil) == [.patternLimit])
    #expect(RouteMismatch.header("x-a").description == "the field x-a")
  }

  @Test("a pattern that would blow up is stopped, counted, and taken for no match")
  func limits() throws {
    let evil = String(repeating: "a", count: 40) + "!b"
    let rules = [
      route(.regex(whole("/(a+)+b"))), route(headers: [.init(name: "x", value: .regex(whole("(a|aa)+b")))]),
      route(headers: [.init(name: "x", value: .regex(whole("(a|aa)+b")), isInverted: true)]), route(),
    ]
    let found = try table(rules).find(request("GET /\(evil)", "x: \(evil)\r\n"))
    #expect(found == RouteLookup(number: 3, limitedCount: 3))
    #expect(try table(rules).find(request("GET /aab")) == RouteLookup(number: 0))
    // Each match has its limit, and all of a request's together: without one this would be ten thousand of these.
    let many = (0..<100).map { number in
      route(headers: [.init(name: "x", value: .regex(whole("(a|aa)+b\(number)")))])
    }
    let fields = String(repeating: "x: \(evil)0123456789\r\n", count: 100)
    let given = try table(many + [route()]).find(request("GET /", fields))
    #expect(given.number == nil && given.isExhausted && given.limitedCount < 2000)
    // A sensible pattern on the longest of paths comes nowhere near.
    let long = request("GET /" + String(repeating: "ab/", count: 2000))
    #expect(try table([route(.regex(whole("/(?:[a-z]+/)*")))]).find(long) == RouteLookup(number: 0))
  }
}
