// Endpoints that fail: left out, probed by one request, and back.

import TestSupport
import Testing

/// An upstream that fails everything or nothing, as it is told.
private final class Flapping: Sendable {
  let upstream: ScriptedUpstream
  private let isFailing: Monitor<Bool>

  init(failing: Bool) throws {
    let isFailing = Monitor(failing)
    self.isFailing = isFailing
    upstream = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        let fails = isFailing.with { $0 }
        try connection.respond(to: request, status: fails ? "500 Oops" : "200 OK", body: "")
      }
    }
  }

  func set(failing: Bool) { isFailing.with { $0 = failing } }
}

@Suite("Circuit breakers", needsDaemon)
struct CircuitBreakerTests {
  private static func state(_ daemon: FairleadProcess, _ endpoint: LoopbackAddress, _ state: String) throws -> Double {
    try daemon.admin.metrics().sum("fairlead_endpoint_state", ["endpoint": "\(endpoint)", "state": state])
  }

  @Test(
    "an endpoint that keeps failing is left out, probed once each time, and back with the first success",
    arguments: [1, 2])
  func outAndBack(_ shards: Int) throws {
    let flapping = try Flapping(failing: true)
    let good = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [flapping.upstream.address, good.address])
    options.shards = shards
    options.policy["retries"] = "{ classifier: never }"
    options.policy["balancer"] = "{ load: in-flight }"
    options.policy["circuitBreaker"] = "{ failures: 3, backoff: { kind: constant, min: 300ms } }"
    try withFairlead(options, upstreams: [flapping.upstream, good]) { daemon in
      let clients = try (0..<4).map { _ in try daemon.connect() }
      var failures = 0
      func round() throws {
        for client in clients where try client.get().status == 500 { failures += 1 }
      }
      let isOut = try eventually {
        try round()
        return try Self.state(daemon, flapping.upstream.address, "ejected") == 1
      }
      #expect(isOut)
      #expect(try Self.state(daemon, flapping.upstream.address, "live") == 0)
      #expect(failures >= 3)
      // Now it sees nothing but one probe each 300 ms.
      let before = flapping.upstream.requests.count
      let began = monotonicSeconds()
      for _ in 0..<100 { try round() }
      let probes = flapping.upstream.requests.count - before
      #expect(Double(probes) <= (monotonicSeconds() - began) / 0.3 + 1)

      flapping.set(failing: false)
      let isBack = try eventually {
        try round()
        return try Self.state(daemon, flapping.upstream.address, "live") == 1
      }
      #expect(isBack)
      let afterwards = flapping.upstream.requests.count
      for _ in 0..<50 { try round() }
      #expect(flapping.upstream.requests.count > afterwards + 50)
    }
  }

  @Test("no more than half of a service is left out, and a lone endpoint never")
  func half() throws {
    let failing = try (0..<3).map { _ in try Flapping(failing: true) }
    var options = FairleadOptions(web: failing.map(\.upstream.address))
    options.policy["retries"] = "{ classifier: never }"
    try withFairlead(options, upstreams: failing.map(\.upstream)) { daemon in
      let client = try daemon.connect()
      for _ in 0..<100 {
        let response = try client.get()
        #expect(response.status == 500 && response["fairlead-code"] == nil, "\(response.head)")
      }
      let out = try daemon.admin.metrics().sum("fairlead_endpoint_state", ["service": "web", "state": "ejected"])
      #expect(out == 1)
    }
    let alone = try Flapping(failing: true)
    try withFairlead(FairleadOptions(alone.upstream), upstreams: [alone.upstream]) { daemon in
      let client = try daemon.connect()
      for _ in 0..<50 { #expect(try client.get().status == 500) }
      #expect(try Self.state(daemon, alone.upstream.address, "ejected") == 0)
      alone.set(failing: false)
      #expect(try client.get().status == 200)
    }
  }

  @Test("one that fails too often is left out by its success rate")
  func successRate() throws {
    let count = Monitor(0)
    let sometimes = try ScriptedUpstream { connection in
      while let request = try connection.readRequest() {
        let number = count.with { value -> Int in
          value += 1
          return value
        }
        // Never two in a row.
        try connection.respond(to: request, status: number % 2 == 0 ? "500 Oops" : "200 OK", body: "")
      }
    }
    let good = try ScriptedUpstream(.answering)
    var options = FairleadOptions(web: [sometimes.address, good.address])
    options.policy["retries"] = "{ classifier: never }"
    options.policy["balancer"] = "{ load: in-flight }"
    options.policy["circuitBreaker"] = "{ kind: success-rate, successRate: 80, minRequests: 20 }"
    try withFairlead(options, upstreams: [sometimes, good]) { daemon in
      let client = try daemon.connect()
      let isOut = try eventually {
        for _ in 0..<20 { _ = try client.get() }
        return try Self.state(daemon, sometimes.address, "ejected") == 1
      }
      #expect(isOut)
      #expect(sometimes.requests.count >= 20)
      let before = sometimes.requests.count
      for _ in 0..<50 { #expect(try client.get().status == 200) }
      #expect(sometimes.requests.count == before)
    }
  }

  @Test("where all may be left out, a client is told so, and when to come again")
  func allOut() throws {
    let failing = try Flapping(failing: true)
    var options = FairleadOptions(failing.upstream)
    options.policy["retries"] = "{ classifier: never }"
    options.policy["balancer"] = "{ panic: 0 }"
    options.policy["circuitBreaker"] = "{ failures: 3, backoff: { kind: constant, min: 1s, max: 1s } }"
    try withFairlead(options, upstreams: [failing.upstream]) { daemon in
      let client = try daemon.connect()
      for _ in 0..<3 { #expect(try client.get().status == 500) }
      let response = try client.get()
      try expectProxyMade(response, [503], by: daemon)
      #expect(response["fairlead-code"] == "FL2109")
      #expect(["1", "2"].contains(response["retry-after"]), "\(response.head)")
      #expect(failing.upstream.requests.count == 3)
      failing.set(failing: false)
      let isBack = try eventually { try client.get().status == 200 }
      #expect(isBack)
    }
  }

  @Test(
    "an endpoint killed under load costs no read, and is back after it returns",
    .enabled(if: NginxProcess.isInstalled, "needs nginx"))
  func killed() throws {
    var backends = try (0..<3).map { number in
      try NginxProcess(locations: "location / { return 200 \"backend \(number)\\n\"; }")
    }
    var options = FairleadOptions(web: backends.map(\.address))
    options.shards = 2
    options.policy["circuitBreaker"] = "{ backoff: { min: 200ms, max: 1s } }"
    try withFairlead(options) { daemon in
      let load = KeepAliveLoad(daemon.address, clients: 8, requests: 12_000) { work in
        BackgroundThread { work(true) }
      }
      #expect(load.wait(forAnswers: 3_000))
      let address = backends[1].address
      backends[1].kill()
      #expect(load.wait(forAnswers: 8_000))
      let outcome = try #require(load.finish())
      #expect(outcome.answered == 12_000 && outcome.otherStatus == 0, "\(outcome)")
      #expect(outcome.brokenAtOnce == 0 && outcome.closedBetween == 0 && outcome.refused == 0, "\(outcome)")
      backends[1] = try NginxProcess(locations: "location / { return 200 \"back\\n\"; }", port: address.port)
      let client = try daemon.connect()
      let isBack = try eventually {
        let response = try client.get()
        #expect(response.status == 200)
        return response.text == "back\n"
      }
      #expect(isBack)
      backends.forEach { $0.stop() }
    }
  }
}
