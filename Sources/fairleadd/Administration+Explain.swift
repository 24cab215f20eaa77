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
    let names = node.explain(host: Array(query.host.utf8))
    report.steps.append(
      ExplainReport.Step(
        kind: "name", subject: "host: \(query.host)",
        result: names.refusal.map { "\(names.logicalName): \($0)" } ?? "\(names.logicalName)"))
    report.steps += names.steps.map(step)
    let summaries = names.services.isEmpty ? [] : node.endpointSummaries()
    for service in names.services {
      let count = service.endpoints.count
      report.steps.append(
        ExplainReport.Step(
          kind: "service", subject: service.boundName, result: "\(service.name), \(Daemon.count(count, "endpoint"))"))
      report.endpoints += summaries.filter { $0.service == service.name }.map {
        ExplainReport.Endpoint(
          service: service.name, address: $0.endpoint.address.description, state: $0.state, weight: $0.effectiveWeight)
      }
    }
    if let service = names.services.first {
      report.policy = configuration.policySettings(for: service.policyName).map {
        ExplainReport.Setting(name: $0.name, value: $0.value, place: $0.place)
      }
    }
    report.status = names.failure?.status
    report.verdict = verdict(names)
    reply(report)
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
