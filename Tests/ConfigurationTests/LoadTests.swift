// Files and fragments: what is merged, what conflicts, what cannot be read.

import Configuration
import Glibc
import Policy
import TestSupport
import Testing

@Suite("Loading files")
struct LoadTests {
  /// A directory of its own, removed with what is in it.
  private struct Directory {
    private let directory: TemporaryDirectory
    var path: String { directory.path }

    init() throws { directory = try TemporaryDirectory() }

    func write(_ name: String, _ text: String) throws { try directory.write(name, text) }

    func makeDirectory(_ name: String) throws { try #require(mkdir(directory.path(name), 0o700) == 0) }

    func load(fragments: String? = nil) -> Result<Configuration, Diagnostics> {
      Result { () throws(Diagnostics) in
        try Configuration.load(path: "\(path)/main.yaml", fragments: fragments.map { "\(path)/\($0)" }, hostName: "h")
      }
    }

    func findings(fragments: String? = nil) -> [String] {
      guard case .failure(let diagnostics) = load(fragments: fragments) else { return [] }
      return diagnostics.items.map {
        "\($0.file):\($0.line):\($0.column): \($0.message)".replacing(path + "/", with: "")
      }
    }
  }

  @Test("fragments add to lists, mappings and the delegation table, in the order of their names")
  func merging() throws {
    let directory = try Directory()
    try directory.write(
      "main.yaml", "listeners: [{name: a, address: \":0\"}]\nlimits: {headers: 64}\ndelegations: /svc => /#/one ;\n")
    try directory.makeDirectory("conf.d")
    try directory.write(
      "conf.d/20.yaml", "listeners: [{name: c, address: \":0\"}]\nservices: [{name: /svc/x, limits: {pending: 2}}]\n")
    try directory.write(
      "conf.d/10.yaml",
      """
      listeners: [{name: b, address: ":0"}]
      discovery: [{kind: static, prefix: one, services: {x: []}}]
      limits: {viaHops: 3}
      delegations: |
        /svc/y => /svc/x ;
      """)
    try directory.write("conf.d/30.yml", "not: [read")
    try directory.write("conf.d/.hidden.yaml", "not: [read")
    try directory.write("conf.d/40.yaml", "# nothing\n")
    let configuration = try directory.load(fragments: "conf.d").get()
    #expect(configuration.listeners.map(\.name) == ["a", "b", "c"])
    #expect(configuration.limits.headers == 64 && configuration.limits.viaHops == 3)
    #expect(configuration.delegations.map(\.entry.prefix.description) == ["/svc", "/svc/y"])
    #expect(configuration.delegations.map(\.line) == [3, 5])
    #expect(configuration.policy(forServiceName: "/svc/x").limits.pending == 2)
  }

  @Test("a directory of fragments that does not exist holds nothing")
  func noFragments() throws {
    let directory = try Directory()
    try directory.write("main.yaml", "listeners: [{name: a, address: \":0\"}]\n")
    #expect(try directory.load(fragments: "missing").get().listeners.count == 1)
  }

  @Test("a value in two files is an error that names both places; each file counts its own list entries")
  func conflicts() throws {
    let directory = try Directory()
    try directory.write(
      "main.yaml", "listeners: [{name: a, address: \":0\"}]\nnode: {shards: 1}\nlimits: {headers: 64}\n")
    try directory.makeDirectory("conf.d")
    try directory.write("conf.d/a.yaml", "listeners: [{name: a, adress: \":0\"}]\nnode: {shards: 2}\nlimits: []\n")
    try directory.write("conf.d/b.yaml", "listeners: [{name: x, address: \":0\"}, 1]\n")
    #expect(
      directory.findings(fragments: "conf.d")
        == [
          "conf.d/a.yaml:1:20: the listener name 'a' is taken; it is first written at main.yaml:1:20",
          "conf.d/a.yaml:1:23: unknown key 'adress' in listeners[0]; did you mean 'address'?",
          "conf.d/a.yaml:2:8: 'node.shards' is already given at main.yaml:2:8; one of the two must go",
          "conf.d/a.yaml:3:1: 'limits' is already given at main.yaml:3:1; one of the two must go",
          "conf.d/b.yaml:1:39: 'listeners[1]' must be a mapping (key: value), not a single value",
        ])
  }

  @Test("files that are no YAML are each reported, and nothing else is said")
  func broken() throws {
    let directory = try Directory()
    try directory.write("main.yaml", "a: [\n")
    try directory.makeDirectory("conf.d")
    try directory.write("conf.d/a.yaml", "b: @\n")
    let found = directory.findings(fragments: "conf.d")
    #expect(found.count == 2)
    #expect(found.first?.hasPrefix("main.yaml:2:1: YAML syntax:") == true)
    #expect(found.last?.hasPrefix("conf.d/a.yaml:1:4: YAML syntax:") == true)
  }

  @Test("a file that cannot be read is named, with what to do")
  func unreadable() throws {
    let directory = try Directory()
    #expect(
      directory.findings() == [
        "main.yaml:0:0: no such file; write one, or run without: fairleadd --listen 127.0.0.1:4140 --to 127.0.0.1:9001"
      ])
    try directory.makeDirectory("main.yaml")
    #expect(directory.findings() == ["main.yaml:0:0: this is a directory; name a file"])
    let other = try Directory()
    try other.write("main.yaml", "listeners: [{name: a, address: \":0\"}]\n")
    try other.write("conf.d", "")
    #expect(
      other.findings(fragments: "conf.d") == ["conf.d:0:0: this is not a directory, or is under something that is none"]
    )
  }

  @Test("a file that may not be read says so", .disabled(if: geteuid() == 0, "root may read every file"))
  func forbidden() throws {
    let directory = try Directory()
    try directory.write("main.yaml", "")
    try #require(chmod("\(directory.path)/main.yaml", 0) == 0)
    #expect(directory.findings().first?.contains("permission denied") == true)
  }

  @Test("a file of any size is read only up to the bound")
  func endless() {
    let result = Result { () throws(Diagnostics) in try Configuration.load(path: "/dev/zero") }
    guard case .failure(let diagnostics) = result else {
      Issue.record("an endless file was taken")
      return
    }
    #expect(diagnostics.items.first?.message.hasPrefix("the file has ") == true)
  }
}
