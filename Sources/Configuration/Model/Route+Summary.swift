// A rule in two short lines, for tables: what it matches and what it does. Not to be read by programs; the whole rule is in
// the configuration.

import Base
import Policy

extension Configuration.Route {
  /// `shop.local /cart* GET,POST x-user-group=beta`; `everything` for a rule that asks nothing.
  public var matchSummary: String {
    let match = rule.match
    var words: [String] = []
    if !match.hosts.isEmpty { words.append(Self.list(match.hosts.map(\.description))) }
    switch match.path {
    case nil: break
    case .exact(let text): words.append(text)
    case .prefix(let text): words.append("\(text)*")
    case .regex(let pattern): words.append("~\(pattern.text)")
    }
    if !match.methods.isEmpty { words.append(Self.list(match.methods)) }
    words += match.headers.map { ($0.isInverted ? "not " : "") + $0.name + Self.comparison($0.value) }
    words += match.query.map { "?\($0.name)\(Self.comparison($0.value))" }
    if !match.serverNames.isEmpty { words.append("sni=\(Self.list(match.serverNames.map(\.description)))") }
    if !match.protocols.isEmpty { words.append("alpn=\(Self.list(match.protocols))") }
    if !match.workloads.isEmpty { words.append("from \(Self.list(match.workloads))") }
    return words.isEmpty ? "everything" : words.joined(separator: " ")
  }

  /// `to /svc/cart, rewrite, mirror 1%`; `as the host says` for a rule that changes nothing.
  public var actionSummary: String {
    let action = rule.action
    var words: [String] = []
    switch action.answer {
    case .redirect(let redirect): words.append("redirect \(redirect.status)")
    case .respond(let respond): words.append("respond \(respond.status)")
    case nil: break
    }
    switch action.destinations.count {
    case 0: break
    case 1: words.append("to \(action.destinations[0].name)")
    default:
      words.append("split " + action.destinations.map { "\($0.name) \($0.weight)" }.joined(separator: " : "))
    }
    if action.pathRewrite != nil || action.hostRewrite != nil { words.append("rewrite") }
    if !action.requestHeaders.isEmpty || !action.responseHeaders.isEmpty { words.append("headers") }
    if let mirror = action.mirror { words.append("mirror \(mirror.share)% to \(mirror.name)") }
    if let delay = action.delay { words.append("delay \(delay.share)% by \(delay.duration.shortText)") }
    if let abort = action.abort { words.append("abort \(abort.share)% with \(abort.status)") }
    if let timeout = action.timeout { words.append("timeout \(timeout.shortText)") }
    if retries != Configuration.Retries() { words.append("retries") }
    if let rateLimit { words.append("limit \(rateLimit.count) per \(rateLimit.period.shortText)") }
    return words.isEmpty ? "as the host says" : words.joined(separator: ", ")
  }

  /// The first few, and how many more there are.
  private static func list(_ words: [String]) -> String {
    words.prefix(3).joined(separator: ",") + (words.count > 3 ? ",+\(words.count - 3)" : "")
  }

  private static func comparison(_ match: RouteMatch.TextMatch) -> String {
    switch match {
    case .present: ""
    case .exact(let text): "=\(text)"
    case .prefix(let text): "=\(text)*"
    case .regex(let pattern): "~\(pattern.text)"
    }
  }
}
