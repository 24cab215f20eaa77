// Decodes one entry of `routes`: its name and what it matches. Its actions stand in Draft+RouteActions.swift.

import Base
import Policy

extension Draft {
  struct Route {
    let name: (text: String, range: SourceRange)?
    let workloads: [(text: String, range: SourceRange)]
    /// The names that it sends requests to.
    let destinations: [(name: Path, range: SourceRange)]
    let value: Configuration.Route
  }

  static func route(_ decoder: Decoder, _ value: YAMLValue) -> Route? {
    guard let fields = Fields(decoder, value, known: routeKeys) else { return nil }
    fields.require("match", "match: { hosts: [shop.local] }, or match: {} for every request")
    let name = fields.text("name")
    if let name, !isRouteName(name) {
      fields.reportValue("name", "a route's name has up to 63 letters, digits and any of -._, not \(quoted(name))")
    }
    var match = RouteMatch()
    var workloads: [(text: String, range: SourceRange)] = []
    if let written = fields.fields(
      "match", known: ["hosts", "path", "methods", "headers", "query", "workloads", "sni", "alpn"])
    {
      match.hosts = written.list("hosts", most: 100, "a host such as shop.local or *.shop.local", "a host") {
        text throws(TextError) in try HostPattern(parsing: text)
      }.map(\.value)
      match.path = path(written)
      match.methods = written.list("methods", most: 32, "a method such as GET", "a method", method).map(\.value)
      match.headers = bounded(written, "headers", 32).compactMap { header(decoder, $0) }
      match.query = bounded(written, "query", 32).compactMap { query(decoder, $0) }
      workloads = written.list("workloads", most: 100, "a workload's name", "a workload") {
        text throws(TextError) in text
      }.map { ($0.value, $0.range) }
      match.workloads = workloads.map(\.text)
      streamMatch(written, &match)
      for key in ["hosts", "methods", "headers", "query", "workloads", "sni", "alpn"]
      where written[key]?.isEmptyList == true {
        written.reportValue(key, "'\(written.path).\(key)' is empty and would match nothing; leave it out to match all")
      }
    }
    checkStreamRoute(fields, match)
    var actions = RouteActions(fields, match)
    let action = actions.decode()
    let start = value.node.range.start
    return Route(
      name: name.flatMap { text in fields["name"].map { (text, $0.node.range) } }, workloads: workloads,
      destinations: actions.destinations,
      value: Configuration.Route(
        Policy.Route(match: match, action: action), name: name, retries: retries(fields, hasBudget: false),
        rateLimit: fields.rateLimit("rateLimit"), file: value.node.range.source.name, line: start.line,
        column: start.column))
  }

  static let mostRoutes = 20_000

  private static let routeKeys = [
    "name", "match", "to", "split", "rewrite", "headers", "mirror", "fault", "redirect", "respond", "timeout",
    "retries", "rateLimit",
  ]

  private static func isRouteName(_ name: String) -> Bool {
    (1...63).contains(name.utf8.count)
      && name.utf8.allSatisfy { byte in
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
        default: false
        }
      }
  }

  private static func path(_ match: Fields) -> RouteMatch.PathMatch? {
    guard let fields = match.fields("path", known: ["exact", "prefix", "regex"]) else { return nil }
    switch fields.oneOf(["exact", "prefix", "regex"], example: "prefix: /cart") {
    case "exact":
      // The one target that is no path: OPTIONS for the whole server.
      if fields.text("exact") == "*" { return .exact("*") }
      return fields.pathText("exact").map { .exact($0) }
    case "prefix": return fields.pathText("prefix").map { .prefix($0) }
    case "regex": return fields.pattern("regex", .whole).map { .regex($0) }
    default: return nil
    }
  }

  private static func method(_ text: String) throws(TextError) -> String {
    guard Fields.isToken(text), text.utf8.count <= 32 else {
      throw TextError("it has up to 32 letters and no blanks")
    }
    guard text == text.uppercased() else {
      throw TextError("methods are in capitals; did you mean \(text.uppercased())?")
    }
    return text
  }

  private static func header(_ decoder: Decoder, _ value: YAMLValue) -> RouteMatch.HeaderMatch? {
    let kinds = ["exact", "prefix", "regex", "present"]
    guard let fields = Fields(decoder, value, known: ["name", "invert"] + kinds) else { return nil }
    fields.require("name", "name: x-user-group")
    let isInverted = fields.bool("invert") ?? false
    var name: String?
    if let text = fields.text("name") {
      name = fields.fieldName(text, fields["name"]?.node.range ?? fields.range)
      if name == "host" {
        fields.reportValue("name", "the host is matched by 'hosts', which knows of ports and of absolute targets")
      }
    }
    let text = textMatch(fields, kinds)
    guard let name, let text else { return nil }
    return RouteMatch.HeaderMatch(name: name, value: text.match, isInverted: isInverted != text.isAbsent)
  }

  private static func query(_ decoder: Decoder, _ value: YAMLValue) -> RouteMatch.QueryMatch? {
    let kinds = ["exact", "regex", "present"]
    guard let fields = Fields(decoder, value, known: ["name"] + kinds) else { return nil }
    fields.require("name", "name: version")
    let name = fields.text("name")
    if let name,
      name.utf8.count > 256
        || !name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F && $0 != 0x23 && $0 != 0x26 && $0 != 0x3D })
    {
      fields.reportValue(
        "name", "a name in a query has up to 256 characters and no blanks, '&', '=' or '#', as they are sent (%XX)")
    }
    let text = textMatch(fields, kinds)
    if text?.isAbsent == true {
      fields.reportValue("present", "'\(fields.path).present' can only be true")
    }
    if case .exact(let value)? = text?.match, !value.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x23 && $0 != 0x26 }) {
      fields.reportValue(
        "exact", "a value in a query has no blanks, '&' or '#': it is compared as it is sent (%XX, and + for a blank)")
    }
    guard let name, let text else { return nil }
    return RouteMatch.QueryMatch(name: name, value: text.match)
  }

  /// What a value is compared with; `present` where nothing is said.
  private static func textMatch(_ fields: Fields, _ kinds: [String]) -> (match: RouteMatch.TextMatch, isAbsent: Bool)? {
    guard kinds.contains(where: fields.has) else { return (.present, false) }
    switch fields.oneOf(kinds, example: "exact: beta") {
    case "exact": return fields.fieldValue("exact").map { (.exact($0), false) }
    case "prefix": return fields.fieldValue("prefix").map { (.prefix($0), false) }
    case "regex": return fields.pattern("regex", .whole).map { (.regex($0), false) }
    case "present": return fields.bool("present").map { (.present, !$0) }
    default: return nil
    }
  }
}
