// `fairlead explain URL`: what would happen to a request, and which line of the configuration decides it.

import Base

private struct ExplainAnswer: Decodable {
  struct Step: Decodable {
    var kind: String
    var subject: String
    var result: String
    var place: String?
  }

  struct Endpoint: Decodable {
    var service: String
    var address: String
    var state: String
    var weight: Double
  }

  struct Setting: Decodable {
    var service: String
    var name: String
    var value: String
    var place: String?
  }

  var request: String
  var steps: [Step]
  var endpoints: [Endpoint]
  var policy: [Setting]
  var verdict: String
  var status: Int?

  var hasSeveralPolicies: Bool { policy.contains { $0.service != policy.first?.service } }
}

extension CommandLineTool {
  func explain(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    let headers = invocation.lists["-H"] ?? []
    if let wrong = headers.first(where: { !$0.contains(":") || $0.utf8.contains(0x0A) }) {
      console.errors("fairlead: -H is 'NAME: VALUE', not '\(printable(wrong))'\n")
      return ExitCode.usage
    }
    var target = "/explain?url=\(percentEncoded(invocation.operands.first ?? ""))"
    if let method = invocation.options["-X"] { target += "&method=\(percentEncoded(method))" }
    if !headers.isEmpty { target += "&headers=\(percentEncoded(headers.joined(separator: "\n")))" }
    for name in ["workload", "listener"] {
      if let value = invocation.options["--\(name)"] { target += "&\(name)=\(percentEncoded(value))" }
    }
    if invocation.isJSON {
      try pass(daemon, target)
    } else {
      show(try daemon.decoded(ExplainAnswer.self, target))
    }
    return ExitCode.success
  }

  private func show(_ answer: ExplainAnswer) {
    console.output(printable(answer.request) + "\n")
    if !answer.steps.isEmpty {
      var table = Table([("STEP", .left), ("SUBJECT", .left), ("RESULT", .left), ("DECIDED BY", .left)])
      for one in answer.steps { table.add([one.kind, one.subject, one.result, one.place ?? "-"]) }
      console.output("\n\(table.text)")
    }
    if !answer.endpoints.isEmpty {
      var table = Table([("SERVICE", .left), ("ENDPOINT", .left), ("STATE", .left), ("WEIGHT", .right)])
      for one in answer.endpoints { table.add([one.service, one.address, one.state, Display.fixed(one.weight, 2)]) }
      console.output("\n\(table.text)")
    }
    for group in policies(answer.policy) {
      let title = answer.hasSeveralPolicies ? "POLICY OF \(group.services.joined(separator: ", "))" : "POLICY"
      var table = Table([(title, .left), ("VALUE", .left), ("DECIDED BY", .left)])
      for row in group.rows { table.add(row) }
      console.output("\n\(table.text)")
    }
    console.output("\n\(printable(answer.verdict))\n")
  }

  /// The policies of all services in the order they came; those that are the same to the line only once.
  private func policies(_ settings: [ExplainAnswer.Setting]) -> [(services: [String], rows: [[String]])] {
    var services: [String] = []
    var rows: [String: [[String]]] = [:]
    for one in settings {
      if rows[one.service] == nil { services.append(one.service) }
      rows[one.service, default: []].append([one.name, one.value, one.place ?? "default"])
    }
    var groups: [(services: [String], rows: [[String]])] = []
    for service in services {
      if let same = groups.firstIndex(where: { $0.rows == rows[service] }) {
        groups[same].services.append(service)
      } else {
        groups.append(([service], rows[service] ?? []))
      }
    }
    return groups
  }
}
