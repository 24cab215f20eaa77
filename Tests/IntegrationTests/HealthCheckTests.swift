// Active health checks against real endpoints: who is left out, who comes back, and what they are asked.

import TestSupport
import Testing

/// An upstream whose `/up` answers what it is told, and everything else with 200.
private final class Checked: Sendable {
  let upstream: ScriptedUpstream
  private let answer: Monitor<String>

  init(_ answer: String) throws {
    let answer = Monitor(answer)
    self.answer = answer
    upstream = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        if request.target == "/up" {
          try connection.send(answer.with { $0 })
          return
        }
        try connection.respond(to: request, body: "ok")
      }
    }
  }

  func set(_ text: String) { answer.with { $0 = text } }

  /// Checks it was asked, and requests that were no checks.
  var checks: [Message] { upstream.requests.filter { $0.target == "/up" } }
  var requests: Int { upstream.requests.count - checks.count }

  static let well = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
  static let ill = "HTTP/1.1 503 Not Now\r\ncontent-length: 0\r\n\r\n"
}

@Suite("Health checks", needsDaemon)
struct HealthCheckTests {
  private static func state(_ daemon: FairleadProcess, _ endpoint: LoopbackAddress, _ state: String) throws -> Double {
    try daemon.admin.metrics().sum("fairlead_endpoint_state", ["endpoint": "\(endpoint)", "state": state])
  }

  @Test("an endpoint that says it is not well gets no requests, and gets them again when it is", arguments: [1, 2])
  func http(_ shards: Int) throws {
    let (one, other) = (try Checked(Checked.ill), try Checked(Checked.well))
    var options = FairleadOptions(web: [one.upstream.address, other.upstream.address])
    options.shards = shards
    options.policy["healthCheck"] =
      "{ kind: http, path: /up, host: check.local, interval: 100ms, healthy: 2, unhealthy: 2 }"
    try withFairlead(options, upstreams: [one.upstream, other.upstream]) { daemon in
      let isOut = try eventually { try Self.state(daemon, one.upstream.address, "unhealthy") == 1 }
      #expect(isOut)
      #expect(try Self.state(daemon, one.upstream.address, "live") == 0)
      let check = try #require(one.checks.first)
      #expect(check["host"] == "check.local" && check.method == "GET")
      let before = one.requests
      let clients = try (0..<4).map { _ in try daemon.connect() }
      for _ in 0..<25 { for client in clients { #expect(try client.get().status == 200) } }
      #expect(one.requests == before && other.requests >= 100)

      one.set(Checked.well)
      let isBack = try eventually { () throws in
        for client in clients {
          let response = try client.get()
          #expect(response.status == 200)
        }
        return one.requests > before
      }
      #expect(isBack)
      #expect(try Self.state(daemon, one.upstream.address, "live") == 1)
      #expect(try daemon.admin.metrics().sum("fairlead_health_checks_total", ["outcome": "success"]) >= 2)
      #expect(try daemon.admin.metrics().sum("fairlead_health_checks_total", ["outcome": "failure"]) >= 1)
    }
  }

  @Test(
    "what is no good answer is a failed check",
    arguments: [
      "HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 2000 Much\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n", "",
      "HTTP/2 200\r\n\r\n", "HTTP/1.1 ",
    ])
  func answers(_ answer: String) throws {
    let (one, other) = (try Checked(answer), try Checked(Checked.well))
    var options = FairleadOptions(web: [one.upstream.address, other.upstream.address])
    options.policy["healthCheck"] = "{ kind: http, path: /up, interval: 100ms, timeout: 200ms }"
    try withFairlead(options, upstreams: [one.upstream, other.upstream]) { daemon in
      let isOut = try eventually { try Self.state(daemon, one.upstream.address, "unhealthy") == 1 }
      #expect(isOut)
      #expect(try Self.state(daemon, other.upstream.address, "live") == 1)
    }
  }

  @Test("one that never answers is late, and one that does not listen is refused", arguments: ["tcp", "http"])
  func silent(_ kind: String) throws {
    let refusing = try RefusingAddress()
    let silent = try ScriptedUpstream(.silent)
    let good = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [refusing.address, silent.address, good.address])
    options.policy["healthCheck"] = "{ kind: \(kind), interval: 100ms, timeout: 150ms }"
    // Of three, one may be out before none of it is believed.
    options.policy["balancer"] = "{ panic: 10 }"
    try withFairlead(options, upstreams: [silent, good]) { daemon in
      let isOut = try eventually {
        try Self.state(daemon, refusing.address, "unhealthy") == 1
          && Self.state(daemon, silent.address, kind == "http" ? "unhealthy" : "live") == 1
      }
      #expect(isOut)
      #expect(try Self.state(daemon, good.address, "live") == 1)
    }
  }

  @Test("where every endpoint fails its checks, they are not believed")
  func panic() throws {
    let all = try (0..<2).map { _ in try Checked(Checked.ill) }
    var options = FairleadOptions(web: all.map(\.upstream.address))
    options.policy["healthCheck"] = "{ kind: http, path: /up, interval: 100ms }"
    try withFairlead(options, upstreams: all.map(\.upstream)) { daemon in
      let areOut = try eventually {
        try daemon.admin.metrics().sum("fairlead_endpoint_state", ["state": "unhealthy"]) == 2
      }
      #expect(areOut)
      let client = try daemon.connect()
      for _ in 0..<20 { #expect(try client.get().status == 200) }
    }
  }

  @Test("where nobody panics, a client is told that all are out")
  func allOut() throws {
    let ill = try Checked(Checked.ill)
    var options = FairleadOptions(ill.upstream)
    options.policy["healthCheck"] = "{ kind: http, path: /up, interval: 100ms }"
    options.policy["balancer"] = "{ panic: 0 }"
    try withFairlead(options, upstreams: [ill.upstream]) { daemon in
      let isOut = try eventually { try Self.state(daemon, ill.upstream.address, "unhealthy") == 1 }
      #expect(isOut)
      let response = try daemon.get()
      try expectProxyMade(response, [503], by: daemon)
      #expect(response["fairlead-code"] == "FL2109")
    }
  }
}
