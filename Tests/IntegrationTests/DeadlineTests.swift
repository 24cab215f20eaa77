// The caller's deadline: believed where clients are trusted, and told to the endpoint.

import Glibc
import TestSupport
import Testing

@Suite("Deadlines", needsDaemon)
struct DeadlineTests {
  private func withTrust(
    _ script: Script, trust: String = "clients", timeouts: String = "{ request: 15s }",
    _ body: (FairleadProcess, ScriptedUpstream) throws -> Void
  ) throws {
    let upstream = try ScriptedUpstream(script)
    var options = FairleadOptions(upstream)
    options.listener = "trust: \(trust)"
    options.policy["timeouts"] = timeouts
    try withFairlead(options, upstreams: [upstream]) { try body($0, upstream) }
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  private static func get(_ deadline: String) -> String {
    "GET / HTTP/1.1\r\nHost: web\r\nL5d-Ctx-Deadline: \(deadline)\r\n\r\n"
  }

  /// The two numbers of the header that an endpoint got.
  private static func deadline(of request: Message?) -> (set: UInt64, over: UInt64)? {
    guard let values = request?.values("l5d-ctx-deadline"), values.count == 1 else { return nil }
    let numbers = values[0].split(separator: " ").compactMap { UInt64($0) }
    return numbers.count == 2 ? (numbers[0], numbers[1]) : nil
  }

  @Test("a request is answered with 504 when its caller's deadline is over, long before the service's own time")
  func over() throws {
    try withTrust(.silent) { daemon, upstream in
      let client = try daemon.connect()
      let now = Self.now()
      let response = try client.request(Self.get("\(now) \(now + 200_000_000)"))
      try expectProxyMade(response, [504], by: daemon)
      #expect(response["fairlead-code"] == "FL2108")
      #expect(upstream.requests.count == 1)
    }
  }

  @Test("one that comes too late is not sent on at all")
  func tooLate() throws {
    try withTrust(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let response = try client.request(Self.get("1000 2000"))
      #expect(response["fairlead-code"] == "FL2108", "\(response.head)")
      #expect(upstream.requests.isEmpty)
      #expect(try client.get().status == 200)
    }
  }

  @Test("one whose deadline is over while a rule delays it, or while its name is looked up, is not sent on either")
  func overBeforeItIsSent() throws {
    // A name server that never answers.
    let silent = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(silent) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var length = socklen_t(MemoryLayout<sockaddr_in>.size)
    let isBound = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(silent, $0, length) == 0 && getsockname(silent, $0, &length) == 0
      }
    }
    #expect(isBound)
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.listener = "trust: clients"
    options.delegations = ["/svc => /#/static ;", "/svc/dns => /#/dns/web.test/80 ;"]
    options.discovery = [
      "{ kind: dns, prefix: dns, servers: [\"127.0.0.1:\(UInt16(bigEndian: address.sin_port))\"], timeout: 1s, tries: 1 }"
    ]
    options.extra = """
      routes:
        - { match: { hosts: [web] }, to: /svc/web, fault: { delay: { duration: 1h } } }
      """
    try withFairlead(options, upstreams: [upstream]) { daemon in
      for host in ["web", "dns"] {
        let now = Self.now()
        let response = try daemon.connect().request(
          Self.get("\(now) \(now + 200_000_000)").replacing("Host: web", with: "Host: \(host)"))
        try expectProxyMade(response, [504], by: daemon)
        #expect(response["fairlead-code"] == "FL2108", "\(host): \(response.head)")
      }
      #expect(upstream.requests.isEmpty)
    }
  }

  @Test("the endpoint is told the deadline, or the service's own time where that is shorter")
  func passedOn() throws {
    try withTrust(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let now = Self.now()
      #expect(try client.request(Self.get("\(now) \(now + 5_000_000_000)")).status == 200)
      let near = try #require(Self.deadline(of: upstream.requests.last))
      #expect(near.over == now + 5_000_000_000 && near.set >= now)
      #expect(try client.request(Self.get("\(now) \(now + 3_600_000_000_000)")).status == 200)
      let far = try #require(Self.deadline(of: upstream.requests.last))
      #expect(far.over <= Self.now() + 15_000_000_000 && far.over > now)
      // Without one from the caller there is none.
      #expect(try client.get().status == 200)
      #expect(upstream.requests.last?["l5d-ctx-deadline"] == nil)
    }
  }

  @Test("of several the strictest holds, and what is no deadline is passed over")
  func several() throws {
    try withTrust(.answering) { daemon, upstream in
      let client = try daemon.connect()
      let now = Self.now()
      let response = try client.request(
        "GET / HTTP/1.1\r\nHost: web\r\nl5d-ctx-deadline: \(now) \(now + 9_000_000_000)\r\nl5d-ctx-deadline: soon\r\n"
          + "l5d-ctx-deadline: \(now) \(now + 8_000_000_000)\r\nl5d-other: x\r\n\r\n")
      #expect(response.status == 200)
      #expect(Self.deadline(of: upstream.requests.last)?.over == now + 8_000_000_000)
      #expect(upstream.requests.last?["l5d-other"] == nil)
    }
  }

  @Test("clients that are not trusted have no deadline, neither for us nor for the endpoint")
  func untrusted() throws {
    try withTrust(.answering, trust: "none") { daemon, upstream in
      let client = try daemon.connect()
      #expect(try client.request(Self.get("1000 2000")).status == 200)
      #expect(upstream.requests.last?["l5d-ctx-deadline"] == nil)
    }
  }

  @Test("attempts end with the deadline, too")
  func attempts() throws {
    try withTrust(.silent, timeouts: "{ attempt: 100ms, request: 15s }") { daemon, upstream in
      let client = try daemon.connect()
      let now = Self.now()
      let response = try client.request(Self.get("\(now) \(now + 250_000_000)"))
      #expect(["FL2107", "FL2108"].contains(response["fairlead-code"]), "\(response.head)")
      #expect((1...4).contains(upstream.requests.count))
    }
  }
}
