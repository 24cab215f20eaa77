// Paths and host identification.

import Base
import Policy
import Testing

private func path(_ text: String) throws -> Path { try Path(parsing: text, allowingWildcards: true) }

@Suite struct PathTests {
  @Test(
    "a path is read into its segments and written as it was read",
    arguments: [
      ("/", []), ("/svc", ["svc"]), ("/svc/web", ["svc", "web"]), ("/#/file/web", ["#", "file", "web"]),
      ("/#/dns/api.example.com/8080", ["#", "dns", "api.example.com", "8080"]), ("/svc/[::1]", ["svc", "[::1]"]),
      ("/a/...", ["a", "..."]), ("/A_b~c+d@e$f%g", ["A_b~c+d@e$f%g"]),
    ])
  func parses(text: String, segments: [String]) throws {
    let path = try Path(parsing: text)
    #expect(path.segments == segments)
    #expect(path.description == text)
    #expect(try Path(parsing: path.description) == path)
  }

  @Test(
    "what is no path is refused where it stops being one",
    arguments: [
      ("", 0, .noLeadingSlash), ("svc/web", 0, .noLeadingSlash), ("//", 1, .emptySegment), ("/svc/", 5, .emptySegment),
      ("/svc//web", 5, .emptySegment), ("/svc/.", 5, .dotSegment), ("/../etc", 1, .dotSegment),
      ("/svc/a b", 6, .badByte(0x20)), ("/svc/a\u{0}b", 6, .badByte(0)), ("/svc/é", 5, .badByte(0xC3)),
      ("/svc/a;b", 6, .badByte(0x3B)), ("/svc/*", 5, .wildcardNotAllowed), ("/svc/a*", 6, .badByte(0x2A)),
      ("/svc/a=>b", 7, .badByte(0x3E)), ("/svc/a|b", 6, .badByte(0x7C)), ("/svc/a\\b", 6, .badByte(0x5C)),
    ] as [(String, Int, PathError.Reason)])
  func refuses(text: String, byteOffset: Int, reason: PathError.Reason) {
    let error = #expect(throws: PathError.self) { try Path(parsing: text) }
    #expect(error?.byteOffset == byteOffset)
    #expect(error?.reason == reason)
    #expect(error?.description.contains("byte \(byteOffset)") == true)
  }

  @Test("segments read elsewhere make a path when each of them is one")
  func fromSegments() throws {
    #expect(try Path(segments: []) == .root)
    #expect(try Path(segments: ["svc", "a=b"]) == path("/svc/a=b"))
    for segments in [["svc", "a/b"], ["a/b"], [""], ["svc", ""], [".."], ["*"], ["/"], ["a\n"]] {
      #expect(throws: PathError.self) { try Path(segments: segments) }
    }
    #expect(try Path(segments: ["*"], allowingWildcards: true).segments == ["*"])
  }

  @Test(
    "a word is a segment where it could stand in a path",
    arguments: [
      ("web", true), ("...", true), ("[::1]", true), ("a~b", true), ("#", true), ("", false), (".", false),
      ("..", false), ("*", false), ("a/b", false), ("/", false), ("a b", false), ("é", false),
    ])
  func segments(word: String, expected: Bool) {
    #expect(Path.isSegment(word) == expected)
    #expect(((try? Path(segments: ["svc", word])) != nil) == expected)
  }

  @Test("a prefix is replaced, the rest stays")
  func replacing() throws {
    let entry = try DelegationEntry(prefix: path("/svc/*"), destination: path("/#/file/web"))
    #expect(try entry.rewrite(path("/svc/web/x"), to: path("/#/file/web")) == path("/#/file/web/x"))
    #expect(try DelegationEntry(prefix: path("/svc"), destination: .root).rewrite(path("/svc"), to: .root) == .root)
    #expect(try path("/#/file").isBound && !path("/svc/#").isBound && !Path.root.isBound)
  }

  @Test("lengths are bounded")
  func lengths() throws {
    let longest = String(repeating: "a", count: 255)
    #expect(try Path(parsing: "/" + longest).segments == [longest])
    #expect(throws: PathError(text: "/a" + longest, byteOffset: 256, reason: .segmentTooLong)) {
      try Path(parsing: "/a" + longest)
    }
    let many = String(repeating: "/a", count: 513)
    #expect(throws: PathError(text: many, byteOffset: 1024, reason: .tooLong)) { try Path(parsing: many) }
  }

  @Test(
    "a prefix matches whole segments",
    arguments: [
      ("/svc/web", "/", true), ("/svc/web", "/svc", true), ("/svc/web", "/svc/web", true), ("/svc/web", "/sv", false),
      ("/svc/web", "/svc/we", false), ("/svc/web", "/svc/web/x", false), ("/svc/web", "/svc/*", true),
      ("/svc/web", "/*/web", true), ("/svc/web", "/*/*/*", false), ("/svc/web", "/*/api", false),
    ])
  func prefixes(name: String, prefix: String, expected: Bool) throws {
    #expect(try path(name).hasPrefix(path(prefix)) == expected)
  }
}

@Suite struct HostIdentifierTests {
  private func identify(_ host: [UInt8]) throws -> Path {
    try host.withUnsafeBytes { bytes throws(HostRefusal) in try HostIdentifier().identify(bytes) }
  }

  @Test(
    "a host becomes a name without port, in lower case",
    arguments: [
      ("shop.local", "shop.local"), ("shop.local:8080", "shop.local"), ("SHOP.Local:80", "shop.local"),
      ("shop.local.", "shop.local"), ("shop.local.:80", "shop.local"), ("shop:", "shop"), ("10.1.2.3:9", "10.1.2.3"),
      ("[::1]:80", "[::1]"), ("[2001:DB8::1]", "[2001:db8::1]"), ("a_b-c.d", "a_b-c.d"), ("x:65535", "x"),
      ("x:0000000000000000000080", "x"),
    ])
  func identifies(host: String, name: String) throws {
    #expect(try identify(Array(host.utf8)).description == "/svc/" + name)
  }

  @Test(
    "what cannot be a name is refused",
    arguments: [
      ("", .empty), (":80", .empty), (".", .empty), ("..", .emptyLabel), ("a..b", .emptyLabel),
      (".hidden", .emptyLabel), ("a/b", .badByte(0x2F)), ("../etc", .emptyLabel), ("a b", .badByte(0x20)),
      ("a\tb", .badByte(9)), ("a\u{0}", .badByte(0)), ("a\r\n", .badByte(13)), ("#", .badByte(0x23)),
      ("*", .badByte(0x2A)), ("user@host", .badByte(0x40)), ("a%2fb", .badByte(0x25)), ("é", .badByte(0xC3)),
      ("a:b", .badPort), ("a:80:80", .badPort), ("a:65536", .badPort), ("a:-1", .badPort), ("::1", .badPort),
      ("a:99999999999999999999", .badPort), ("[::1", .badLiteral), ("[]", .badLiteral), ("[1]", .badLiteral),
      ("[::g]", .badLiteral), ("[::1]x", .badPort), ("[fe80::1%25eth0]", .badLiteral), ("[::1]:", nil),
      ("[" + String(repeating: ":", count: 50) + "]", .badLiteral), (String(repeating: "a", count: 261), .tooLong),
    ] as [(String, HostRefusal?)])
  func refuses(host: String, refusal: HostRefusal?) {
    guard let refusal else {
      #expect(throws: Never.self) { try identify(Array(host.utf8)) }
      return
    }
    #expect(throws: refusal) { try identify(Array(host.utf8)) }
  }

  @Test(
    "a written name is made the one requests have",
    arguments: [
      ("/svc/Web", "/svc/web"), ("/svc/WEB/X", "/svc/web/X"), ("/svc", "/svc"), ("/SVC/Web", "/SVC/Web"),
      ("/#/file/Web", "/#/file/Web"), ("/", "/"),
    ])
  func normalizes(written: String, name: String) throws {
    #expect(try HostIdentifier().normalized(path(written)) == path(name))
  }

  @Test("any bytes are either refused or become a path that reads back as itself")
  func anyBytes() throws {
    let seed = UInt64.random(in: 0 ... .max)
    print("HostIdentifierTests.anyBytes seed \(seed)")
    var random = RandomSource(seed: seed)
    let alphabet = Array("abZ09.:-_[]%/ @#*\u{0}\u{7F}é".utf8)
    var accepted = 0
    for _ in 0..<50_000 {
      let host = (0..<random.next(below: 12)).map { _ in
        random.next(below: 8) == 0
          ? UInt8(truncatingIfNeeded: random.next()) : alphabet[Int(random.next(below: UInt32(alphabet.count)))]
      }
      guard let name = try? identify(host) else { continue }
      accepted += 1
      #expect(try Path(parsing: name.description) == name, "seed \(seed)")
      #expect(name.segments.count == 2, "seed \(seed)")
    }
    #expect(accepted > 500)
  }
}

@Suite("Host names")
struct DNSNameTests {
  @Test(
    "are labels of letters, digits, '-' and '_'",
    arguments: ["web", "a.b-c.d_e", "_http._tcp.web.local", "1.2.3.4", "A"])
  func good(_ name: String) { #expect(DNSName.isHostName(name)) }

  @Test(
    "have no empty or long labels, no other bytes, and an end",
    arguments: [
      "", ".", "a.", ".a", "a..b", "a b", "a/b", "é", "a:b", "[::1]", String(repeating: "a", count: 64),
      String(repeating: "a.", count: 127) + "a",
    ])
  func bad(_ name: String) { #expect(!DNSName.isHostName(name)) }
}
