// `fairlead names`: the delegation of a name as an indented tree.
//
//     /svc/web
//       /svc/web => 0.95 * /#/file/web & 0.05 * /#/file/web-canary   (fairlead.yaml:15)
//         0.95 * /#/file/web   2 of 3 endpoints live
//         0.05 * /#/file/web-canary   no such name
//       /svc => /#/file   (fairlead.yaml:14)   not tried
//
//     100.00%  /#/file/web

extension CommandLineTool {
  func names(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    var target = "/names?path=\(percentEncoded(invocation.operands.first ?? ""))"
    if let dtab = invocation.options["--dtab"] { target += "&dtab=\(percentEncoded(dtab))" }
    let answer = try daemon.decoded(NamesAnswer.self, target)
    if invocation.isJSON {
      try pass(daemon, target)
    } else {
      console.output(Self.tree(answer))
    }
    return answer.outcome == "bound" ? ExitCode.success : ExitCode.failure
  }

  static func tree(_ answer: NamesAnswer) -> String {
    var text = ""
    for step in answer.steps {
      let line = [head(step), place(step), outcome(step)].filter { !$0.isEmpty }.joined(separator: "   ")
      text += String(repeating: "  ", count: min(max(step.depth, 0), 100)) + printable(line) + "\n"
    }
    if answer.cut { text += "… there is more to it\n" }
    text += "\n"
    for destination in answer.destinations {
      let share = destination.share > 0 ? "\(Display.fixed(destination.share * 100, 2))%" : "stands in"
      text += "\(String(repeating: " ", count: max(0, 9 - share.count)))\(share)  \(printable(destination.service))\n"
    }
    if let reason = answer.reason { text += "\(answer.outcome): \(printable(reason))\n" }
    return text
  }

  private static func head(_ step: NamesAnswer.Step) -> String {
    if let weight = step.weight { return "\(Display.shortest(weight)) * \(step.text)" }
    let word = step.kind == "alternatives" ? "the first of these" : step.kind == "union" ? "shares" : step.text
    return step.operator.map { "\($0) \(word)" } ?? word
  }

  private static func place(_ step: NamesAnswer.Step) -> String {
    guard let file = step.file else { return "" }
    return "(\(file)\(step.line.map { ":\($0)" } ?? ""))"
  }

  private static func outcome(_ step: NamesAnswer.Step) -> String {
    switch step.outcome {
    case "delegated": return ""
    case "bound":
      guard let endpoints = step.endpoints, let live = step.liveEndpoints else { return "bound" }
      let service = step.service == step.text ? "" : "\(step.service ?? ""), "
      return service
        + (live == endpoints
          ? "\(endpoints) endpoint\(endpoints == 1 ? "" : "s")" : "\(live) of \(endpoints) endpoints live")
    case "negative": return step.kind == "name" ? "no such name" : ""
    case "repeated": return "no such name, as above"
    case "pending": return "not known yet"
    case "empty", "refused", "failed": return step.kind == "name" || step.kind == "entry" ? step.outcome : ""
    default: return step.outcome
    }
  }
}
