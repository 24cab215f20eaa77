// What requests are called: every way to identify one, what it takes off the path, and what cannot be a name.

import Base
import HTTP
import Policy
import Testing

/// What a request is identified as: its name, then the target it goes on with in brackets, where that changes.
private func identify(_ request: String, _ identifiers: [Identifier]) throws -> String {
  try identify(Array((request.split(separator: "\n").joined(separator: "\r\n") + "\r\n\r\n").utf8), identifiers)
}

private func identify(_ bytes: [UInt8], _ identifiers: [Identifier]) throws -> String {
  let table = IdentifierTable(identifiers)
  defer { table.destroy() }
  var scratch = [UInt8](repeating: 0, count: Path.maximumByteCount)
  return try bytes.withUnsafeBytes { bytes in
    var head = RequestHead()
    guard case .complete = HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) else {
      throw NoRequest()
    }
    return scratch.withUnsafeMutableBytes { scratch in
      switch table.identify(head, bytes, scratch: scratch) {
      case .host: return "host"
      case .none: return "none"
      case .refused: return "refused"
      case .fixed(let index):
        if case .fixed(let name) = identifiers[index] { return "fixed \(name)" }
        return "fixed?"
      case .name(let count, let target):
        let name = String(decoding: scratch[..<count], as: UTF8.self)
        return name + (target.map { " [\(String(decoding: $0.slice(of: bytes), as: UTF8.self))]" } ?? "")
      }
    }
  }
}

private struct NoRequest: Error {}

@Suite struct IdentifierTests {
  private static let web = "\nHost: Shop.local:8080"

  @Test(
    "a path's first segments are the name, and are taken off where that is asked for",
    arguments: [
      ("/web/cart?x=1", 1, false, "/svc/web"), ("/web/cart?x=1", 1, true, "/svc/web [/cart?x=1]"),
      ("/Web/Cart/x", 2, false, "/svc/web/Cart"), ("/web/cart/x?y", 2, true, "/svc/web/cart [/x?y]"),
      ("/web", 1, true, "/svc/web []"), ("/web?x", 1, true, "/svc/web [?x]"), ("/web/", 1, true, "/svc/web [/]"),
      ("/web", 2, false, "none"), ("/web/", 2, false, "none"), ("/", 1, true, "none"), ("//web", 1, false, "none"),
      ("/a%20b", 1, false, "none"), ("/../etc", 1, false, "none"), ("/.hidden", 1, false, "none"),
      ("/web./x", 1, false, "none"), ("/a:b", 1, false, "none"), ("http://h/web/x?q", 1, true, "/svc/web [/x?q]"),
      ("http://h", 1, true, "none"), ("/%23/file", 1, false, "none"),
    ])
  func paths(target: String, segments: Int, consume: Bool, expected: String) throws {
    let identified = try identify("GET \(target) HTTP/1.1\(Self.web)", [.path(segments: segments, consume: consume)])
    #expect(identified == expected)
  }

  @Test(
    "method and host make a name as in Linkerd",
    arguments: [
      ("GET / HTTP/1.1\nHost: Shop.local:8080", "/svc/1.1/GET/shop.local"),
      ("PUT / HTTP/1.0\nHost: shop.local.", "/svc/1.0/PUT/shop.local"), ("GET / HTTP/1.0", "none"),
      ("M-SEARCH / HTTP/1.1\nHost: [::1]:80", "/svc/1.1/M-SEARCH/[::1]"), ("M$ / HTTP/1.1\nHost: a", "refused"),
      ("GET / HTTP/1.1\nHost: a..b", "refused"),
    ])
  func methods(request: String, expected: String) throws {
    #expect(try identify(request, [.methodHost]) == expected)
  }

  @Test(
    "a header field names a host, or a path that is appended",
    arguments: [
      ("l5d-name: web", "/svc/web"), ("L5D-Name: Web:80", "/svc/web"), ("l5d-name: /Web/Cart", "/svc/web/Cart"),
      ("x: y", "none"), ("l5d-name:", "refused"), ("l5d-name: /", "refused"), ("l5d-name: /web/", "refused"),
      ("l5d-name: /web//x", "refused"), ("l5d-name: /#/file/x", "refused"), ("l5d-name: /..", "refused"),
      ("l5d-name: a b", "refused"), ("l5d-name: web\nl5d-name: web", "refused"), ("l5d-name: /web/a*", "refused"),
    ])
  func headers(field: String, expected: String) throws {
    #expect(try identify("GET / HTTP/1.1\nHost: a\n\(field)", [.header()]) == expected)
    let other = field.replacing("l5d-name", with: "dapr-app-id")
    guard !field.hasPrefix("L5D") else { return }
    #expect(try identify("GET / HTTP/1.1\nHost: a\n\(other)", [.header(name: "dapr-app-id")]) == expected)
  }

  @Test(
    "a service is invoked as Dapr's clients do it",
    arguments: [
      ("/v1.0/invoke/Cart/method/add/one?x=1", "/svc/cart [/add/one?x=1]"),
      ("/v1.0/invoke/cart.prod/method/", "/svc/cart.prod [/]"), ("/v1.0/invoke/cart/method", "/svc/cart []"),
      ("/v1.0/invoke/cart/method?x", "/svc/cart [?x]"), ("/v1.0/invoke/cart/method//x", "/svc/cart [//x]"),
      ("/v1.0/invoke/cart/methods/x", "none"), ("/v1.0/invoke/cart", "none"), ("/v1.0/invoke/cart/", "none"),
      ("/v1.0/invoke//method/x", "refused"), ("/v1.0/invoke/a%2Fb/method/x", "refused"),
      ("/v1.0/invoke/../method/x", "refused"), ("/v1.0/publish/cart", "none"), ("/", "none"),
      ("http://h/v1.0/invoke/cart/method/x", "/svc/cart [/x]"),
    ])
  func invoked(target: String, expected: String) throws {
    #expect(try identify("POST \(target) HTTP/1.1\(Self.web)", [.invoke]) == expected)
  }

  @Test("identifiers are tried in order, and one that does not apply leaves it to the next")
  func order() throws {
    let fixed = Identifier.fixed(try Path(parsing: "/svc/rest"))
    let all: [Identifier] = [.invoke, .header(), .path(segments: 2), .host(), fixed]
    let web = "\nHost: web"
    #expect(try identify("GET /v1.0/invoke/a/method/b HTTP/1.1" + web, all) == "/svc/a [/b]")
    #expect(try identify("GET /v1.0/invoke/a HTTP/1.1\nl5d-name: x" + web, all) == "/svc/x")
    #expect(try identify("GET /c/d HTTP/1.1" + web, all) == "/svc/c/d")
    #expect(try identify("GET /c HTTP/1.1" + web, all) == "host")
    #expect(try identify("GET /c HTTP/1.0", all) == "fixed /svc/rest")
    #expect(try identify("GET /c HTTP/1.0", [.host()]) == "host")
    #expect(try identify("GET /c HTTP/1.0", []) == "host")
    #expect(try identify("GET /c HTTP/1.0", [.path(segments: 3)]) == "none")
    let long = String(repeating: "/" + String(repeating: "a", count: 250), count: 4)
    #expect(try identify("GET \(long) HTTP/1.1" + web, [.path(segments: 4)]) == "/svc" + long)
    let longer = String(repeating: "/" + String(repeating: "a", count: 255), count: 4)
    #expect(try identify("GET \(longer) HTTP/1.1" + web, [.path(segments: 4)]) == "refused")
    let longest = "/" + String(repeating: "a", count: 256)
    #expect(try identify("GET \(longest) HTTP/1.1" + web, [.path()]) == "none")
  }

  @Test("a host keeps its port where that is asked for")
  func ports() throws {
    let identifier = HostIdentifier(keepsPort: true)
    for (host, name) in [("Shop:8080", "shop:8080"), ("shop:", "shop"), ("shop", "shop"), ("[::1]:080", "[::1]:80")] {
      let path = try Array(host.utf8).withUnsafeBytes { bytes in try identifier.identify(bytes) }
      #expect(path.description == "/svc/" + name)
    }
    let keeping: [Identifier] = [.methodHost, .host(keepsPort: true)]
    #expect(try identify("GET / HTTP/1.1\nHost: a:65535", keeping) == "/svc/1.1/GET/a:65535")
    let table = IdentifierTable([.host(keepsPort: true)])
    #expect(table.isHostOnly && table.keepsPort)
    table.destroy()
  }

  @Test("whatever a path holds, the name reads back as itself and the rest of the path is the end of it")
  func anything() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("IdentifierTests.anything seed \(seed)")
    var random = RandomSource(seed: seed)
    let pieces = ["/", "/web", "/a.b", "..", "%2f", "?", "#", "/v1.0/invoke/", "/method", "x", ":", "*", "~", "é"]
    var named = 0
    for _ in 0..<5_000 {
      var target = "/"
      for _ in 0..<random.next(below: 8) { target += pieces[Int(random.next(below: UInt32(pieces.count)))] }
      let request = Array("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n".utf8)
      let identifiers: [Identifier] = [.invoke, .path(segments: Int(random.next(below: 3)) + 1, consume: true)]
      guard let outcome = try? identify(request, identifiers), outcome.hasPrefix("/") else { continue }
      named += 1
      let parts = outcome.split(separator: " ", maxSplits: 1).map(String.init)
      #expect(try Path(parsing: parts[0]).description == parts[0], "seed \(seed)")
      #expect(try target.hasSuffix(String(#require(parts.last).dropFirst().dropLast())), "seed \(seed)")
    }
    #expect(named > 100)
  }
}

extension String {
  fileprivate func replacing(_ word: String, with other: String) -> String {
    var text = ""
    var rest = self[...]
    while !rest.isEmpty {
      if rest.hasPrefix(word) {
        text += other
        rest = rest.dropFirst(word.count)
      } else {
        text.append(rest.removeFirst())
      }
    }
    return text
  }
}
