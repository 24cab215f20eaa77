// The description of the keys held against the decoder: neither knows a key, a bound, a word or a default that the other
// does not.

import Base
import TestSupport
import Testing

@testable import Configuration

@Suite("The schema")
struct SchemaTests {
  @Test("every key that is decoded is described, and every described one is decoded")
  func sameKeys() {
    var decoded: [String: Set<String>] = [:]
    for probe in Probe.all {
      for value in probe.good {
        let decoder = Decoder()
        decoder.onMapping = { path, known in
          let place = path.replacing(#/\[[0-9]+\]/#, with: "[]").replacing("services.web", with: "services.*")
          decoded[place, default: []].formUnion(known)
        }
        _ = try? Configuration.parse([("probe", Array(probe.document(value).utf8))], hostName: "host", decoder)
      }
    }
    var described: [String: Set<String>] = [:]
    for placed in ConfigurationKey.all() {
      let parent = placed.path == placed.key.name ? "" : String(placed.path.dropLast(placed.key.name.count + 1))
      described[parent, default: []].insert(placed.key.name)
    }
    for (place, keys) in decoded.sorted(by: { $0.key < $1.key }) {
      let missing = keys.subtracting(described[place] ?? []).sorted()
      #expect(
        missing.isEmpty,
        "'\(place)': \(missing) are decoded and described nowhere; add a line each in Sources/Configuration/Schema")
    }
    for (place, keys) in described.sorted(by: { $0.key < $1.key }) {
      let missing = keys.subtracting(decoded[place] ?? []).sorted()
      #expect(missing.isEmpty, "'\(place)': \(missing) are described in Sources/Configuration/Schema, and not decoded")
    }
  }

  @Test("what is described is accepted, up to its bounds, and refused past them", arguments: Probe.all)
  func bounds(probe: Probe) {
    for value in probe.good {
      let found = findings(probe.document(value))
      #expect(found.isEmpty, "\(probe.placed.path): \(value): \(found)")
    }
    for (value, _) in probe.placed.key.kind.bad {
      #expect(!findings(probe.document(value)).isEmpty, "\(probe.placed.path): \(value.prefix(80)) is accepted")
    }
  }

  @Test("a default is what applies when nothing is written", arguments: Probe.all)
  func defaults(probe: Probe) throws {
    // What a rule does not say of retries, its service says.
    guard let text = probe.placed.key.defaultText, !probe.placed.path.hasPrefix("routes[].retries") else { return }
    let value = if case .text = probe.placed.key.kind { "\"\(text)\"" } else { text }
    let written = try Configuration.parse(probe.document(value), hostName: "host")
    let unwritten = try Configuration.parse(probe.document(nil), hostName: "host")
    if probe.placed.path.hasPrefix("services[]") {
      #expect(written.policy(forServiceName: "/svc/x") == unwritten.policy(forServiceName: "/svc/x"))
    } else {
      // Where things stand in the file is no difference.
      #expect(unwritten.changes(to: written) == [], "\(probe.placed.path): \(text)")
    }
  }

  @Test("a key that needs another one is refused without it")
  func needs() {
    for probe in Probe.all where !probe.placed.key.needs.isEmpty {
      let key = probe.placed.key
      let document = probe.document(probe.good.last)
      for need in key.needs {
        let member = "\(need.key): \(need.values[0])"
        #expect(document.contains(member))
        let without = document.replacing(member, with: "\(need.key): \(other(need, probe))")
        #expect(!findings(without).isEmpty, "\(probe.placed.path) without \(member)")
      }
    }
  }

  @Test("a key that another one's value excludes is refused beside it")
  func exclusions() {
    for probe in Probe.all {
      for other in probe.placed.key.excludedBy {
        for value in other.values {
          let document = probe.document("\(probe.good[0]), \(other.key): \(value)")
          #expect(!findings(document).isEmpty, "\(probe.placed.path) with \(other.key): \(value)")
        }
      }
    }
  }

  /// A value of the needed key that does not do.
  private func other(_ need: (key: String, values: [String]), _ probe: Probe) -> String {
    let path = probe.placed.path.dropLast(probe.placed.key.name.count) + need.key
    guard let needed = ConfigurationKey.all().first(where: { $0.path == path }) else { return "nonsense" }
    return needed.key.good.first { !need.values.contains($0) } ?? "nonsense"
  }

  @Test("the examples and patterns of the forms agree with each other")
  func forms() throws {
    for placed in ConfigurationKey.all() {
      for form in forms(placed.key.kind) {
        guard let pattern = form.pattern else { continue }
        let expression = try Regex(pattern)
        #expect(try expression.firstMatch(in: form.example) != nil, "\(placed.path): \(form.example)")
        if let wrong = form.wrong { #expect(try expression.firstMatch(in: wrong) == nil, "\(placed.path): \(wrong)") }
      }
    }
  }

  private func forms(_ kind: ConfigurationValue) -> [TextForm] {
    switch kind {
    case .text(let form): [form]
    case .list(let item, _): forms(item)
    case .table(let form, let value): [form] + forms(value)
    case .either(let ways): ways.flatMap { forms($0) }
    case .flag, .integer, .number, .duration, .size, .choice, .mapping, .oneKey: []
    }
  }

  @Test("every key has one line of words about it, without a full stop, and no name stands twice in one place")
  func words() {
    var seen: Set<String> = []
    for placed in ConfigurationKey.all() {
      let summary = placed.key.summary
      #expect(!summary.isEmpty && !summary.contains("\n") && !summary.hasSuffix("."), "\(placed.path)")
      #expect(seen.insert(placed.path).inserted, "\(placed.path) is described twice")
    }
  }
}

@Suite("The list of keys in the manual")
struct ManualKeysTests {
  private let lines = Configuration.manual().split(separator: "\n", omittingEmptySubsequences: false).map(String.init)

  @Test("has every section, every key with its default, and nothing that is taken for a macro")
  func entries() {
    for placed in ConfigurationKey.all() where placed.path.contains(".") {
      let name = Roff.bold(String(placed.path.drop { $0 != "." }.dropFirst()))
      let isThere = lines.contains {
        $0 == name || [":", " "].contains($0.dropFirst(name.count).first) && $0.hasPrefix(name)
      }
      #expect(isThere, "\(placed.path)")
    }
    #expect(lines.filter { $0.hasPrefix(".SS ") }.map { String($0.dropFirst(4)) } == Configuration.schema.map(\.name))
    #expect(lines.contains("\\fBdrainTimeout\\fR: 0s to 1h [30s]"))
    #expect(lines.contains("\\fBtimeouts.attempt\\fR: 1ms to 24h, or none [none]"))
    #expect(lines.contains("\\fBname\\fR: name (required)"))
    #expect(lines.contains { $0.hasSuffix("; only with protocol: tcp and capture: none") })
    #expect(lines.allSatisfy { !$0.hasPrefix("'") && (!$0.hasPrefix(".") || [".SS", ".TP"].contains($0.prefix(3))) })
  }

  @Test("text that man(7) would take for its own is escaped")
  func escapes() {
    #expect(Roff.text("a-b\\c") == "a\\-b\\ec")
    #expect(Roff.sentence(".x") == "\\&.x\n" && Roff.sentence("'x") == "\\&'x\n" && Roff.sentence("") == "")
  }
}

@Suite(
  "The schema for editors",
  .enabled(if: hasValidator, "needs Python's jsonschema and yaml (apt-get install python3-jsonschema python3-yaml)"))
struct EditorSchemaTests {
  private static let validator = """
    import json, sys, yaml, jsonschema
    schema = json.load(open(sys.argv[1]))
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    validator = kind(schema)
    for line in open(sys.argv[2]):
        wanted, text = json.loads(line)
        found = [e.message for e in validator.iter_errors(yaml.safe_load(text))]
        if bool(found) == wanted:
            print(("refused" if found else "accepted"), text[:300], found[:1])
    """

  /// What the validator says wrongly about texts that are right or wrong.
  private func complaints(_ cases: [(isGood: Bool, text: String)]) throws -> String {
    let directory = try TemporaryDirectory()
    var lines = ""
    for one in cases {
      var json = JSONWriter()
      json.array {
        $0.bool(one.isGood)
        $0.string(one.text)
      }
      lines += json.text + "\n"
    }
    let run = try Child.run([
      "python3", "-c", Self.validator, directory.write("schema.json", Configuration.jsonSchema()),
      directory.write("cases", lines),
    ])
    return run.output + run.error
  }

  @Test("takes whatever the daemon takes, key by key, and refuses wrong types, words, bounds and keys")
  func everyKey() throws {
    var cases: [(isGood: Bool, text: String)] = []
    for probe in Probe.all {
      cases += probe.good.map { (true, probe.document($0)) }
      if !probe.placed.key.isRequired { cases.append((true, probe.document("null"))) }
      for other in probe.placed.key.excludedBy {
        cases += other.values.map { (false, probe.document("\(probe.good[0]), \(other.key): \($0)")) }
      }
      cases += probe.placed.key.kind.bad.filter(\.isBadForEditors).map { (false, probe.document($0.text)) }
    }
    #expect(cases.count > 300)
    #expect(try complaints(cases) == "")
  }

  @Test("takes the configuration that is installed, the fuzzer's, and what the daemon prints")
  func wholeFiles() throws {
    var cases: [(isGood: Bool, text: String)] = []
    for file in [
      "systemd/fairlead.yaml", "Tests/Fuzz/FuzzConfiguration/Corpus/whole.yaml",
    ] {
      let text = readFile("\(repositoryPath)/\(file)")
      guard let configuration = try? Configuration.parse(text, hostName: "host") else {
        Issue.record("\(file) is no configuration: \(findings(text))")
        continue
      }
      cases.append((true, text))
      cases.append((true, configuration.render()))
    }
    #expect(try complaints(cases) == "")
  }

  @Test(
    "refuses what is wrong in a file written by hand",
    arguments: [
      "listeners: []", "{}", "listeners: [{name: a, address: ':80'}]\nnod: {}",
      "listeners: [{name: a}]", "listeners: [{name: a, address: x}]",
      "listeners: [{name: a, address: ':80', protocol: http3}]",
      "listeners: [{name: a, address: ':80', unresolved: refuse}]",
      "listeners: [{name: a, address: ':80', to: /svc/redis}]",
      "listeners: [{name: a, address: ':80'}]\nservices: [{name: /svc, timeouts: {request: 2}}]",
      "listeners: [{name: a, address: ':80'}]\nlimits: {headers: 1}",
    ])
  func wrong(text: String) throws {
    #expect(try complaints([(false, text)]) == "")
  }
}

private let hasValidator = (try? Child.run(["python3", "-c", "import jsonschema, yaml"]).status) == .exited(0)
