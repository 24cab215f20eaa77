// `fairlead routes`: the rules in their order.

extension CommandLineTool {
  func routes(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/routes") }
    var table = Table([
      ("ROUTE", .left), ("REQUESTS", .right), ("REFUSED", .right), ("MATCHES", .left), ("DOES", .left),
      ("WRITTEN AT", .left),
    ])
    for one in try daemon.decoded(RoutesAnswer.self, "/routes").routes {
      table.add([one.name, "\(one.requests)", "\(one.rateLimited ?? 0)", one.matches, one.does, one.place])
    }
    console.output(table.text)
  }
}
