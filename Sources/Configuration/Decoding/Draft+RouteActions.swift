// Decodes what one entry of `routes` does with a request, and refuses what cannot go together.

import Base
import Policy

/// One entry's actions on their way.
struct RouteActions {
  private let fields: Fields
  private let match: RouteMatch
  /// The names that it sends requests to.
  private(set) var destinations: [(name: Path, range: SourceRange)] = []

  init(_ fields: Fields, _ match: RouteMatch) {
    self.fields = fields
    self.match = match
  }

  mutating func decode() -> RouteAction {
    checkTogether()
    var action = RouteAction()
    action.destinations = weightedNames()
    rewrite(&action)
    if let headers = fields.fields("headers", known: ["request", "response"]) {
      action.requestHeaders = edits(headers, "request", Self.requestReason)
      action.responseHeaders = edits(headers, "response", Self.responseReason)
    }
    action.mirror = mirror()
    fault(&action)
    action.timeout = fields.duration("timeout", in: .milliseconds(1) ... .seconds(86400))
    if let redirect = redirect() { action.answer = .redirect(redirect) }
    if let respond = respond() { action.answer = .respond(respond) }
    return action
  }

  /// What answers by itself sends nothing on.
  private func checkTogether() {
    let onward = ["to", "split", "rewrite", "headers", "mirror", "timeout", "retries", "rateLimit"]
    for (key, others) in [
      ("redirect", ["respond"] + onward), ("respond", onward), ("to", ["split"]),
    ] where fields.has(key) {
      for other in others where fields.has(other) {
        fields.reportValue(other, "'\(other)' cannot stand beside '\(key)' in '\(fields.path)'; one of the two must go")
      }
    }
  }

  // MARK: Onward

  private mutating func weightedNames() -> [RouteAction.WeightedName] {
    if let name = name(fields, "to") { return [RouteAction.WeightedName(name)] }
    let items = fields.items("split")
    if items.count > Self.mostSplits {
      fields.decoder.report(
        items[Self.mostSplits].node.range, "'\(fields.path).split' has more than \(Self.mostSplits) entries")
    }
    if fields["split"]?.isEmptyList == true {
      fields.reportValue("split", "'\(fields.path).split' is empty; write [{ to: /svc/web, weight: 1 }]")
    }
    var names: [RouteAction.WeightedName] = []
    for item in items.prefix(Self.mostSplits) {
      guard let entry = Fields(fields.decoder, item, known: ["to", "weight"]) else { continue }
      entry.require("to", "to: /svc/web")
      entry.require("weight", "weight: 1")
      let weight = entry.integer("weight", in: 0...1_000_000)
      guard let name = name(entry, "to"), let weight else { continue }
      names.append(RouteAction.WeightedName(name, weight: UInt32(weight)))
    }
    if !names.isEmpty, names.count == items.count, names.allSatisfy({ $0.weight == 0 }) {
      fields.reportValue("split", "the weights of '\(fields.path).split' are all 0")
    }
    return names
  }

  private mutating func name(_ fields: Fields, _ key: String) -> Path? {
    guard let text = fields.text(key), let range = fields[key]?.node.range else { return nil }
    guard let name = Draft.name(text) else {
      fields.reportValue(key, "\(quoted(text)) is not a name; write a path such as /svc/web")
      return nil
    }
    destinations.append((name, range))
    return name
  }

  private func rewrite(_ action: inout RouteAction) {
    guard let rewrite = fields.fields("rewrite", known: ["path", "host"]) else { return }
    action.hostRewrite = rewrite.authority("host")
    guard let path = rewrite.fields("path", known: ["prefix", "full", "regex", "replacement"]) else {
      if !rewrite.has("path"), !rewrite.has("host") {
        fields.reportValue("rewrite", "'\(rewrite.path)' says nothing; write path: { prefix: / } or host: web.local")
      }
      return
    }
    if path.has("replacement"), !path.has("regex") {
      path.reportValue("replacement", "'replacement' belongs to 'regex'")
    }
    switch path.oneOf(["prefix", "full", "regex"], example: "prefix: /") {
    case "regex":
      path.require("replacement", "replacement: /$1")
      guard let pattern = path.pattern("regex", .part) else { return }
      action.pathRewrite = path.parsed("replacement", "text", "a replacement") { text throws(TextError) in
        .regex(pattern, try Replacement(parsing: text, groupCount: pattern.groupCount))
      }
    case .some(let key): action.pathRewrite = pathChange(path, key, otherwise: "full: or regex:")
    case .none: break
    }
  }

  /// A new prefix or a new path; the one needs an old prefix.
  private func pathChange(_ path: Fields, _ key: String, otherwise: String) -> RouteAction.PathRewrite? {
    guard key == "prefix" else { return path.pathText(key).map { .full($0) } }
    if case .prefix = match.path { return path.pathText(key).map { .prefix($0) } }
    path.reportValue(
      key, "there is no prefix to replace: '\(path.path).prefix' needs 'match.path.prefix'; or write \(otherwise)")
    return nil
  }

  private mutating func mirror() -> RouteAction.Mirror? {
    guard let mirror = fields.fields("mirror", known: ["to", "percent"]) else { return nil }
    mirror.require("to", "to: /svc/shadow")
    let share = mirror.percent("percent") ?? .all
    return name(mirror, "to").map { RouteAction.Mirror(name: $0, share: share) }
  }

  private func fault(_ action: inout RouteAction) {
    guard let fault = fields.fields("fault", known: ["delay", "abort"]) else { return }
    if let delay = fault.fields("delay", known: ["percent", "duration"]) {
      delay.require("duration", "duration: 200ms")
      let share = delay.percent("percent") ?? .all
      action.delay = delay.duration("duration", in: .milliseconds(1) ... .seconds(3600)).map {
        RouteAction.Delay(share: share, duration: $0)
      }
    }
    if let abort = fault.fields("abort", known: ["percent", "status"]) {
      abort.require("status", "status: 503")
      let share = abort.percent("percent") ?? .all
      action.abort = abort.integer("status", in: 400...599).map {
        RouteAction.Abort(share: share, status: UInt16($0))
      }
    }
  }

  // MARK: Header fields

  private func edits(_ headers: Fields, _ key: String, _ reason: (String, Bool) -> String?) -> RouteAction.HeaderEdits {
    var edits = RouteAction.HeaderEdits()
    guard let fields = headers.fields(key, known: ["set", "add", "remove"]) else { return edits }
    edits.set = fields.headerFields("set") { reason($0, false) }
    edits.add = fields.headerFields("add") { reason($0, false) }
    for item in fields.list("remove", most: Fields.mostEdits, "the name of a header field", "a name", { $0 }) {
      guard let name = fields.fieldName(item.value, item.range) else { continue }
      if let reason = reason(name, true) {
        fields.decoder.report(item.range, "\(quoted(item.value)) cannot be changed here: \(reason)")
      } else if edits.set.contains(where: { $0.name == name }) {
        fields.decoder.report(item.range, "\(quoted(item.value)) is set as well; one of the two must go")
      } else {
        edits.remove.append(name)
      }
    }
    return edits
  }

  /// Why nobody may change this field; nil for all others.
  private static func commonReason(_ name: String) -> String? {
    switch name {
    case "content-length", "transfer-encoding", "trailer": "Fairlead writes the framing of every message itself"
    case "connection", "keep-alive", "proxy-connection", "te", "upgrade", "http2-settings":
      "it concerns one connection only"
    case "via": "loops are found by it"
    default: nil
    }
  }

  private static func requestReason(_ name: String, isRemoval: Bool) -> String? {
    switch name {
    case "host": "write rewrite: { host: web.local }"
    case "expect": "the client waits for what is answered to it"
    case "traceparent": "a trace is always passed on"
    case _ where name.hasPrefix("l5d-"): "fields of this name are the proxy's own"
    default: commonReason(name)
    }
  }

  private static func responseReason(_ name: String, isRemoval: Bool) -> String? {
    if !isRemoval, name.hasPrefix("l5d-") || name == "fairlead-code" {
      return "fields of this name are the proxy's own"
    }
    return commonReason(name)
  }

  // MARK: Answers

  private func redirect() -> RouteAction.Redirect? {
    let known = ["scheme", "host", "port", "path", "status"]
    guard let redirect = fields.fields("redirect", known: known) else { return nil }
    if !["scheme", "host", "port", "path"].contains(where: redirect.has) {
      fields.reportValue("redirect", "'\(redirect.path)' leads to where it came from; write host: new.local")
    }
    var value = RouteAction.Redirect()
    value.scheme = redirect.choice("scheme", ["http", "https"])
    value.host = redirect.parsed("host", "a host such as new.local", "a host") { text throws(TextError) in
      let host = try HostPattern(parsing: text)
      if host.isWildcard { throw TextError("a wildcard names no single host") }
      return host.description
    }
    value.port = redirect.integer("port", in: 1...65535).map { UInt16($0) }
    if let path = redirect.fields("path", known: ["prefix", "full"]),
      let key = path.oneOf(["prefix", "full"], example: "full: /new")
    {
      value.path = pathChange(path, key, otherwise: "full:")
    }
    if let status = redirect.integer("status", in: 300...399) {
      if [301, 302, 303, 307, 308].contains(status) {
        value.status = UInt16(status)
      } else {
        redirect.reportValue("status", "'\(redirect.path).status' must be 301, 302, 303, 307 or 308, not \(status)")
      }
    }
    return value
  }

  private func respond() -> RouteAction.Respond? {
    let known = ["status", "body", "contentType", "headers"]
    guard let respond = fields.fields("respond", known: known) else { return nil }
    respond.require("status", "status: 200")
    var body = ""
    if let value = respond["body"], let scalar = fields.decoder.scalar(of: value, "text") {
      body = scalar.text
      if body.utf8.count > 64 << 10 { respond.reportValue("body", "'\(value.path)' is longer than 64 KiB") }
    }
    let contentType = respond.fieldValue("contentType") ?? RouteAction.Respond.defaultContentType
    let headers = respond.headerFields("headers") { name in
      name == "content-type" ? "write contentType: beside it" : Self.responseReason(name, isRemoval: false)
    }
    guard let status = respond.integer("status", in: 200...599) else { return nil }
    if status == 204 || status == 304, !body.isEmpty {
      respond.reportValue("body", "a response with status \(status) has no body")
    }
    return RouteAction.Respond(status: UInt16(status), body: body, contentType: contentType, headers: headers)
  }

  private static let mostSplits = 64
}
