// The index against a matcher that knows nothing of it: for any rules and any request both name the same rule.

import Base
import HTTP
import Policy
import Testing

@Suite("Route index")
struct RouteIndexTests {
  /// Small alphabets, so that rules meet requests and each other.
  private struct Generator {
    var random: RandomSource

    mutating func pick<Value>(_ values: [Value]) -> Value { values[Int(random.next(below: UInt32(values.count)))] }

    mutating func chance(_ parts: UInt32, of whole: UInt32) -> Bool { random.next(below: whole) < parts }

    mutating func path() -> String {
      let segments = (0..<random.next(below: 5)).map { _ in pick(["a", "b", "ab", "", "v1", "longer-segment"]) }
      let path = segments.map { "/\($0)" }.joined()
      return path.isEmpty ? "/" : chance(1, of: 4) ? "\(path)/" : path
    }

    mutating func host() -> String {
      (0...random.next(below: 3)).map { _ in pick(["a", "b", "local"]) }.joined(separator: ".")
    }

    mutating func rule() -> Route {
      var hosts: [String] = []
      while chance(1, of: 2), hosts.count < 3 { hosts.append(chance(1, of: 3) ? "*.\(host())" : host()) }
      var path: RouteMatch.PathMatch?
      switch random.next(below: 5) {
      case 0: path = .exact(self.path())
      case 1, 2: path = .prefix(self.path())
      case 3: path = .regex(whole(pick(Self.patterns)))
      default: break
      }
      return route(
        hosts: hosts, path, methods: chance(1, of: 5) ? [pick(["GET", "POST", "PURGE"])] : [],
        headers: chance(1, of: 5) ? [header()] : [],
        query: chance(1, of: 6)
          ? [.init(name: pick(["q", "r"]), value: chance(1, of: 2) ? .present : .exact("1"))] : [],
        workloads: chance(1, of: 6) ? [pick(["other", "web"])] : [])
    }

    mutating func header() -> RouteMatch.HeaderMatch {
      .init(
        name: pick(["x-a", "x-b"]), value: chance(1, of: 2) ? .present : .exact(pick(["1", "2"])),
        isInverted: chance(1, of: 3))
    }

    static let patterns = ["/a/.*", "/v[0-9]/.*", "/ab?", "/a/b|/b/a", "/a/b+/.*", ".*/b", "^/ab/v1$", "/(a|b)/.*"]
  }

  /// What a request says, apart.
  private struct Sample {
    var method: String
    var host: String
    var path: String
    var query: [(String, String)]
    var fields: [(String, String)]
    var workload: String

    init(_ generator: inout Generator) {
      method = generator.pick(["GET", "POST", "PURGE"])
      host = generator.host()
      path = generator.path()
      query = generator.chance(1, of: 2) ? [] : [(generator.pick(["q", "r"]), generator.pick(["1", "2"]))]
      fields = generator.chance(1, of: 2) ? [] : [(generator.pick(["x-a", "x-b"]), generator.pick(["1", "2"]))]
      workload = generator.pick(["other", "web"])
    }

    var text: String {
      let query = query.isEmpty ? "" : "?" + query.map { "\($0.0)=\($0.1)" }.joined(separator: "&")
      return request("\(method) \(path)\(query)", host: host, fields.map { "\($0.0): \($0.1)\r\n" }.joined())
    }

    func matches(_ rule: Route) -> Bool {
      let match = rule.match
      let names = match.hosts.map(\.description)
      let hostMatches =
        names.isEmpty || names.contains { $0.hasPrefix("*") ? host.hasSuffix($0.dropFirst()) : $0 == host }
      guard hostMatches, match.methods.isEmpty || match.methods.contains(method) else { return false }
      guard match.workloads.isEmpty || match.workloads.contains(workload) else { return false }
      for header in match.headers {
        let found = fields.contains { $0.0 == header.name && Self.matches(header.value, $0.1) }
        if found == header.isInverted { return false }
      }
      for condition in match.query {
        if !query.contains(where: { $0.0 == condition.name && Self.matches(condition.value, $0.1) }) { return false }
      }
      switch match.path {
      case nil: return true
      case .exact(let text): return path == text
      case .prefix(let text):
        return path == text || path.hasPrefix(text.hasSuffix("/") ? text : "\(text)/")
      case .regex(let pattern): return (try? Regex(pattern.text).wholeMatch(in: path)) != nil
      }
    }

    static func matches(_ condition: RouteMatch.TextMatch, _ value: String) -> Bool {
      switch condition {
      case .present: true
      case .exact(let text): text == value
      case .prefix, .regex: false
      }
    }
  }

  @Test("the index names the rule that a walk through all of them names", arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
  func equivalence(seed: UInt64) throws {
    var generator = Generator(random: RandomSource(seed: seed))
    for round in 0..<25 {
      let rules = (0..<(1 + generator.random.next(below: 60))).map { _ in generator.rule() }
      let compiled = table(rules, workloads: ["other": 0, "web": 1], seed: generator.random.next())
      for _ in 0..<60 {
        let sample = Sample(&generator)
        let workload: UInt16 = sample.workload == "web" ? 1 : 0
        let expected = rules.firstIndex { sample.matches($0) }
        let found = try compiled.number(sample.text, workload: workload)
        #expect(found == expected, "seed \(seed), round \(round): \(sample.text)")
        let explained = try compiled.explanation(sample.text, workload: workload)
        #expect(explained.count == (expected.map { $0 + 1 } ?? rules.count))
        #expect(explained.firstIndex(of: nil) == expected, "seed \(seed), round \(round): \(sample.text)")
      }
    }
  }

  @Test("of ten thousand rules each is found, and what none has is found by none")
  func many() throws {
    var rules: [Route] = []
    for number in 0..<2_500 {
      rules.append(route(hosts: ["h\(number).local"], .prefix("/api")))
      rules.append(route(hosts: ["*.w\(number).local"]))
      rules.append(route(.exact("/exact/\(number)")))
      rules.append(route(.prefix("/prefix/\(number)")))
    }
    let compiled = table(rules)
    for number in stride(from: 0, to: 2_500, by: 61) {
      #expect(try compiled.number(request("GET /api/x", host: "h\(number).local")) == 4 * number)
      #expect(try compiled.number(request("GET /x", host: "a.b.w\(number).local")) == 4 * number + 1)
      #expect(try compiled.number(request("GET /exact/\(number)")) == 4 * number + 2)
      #expect(try compiled.number(request("GET /prefix/\(number)/x")) == 4 * number + 3)
      #expect(try compiled.number(request("GET /prefix/\(number)x")) == nil)
      #expect(try compiled.number(request("GET /", host: "w\(number).local")) == nil)
    }
  }

  @Test("a path of slashes alone costs no more cuts than the longest rule has bytes")
  func slashes() throws {
    let compiled = table([route(.prefix("/a")), route(.prefix(String(repeating: "/", count: 64)))])
    #expect(try compiled.number(request("GET " + String(repeating: "/", count: 20_000))) == 1)
    #expect(try compiled.number(request("GET " + String(repeating: "/", count: 63))) == nil)
  }
}
