// Active checks on a loop of their own, against sockets of the test's: what is checked, and what becomes of it when the
// configuration or discovery changes. What checks make of traffic is told by the integration tests.

import Base
import Configuration
import EventLoop
import Glibc
import Policy
import Telemetry
import TestSupport
import Testing

@testable import Proxy

/// A directory with one service, whose endpoints are checked.
private final class Checks {
  let loop: ControlLoop
  let directory: ServiceDirectory
  let checker: HealthChecker
  var turns: [ServiceNumber] = []

  init() throws {
    let loop = try ControlLoop()
    let metrics = NodeMetrics(registry: Registry(shardCount: 1))
    self.loop = loop
    let box = Box()
    checker = HealthChecker(loop: loop, metrics: metrics, mark: 0) { box.owner?.turns.append($0) }
    directory = ServiceDirectory(metrics: metrics, shardCount: 1, listeners: ["out"], logNames: NameTable()) { _ in }
    directory.onChange = { [checker] in checker.update($0) }
    box.owner = self
  }

  private final class Box {
    weak var owner: Checks?
  }

  deinit { checker.stop() }

  /// - Parameter kind: nil for no checks.
  func set(_ addresses: [LoopbackAddress], _ kind: ServicePolicy.HealthCheck.Kind, panic: Int = 50) throws {
    var policy = ServicePolicy()
    policy.healthCheck.kind = kind
    policy.healthCheck.interval = .milliseconds(100)
    policy.healthCheck.timeout = .milliseconds(100)
    let endpoints = try addresses.map { try Endpoint(parsing: "\($0)") }
    _ = directory.set("/#/static/web", label: "web", policy: policy, endpoints: endpoints)
  }

  func state(_ address: LoopbackAddress) throws -> EndpointState? {
    let endpoint = try Endpoint(parsing: "\(address)")
    return directory["/#/static/web"]?.state(of: endpoint)
  }

  /// Turns the loop until `condition` holds; false when it did not in time.
  func turn(until condition: () throws -> Bool) rethrows -> Bool {
    try eventually(seconds: 10) {
      loop.turn(maximumWaitMilliseconds: 20)
      return try condition()
    }
  }
}

@Suite("HealthChecker")
struct HealthCheckerTests {
  @Test("nothing is checked where nobody says so")
  func none() throws {
    let checks = try Checks()
    try checks.set([LoopbackAddress(port: 9)], .none)
    #expect(checks.checker.count == 0)
  }

  @Test("an endpoint that refuses is out with its first check, and in again when it is checked no more")
  func refused() throws {
    let refusing = try RefusingAddress()
    let checks = try Checks()
    try checks.set([refusing.address], .tcp)
    #expect(checks.checker.count == 1)
    let isOut = try checks.turn { try checks.state(refusing.address) == .unhealthy }
    #expect(isOut)
    #expect(checks.turns.count == 1)
    try checks.set([refusing.address], .none)
    #expect(checks.checker.count == 0)
    #expect(try checks.state(refusing.address) == .live)
  }

  @Test("an endpoint that accepts is well by tcp; by http it has to answer")
  func accepting() throws {
    let upstream = try ScriptedUpstream(.silent)
    defer { upstream.stop() }
    let checks = try Checks()
    try checks.set([upstream.address], .tcp)
    let isChecked = checks.turn { upstream.connections.count >= 2 }
    #expect(isChecked)
    #expect(try checks.state(upstream.address) == .live)
    try checks.set([upstream.address], .http)
    let isOut = try checks.turn { try checks.state(upstream.address) == .unhealthy }
    #expect(isOut)
    #expect(upstream.requests.contains { $0.target == "/" && $0["host"] == "web" })
  }

  @Test("endpoints that go are checked no more, also in the middle of a check; those that stay go on")
  func changes() throws {
    let (one, other) = (try ScriptedUpstream(.silent), try ScriptedUpstream(.silent))
    defer {
      one.stop()
      other.stop()
    }
    let checks = try Checks()
    try checks.set([one.address, other.address], .http)
    #expect(checks.checker.count == 2)
    let areAsked = checks.turn { !one.requests.isEmpty && !other.requests.isEmpty }
    #expect(areAsked)
    try checks.set([other.address], .http)
    #expect(checks.checker.count == 1)
    let count = one.requests.count
    let seen = other.requests.count
    let goesOn = checks.turn { other.requests.count > seen + 2 }
    #expect(goesOn)
    #expect(one.requests.count == count)
    checks.directory.remove("/#/static/web")
    #expect(checks.checker.count == 0)
  }

  @Test("a thousand endpoints that refuse are all found out, with a bounded number of sockets")
  func many() throws {
    let refusing = try RefusingAddress()
    let checks = try Checks()
    let ports = (0..<1_000).map { _ in refusing.address.port }
    // Addresses are distinct: the loopback has many.
    var policy = ServicePolicy()
    policy.healthCheck.kind = .tcp
    let endpoints = try ports.enumerated().map { place, port in
      try Endpoint(parsing: "127.1.\(place / 250).\(place % 250 + 1):\(port)")
    }
    _ = checks.directory.set("/#/static/web", label: "web", policy: policy, endpoints: endpoints)
    #expect(checks.checker.count == 1_000)
    let areOut = checks.turn {
      endpoints.allSatisfy { checks.directory["/#/static/web"]?.state(of: $0) == .unhealthy }
    }
    #expect(areOut)
  }

  @Test(
    "an answer begins with a status line or is none",
    arguments: [
      ("HTTP/1.1 200 OK\r\n", .status(200)), ("HTTP/1.0 503 \r\n", .status(503)), ("HTTP/1.1 204\r\n", .status(204)),
      ("HTTP/1.1 099 x", .status(99)), ("", .incomplete), ("HTT", .incomplete), ("HTTP/1.1 200", .incomplete),
      ("HTTP/2 200 OK", .none), ("HTTP/1.2 200 OK", .none), ("HTTP/1.1 2000 OK", .none), ("HTTP/1.1 20x OK", .none),
      ("HTTP/1.1200 OK\r", .none), ("http/1.1 200 OK", .none), ("x", .none), ("HTTP/1.1 ２00 OK", .none),
    ] as [(String, StatusLine)])
  func statusLines(text: String, expected: StatusLine) {
    #expect(StatusLine(Array(text.utf8)) == expected)
  }
}
