// The commands that show what the daemon says of itself.

import Base
import Telemetry

extension CommandLineTool {
  func status(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/status") }
    let status = try daemon.decoded(StatusAnswer.self, "/status")
    var facts: [(String, String)] = [
      ("node", status.node),
      ("state", status.state + (status.reason.map { ": " + $0 } ?? "")),
      ("version", "\(status.version) (commit \(status.commit))"),
      (
        "process",
        "\(status.pid), up \(Display.age(seconds: status.uptimeSeconds)), "
          + "\(Display.bytes(status.residentBytes)) resident"
      ),
      ("configuration", "\(status.configuration), generation \(status.snapshotGeneration)"),
      ("connections", "\(status.downstreamConnections) downstream, \(status.upstreamConnections) upstream"),
      ("in flight", "\(status.inFlightRequests) requests"),
      ("log level", status.logLevel),
    ]
    if let log = status.accessLog {
      facts.append(("access log", "\(log.written) written, \(log.dropped) dropped, \(log.failed) failed"))
    }
    let width = facts.map(\.0.count).max() ?? 0
    for (name, value) in facts {
      console.output("\(name)\(String(repeating: " ", count: width - name.count))  \(printable(value))\n")
    }

    var listeners = Table([
      ("LISTENER", .left), ("ADDRESS", .left), ("DIRECTION", .left), ("PROTOCOL", .left), ("CONNECTIONS", .right),
    ])
    for one in status.listeners {
      listeners.add([one.name, one.address, one.direction, one.protocol, "\(one.connections)"])
    }
    var shards = Table([
      ("SHARD", .right), ("CPU", .right), ("CONNECTIONS", .right), ("REQUESTS", .right), ("LAG", .right),
      ("OVERLOAD", .left),
    ])
    for one in status.shards {
      shards.add([
        "\(one.index)", one.cpu.map(String.init) ?? "-", "\(one.connections)", "\(one.requests)",
        "\(Display.fixed(one.loopLagMilliseconds, 2))ms", one.overload ?? "no",
      ])
    }
    console.output("\n\(listeners.text)\n\(shards.text)")
    if !status.discovery.isEmpty {
      var discovery = Table([
        ("DISCOVERY", .left), ("KIND", .left), ("STATE", .left), ("SERVICES", .right), ("ENDPOINTS", .right),
        ("AGE", .right), ("FAILURE", .left),
      ])
      for one in status.discovery {
        discovery.add([
          one.prefix, one.kind, one.state ?? "-", "\(one.services)", one.endpoints.map(String.init) ?? "-",
          Display.age(seconds: one.ageSeconds), one.failure ?? "-",
        ])
      }
      console.output("\n\(discovery.text)")
      for one in status.discovery {
        for problem in one.problems ?? [] { console.output("\(one.prefix): \(printable(problem))\n") }
      }
    }
    if !status.degraded.isEmpty {
      console.output("\n")
      for sentence in status.degraded { console.output("degraded: \(printable(sentence))\n") }
    }
  }

  /// Ends with 1 where there is no such service; one without endpoints is something else.
  func endpoints(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    let name = invocation.operands.first
    let target = "/endpoints" + (name.map { "?service=\(percentEncoded($0))" } ?? "")
    let answer = try daemon.decoded(EndpointsAnswer.self, target)
    if invocation.isJSON { try pass(daemon, target) } else { show(answer) }
    guard let name, answer.endpoints.isEmpty else { return ExitCode.success }
    let known = try daemon.decoded(ServicesAnswer.self, "/services")
    return report(missing: known.services.contains { $0.name == name } ? [] : [name], of: known)
  }

  private func show(_ answer: EndpointsAnswer) {
    var table = Table([
      ("SERVICE", .left), ("ENDPOINT", .left), ("STATE", .left), ("ZONE", .left), ("WEIGHT", .right),
      ("INFLIGHT", .right), ("CONNECTIONS", .right), ("LATENCY", .right), ("REQUESTS", .right), ("FAILURES", .right),
      ("SOURCE", .left),
    ])
    for one in answer.endpoints {
      table.add([
        one.service, one.address, state(of: one), one.zone ?? "-", weight(of: one), "\(one.inFlight)",
        "\(one.connections)",
        one.requests == 0 ? "-" : "\(Display.fixed(one.latencyMilliseconds, 2))ms", "\(one.requests)",
        "\(one.failures)", source(of: one),
      ])
    }
    console.output(table.text)
  }

  /// `live`, or `unhealthy (NOT_SERVING)` for an endpoint whose last check failed.
  private func state(of endpoint: EndpointsAnswer.Endpoint) -> String {
    endpoint.checkFailure.map { "\(endpoint.state) (\($0))" } ?? endpoint.state
  }

  /// Its weight, and before it as much of it as counts while the endpoint is in its slow start.
  private func weight(of endpoint: EndpointsAnswer.Endpoint) -> String {
    let weight = Display.fixed(endpoint.weight, 2)
    guard let effective = endpoint.effectiveWeight, effective < endpoint.weight else { return weight }
    return "\(Display.fixed(effective, 2))/\(weight)"
  }

  /// `file`, or `file (stale)` for an endpoint its discovery does not tell of any more.
  private func source(of endpoint: EndpointsAnswer.Endpoint) -> String {
    guard let source = endpoint.source, !source.isEmpty else { return "-" }
    guard let state = endpoint.sourceState, !state.isEmpty, state != "fresh" else { return source }
    return "\(source) (\(state))"
  }

  func services(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/services") }
    var table = Table([
      ("SERVICE", .left), ("ENDPOINTS", .right), ("REQUESTS", .right), ("2XX", .right), ("3XX", .right),
      ("4XX", .right), ("5XX", .right), ("UNANSWERED", .right), ("RETRIES", .right), ("INFLIGHT", .right),
    ])
    for one in try daemon.decoded(ServicesAnswer.self, "/services").services {
      let classes = ["2xx", "3xx", "4xx", "5xx"].map { "\(one.responses[$0] ?? 0)" }
      table.add(
        [one.name, "\(one.liveEndpoints)/\(one.endpoints)", "\(one.requests)"] + classes
          + ["\(one.unanswered)", "\(one.retries)", "\(one.inFlight)"])
    }
    console.output(table.text)
  }

  func connections(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) -> Int32 {
    let limit = invocation.options["--limit"] ?? "1000"
    guard let number = Int(limit), number >= 0 else {
      console.errors("fairlead: --limit is a number, not '\(printable(limit))'\n")
      return ExitCode.usage
    }
    let target = "/connections?limit=\(number)"
    if invocation.isJSON {
      try pass(daemon, target)
      return ExitCode.success
    }
    let answer = try daemon.decoded(ConnectionsAnswer.self, target)
    var table = Table([
      ("SHARD", .right), ("ID", .right), ("DIRECTION", .left), ("PEER", .left), ("LOCAL", .left), ("OWNER", .left),
      ("WORKLOAD", .left), ("STATE", .left), ("PROTOCOL", .left), ("AGE", .right), ("IDLE", .right),
      ("REQUESTS", .right), ("IN", .right),
      ("OUT", .right),
    ])
    for one in answer.connections {
      table.add([
        "\(one.shard)", "\(one.id)", one.direction, one.peer, one.local, one.listener ?? one.service ?? "-",
        one.workload ?? "-", one.state,
        one.protocol, Display.age(seconds: one.ageSeconds), Display.age(seconds: one.idleSeconds), "\(one.requests)",
        Display.bytes(one.bytesIn), Display.bytes(one.bytesOut),
      ])
    }
    console.output(table.text)
    if answer.total > answer.connections.count {
      console.errors("fairlead: \(answer.connections.count) of \(answer.total) shown; --limit N shows more\n")
    }
    return ExitCode.success
  }

  func metrics(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    if invocation.isJSON { return try pass(daemon, "/metrics.json") }
    let accept = invocation.has("--openmetrics") ? "application/openmetrics-text; version=1.0.0" : "text/plain"
    console.output(try daemon.get("/metrics", accept: accept).text + "\n")
  }

  func logging(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    let answer =
      if let level = invocation.operands.first {
        try daemon.post("/logging?level=\(percentEncoded(level))")
      } else {
        try daemon.get("/logging")
      }
    guard invocation.isJSON else { return console.output(answer.text + "\n") }
    printJSON { $0.member("level", answer.text) }
  }

  func version(_ invocation: Invocation, _ daemon: AdminConnection) throws(AdminClientError) {
    // A daemon that is not there is no failure here: the client has a version all the same.
    var status: StatusAnswer?
    var problem: AdminClientError?
    do throws(AdminClientError) {
      status = try daemon.decoded(StatusAnswer.self, "/status")
    } catch {
      problem = error
    }
    if invocation.isJSON {
      return printJSON { json in
        json.object("client") {
          $0.member("version", build.version)
          $0.member("commit", build.commit)
          $0.member("swift", build.swift)
        }
        guard let status else {
          json.key("daemon")
          return json.null()
        }
        json.object("daemon") {
          $0.member("version", status.version)
          $0.member("commit", status.commit)
          $0.member("swift", status.swift)
          for (name, version) in status.libraries.sorted(by: { $0.key < $1.key }) { $0.member(name, version) }
        }
      }
    }
    console.output(build.line(program: "fairlead") + "\n")
    if let status {
      let libraries = status.libraries.sorted { $0.key < $1.key }.map { ", \($0.key) \($0.value)" }.joined()
      console.output(
        "fairleadd \(status.version) (commit \(status.commit), swift \(status.swift)\(printable(libraries)))\n")
    } else if let problem {
      console.output("fairleadd: \(problem)\n")
    }
  }

  func printJSON(_ members: (inout JSONWriter) -> Void) {
    var json = JSONWriter(indented: true)
    json.object(members)
    console.output(json.text + "\n")
  }
}

/// A query value: everything but unreserved characters (RFC 3986, 2.3) is escaped.
func percentEncoded(_ text: String) -> String {
  var encoded = ""
  for byte in text.utf8 {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x7E:
      encoded.unicodeScalars.append(Unicode.Scalar(byte))
    default:
      let digits = String(byte, radix: 16, uppercase: true)
      encoded += "%" + (digits.count == 1 ? "0" : "") + digits
    }
  }
  return encoded
}
