// Configurations made from the schema: a small good one with one key of it set to one value.

import Base
import Testing

@testable import Configuration

/// One key in a document that is good without it.
struct Probe: CustomTestStringConvertible {
  let placed: PlacedKey

  static let all = ConfigurationKey.all().map(Probe.init)

  init(_ placed: PlacedKey) { self.placed = placed }

  var testDescription: String { placed.path }

  /// Values that are accepted, by themselves.
  var good: [String] {
    // One name with no share is refused; beside another one it is none.
    placed.path == "routes[].split[].weight" ? ["1000000"] : placed.key.good
  }

  /// The document with `value` (flow style) as the key's value; nil leaves the key out.
  func document(_ value: String?) -> String {
    build(Configuration.schema, placed.path.split(separator: ".").map(String.init)[...], value, path: "")
  }

  private func build(_ keys: [ConfigurationKey], _ steps: ArraySlice<String>, _ value: String?, path: String) -> String
  {
    guard let step = steps.first else { return "{}" }
    let name = step.replacing("[]", with: "")
    guard let key = keys.first(where: { $0.name == name }) else { return "{}" }
    // What is chosen goes before what is there for being required, and that is there only where it is.
    var members = key.needs.map { ($0.key, $0.values[0]) }
    for member in context(path.isEmpty ? "" : String(path.dropLast()), value) {
      members.removeAll { $0.0 == member.0 }
      members.append(member)
    }
    for other in keys where other.name != name && !members.contains(where: { $0.0 == other.name }) {
      let isBase = path.isEmpty && ["discovery", "delegations"].contains(other.name)
      let isNeeded = other.needs.allSatisfy { need in
        members.contains { $0.0 == need.key && need.values.contains($0.1) }
      }
      if isBase || other.isRequired && isNeeded { members.append((other.name, other.exampleText)) }
    }
    if steps.count > 1 {
      members.append((name, descend(key.kind, steps.dropFirst(), value, path: "\(path)\(step).")))
    } else if let value {
      members.append((name, value))
    }
    return "{" + members.map { "\($0.0): \($0.1)" }.joined(separator: ", ") + "}"
  }

  /// What else must be written in the mapping at `path` for some values to be possible.
  private func context(_ path: String, _ value: String?) -> [(String, String)] {
    let mine = Self.contexts.first { $0.probe == placed.path && $0.mapping == path && ($0.value ?? value) == value }
    return mine?.members ?? []
  }

  private static let contexts: [(probe: String, value: String?, mapping: String, members: [(String, String)])] = [
    ("listeners[].protocol", "tcp", "listeners[]", [("to", "/svc/web")]),
    ("identifiers[].kind", "static", "identifiers[]", [("name", "/svc/web")]),
    ("routes[].match.sni", nil, "routes[]", [("to", "/svc/web")]),
    ("routes[].match.alpn", nil, "routes[]", [("to", "/svc/web")]),
    ("routes[].rewrite.path.prefix", nil, "routes[]", [("match", "{path: {prefix: /a}}")]),
    ("routes[].rewrite.path.regex", nil, "routes[].rewrite.path", [("replacement", "/x")]),
    ("routes[].rewrite.path.replacement", nil, "routes[].rewrite.path", [("regex", "/(a)")]),
    ("routes[].redirect.path", "{prefix: \"/cart\"}", "routes[]", [("match", "{path: {prefix: /a}}")]),
    ("routes[].redirect.path.prefix", nil, "routes[]", [("match", "{path: {prefix: /a}}")]),
    ("routes[].redirect.status", nil, "routes[].redirect", [("host", "new.local")]),
    ("discovery[].kind", "file", "discovery[]", [("directory", "/x")]),
    ("discovery[].limits.names", nil, "discovery[]", [("kind", "dns")]),
    ("discovery[].limits.records", nil, "discovery[]", [("kind", "dns")]),
    ("discovery[].ttl.min", nil, "discovery[].ttl", [("max", "168h")]),
    ("services[].balancer.aperture.peers", nil, "services[].balancer.aperture", [("position", "0")]),
    ("services[].balancer.aperture.position", nil, "services[].balancer.aperture", [("peers", "1000000")]),
    ("workloads[].match.addresses", nil, "workloads[].match", [("users", "[nobody]")]),
    ("workloads[].match.users", nil, "workloads[].match", [("cgroups", "[/x]")]),
    ("workloads[].match.cgroups", nil, "workloads[].match", [("users", "[nobody]")]),
    ("limits.headerBytes", nil, "limits", [("requestLineBytes", "128")]),
    ("limits.requestLineBytes", nil, "limits", [("headerBytes", "1MiB")]),
  ]

  private func descend(_ kind: ConfigurationValue, _ steps: ArraySlice<String>, _ value: String?, path: String)
    -> String
  {
    switch kind {
    case .mapping(let keys), .oneKey(let keys): build(keys, steps, value, path: path)
    case .list(let item, _): "[" + descend(item, steps, value, path: path) + "]"
    case .table(let form, let inner): "{\(form.example): \(descend(inner, steps.dropFirst(), value, path: path))}"
    case .either(let ways):
      descend(
        ways.first { !ConfigurationKey.all(of: [.init("x", $0, "")]).dropFirst().isEmpty } ?? .flag(), steps, value,
        path: path)
    case .text, .flag, .integer, .number, .duration, .size, .choice: "null"
    }
  }
}

extension ConfigurationKey {
  /// A value in flow style, put into a document where this key is needed for another one's sake.
  var exampleText: String {
    if case .integer = kind { example ?? good[0] } else { good[0] }
  }

  /// Values that are accepted; for mappings, lists and texts the example alone, where there is one.
  var good: [String] {
    switch kind {
    case .text, .list, .mapping, .oneKey, .either:
      example.map { [$0.first == "[" || $0.first == "{" ? $0 : quoted($0)] } ?? kind.good
    case .flag, .integer, .number, .duration, .size, .choice, .table: kind.good
    }
  }
}

extension ConfigurationValue {
  /// Values that are accepted, bounds included; there is at least one.
  var good: [String] {
    switch self {
    case .text(let form): [quoted(form.example)]
    case .flag(let values): values.map { "\($0)" }
    case .integer(let range, let word): ["\(range.lowerBound)", "\(range.upperBound)"] + (word.map { [$0] } ?? [])
    case .number(let range): [range.lowerBound, range.upperBound].map { Int(exactly: $0).map(String.init) ?? "\($0)" }
    case .duration(let range, let word):
      [range.lowerBound.shortText, range.upperBound.shortText] + (word.map { [$0] } ?? [])
    case .size(let range): ["\(range.lowerBound)", "\(range.upperBound)"]
    case .choice(let choices): choices
    case .list(let item, _): ["[]"] + item.good.map { "[\($0)]" }
    case .mapping(let keys):
      [
        "{"
          + keys.filter(\.isRequired).map { "\($0.name): \($0.exampleText)" }.joined(separator: ", ") + "}"
      ]
    case .oneKey(let keys): keys.map { "{\($0.name): \($0.exampleText)}" }
    case .table(let form, let value): ["{}"] + value.good.map { "{\(quoted(form.example)): \($0)}" }
    case .either(let ways): ways.flatMap(\.good)
    }
  }

  /// Values that are refused, and whether the schema for editors refuses them, too.
  var bad: [(text: String, isBadForEditors: Bool)] {
    switch self {
    case .text(let form): [("[x]", true), ("{x: y}", true)] + (form.wrong.map { [(quoted($0), true)] } ?? [])
    case .flag(let values):
      [("maybe", true), ("[]", true)] + [true, false].filter { !values.contains($0) }.map { ("\($0)", true) }
    case .integer(let range, _):
      ["\(range.lowerBound - 1)", "\(range.upperBound + 1)", "1.5", "nonsense", "[]"].map { ($0, true) }
    case .number(let range):
      ["\(range.lowerBound - 0.5)", "\(range.upperBound + 0.5)", "nonsense", "[]"].map { ($0, true) }
    case .duration(let range, _):
      [("\((range.upperBound + .milliseconds(1)).shortText)", false), ("5", true), ("5 years", true), ("[]", true)]
        + (range.lowerBound > .zero ? [((range.lowerBound - .microseconds(1)).shortText, false)] : [])
    case .size(let range):
      [
        ("\(range.lowerBound.bytes - 1)", true), ("\(range.upperBound.bytes + 1)", true), ("5 pages", true),
        ("[]", true),
      ]
    case .choice: [("nonsense", true), ("[]", true)]
    case .list(let item, let most):
      [("word", true)] + item.bad.map { ("[\($0.text)]", $0.isBadForEditors) }
        + (most > 10_000
          ? [] : [("[" + [String](repeating: item.good[0], count: most + 1).joined(separator: ", ") + "]", true)])
    case .mapping: [("word", true), ("[]", true), ("{noSuchKey: 1}", true)]
    case .oneKey(let keys):
      [("word", true), ("[]", true), ("{}", true), ("{noSuchKey: 1}", true)]
        + (keys.count < 2
          ? [] : [("{" + keys.prefix(2).map { "\($0.name): \($0.exampleText)" }.joined(separator: ", ") + "}", true)])
    case .table(let form, let value):
      [("word", true)] + value.bad.map { ("{\(form.example): \($0.text)}", $0.isBadForEditors) }
        + (form.wrong.map { [("{\(quoted($0)): \(value.good[0])}", true)] } ?? [])
    // What is wrong for one way may be right for another.
    case .either: []
    }
  }
}

private func quoted(_ text: String) -> String {
  var json = JSONWriter()
  json.string(text)
  return json.text
}
