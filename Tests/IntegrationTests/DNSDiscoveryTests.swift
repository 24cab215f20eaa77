// Names that only a real name server (dnsmasq) knows, through the running daemon.

import Glibc
import TestSupport
import Testing

@Suite(
  "Names in DNS", needsDaemon,
  .enabled(if: DnsmasqProcess.isInstalled, Comment(rawValue: DnsmasqProcess.unavailable)), .timeLimit(.minutes(3)))
struct DNSDiscoveryTests {
  private func withNames(
    _ hosts: String, arguments: [String] = [], upstreams: [ScriptedUpstream], services: [String: [String]] = [:],
    delegations: [String], limits: String = "{}", _ body: (FairleadProcess, DnsmasqProcess) throws -> Void
  ) throws {
    let server = try DnsmasqProcess(hosts: hosts, arguments: arguments)
    var options = FairleadOptions()
    options.services = services
    options.discovery = [
      """
      { kind: dns, prefix: dns, servers: ["\(server.address)"], search: [], timeout: 300ms, tries: 1, ttl: { negative: 1s },
        limits: \(limits) }
      """
    ]
    options.delegations = delegations
    try withFairlead(options, upstreams: upstreams) { try body($0, server) }
  }

  @Test("a host is looked up when the first request comes, and requests follow its records")
  func follows() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let delegations = ["/svc/web => /#/dns/web.test/\(one.address.port) ;", "/svc/other => /#/dns/other.test/80 ;"]
    try withNames("127.0.0.1 web.test\n", upstreams: [one], delegations: delegations) { daemon, server in
      let client = try daemon.connect()
      #expect(try client.get("/").text == "one")
      #expect(try client.get("/", host: "other").status == 404)
      // The record leads to an address where nobody listens, and back.
      try server.set(hosts: "127.0.0.99 web.test\n")
      #expect(try eventually { try client.get("/").status == 502 })
      try server.set(hosts: "127.0.0.1 web.test\n127.0.0.1 other.test\n")
      #expect(try eventually { try client.get("/").text == "one" })
      #expect(try eventually { try client.get("/", host: "other").status == 502 })
    }
  }

  @Test("SRV records bring hosts and ports")
  func services() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let record = "--srv-host=_http._tcp.web.test,host.test,\(one.address.port)"
    try withNames(
      "127.0.0.1 host.test\n", arguments: [record], upstreams: [one],
      delegations: ["/svc/web => /#/dns/_http._tcp.web.test ;"]
    ) { (daemon, _) throws in
      #expect(try daemon.get().text == "one")
    }
  }

  @Test("a name that is not there falls back, and is taken when it comes; one that cannot be found out does not")
  func fallback() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let two = try ScriptedUpstream(.answering(with: "two"))
    try withNames(
      "127.0.0.1 nothing.test\n", upstreams: [one, two], services: ["web": ["\(one.address)"]],
      delegations: ["/svc => /#/static ;", "/svc/web => /#/dns/web.test/\(two.address.port) ;"]
    ) { daemon, server in
      let client = try daemon.connect()
      #expect(try client.get("/").text == "one")
      try server.set(hosts: "127.0.0.1 web.test\n")
      #expect(try eventually(seconds: 20) { try client.get("/").text == "two" })
    }
  }

  @Test("while the server is away its last answers serve; a new name gets 503 and says why")
  func serverAway() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let port = one.address.port
    try withNames(
      "127.0.0.1 web.test\n", upstreams: [one],
      delegations: ["/svc/web => /#/dns/web.test/\(port) ;", "/svc/new => /#/dns/new.test/\(port) ;"]
    ) { daemon, server in
      #expect(try daemon.get().text == "one")
      server.stop()
      #expect(
        try eventually {
          try daemon.admin.json("/status")["discovery"].elements.contains { $0["state"].text == "stale" }
        })
      #expect(try daemon.get().text == "one")
      try expectProxyMade(try daemon.get(host: "new"), [503], by: daemon)
      #expect(try daemon.waitForError("FL2009"))
      let next = try DnsmasqProcess(hosts: "127.0.0.1 web.test\n127.0.0.1 new.test\n", port: server.address.port)
      #expect(try eventually(seconds: 30) { try daemon.get(host: "new").text == "one" })
      next.stop()
    }
  }

  // Bug: names that exist were kept for good where there may be few, and otherwise for half a minute: no other had room.
  @Test("names that exist, of a wildcard, make room for others when nothing is asked of them")
  func wildcard() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    let names = (0..<20).map { "/svc/n\($0) => /#/dns/n\($0).wild.test/\(one.address.port) ;" }
    try withNames(
      "", arguments: ["--address=/wild.test/127.0.0.1"], upstreams: [one], delegations: names, limits: "{ names: 8 }"
    ) { daemon, _ in
      let client = try daemon.connect()
      for number in 0..<8 { #expect(try client.get("/", host: "n\(number)").status == 200) }
      let full = try client.get("/", host: "n8")
      #expect(full.status == 503 && full["fairlead-code"] == "FL2009", "\(full)")
      for number in 8..<20 {
        #expect(try eventually { try client.get("/", host: "n\(number)").status == 200 }, "name \(number)")
      }
      #expect(try daemon.admin.json("/services")["services"].elements.count <= 8)
    }
  }

  @Test("names that clients make up are bounded and harm nobody")
  func madeUp() throws {
    let one = try ScriptedUpstream(.answering(with: "one"))
    try withNames(
      "127.0.0.1 web.test\n", upstreams: [one],
      delegations: ["/svc => /#/dns ;", "/svc/web => /#/dns/web.test/\(one.address.port) ;"]
    ) { daemon, _ in
      let client = try daemon.connect()
      for number in 0..<500 { #expect(try client.get("/", host: "no-\(number).test").status == 404) }
      #expect(try client.get("/").text == "one")
      #expect(try daemon.admin.json("/services")["services"].elements.count == 1)
    }
  }
}
