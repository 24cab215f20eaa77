// What no entry of `routes` says alone: names that are given twice, callers that nobody is.

struct RouteChecks {
  let decoder: Decoder
  let draft: Draft

  func run() {
    checkNames()
    checkWorkloads()
  }

  private func checkNames() {
    var places: [String: SourceRange] = [:]
    for route in draft.routes {
      guard let name = route.name else { continue }
      if let first = places[name.text] {
        decoder.report(
          name.range, "the route name \(quoted(name.text)) is taken; it is first written at \(first.place)")
      } else {
        places[name.text] = name.range
      }
    }
  }

  private func checkWorkloads() {
    let known = draft.workloads.compactMap(\.name?.text)
    let names = Set(known)
    for route in draft.routes {
      for workload in route.workloads where workload.text != "other" && !names.contains(workload.text) {
        let clause = decoder.suggestion(for: workload.text, among: known + ["other"])
        decoder.report(workload.range, "no workload is named \(quoted(workload.text))\(clause)")
      }
    }
  }
}
