// `routes` as JSON: what is written here reads back as the same rules.

import Base
import Policy

extension Configuration.Route {
  func write(to json: inout JSONWriter) {
    if let name { json.member("name", name) }
    json.object("match") { rule.match.write(to: &$0) }
    rule.action.write(to: &json)
    if retries != Configuration.Retries() { json.object("retries") { retries.write(to: &$0) } }
    if let rateLimit { json.object("rateLimit") { rateLimit.write(to: &$0) } }
  }
}

extension RouteMatch {
  fileprivate func write(to json: inout JSONWriter) {
    json.list("hosts", hosts.map(\.description))
    switch path {
    case nil: break
    case .exact(let text): json.object("path") { $0.member("exact", text) }
    case .prefix(let text): json.object("path") { $0.member("prefix", text) }
    case .regex(let pattern): json.object("path") { $0.member("regex", pattern.text) }
    }
    json.list("methods", methods)
    if !headers.isEmpty {
      json.array("headers") { json in
        for header in headers {
          json.object { json in
            json.member("name", header.name)
            header.value.write(to: &json)
            if header.isInverted { json.member("invert", true) }
          }
        }
      }
    }
    if !query.isEmpty {
      json.array("query") { json in
        for condition in query {
          json.object { json in
            json.member("name", condition.name)
            condition.value.write(to: &json)
          }
        }
      }
    }
    json.list("workloads", workloads)
    json.list("sni", serverNames.map(\.description))
    json.list("alpn", protocols)
  }
}

extension RouteMatch.TextMatch {
  fileprivate func write(to json: inout JSONWriter) {
    switch self {
    case .present: json.member("present", true)
    case .exact(let text): json.member("exact", text)
    case .prefix(let text): json.member("prefix", text)
    case .regex(let pattern): json.member("regex", pattern.text)
    }
  }
}

extension RouteAction {
  fileprivate func write(to json: inout JSONWriter) {
    if destinations.count == 1, let only = destinations.first, only.weight == 1 {
      json.member("to", only.name.description)
    } else if !destinations.isEmpty {
      json.array("split") { json in
        for entry in destinations {
          json.object { json in
            json.member("to", entry.name.description)
            json.member("weight", Int(entry.weight))
          }
        }
      }
    }
    if pathRewrite != nil || hostRewrite != nil {
      json.object("rewrite") { json in
        pathRewrite?.write(to: &json)
        if let hostRewrite { json.member("host", hostRewrite) }
      }
    }
    if !requestHeaders.isEmpty || !responseHeaders.isEmpty {
      json.object("headers") { json in
        if !requestHeaders.isEmpty { json.object("request") { requestHeaders.write(to: &$0) } }
        if !responseHeaders.isEmpty { json.object("response") { responseHeaders.write(to: &$0) } }
      }
    }
    if let mirror {
      json.object("mirror") { json in
        json.member("to", mirror.name.description)
        json.percent(mirror.share)
      }
    }
    writeFault(to: &json)
    if let timeout { json.member("timeout", timeout.shortText) }
    switch answer {
    case nil: break
    case .redirect(let redirect): json.object("redirect") { redirect.write(to: &$0) }
    case .respond(let respond): json.object("respond") { respond.write(to: &$0) }
    }
  }

  private func writeFault(to json: inout JSONWriter) {
    guard delay != nil || abort != nil else { return }
    json.object("fault") { json in
      if let delay {
        json.object("delay") { json in
          json.percent(delay.share)
          json.member("duration", delay.duration.shortText)
        }
      }
      if let abort {
        json.object("abort") { json in
          json.percent(abort.share)
          json.member("status", Int(abort.status))
        }
      }
    }
  }
}

extension RouteAction.PathRewrite {
  fileprivate func write(to json: inout JSONWriter) {
    json.object("path") { json in
      switch self {
      case .prefix(let text): json.member("prefix", text)
      case .full(let text): json.member("full", text)
      case .regex(let pattern, let replacement):
        json.member("regex", pattern.text)
        json.member("replacement", replacement.text)
      }
    }
  }
}

extension RouteAction.HeaderEdits {
  fileprivate func write(to json: inout JSONWriter) {
    if !self.set.isEmpty { json.fields("set", self.set) }
    if !add.isEmpty { json.fields("add", add) }
    json.list("remove", remove)
  }
}

extension RouteAction.Redirect {
  fileprivate func write(to json: inout JSONWriter) {
    if let scheme { json.member("scheme", scheme) }
    if let host { json.member("host", host) }
    if let port { json.member("port", Int(port)) }
    path?.write(to: &json)
    json.member("status", Int(status))
  }
}

extension RouteAction.Respond {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("status", Int(status))
    if !body.isEmpty { json.member("body", body) }
    json.member("contentType", contentType)
    if !headers.isEmpty { json.fields("headers", headers) }
  }
}

extension JSONWriter {
  fileprivate mutating func percent(_ share: Percent) {
    key("percent")
    number(Double(share.millionths) / 10_000)
  }

  /// Nothing for an empty list: it would match nothing.
  fileprivate mutating func list(_ name: String, _ words: [String]) {
    guard !words.isEmpty else { return }
    array(name) { json in for word in words { json.string(word) } }
  }

  fileprivate mutating func fields(_ name: String, _ fields: [RouteAction.Field]) {
    object(name) { json in for field in fields { json.member(field.name, field.value) } }
  }
}
