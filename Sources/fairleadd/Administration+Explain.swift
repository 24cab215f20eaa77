// What would happen to a request, for those who ask by the admin socket: the node's own tables asked, and the lines of the
// configuration that decided.

import Admin
import Base
import Configuration
import Policy
import Proxy

extension Administration {
  func explain(_ query: ExplainQuery, _ reply: @escaping @Sendable (ExplainReport) -> Void) {
    guard let node else { return reply(ExplainReport(request: query.description, verdict: "starting")) }
    var report = ExplainReport(request: query.description, verdict: "")
    let listener =
      query.listener.map { name in configuration.listeners.first { $0.name == name } }
      ?? configuration.listeners.first { $0.protocol != .tcp }
    if listener == nil {
      report.steps.append(
        ExplainReport.Step(kind: "listener", subject: query.listener ?? "", result: "there is no such listener"))
    }
    let rule = listener.flatMap { explainRules(query, $0, node, &report) }
    if case .respond(let respond)? = rule?.rule.action.answer {
      (report.status, report.verdict) = (Int(respond.status), "the rule answers \(respond.status)")
      return reply(report)
    }
    if case .redirect(let redirect)? = rule?.rule.action.answer {
      (report.status, report.verdict) = (Int(redirect.status), "the rule redirects with \(redirect.status)")
      return reply(report)
    }
    guard let override = explainOverride(query, listener, node, &report) else { return reply(report) }
    let destinations = (rule?.rule.action.destinations ?? []).filter { $0.weight > 0 }
    if destinations.isEmpty {
      let names = node.explain(head: query.head, override: override)
      explain(names, names.isByHost ? "host: \(query.host)" : "the identifiers", rule, node, &report)
    } else {
      for destination in destinations {
        explain(
          node.explain(name: destination.name, override: override), "the rule's \(destination.name)", rule, node,
          &report)
      }
    }
    if let abort = rule?.rule.action.abort { explain(abort, &report) }
    reply(report)
  }

  /// Whatever else would become of the requests that the rule does not let through.
  private func explain(_ abort: RouteAction.Abort, _ report: inout ExplainReport) {
    if abort.share == .all {
      report.status = Int(abort.status)
      report.verdict = "the rule aborts it with \(abort.status)"
    } else if abort.share.millionths > 0 {
      report.verdict += "; the rule aborts \(abort.share)% with \(abort.status)"
    }
  }

  /// What the request itself wants to be delegated by, where its listener believes clients; nil when that ends it.
  private func explainOverride(
    _ query: ExplainQuery, _ listener: Configuration.Listener?, _ node: Node, _ report: inout ExplainReport
  ) -> [DelegationEntry]? {
    let brought = node.delegation(ofHead: query.head)
    if case .none = brought { return [] }
    guard let listener, listener.trust == .clients else {
      report.steps.append(
        ExplainReport.Step(
          kind: "l5d-dtab", subject: "of the request",
          result:
            "ignored: \(listener.map { "listener \($0.name)" } ?? "the listener") does not trust its clients (trust: clients)"
        ))
      return []
    }
    switch brought {
    case .none: return []
    case .entries(let entries):
      report.steps.append(
        ExplainReport.Step(
          kind: "l5d-dtab", subject: "of the request",
          result: entries.map(\.description).joined(separator: " ; ")))
      return entries
    case .wrong(let column, let message, let failure):
      report.steps.append(
        ExplainReport.Step(kind: "l5d-dtab", subject: "of the request", result: "column \(column): \(message)"))
      report.status = failure.status
      report.verdict = "the proxy answers \(failure.status) itself (\(failure.code)): \(failure.message)"
      return nil
    }
  }

  /// The rule that has the request, and why those before it have not; nil for none.
  private func explainRules(
    _ query: ExplainQuery, _ listener: Configuration.Listener, _ node: Node, _ report: inout ExplainReport
  ) -> Configuration.Route? {
    guard !configuration.routes.isEmpty else { return nil }
    guard listener.direction == .outbound else {
      report.steps.append(
        ExplainReport.Step(kind: "listener", subject: listener.name, result: "inbound: no rule is asked"))
      return nil
    }
    guard let all = node.explainRoutes(head: query.head, workload: query.workload) else {
      report.steps.append(
        ExplainReport.Step(kind: "rule", subject: query.workload ?? "", result: "there is no such workload"))
      return nil
    }
    let found = all.last { $0.mismatch == nil }
    let passed = all.filter { $0.mismatch != nil }
    if passed.count > Self.mostPassedRules {
      report.steps.append(
        ExplainReport.Step(kind: "rule", subject: "\(passed.count - Self.mostPassedRules) more", result: "do not match")
      )
    }
    for one in passed.suffix(Self.mostPassedRules) {
      let route = configuration.routes[Int(one.number)]
      report.steps.append(
        ExplainReport.Step(
          kind: "rule", subject: route.label(number: Int(one.number)),
          result: "does not match: \(one.mismatch?.description ?? "")", place: route.line > 0 ? route.place : nil))
    }
    guard let found else { return nil }
    let route = configuration.routes[Int(found.number)]
    report.steps.append(
      ExplainReport.Step(
        kind: "rule", subject: "\(route.label(number: Int(found.number))): \(route.matchSummary)",
        result: route.actionSummary, place: route.line > 0 ? route.place : nil))
    return route
  }

  /// Rules that do not match and are shown.
  private static let mostPassedRules = 5

  /// One name that the request may go to.
  private func explain(
    _ names: NameExplanation, _ subject: String, _ rule: Configuration.Route?, _ node: Node,
    _ report: inout ExplainReport
  ) {
    report.steps.append(
      ExplainReport.Step(
        kind: "name", subject: subject,
        result: names.refusal.map { "\(names.logicalName): \($0)" } ?? "\(names.logicalName)"))
    report.steps += names.steps.map(step)
    let summaries = names.services.isEmpty ? [] : node.endpointSummaries()
    // A tree may name a service twice, and so may two destinations of a rule.
    let known = Set(report.policy.map(\.service))
    var seen: Set<String> = []
    for service in names.services where seen.insert(service.boundName).inserted {
      let count = service.endpoints.count
      report.steps.append(
        ExplainReport.Step(
          kind: "service", subject: service.boundName, result: "\(service.name), \(Daemon.count(count, "endpoint"))"))
      if known.contains(service.boundName) { continue }
      report.endpoints += summaries.filter { $0.service == service.name }.map {
        ExplainReport.Endpoint(
          service: service.name, address: $0.endpoint.address.description, state: $0.state, weight: $0.effectiveWeight)
      }
      report.policy += configuration.policySettings(for: service.policyName, route: rule).map {
        ExplainReport.Setting(service: service.boundName, name: $0.name, value: $0.value, place: $0.place)
      }
    }
    report.status = report.status ?? names.failure?.status
    report.verdict += (report.verdict.isEmpty ? "" : "; or ") + verdict(names)
  }

  private func step(_ step: DelegationStep) -> ExplainReport.Step {
    let indent = String(repeating: "  ", count: step.depth)
    var (subject, place) = ("", String?.none)
    switch step.kind {
    case .name(let path): subject = path.description
    case .entry(let index):
      if configuration.delegations.indices.contains(index) {
        let entry = configuration.delegations[index]
        subject = entry.entry.description
        place = entry.line > 0 ? "\(entry.file):\(entry.line)" : nil
      } else {
        subject = "the request's own entry"
      }
    case .alternatives: subject = "one of"
    case .union: subject = "by share"
    case .failure: subject = "!"
    case .negative: subject = "~"
    case .empty: subject = "$"
    }
    switch step.role {
    case .plain: break
    case .branch(let weight): subject = "\(weight) * \(subject)"
    case .otherwise: subject = "| \(subject)"
    case .otherwiseWhenEmpty: subject = "|! \(subject)"
    }
    return ExplainReport.Step(kind: "delegation", subject: indent + subject, result: result(step), place: place)
  }

  private func result(_ step: DelegationStep) -> String {
    switch step.outcome {
    case .delegated: "found below"
    case .bound(let name): "\(name)"
    case .negative: "no such name"
    case .negativeBefore: "no such name, as before"
    case .empty: "no endpoints"
    case .refused: "refused"
    case .failed(let kind): "fails: \(kind)"
    case .pending: "not known yet"
    case .notTried: "not tried"
    }
  }

  private func verdict(_ names: NameExplanation) -> String {
    if let failure = names.failure {
      return "the proxy answers \(failure.status) itself (\(failure.code)): \(failure.message)"
    }
    if names.services.isEmpty { return "discovery is still finding out: ask again" }
    let count = names.services.reduce(0) { $0 + $1.endpoints.count }
    let services = names.services.map(\.boundName).joined(separator: " or ")
    return "it is sent to \(count == 1 ? "the endpoint" : "one of \(count) endpoints") of \(services)"
  }
}
