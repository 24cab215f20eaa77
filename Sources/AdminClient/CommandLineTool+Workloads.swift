// `fairlead workloads`: who is calling.

extension CommandLineTool {
  func workloads(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/workloads") }
    var table = Table([
      ("WORKLOAD", .left), ("WEIGHT", .right), ("CONNECTIONS", .right), ("QUEUED", .right), ("REQUESTS", .right),
      ("SUCCESS", .right), ("REFUSED", .right), ("IN", .right), ("OUT", .right), ("MATCHED BY", .left),
    ])
    for one in try daemon.decoded(WorkloadsAnswer.self, "/workloads").workloads {
      table.add([
        one.name, weight(one), "\(one.connections)", "\(one.queued ?? 0)", "\(one.requests)", success(one),
        "\((one.rateLimited ?? 0) &+ (one.shed ?? 0))", Display.bytes(one.bytesIn), Display.bytes(one.bytesOut),
        matches(one.match),
      ])
    }
    console.output(table.text)
  }

  /// `2`, `0.5`.
  private func weight(_ one: WorkloadsAnswer.Workload) -> String {
    guard let weight = one.weight else { return "1" }
    return Int(exactly: weight).map { "\($0)" } ?? "\(weight)"
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
