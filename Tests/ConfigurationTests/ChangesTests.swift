// What is different between two configurations.

import Testing

@testable import Configuration

@Suite("Changes between two configurations")
struct ChangesTests {
  /// `path: old -> new` for each change.
  private func changes(_ old: String, _ new: String) throws -> [String] {
    let before = try Configuration.parse(old, hostName: "host")
    let after = try Configuration.parse(new, hostName: "host")
    return before.changes(to: after).map { "\($0.path): \($0.old ?? "+") -> \($0.new ?? "-")" }
  }

  private func document(
    listeners: String = "{name: a, address: \":80\"}", web: String = "\"127.0.0.1:1\", \"127.0.0.1:2\"",
    delegations: String = "/svc => /#/static ;", more: String = ""
  ) -> String {
    """
    listeners: [\(listeners)]
    discovery: [{kind: static, prefix: static, services: {web: [\(web)]}}]
    delegations: |
      \(delegations.split(separator: "\n").joined(separator: "\n  "))
    \(more)
    """
  }

  @Test("there are none between equal ones, however they are written")
  func none() throws {
    #expect(try changes(document(), document()) == [])
    #expect(try changes(document(more: "node: {shards: auto}"), document(more: "limits: {headerBytes: 32768}")) == [])
    let configuration = try good()
    #expect(configuration.changes(to: try Configuration.parse(configuration.render(), hostName: "other")) == [])
  }

  @Test("a value is named by its path, with its default where it was not written")
  func values() throws {
    #expect(
      try changes(document(), document(more: "limits: {headers: 64}\nnode: {via: false}")) == [
        "node.via: true -> false", "limits.headers: 128 -> 64",
      ])
    #expect(
      try changes(document(more: "admin: {http: 127.0.0.1:9990}"), document()) == ["admin.http: 127.0.0.1:9990 -> -"])
  }

  @Test("entries of lists are found by their names, wherever they stand")
  func entries() throws {
    let one = "{name: a, address: \":80\"}"
    let two = "{name: b, address: \":81\"}"
    #expect(
      try changes(document(listeners: one), document(listeners: "{name: a, address: \":82\"}, \(two)")) == [
        "listeners[a].address: [::]:80 -> [::]:82",
        "listeners[b]: + -> {name: b, address: [::]:81, direction: outbound, capture: none, protocol: detect, "
          + "trust: none, proxyProtocol: false}",
      ])
    #expect(
      try changes(document(listeners: "\(one), \(two)"), document(listeners: "\(two), \(one)")) == [
        "listeners (order): a, b -> b, a"
      ])
    #expect(
      try changes(document(listeners: "\(one), \(two)"), document(listeners: two)).first?.hasPrefix("listeners[a]: {")
        == true)
  }

  @Test("of entries with one name the second is told from the first")
  func repeated() throws {
    let first = "services: [{name: /svc, limits: {requests: 1}}"
    #expect(
      try changes(
        document(more: "\(first), {name: /svc, limits: {pending: 1}}]"),
        document(more: "\(first), {name: /svc, limits: {pending: 2}}]"))
        == ["services[/svc#2].limits.pending: 1 -> 2"])
    #expect(
      try changes(document(more: "\(first)]"), document(more: "services: [{name: /svc, timeouts: {request: 2s}}]"))
        == [
          "services[/svc].timeouts.request: + -> 2s", "services[/svc].limits.requests: 1 -> -",
        ])
  }

  @Test("endpoints come and go one by one, and may change their places")
  func endpoints() throws {
    let path = "discovery[static].services.web"
    #expect(
      try changes(document(web: "\"127.0.0.1:1\", \"127.0.0.1:2\""), document(web: "\"127.0.0.1:2\", \"127.0.0.1:3\""))
        == ["\(path): 127.0.0.1:1 -> -", "\(path): + -> 127.0.0.1:3"])
    #expect(
      try changes(document(), document(web: "\"127.0.0.1:2\", \"127.0.0.1:1\""))
        == ["\(path) (order): 127.0.0.1:1, 127.0.0.1:2 -> 127.0.0.1:2, 127.0.0.1:1"])
    #expect(
      try changes(document(), document(web: "\"127.0.0.1:1 * 2\", \"127.0.0.1:2\""))
        == ["\(path): 127.0.0.1:1 -> -", "\(path): + -> 127.0.0.1:1 * 2.0"])
  }

  @Test("the delegation table is compared entry by entry")
  func delegations() throws {
    let two = "/svc => /#/static ;\n/svc/x => /svc/web ;"
    #expect(try changes(document(), document(delegations: two)) == ["delegations: + -> /svc/x => /svc/web"])
    #expect(
      try changes(document(delegations: two), document(delegations: "/svc/x => /svc/web ;\n/svc => /#/static ;")) == [
        "delegations (order): /svc => /#/static, /svc/x => /svc/web -> /svc/x => /svc/web, /svc => /#/static"
      ])
  }

  @Test("words that JSON escapes are compared as what they are")
  func escapes() throws {
    let log = { (path: String) in "telemetry: {accessLog: {path: \(path)}}" }
    #expect(
      try changes(document(more: log("\"/a\\\"b\\\\\"")), document(more: log("\"/ä🚀\\u2028\"")))
        == ["telemetry.accessLog.path: /a\"b\\ -> /ä🚀\u{2028}"])
  }

  @Test("ten thousand endpoints that all change take linear time")
  func many() throws {
    let list = { (block: Int) in
      (0..<10_000).map { "\"10.\(block).\($0 / 250).\($0 % 250):80\"" }.joined(separator: ", ")
    }
    #expect(try changes(document(web: list(1)), document(web: list(2))).count == 20_000)
  }

  @Test("workloads can change while the daemon runs; what the kernel's rules say of them cannot")
  func restarts() throws {
    let restarts = { (old: String, new: String) throws in
      try Configuration.parse(document(more: "workloads: [\(old)]"), hostName: "host")
        .changesThatNeedRestart(to: Configuration.parse(document(more: "workloads: [\(new)]"), hostName: "host"))
    }
    let web = "{name: web, match: {users: [33]}}"
    #expect(try restarts(web, "{name: api, match: {users: [33, 34]}, weight: 2}") == [])
    let refusing = "{name: web, match: {users: [33]}, onFailure: refuse}"
    #expect(try restarts(web, refusing) == ["workloads[].onFailure"])
    #expect(try restarts(refusing, refusing.replacing("33", with: "34")) == ["workloads[].onFailure"])
    #expect(try restarts(refusing, refusing.replacing("web", with: "api")) == [])
  }
}
