// The language of delegation tables: what is read, what is refused and where, and the bounds on it.

import Base
import Policy
import Testing

private func parse(_ text: String, entries: Int = 1000) -> DelegationParser {
  DelegationParser(Array(text.unicodeScalars), maximumEntryCount: entries)
}

@Suite struct DelegationParserTests {
  @Test(
    "what is written down of an entry is what it was read from",
    arguments: [
      ("/svc=>/#/a", "/svc => /#/a"), ("/svc => /a | /b |! /c", "/svc => /a | /b |! /c"),
      ("/svc=>/a|/b|!/c", "/svc => /a | /b |! /c"), ("/svc => 0.95*/a&0.05*/b", "/svc => 0.95 * /a & 0.05 * /b"),
      ("/svc => 1 * /a & 1.0 * /b", "/svc => /a & /b"), ("/svc => 3 * /a", "/svc => /a"),
      ("/svc => (/a)", "/svc => /a"),
      ("/svc => ((/a | /b)) | /c", "/svc => (/a | /b) | /c"),
      ("/svc => /a & /b | /c & /d", "/svc => /a & /b | /c & /d"),
      ("/svc => /a & (/b | /c)", "/svc => /a & (/b | /c)"),
      ("/svc => 2 * (/a & /b) & /c", "/svc => 2 * (/a & /b) & /c"),
      ("/svc => !", "/svc => !"), ("/svc => ~|$", "/svc => ~ | $"), ("/svc => /a | !", "/svc => /a | !"),
      ("/svc => /a |! !", "/svc => /a |! !"), ("/svc => (!)&$", "/svc => ! & $"),
      ("/svc/*/a => /#/{1}/x{1}y", "/svc/*/a => /#/{1}/x{1}y"),
      ("/svc => 0.000001 * /a & 1000000 * /b", "/svc => 0.000001 * /a & 1000000 * /b"),
      ("/svc => # comment\n /a # more ; of it\n | /b ; # end", "/svc => /a | /b"),
      ("/svc/Web => /svc/API", "/svc/web => /svc/api"),
    ])
  func reads(text: String, expected: String) throws {
    let parser = parse(text)
    #expect(parser.flaws == [])
    let entry = try #require(parser.entries.first)
    #expect(parser.entries.count == 1)
    #expect(entry.value.description == expected)
    let again = parse(entry.value.description)
    #expect(again.entries.map(\.value) == [entry.value])
    let scalars = Array(text.unicodeScalars)
    let names = entry.nameRanges.map { String(String.UnicodeScalarView(scalars[$0])).lowercased() }
    #expect(names == entry.value.destination.names.map { $0.description.lowercased() })
  }

  @Test(
    "what cannot be read is refused at its place",
    arguments: [
      ("/svc => /a |", 12, 12, "a name such as /#/static must follow '|'"),
      ("/svc => /a |!;", 13, 14, "a name such as /#/static must follow '|!' (for a failure write '| !'), not ';'"),
      ("/svc => /a &", 12, 12, "a name such as /#/static must follow '&'"),
      ("/svc => & /a", 8, 9, "a name such as /#/static must follow '=>', not '&'"),
      ("/svc => 0.5 /a", 12, 14, "'*' and a name must follow the weight 0.5"),
      ("/svc => 0.5", 11, 11, "'*' and a name must follow the weight 0.5"),
      ("/svc => 0.5 * ", 14, 14, "a name such as /#/static must follow '*'"),
      ("/svc => 0.5 * 0.5 * /a", 14, 17, "a name such as /#/static must follow '*', not '0.5'"),
      (
        "/svc => 1.2.3 * /a", 8, 13,
        "a weight is a number from 0 to 1000000 with at most six decimals, not '1.2.3'"
      ),
      (
        "/svc => 1000001 * /a", 8, 15,
        "a weight is a number from 0 to 1000000 with at most six decimals, not '1000001'"
      ),
      (
        "/svc => 0.0000001 * /a", 8, 17,
        "a weight is a number from 0 to 1000000 with at most six decimals, not '0.0000001'"
      ),
      ("/svc => -1 * /a", 8, 10, "a name such as /#/static must follow '=>', not '-1'"),
      ("/svc => 0 * /a & 0 * /b", 8, 9, "all weights of this union are 0, so no request has anywhere to go"),
      ("/svc => (/a | /b", 8, 9, "this '(' has no ')'"), ("/svc => /a)", 10, 11, "this ')' has no '('"),
      ("/svc => ()", 9, 10, "a name such as /#/static must follow '(', not ')'"),
      ("/svc => $x", 8, 10, "a name such as /#/static must follow '=>', not '$x'"),
      ("/svc => /a/*", 11, 12, "'*' stands for any one segment of a prefix; write {1} for what the first one matched"),
      ("/svc => /a*", 10, 11, "a name has letters, digits and any of -._~:#$%+=@[], not '*'"),
      ("/svc* => /a", 4, 5, "a name has letters, digits and any of -._~:#$%+=@[], not '*'"),
      ("/svc/{1} => /a", 5, 6, "a name has letters, digits and any of -._~:#$%+=@[], not '{'"),
      ("/svc => /a/{1}", 11, 14, "{1} is what the prefix's '*' number 1 matched, and it has no '*'"),
      ("/svc/* => /a/{1}/{2}", 17, 20, "{2} is what the prefix's '*' number 2 matched, and it has only 1"),
      ("/svc/* => /a/{0}", 10, 16, "'/a/{0}' is not a name: '{' cannot be part of a path"),
      ("/svc/* => /a/{1", 10, 15, "'/a/{1' is not a name: '{' cannot be part of a path"),
      ("/svc/* => /a/1}", 10, 15, "'/a/1}' is not a name: '}' cannot be part of a path"),
      ("/svc => /a | /", 13, 14, "'/' is not a name: remove the '/' at its end"),
      ("/svc", 4, 4, "'=>' is missing after the prefix /svc"),
      ("/svc => /a /b => /c", 11, 13, "';' is missing between two entries"),
      ("/svc => /a\u{1}", 10, 11, "a name has letters, digits and any of -._~:#$%+=@[], not '\u{FFFD}'"),
    ])
  func refuses(text: String, start: Int, end: Int, message: String) {
    let flaws = parse(text).flaws
    #expect(flaws.first == DelegationParser.Flaw(range: start..<end, message: message))
    #expect(flaws.count == 1)
  }

  @Test("all mistakes are found, and what is between them is read")
  func recovery() {
    let parser = parse("/a => | ; /b => /x ; c # ; \n ; /d => /y; /e => (/z ; /f => /w")
    #expect(parser.flaws.map(\.range.lowerBound) == [6, 21, 47])
    #expect(parser.entries.map(\.value.description) == ["/b => /x", "/d => /y", "/f => /w"])
  }

  @Test("parentheses are nested only so deep", arguments: [(16, true), (17, false), (100_000, false)])
  func nesting(depth: Int, isRead: Bool) {
    let text = "/a => " + String(repeating: "(", count: depth) + "/b" + String(repeating: ")", count: depth)
    let parser = parse(text)
    #expect(parser.flaws.isEmpty == isRead)
    if !isRead { #expect(parser.flaws[0].range == 22..<23) }
  }

  @Test("an entry has only so many names", arguments: [(64, true), (65, false)])
  func names(count: Int, isRead: Bool) {
    #expect(parse("/a => " + Array(repeating: "/b", count: count).joined(separator: " & ")).flaws.isEmpty == isRead)
    #expect(parse("/a => " + Array(repeating: "/b", count: count).joined(separator: " | ")).flaws.isEmpty == isRead)
  }

  @Test("a table has only so many entries", arguments: [(64, true), (65, false)])
  func entries(count: Int, isRead: Bool) {
    let parser = parse(String(repeating: "/a=>/b;", count: count), entries: 64)
    #expect(parser.flaws.isEmpty == isRead)
    #expect(parser.entries.count == 64)
    if !isRead { #expect(parser.flaws[0].message == "the delegation table has more than 64 entries") }
  }

  private func header(_ text: String) throws -> [DelegationEntry] {
    try Array(text.utf8).withUnsafeBytes { bytes in try Delegation.entries(ofHeader: bytes) }
  }

  @Test("a header's delegation is read in its bounds, its first mistake told by its byte")
  func headers() throws {
    #expect(
      try header("/svc/web => /#/file/web-2 | /svc/old ;").map(\.description) == [
        "/svc/web => /#/file/web-2 | /svc/old"
      ])
    #expect(try header("").isEmpty)
    let flaw = #expect(throws: DelegationParser.Flaw.self) { try header("/svc => /é ; x") }
    #expect(flaw?.range == 9..<10)
    let longest = "/svc => /#/x ;" + String(repeating: " ", count: 8192 - 14)
    #expect(try header(longest).count == 1)
    let over = #expect(throws: DelegationParser.Flaw.self) { try header(longest + " ") }
    #expect(over == DelegationParser.Flaw(range: 8192..<8193, message: "the delegation is longer than 8192 bytes"))
    #expect(try header(String(repeating: "/a=>/b;", count: 64)).count == 64)
    #expect(throws: DelegationParser.Flaw.self) { try header(String(repeating: "/a=>/b;", count: 65)) }
  }

  @Test("weights are written as they were read", arguments: ["0", "1", "0.5", "0.05", "12.000001", "1000000", "7.25"])
  func weights(text: String) throws {
    #expect(try #require(DelegationWeight(parsing: text)).description == text)
  }

  @Test("whatever the bytes, reading ends, places lie in the text, and what was read reads back")
  func anything() {
    let seed = UInt64.random(in: 0 ... .max)
    print("DelegationParserTests.anything seed \(seed)")
    var random = RandomSource(seed: seed)
    let pieces = [
      "/svc", "/a", "/*", "/{1}", " => ", "=>", ";", " ; ", "|", "|!", "&", "!", "~", "$", "(", ")", "0.5 * ", "2*",
      " ", "#", "\n", "é", "/", "/#/x",
    ]
    for _ in 0..<6_000 {
      var text = random.next(below: 2) == 0 ? "/svc/* => " : ""
      for _ in 0..<random.next(below: 14) { text += pieces[Int(random.next(below: UInt32(pieces.count)))] }
      let parser = parse(text)
      let count = text.unicodeScalars.count
      for flaw in parser.flaws {
        #expect(flaw.range.lowerBound >= 0 && flaw.range.upperBound <= count, "seed \(seed): \(text)")
      }
      for entry in parser.entries {
        let again = parse(entry.value.description)
        #expect(again.flaws.isEmpty && again.entries.map(\.value) == [entry.value], "seed \(seed): \(text)")
      }
    }
  }
}
