// What becomes of names: entries, alternatives, unions, captures, rewriters, and the bounds on all of it.

import Base
import Policy
import Testing

private func path(_ text: String) throws -> Path { try Path(parsing: text, allowingWildcards: true) }

private func table(_ lines: [String]) throws -> Delegation {
  let parser = DelegationParser(Array(lines.joined(separator: ";").unicodeScalars), maximumEntryCount: 1000)
  try #require(parser.flaws == [])
  return Delegation(entries: parser.entries.map(\.value))
}

/// The one service of a binding.
private func service(_ binding: Binding) -> Path? {
  if case .bound(let tree) = binding { tree.single?.path } else { nil }
}

@Suite struct DelegationTests {
  private func known(_ path: Path) -> NameLookup {
    let names: Set = ["/#/file/web", "/#/file/api/v1", "/#/dns/web", "/#/dns/old"]
    return names.contains(path.description) ? .service(path, segmentCount: path.segments.count) : .negative
  }

  @Test(
    "names are bound, later entries first, earlier ones when those lead nowhere",
    arguments: [
      (["/svc => /#/file"], "/svc/web", "/#/file/web"),
      (["/svc => /#/file", "/svc => /#/dns"], "/svc/web", "/#/dns/web"),
      (["/svc => /#/dns", "/svc => /#/file"], "/svc/old", "/#/dns/old"),
      (["/svc => /#/dns", "/svc/old => /#/file/web"], "/svc/old", "/#/file/web"),
      (["/host => /#/file", "/svc => /host"], "/svc/web", "/#/file/web"),
      (["/svc => /#/file", "/svc/web => /svc/api/v1"], "/svc/web", "/#/file/api/v1"),
      (["/svc => /#/file", "/svc/a => /svc/b", "/svc/b => /svc/web"], "/svc/a", "/#/file/web"),
      (["/svc/a => /#/file/api"], "/svc/a/v1", "/#/file/api/v1"),
      (["/svc/* => /#/file"], "/svc/blue/web", "/#/file/web"),
      (["/svc => /#/file"], "/#/dns/web", "/#/dns/web"),
    ])
  func binds(lines: [String], logical: String, bound: String) throws {
    let binding = try table(lines).bind(path(logical)) { known($0) }
    #expect(try service(binding) == path(bound))
  }

  @Test(
    "a name nobody knows is negative and says where it was looked for",
    arguments: [
      ([], "/svc/web", []), (["/svc => /#/file"], "/host/web", []), (["/svc => /#/file"], "/svcs/web", []),
      (["/svc => /#/file", "/svc => /#/dns"], "/svc/new", ["/#/dns/new", "/#/file/new"]),
      (["/svc => /#/file"], "/svc", ["/#/file"]), (["/svc => /#/file"], "/svc/web/x", ["/#/file/web/x"]),
    ] as [([String], String, [String])])
  func negative(lines: [String], logical: String, tried: [String]) throws {
    let binding = try table(lines).bind(path(logical)) { known($0) }
    let expected = try NegativeBinding(logical: path(logical), tried: tried.map(path))
    #expect(binding == .negative(expected))
    #expect(expected.description.contains(logical))
  }

  @Test("a circle is an error that shows the way round, and not hidden by an entry that would do")
  func cycle() throws {
    let table = try table(["/svc => /#/file", "/svc/web => /svc/api", "/svc/api => /svc/web"])
    let binding = try table.bind(path("/svc/web")) { known($0) }
    let chain = try [path("/svc/web"), path("/svc/api"), path("/svc/web")]
    #expect(binding == .failed(BindingFailure(kind: .cycle, chain: chain)))
    guard case .failed(let failure) = binding else { return }
    #expect(failure.description.contains("/svc/web => /svc/api => /svc/web"))
  }

  @Test("a name that grows for ever ends after a hundred steps")
  func growth() throws {
    let binding = try table(["/svc => /svc/x"]).bind(path("/svc/web")) { .service($0, segmentCount: 3) }
    guard case .failed(let failure) = binding else {
      Issue.record("bound to \(binding)")
      return
    }
    #expect(failure.kind == .tooManySteps)
    #expect(failure.chain.count == Delegation.maximumDepth + 1)
  }

  @Test("ninety-nine steps in a row are well", arguments: [(99, true), (100, true), (101, false)])
  func depth(steps: Int, binds: Bool) throws {
    var lines = (0..<(steps - 1)).map { "/n\($0) => /n\($0 + 1)" }
    lines.append("/n\(steps - 1) => /#/file/web")
    let binding = try table(lines).bind(path("/n0")) { known($0) }
    #expect(try (service(binding) == path("/#/file/web")) == binds)
  }

  @Test("a table that fans out without end is given up, one that meets again is not")
  func fanOut() throws {
    let meeting = (0..<60).flatMap { ["/n\($0) => /n\($0 + 1)", "/n\($0) => /n\($0 + 1)"] }
    var asked = 0
    let negative = try table(meeting + ["/n60 => /#/file/none"]).bind(path("/n0")) { _ in
      asked += 1
      return .negative
    }
    #expect(try negative == .negative(NegativeBinding(logical: path("/n0"), tried: [path("/#/file/none")])))
    #expect(asked == 1)

    let spreading = (0..<20).flatMap { ["/n\($0) => /n\($0 + 1)/a", "/n\($0) => /n\($0 + 1)/b"] }
    guard case .failed(let failure) = try table(spreading).bind(path("/n0"), lookup: { _ in .negative }) else {
      Issue.record("two to the twentieth names were tried")
      return
    }
    #expect(failure.kind == .tooManySteps)
  }

  @Test(
    "right sides are trees: what does not exist falls away, what is empty stays",
    arguments: [
      ("@a | @b", "@a"), ("@no | @b", "@b"), ("@no |! @b", "@b"), ("@a |! @b", "(@a |! @b)"),
      ("@a |! @no | @c", "(@a |! @c)"), ("@a |! @b | @c", "(@a |! @b)"),
      ("@a |! @b |! @c", "(@a |! @b |! @c)"), ("(@a |! @b) |! @c", "(@a |! @b |! @c)"),
      ("(@a |! @b) | @c", "(@a |! @b)"), ("@no | @no", "negative"), ("~", "negative"),
      ("~ | @a", "@a"), ("! | @a", "refused"), ("~ | !", "refused"), ("@a | !", "@a"),
      ("@a |! !", "(@a |! !)"), ("$", "$"), ("$ | @a", "$"), ("$ |! @a", "@a"), ("$ |! $", "$"),
      ("@a |! $", "(@a |! $)"), ("$ |! !", "refused"), ("3 * @a & @b", "[0.75 @a & 0.25 @b]"),
      ("@a & @b & 2 * @c", "[0.25 @a & 0.25 @b & 0.5 @c]"),
      ("3 * @a & 5 * @no & @b", "[0.75 @a & 0.25 @b]"), ("9 * @no & 1 * @b", "@b"),
      ("@no & ~", "negative"), ("0 * @a & @b", "@b"), ("0 * @a & @no", "@a"),
      ("0 * @a & 0 * @b & @no", "[0.5 @a & 0.5 @b]"), ("@a & !", "[0.5 @a & 0.5 !]"),
      ("@a & @b | @c", "[0.5 @a & 0.5 @b]"), ("@a & @b |! @c", "([0.5 @a & 0.5 @b] |! @c)"),
      ("@no | @a & (@b |! @c)", "[0.5 @a & 0.5 (@b |! @c)]"),
      ("(@a & @b) & 2 * @c", "[0.3333 [0.5 @a & 0.5 @b] & 0.6667 @c]"), ("! & !", "[0.5 ! & 0.5 !]"),
      ("/n | @a", "[0.5 @b & 0.5 @c]"), ("/lost | @a", "@a"), ("/gone |! @a", "refused"),
    ])
  func trees(right: String, expected: String) throws {
    let table = try table(["/n => /#/x/b & /#/x/c", "/gone => !", "/svc => \(names(right))"])
    let binding = try table.bind(path("/svc")) { known(abc: $0) }
    #expect(shape(binding) == names(expected))
    #expect(try table.explain(path("/svc")) { known(abc: $0) }.binding == binding)
  }

  /// `@a` is short for `/#/x/a`, which there is; of `a` to `c` no other.
  private func names(_ text: String) -> String { text.map { $0 == "@" ? "/#/x/" : String($0) }.joined() }

  private func known(abc path: Path) -> NameLookup {
    ["a", "b", "c"].contains(path.segments[2]) ? .service(path, segmentCount: 3) : .negative
  }

  /// A binding as a line of text.
  private func shape(_ binding: Binding) -> String {
    switch binding {
    case .negative: return "negative"
    case .pending(let names): return "pending \(names.map(\.description).joined(separator: " "))"
    case .failed(let failure): return failure.kind == .refused ? "refused" : "failed"
    case .bound(let tree): return shape(tree, 0)
    }
  }

  private func shape(_ tree: BoundTree, _ index: Int) -> String {
    let node = tree.nodes[index]
    let children = node.kind == .service ? 0..<0 : Int(node.first)..<Int(node.first + node.count)
    for child in children { #expect(tree.nodes[child].parent == UInt32(index)) }
    switch node.kind {
    case .service: return tree.leaves[Int(node.first)].description
    case .failure: return "!"
    case .empty: return "$"
    case .fallback: return "(" + children.map { shape(tree, $0) }.joined(separator: " |! ") + ")"
    case .union:
      var before = 0.0
      let parts = children.map { child in
        let end = child == children.last ? 1 : Double(tree.nodes[child].shareEnd) / 4_294_967_296
        defer { before = end }
        return "\(((end - before) * 10_000).rounded() / 10_000) \(shape(tree, child))"
      }
      return "[" + parts.joined(separator: " & ") + "]"
    }
  }

  @Test("segments after the service's are dropped, and a service is one leaf however often it is named")
  func residuals() throws {
    let binding = try table(["/svc => /#/x/a & /#/x/a/y | /#/x/b"]).bind(path("/svc/rest")) { known(abc: $0) }
    guard case .bound(let tree) = binding else {
      Issue.record("\(binding)")
      return
    }
    #expect(tree.leaves.map(\.description) == ["/#/x/a"])
    #expect(tree.nodes.count == 3 && tree.single == nil)
    #expect(tree.leaves[0].prefix(segments: 99) == tree.leaves[0])
  }

  @Test(
    "what a discovery does not know yet is waited for, if it may matter",
    arguments: [
      ("/#/x/w1", "pending /#/x/w1"), ("/#/x/a | /#/x/w1", "/#/x/a"), ("/#/x/w1 | /#/x/a", "pending /#/x/w1"),
      ("/#/x/w1 | /#/x/w2", "pending /#/x/w1"), ("/#/x/w1 |! /#/x/w2", "pending /#/x/w1 /#/x/w2"),
      ("/#/x/a |! /#/x/w1", "pending /#/x/w1"), ("/#/x/w1 & /#/x/a & /#/x/w2", "pending /#/x/w1 /#/x/w2"),
      ("/#/x/w1 & /#/x/w1", "pending /#/x/w1"), ("/#/x/no | /#/x/w1", "pending /#/x/w1"), ("! | /#/x/w1", "refused"),
      ("/#/x/w1 & /round", "failed"),
    ])
  func pending(right: String, expected: String) throws {
    let table = try table(["/svc => /#/x/b", "/round => /round", "/svc => \(right)"])
    let binding = try table.bind(path("/svc")) { $0.segments[2].hasPrefix("w") ? .pending : known(abc: $0) }
    #expect(shape(binding) == expected)
  }

  @Test(
    "what a prefix's * matched stands where the right side says",
    arguments: [
      ("/svc/* => /#/x/{1}", "/svc/a", "/#/x/a"), ("/svc/* => /#/x/{1}", "/svc/a/rest", "/#/x/a/rest"),
      ("/svc/*/* => /#/{1}/{2}", "/svc/x/a", "/#/x/a"), ("/svc/*/* => /#/{2}/{1}", "/svc/a/x", "/#/x/a"),
      ("/*/*/*/*/*/*/*/*/* => /#/x/{9}{1}", "/1/2/3/4/5/6/7/8/9", "/#/x/91"),
      ("/svc/* => /#/x/{1}-v2.{1}", "/svc/a", "/#/x/a-v2.a"), ("/svc/* => /#/x", "/svc/a/b", "/#/x/b"),
      ("/svc/*/=>/#/x/{1}", "", ""),
    ])
  func captures(line: String, logical: String, bound: String) throws {
    if logical.isEmpty {
      #expect(DelegationParser(Array(line.unicodeScalars), maximumEntryCount: 1).flaws.count == 1)
      return
    }
    let binding = try table([line]).bind(path(logical)) { .service($0, segmentCount: 9) }
    #expect(try service(binding) == path(bound))
  }

  @Test("a capture that makes a segment too long is no name, and one that grows for ever ends")
  func longCaptures() throws {
    let long = String(repeating: "a", count: 128)
    let twice = try table(["/svc/* => /#/x/{1}{1}"])
    let fits = try twice.bind(path("/svc/" + long.dropLast())) { .service($0, segmentCount: 3) }
    #expect(service(fits)?.segments[2].utf8.count == 254)
    let over = try twice.bind(path("/svc/" + long)) { .service($0, segmentCount: 3) }
    guard case .negative = over else {
      Issue.record("\(over)")
      return
    }
    let growing = try table(["/svc/* => /svc/{1}/\(long)/\(long)/\(long)"])
    guard case .failed(let failure) = try growing.bind(path("/svc/a"), lookup: { _ in .negative }) else {
      Issue.record("a name grew for ever")
      return
    }
    #expect(failure.kind == .nameTooLong)
    #expect(failure.description.utf8.count < 4096)
  }

  @Test(
    "rewriters take hosts apart",
    arguments: [
      ("/#/rewrite/hostport/dns/a.example:8080", "/dns/a.example/8080"),
      ("/#/rewrite/hostport/dns/a.example", "/dns/a.example"),
      ("/#/rewrite/hostport/dns/[::1]:80/x", "/dns/[::1]/80/x"),
      ("/#/rewrite/hostport/dns/[::1]", "/dns/[::1]"), ("/#/rewrite/hostport/dns/a:080", "/dns/a/80"),
      ("/#/rewrite/hostport/dns/a:0", nil), ("/#/rewrite/hostport/dns/a:65536", nil),
      ("/#/rewrite/hostport/dns/a:", nil),
      ("/#/rewrite/hostport/dns/:80", nil), ("/#/rewrite/hostport/dns/a:b", nil), ("/#/rewrite/hostport/dns/[::1", nil),
      ("/#/rewrite/hostport/dns/[::1]80", nil), ("/#/rewrite/hostport/dns/a:80:80", nil),
      ("/#/rewrite/hostport/dns/.:80", nil), ("/#/rewrite/hostport/#/a:80", nil), ("/#/rewrite/hostport/dns", nil),
      ("/#/rewrite/hostport", nil), ("/#/rewrite", nil), ("/#/rewrite/other/dns/a", nil),
      ("/#/rewrite/porthost/p/a:80/x", "/p/80/a/x"), ("/#/rewrite/porthost/p/a", nil),
      ("/#/rewrite/domain/d/www.example.com/x", "/d/com/example/www/x"), ("/#/rewrite/domain/d/a..b", nil),
      ("/#/rewrite/domain/d/com", "/d/com"), ("/#/rewrite/subdomain/example.com/s/a.example.com/x", "/s/a/x"),
      ("/#/rewrite/subdomain/example.com/s/A.b.Example.COM", "/s/a.b"),
      ("/#/rewrite/subdomain/example.com/s/example.com", nil), ("/#/rewrite/subdomain/example.com/s/.example.com", nil),
      ("/#/rewrite/subdomain/example.com/s/aexample.com", nil), ("/#/rewrite/subdomain/example.com/s", nil),
      ("/#/file/a", nil),
    ] as [(String, String?)])
  func rewriters(name: String, expected: String?) throws {
    let rewritten = try NameRewriter.rewrite(path(name))
    #expect(rewritten?.description == expected)
    if let rewritten { #expect(try path(rewritten.description) == rewritten) }
  }

  @Test("the delegation goes on with what a rewriter makes, and circles through one are found")
  func rewriting() throws {
    let lines = ["/dns => /#/x", "/svc => /#/rewrite/hostport/dns", "/r => /#/rewrite/domain/r"]
    let table = try table(lines)
    let binding = try table.bind(path("/svc/a:80")) { .service($0, segmentCount: 4) }
    #expect(try service(binding) == path("/#/x/a/80"))
    let none = try table.bind(path("/svc/a:b")) { .service($0, segmentCount: 4) }
    #expect(shape(none) == "negative")
    guard case .failed(let failure) = try table.bind(path("/r/a"), lookup: { _ in .negative }) else {
      Issue.record("a circle was not found")
      return
    }
    #expect(failure.kind == .cycle)
  }

  @Test("a prefix of no segments matches every name")
  func rootPrefix() throws {
    let table = try Delegation(entries: [DelegationEntry(prefix: .root, destination: path("/#/file"))])
    #expect(try service(table.bind(path("/web")) { known($0) }) == path("/#/file/web"))
  }

  @Test("a binding takes no more expansions than it may", arguments: [(11, true), (10, false)])
  func expansions(most: Int, binds: Bool) throws {
    let table = try table((0..<10).map { "/n\($0) => /n\($0 + 1)" } + ["/n10 => /#/x/a"])
    let binding = try table.bind(path("/n1"), expansions: most) { known(abc: $0) }
    #expect(shape(binding) == (binds ? "/#/x/a" : "failed"))
  }

  @Test("what a request brings along wins")
  func override() throws {
    let table = try table(["/svc => /#/x/a"]).appending([
      DelegationEntry(prefix: path("/svc"), destination: path("/#/x/b"))
    ])
    #expect(try service(table.bind(path("/svc")) { known(abc: $0) }) == path("/#/x/b"))
  }

  @Test("a binding is explained step by step, and what was not needed is told")
  func explained() throws {
    let table = try table([
      "/svc => /#/dns", "/svc/new => ~ | /svc/web |! /#/dns/old | /#/none/x", "/svc => 3 * /#/file & /#/file/web",
    ])
    let (binding, steps) = try table.explain(path("/svc/new")) { known($0) }
    #expect(shape(binding) == "(/#/file/web |! /#/dns/old)")
    let three = try #require(DelegationWeight(parsing: "3"))
    let expected = try [
      DelegationStep(depth: 0, kind: .name(path("/svc/new")), outcome: .delegated),
      DelegationStep(depth: 1, kind: .entry(2), outcome: .negative),
      DelegationStep(depth: 2, kind: .union, outcome: .negative),
      DelegationStep(depth: 3, kind: .name(path("/#/file/new")), role: .branch(three), outcome: .negative),
      DelegationStep(depth: 3, kind: .name(path("/#/file/web/new")), role: .branch(.one), outcome: .negative),
      DelegationStep(depth: 1, kind: .entry(1), outcome: .delegated),
      DelegationStep(depth: 2, kind: .alternatives, outcome: .delegated),
      DelegationStep(depth: 3, kind: .negative, outcome: .negative),
      DelegationStep(depth: 3, kind: .name(path("/svc/web")), role: .otherwise, outcome: .delegated),
      DelegationStep(depth: 4, kind: .entry(2), outcome: .delegated),
      DelegationStep(depth: 5, kind: .union, outcome: .delegated),
      DelegationStep(
        depth: 6, kind: .name(path("/#/file/web")), role: .branch(three),
        outcome: .bound(try #require(BoundName(path("/#/file/web"))))),
      DelegationStep(depth: 6, kind: .name(path("/#/file/web/web")), role: .branch(.one), outcome: .negative),
      DelegationStep(depth: 4, kind: .entry(0), outcome: .notTried),
      DelegationStep(
        depth: 3, kind: .name(path("/#/dns/old")), role: .otherwiseWhenEmpty,
        outcome: .bound(try #require(BoundName(path("/#/dns/old"))))),
      DelegationStep(depth: 3, kind: .name(path("/#/none/x")), role: .otherwise, outcome: .notTried),
      DelegationStep(depth: 1, kind: .entry(0), outcome: .notTried),
    ]
    #expect(steps == expected)
  }

  @Test("an explanation of a table that fans out is cut")
  func longExplanation() throws {
    let spreading = (0..<20).flatMap { ["/n\($0) => /n\($0 + 1)/a", "/n\($0) => /n\($0 + 1)/b"] }
    let (binding, steps) = try table(spreading).explain(path("/n0")) { _ in .negative }
    #expect(shape(binding) == "failed" && steps.count == Delegation.maximumStepsShown)
    #expect(steps[0].outcome == .failed(.tooManySteps))
  }
}
