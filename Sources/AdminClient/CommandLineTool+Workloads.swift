// `fairlead workloads`: who is calling.

extension CommandLineTool {
  func workloads(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/workloads") }
    var table = Table([
      ("WORKLOAD", .left), ("CONNECTIONS", .right), ("REQUESTS", .right), ("SUCCESS", .right), ("IN", .right),
      ("OUT", .right), ("MATCHED BY", .left),
    ])
    for one in try daemon.decoded(WorkloadsAnswer.self, "/workloads").workloads {
      table.add([
        one.name, "\(one.connections)", "\(one.requests)", success(one), Display.bytes(one.bytesIn),
        Display.bytes(one.bytesOut), matches(one.match),
      ])
    }
    console.output(table.text)
  }

  /// As in `stat`: of the answers, those that are no server's error.
  private func success(_ one: WorkloadsAnswer.Workload) -> String {
    let answered = one.responses.values.reduce(0, &+)
    return Display.share(answered &- min(one.responses["5xx"] ?? 0, answered), of: answered)
  }

  /// The first few of each kind, and how many more there are.
  private func matches(_ match: WorkloadsAnswer.Workload.Match) -> String {
    let kinds = [("address", match.addresses), ("user", match.users), ("cgroup", match.cgroups)].filter {
      !$0.1.isEmpty
    }
    if kinds.isEmpty { return "-" }
    return kinds.map { kind, values in
      let more = values.count > 3 ? " +\(values.count - 3)" : ""
      return "\(kind) \(values.prefix(3).joined(separator: ","))\(more)"
    }.joined(separator: "; ")
  }
}
