// Rules for TLS connections: by server's name, protocols and caller; the first in the order written; apart from the others.

import Base
import HTTP
import Policy
import Testing

private func streamRoute(_ names: [String] = [], _ protocols: [String] = [], workloads: [String] = []) -> Route {
  var match = RouteMatch()
  match.serverNames = names.map(host)
  match.protocols = protocols
  match.workloads = workloads
  return Route(match: match)
}

/// The number of the rule that a connection with this name and these protocols has.
private func lookup(
  _ table: RouteTable, _ name: String?, _ protocols: [String] = [], workload: UInt16 = 0
) -> RouteNumber? {
  let list = protocols.flatMap { [UInt8($0.utf8.count)] + Array($0.utf8) }
  let name = name.map { Array($0.utf8) }
  return list.withUnsafeBytes { list in
    guard let name else { return table.lookup(RoutedStream(serverName: nil, protocols: list, workload: workload)) }
    return name.withUnsafeBytes {
      table.lookup(RoutedStream(serverName: $0, protocols: list, workload: workload))
    }
  }
}

@Suite("Rules for TLS connections")
struct StreamRouteTests {
  @Test("names: whole, in any case, and by their end; the first rule wins")
  func names() {
    let rules = table([
      route(hosts: ["shop.local"]), streamRoute(["shop.local", "a.example"]), streamRoute(["*.example"]),
      streamRoute(["*.b.example", "*.local"]), route(),
    ])
    for (name, number) in [
      ("shop.local", 1), ("SHOP.Local", 1), ("a.example", 1), ("b.example", 2), ("x.b.example", 2), ("y.local", 3),
      ("x.shop.local", 3),
    ] as [(String, RouteNumber)] { #expect(lookup(rules, name) == number, "\(name)") }
    for name in ["example", "local", ".local", "shop.locals", "other"] where name != ".local" {
      #expect(lookup(rules, name) == nil, "\(name)")
    }
    #expect(lookup(rules, nil) == nil)
  }

  @Test("a single end stands behind an earlier one that is longer only where it is written later")
  func order() {
    let rules = table([streamRoute(["*.b.example"]), streamRoute(["*.example"]), streamRoute(["x.b.example"])])
    #expect(lookup(rules, "x.b.example") == 0 && lookup(rules, "x.c.example") == 1 && lookup(rules, "b.example") == 1)
  }

  @Test("protocols: one that the client offers; without a name too")
  func protocols() {
    let rules = table([
      streamRoute(["a"], ["h2"]), streamRoute(["a"], ["http/1.1", "x"]), streamRoute([], ["acme-tls/1"]),
      streamRoute(["a"]),
    ])
    #expect(lookup(rules, "a", ["h2", "http/1.1"]) == 0 && lookup(rules, "a", ["http/1.1", "h2"]) == 0)
    #expect(lookup(rules, "a", ["http/1.1"]) == 1 && lookup(rules, "a", ["x"]) == 1)
    #expect(lookup(rules, "a", ["h"]) == 3 && lookup(rules, "a", ["h2c"]) == 3 && lookup(rules, "a") == 3)
    #expect(lookup(rules, nil, ["acme-tls/1"]) == 2 && lookup(rules, "b", ["acme-tls/1"]) == 2)
    #expect(lookup(rules, nil, ["h2"]) == nil)
  }

  @Test("a list of protocols that is cut short ends where it is")
  func shortList() {
    let rules = table([streamRoute([], ["h2"])])
    for list in [[2, 0x68], [5, 0x68, 0x32], [0], [255]] as [[UInt8]] {
      let found = list.withUnsafeBytes {
        rules.lookup(RoutedStream(serverName: nil, protocols: $0, workload: 0))
      }
      #expect(found == nil)
    }
  }

  @Test("callers")
  func workloads() {
    let rules = table(
      [streamRoute(["a"], workloads: ["web"]), streamRoute(["a"], workloads: ["other"])],
      workloads: ["other": 0, "web": 1])
    #expect(lookup(rules, "a", workload: 1) == 0 && lookup(rules, "a", workload: 0) == 1)
    #expect(lookup(rules, "a", workload: 2) == nil)
  }

  @Test("requests never meet them, and connections never meet those for requests")
  func apart() throws {
    let rules = table([streamRoute(["shop.local"]), route(hosts: ["shop.local"]), streamRoute([], ["h2"]), route()])
    try withHead(request("GET /")) { head, bytes, matcher in
      #expect(rules.lookup(head, bytes, workload: 0, matcher).number == 1)
      let explanations = rules.explain(head, bytes, workload: 0, matcher)
      #expect(explanations.map(\.mismatch) == [.notStream, nil])
    }
    #expect(lookup(rules, "shop.local", ["h2"]) == 0 && lookup(rules, "x", ["h2"]) == 2)
    #expect(lookup(table([route(), route(hosts: ["a"])]), "a", ["h2"]) == nil)
  }

  @Test("the rule found is the one a reader would find, for any rules and names")
  func random() {
    let seed = UInt64.random(in: .min ... .max)
    var random = RandomSource(seed: seed)
    func name() -> String {
      (0...random.next(below: 3)).map { _ in ["a", "b", "local"][Int(random.next(below: 3))] }.joined(separator: ".")
    }
    for _ in 0..<200 {
      let patterns = (0..<(random.next(below: 6) + 1)).map { _ in
        (0..<(random.next(below: 3) + 1)).map { _ in random.next(below: 2) == 0 ? name() : "*.\(name())" }
      }
      let rules = table(patterns.map { streamRoute($0) }, seed: random.next())
      for _ in 0..<20 {
        let wanted = name()
        let number = patterns.firstIndex { patterns in
          patterns.contains { $0 == wanted || $0.hasPrefix("*") && wanted.hasSuffix($0.dropFirst()) }
        }
        #expect(lookup(rules, wanted) == number.map { RouteNumber($0) }, "\(wanted) in \(patterns), seed \(seed)")
      }
    }
  }
}
