// What becomes of a request that a rule matches: where it goes, what is changed on it, and what is answered at once.

import Base
import HTTP
import Policy
import Testing

@Suite("Route actions")
struct RouteActionTests {
  /// The target that the only rule makes of `line`'s; nil where it stays.
  private func target(_ rule: Route, _ text: String) throws -> String? {
    let routes = table([rule])
    return try withHead(text) { head, bytes, matcher in
      let bound = routes.targetBound(0, head)
      return withBuffer(bound) { output in
        switch routes.writeTarget(0, head, bytes, matcher, into: output) {
        case .written(let count): return String(decoding: output[..<count], as: UTF8.self)
        case .unchanged: return nil
        case .limited: return "limited"
        case .tooLong:
          Issue.record("\(bound) bytes do not suffice for \(text)")
          return nil
        }
      }
    }
  }

  private func withBuffer<Result>(
    _ count: Int, _ body: (UnsafeMutableRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
    defer { buffer.deallocate() }
    return try body(buffer)
  }

  @Test(
    "a prefix is replaced with the slash between neither missing nor doubled, and the query stays",
    arguments: [
      ("/cart", "/", "/cart", "/"), ("/cart", "/", "/cart/", "/"), ("/cart", "/", "/cart/x?q=1", "/x?q=1"),
      ("/cart", "/new", "/cart", "/new"), ("/cart", "/new", "/cart/x", "/new/x"), ("/cart", "/new/", "/cart", "/new/"),
      ("/cart", "/new/", "/cart/x", "/new/x"), ("/cart/", "/new", "/cart/x", "/new/x"),
      ("/cart/", "/new/", "/cart/", "/new/"), ("/", "/v1", "/x", "/v1/x"), ("/", "/v1", "/", "/v1"),
      ("/cart", "/", "/cart?a/b", "/?a/b"), ("/cart", "/", "/cart//x", "//x"), ("/", "/", "/x?", "/x?"),
    ])
  func prefixes(prefix: String, new: String, before: String, after: String) throws {
    let rule = route(matching: .prefix(prefix)) { $0.pathRewrite = .prefix(new) }
    #expect(try target(rule, request("GET \(before)")) == after)
    #expect(try target(rule, request("GET http://b\(before)")) == after)
  }

  @Test("a full path stands for any, a pattern replaces what it matches first")
  func others() throws {
    let full = route { $0.pathRewrite = .full("/index") }
    #expect(try target(full, request("GET /a/b?c=d")) == "/index?c=d")
    #expect(try target(full, request("GET http://b")) == "/index")
    #expect(try target(full, request("OPTIONS *")) == nil)
    for (pattern, text, before, after) in [
      ("/v([0-9]+)/", "/api/$1/", "/v2/x/v3/y?q", "/api/2/x/v3/y?q"), ("x", "y", "/axx", "/ayx"),
      ("^/old", "", "/old/x", "/x"), ("/.*", "", "/old/x", "/"), ("^/", "", "/x", "/x"), ("nothing", "y", "/x", nil),
      ("/(a)|/(b)", "/$1$2$$$0", "/b", "/b$/b"), ("$", "/end", "/x", "/x/end"), ("(/)(x)", "$2$1", "/x", "/x/"),
    ] as [(String, String, String, String?)] {
      let regex = part(pattern)
      let replacement = try Replacement(parsing: text, groupCount: regex.groupCount)
      let rule = route { $0.pathRewrite = .regex(regex, replacement) }
      #expect(try target(rule, request("GET \(before)")) == after)
    }
    let replacement = try Replacement(parsing: "/x", groupCount: 1)
    let evil = route { $0.pathRewrite = .regex(part("/(a+)+$"), replacement) }
    #expect(try target(evil, request("GET /" + String(repeating: "a", count: 60) + "!")) == "limited")
  }

  @Test("what does not fit is too long, never cut")
  func capacity() throws {
    let routes = table([route { $0.pathRewrite = .full("/index") }])
    try withHead(request("GET /a?b")) { head, bytes, matcher in
      for capacity in 0...8 {
        let outcome = withBuffer(capacity) { routes.writeTarget(0, head, bytes, matcher, into: $0) }
        #expect(outcome == (capacity == 8 ? .written(8) : .tooLong))
      }
    }
  }

  @Test("replacements take $0 to $9 of the groups there are, and only what can stand in a path")
  func replacements() {
    #expect(throws: TextError.self) { () throws in try Replacement(parsing: "/$2", groupCount: 1) }
    #expect(throws: TextError.self) { () throws in try Replacement(parsing: "/$", groupCount: 1) }
    #expect(throws: TextError.self) { () throws in try Replacement(parsing: "/${1}", groupCount: 1) }
    for bad in ["/a b", "/a\r\nx: y", "/a?b", "/a#", "/é", "/\u{0}"] {
      #expect(throws: TextError.self) { () throws in try Replacement(parsing: bad, groupCount: 0) }
    }
    let many = String(repeating: "$0", count: 17)
    #expect(throws: TextError.self) { () throws in try Replacement(parsing: many, groupCount: 0) }
  }

  @Test("requests are split by weight, within four standard deviations")
  func split() {
    let names = ["/svc/a", "/svc/b", "/svc/c"].map(logical)
    let rule = route { action in
      action.destinations = zip(names, [90, 10, 0] as [UInt32]).map { .init($0, weight: $1) }
    }
    let routes = table([rule, route { $0.destinations = [.init(names[1])] }, route()])
    var random = RandomSource(seed: 7)
    var counts = [0, 0, 0]
    let draws = 100_000
    for _ in 0..<draws {
      if let place = routes.plan(0).pointee.chooseDestination(&random) { counts[Int(place)] += 1 }
    }
    #expect(routes.destinations == [names[0], names[1]])
    #expect(counts[2] == 0 && counts.reduce(0, +) == draws)
    // √(n p q) = 95.
    #expect(abs(counts[1] - draws / 10) < 380)
    #expect(routes.plan(1).pointee.chooseDestination(&random) == 1)
    #expect(routes.plan(2).pointee.chooseDestination(&random) == nil)
  }

  @Test("shares are drawn as often as they say; none and all without doubt")
  func shares() {
    for (text, expected) in [("0", 0), ("0.5", 500), ("1", 1_000), ("99.5", 99_500), ("100", 100_000)] {
      let rule = route { $0.mirror = .init(name: logical("/svc/m"), share: percent(text)) }
      let routes = table([rule])
      var random = RandomSource(seed: 11)
      var count = 0
      for _ in 0..<100_000 where routes.plan(0).pointee.mirrorShare.draw(&random) { count += 1 }
      #expect(abs(count - expected) <= (expected % 100_000 == 0 ? 0 : 130), "\(text)%")
      #expect(routes.plan(0).pointee.mirrorShare.isEmpty == (text == "0"))
    }
  }

  @Test("percentages read and print as they are written")
  func percentages() {
    for text in ["0", "1", "0.5", "12.25", "99.9999", "100", "0.0001"] { #expect(percent(text).description == text) }
    #expect(percent("1.50") == percent("1.5"))
    for bad in ["", "-1", "101", "100.0001", "1.", ".5", "1e1", "1%", "0.00001", " 1", "nan", "4294967297"] {
      #expect(throws: TextError.self) { () throws in try Percent(parsing: bad) }
    }
  }

  @Test("fields are set, added and removed, and the rest goes on as it came")
  func headers() throws {
    let rule = route { action in
      action.requestHeaders.set = [.init(name: "x-via", value: "fairlead")]
      action.requestHeaders.add = [.init(name: "x-more", value: "1")]
      action.requestHeaders.remove = ["x-debug"]
      action.hostRewrite = "cart.internal"
      action.responseHeaders.remove = ["server"]
    }
    let routes = table([rule])
    let text = request("GET /", "X-Via: other\r\nX-Debug: 1\r\nx-more: 0\r\nx-debugger: 2\r\nX-DEBUG: 3\r\n")
    let output = try withHead(text) { head, bytes, _ in
      withBuffer(1024) { output in
        HTTP1Serializer.writeRequest(head, from: bytes, edits: routes.plan(0).pointee.requestEdits, into: output)
          .map { String(decoding: output[..<$0], as: UTF8.self) }
      }
    }
    #expect(
      output
        == "GET / HTTP/1.1\r\nx-more: 0\r\nx-debugger: 2\r\nhost: cart.internal\r\nx-via: fairlead\r\nx-more: 1\r\n\r\n"
    )
    #expect(!routes.plan(0).pointee.responseEdits.isEmpty)
    let none = table([route()])
    #expect(none.plan(0).pointee.requestEdits.isEmpty)
  }

  private func answer(_ rule: Route, _ text: String, withBody: Bool = true) throws -> String? {
    let routes = table([rule])
    return try withHead(text) { head, bytes, matcher in
      var via = "via: 1.1 n\r\n"
      return via.withUTF8 { utf8 in
        let via = UnsafeRawBufferPointer(utf8)
        return withBuffer(routes.answerBound(0, head, via: via)) { output in
          routes.writeAnswer(0, head, bytes, matcher, via: via, withBody: withBody, into: output)
            .map { String(decoding: output[..<$0], as: UTF8.self) }
        }
      }
    }
  }

  @Test(
    "a redirect names the new place whole, with what stays of the old",
    arguments: [
      (RouteAction.Redirect(host: "new.local", status: 308), "GET /a?b", "old.local:8080", "http://new.local/a?b"),
      (.init(scheme: "https"), "GET /a", "old.local:8080", "https://old.local/a"),
      (.init(scheme: "https"), "GET /a", "[::1]:80", "https://[::1]/a"),
      (.init(scheme: "https", port: 8443), "GET /a", "[::1]", "https://[::1]:8443/a"),
      (.init(port: 81), "GET /a", "old.local:8080", "http://old.local:81/a"),
      (.init(path: .full("/b")), "GET /a?q", "old.local:8080", "http://old.local:8080/b?q"),
      (.init(path: .prefix("/b")), "GET /pre/x?q", "old.local", "http://old.local/b/x?q"),
      (.init(host: "new.local"), "GET //evil.example/x", "old.local", "http://new.local//evil.example/x"),
      (.init(path: .prefix("/")), "GET /pre//evil.example", "old.local", "http://old.local//evil.example"),
    ])
  func redirects(redirect: RouteAction.Redirect, line: String, host: String, location: String) throws {
    let rule = route(matching: .prefix(line.contains("/pre") ? "/pre" : "/")) { $0.answer = .redirect(redirect) }
    let reason = redirect.status == 308 ? "308 Permanent Redirect" : "302 Found"
    #expect(
      try answer(rule, request(line, host: host))
        == "HTTP/1.1 \(reason)\r\ncontent-length: 0\r\nlocation: \(location)\r\nvia: 1.1 n\r\n\r\n")
  }

  @Test("without any host a redirect stays on the same one, whatever the path begins with")
  func relative() throws {
    let rule = route { $0.answer = .redirect(.init(path: .prefix("/"))) }
    let text = try answer(rule, "GET //evil.example/ HTTP/1.0\r\n\r\n")
    #expect(text?.contains("\r\nlocation: /.//evil.example/\r\n") == true)
  }

  @Test("a response of its own has its length, and no body where none may be")
  func responses() throws {
    let ok = route {
      $0.answer = .respond(.init(status: 200, body: "ok\n", headers: [.init(name: "x-a", value: "1")]))
    }
    let head =
      "HTTP/1.1 200 OK\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 3\r\nx-a: 1\r\nvia: 1.1 n\r\n\r\n"
    #expect(try answer(ok, request("GET /healthz")) == "\(head)ok\n")
    #expect(try answer(ok, request("HEAD /healthz"), withBody: false) == head)
    #expect(table([ok]).answerStatus(0) == 200)
    let empty = route { $0.answer = .respond(.init(status: 204)) }
    #expect(try answer(empty, request("GET /")) == "HTTP/1.1 204 No Content\r\nvia: 1.1 n\r\n\r\n")
    let odd = route { $0.answer = .respond(.init(status: 418)) }
    #expect(try answer(odd, request("GET /")) == "HTTP/1.1 418 \r\ncontent-length: 0\r\nvia: 1.1 n\r\n\r\n")
    #expect(try answer(route(), request("GET /")) == nil)
    #expect(table([route()]).answerStatus(0) == nil)
  }

  @Test("what a pattern says wrong is told with its place")
  func patternErrors() {
    #expect(throws: PatternError.self) { () throws in try Pattern(parsing: "/a(", scope: .whole) }
    do {
      _ = try Pattern(parsing: "/a(b", scope: .whole)
    } catch {
      #expect(error.description == "missing closing parenthesis (at byte 4)")
    }
    // What could make bytes of a client be taken for broken text, or the pattern too large.
    for bad in ["(*UTF)a", "(*UCP)a", String(repeating: "a", count: 1025), "((((a{1000}){1000}){1000}){1000})"] {
      #expect(throws: PatternError.self) { () throws in try Pattern(parsing: bad, scope: .whole) }
    }
    #expect(Pattern.engineVersion.first == "1")
    #expect(whole("a") == whole("a") && whole("a") != part("a"))
  }

  @Test("hosts that no request can name are refused")
  func hostErrors() {
    for bad in ["", "*", "*.", "a..b", ".a", "a.*", "a*.b", "a:80", "::1", "[::g]", "a b", "a/b", "ä.de", "a,b", "["] {
      #expect(throws: TextError.self) { () throws in try HostPattern(parsing: bad) }
    }
    #expect(host("*.Shop.LOCAL.").description == "*.shop.local")
    #expect(host("[::1]").description == "[::1]")
  }
}
