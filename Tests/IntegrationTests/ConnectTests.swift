// CONNECT with a client that nobody here wrote: curl through the daemon as through any proxy. What no polite client does stands
// in Tests/Conformance.

import TestSupport
import Testing

private let needsCurl = ConditionTrait.enabled(if: findTool("curl") != nil, "needs curl")

@Suite("CONNECT", needsDaemon, needsCurl)
struct ConnectTests {
  /// What curl got through a tunnel: the status of CONNECT, and of the request in it.
  private func curl(
    _ daemon: FairleadProcess, _ url: String, _ arguments: [String] = []
  ) throws -> (connect: Int, status: Int, output: String) {
    let run = try Child.run(
      [
        "curl", "-sg", "--max-time", "20", "--proxytunnel", "-x", "http://\(daemon.address)", "-w",
        "\n%{http_connect} %{http_code}",
      ] + arguments + [url])
    let words = run.output.split(separator: "\n").last?.split(separator: " ").compactMap { Int($0) } ?? []
    return (words.first ?? 0, words.last ?? 0, run.output)
  }

  @Test("curl goes through a tunnel to a name, and to an address")
  func tunnels() throws {
    let upstream = try ScriptedUpstream(.answering)
    let other = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.listener = #"connect: ["web:80", "127.0.0.0/8:*"]"#
    options.accessLog = true
    try withFairlead(options, upstreams: [upstream, other]) { daemon in
      let named = try curl(daemon, "http://web/a")
      #expect(named.connect == 200 && named.status == 200, "\(named.output)")
      #expect(named.output.contains("GET /a"))
      #expect(upstream.requests.map(\.target) == ["/a"])
      let direct = try curl(daemon, "http://\(other.address)/c")
      #expect(direct.connect == 200 && direct.status == 200, "\(direct.output)")
      #expect(other.requests.map(\.target) == ["/c"])
      // What is in a tunnel is between its two ends.
      #expect(upstream.requests.allSatisfy { $0["via"] == nil })
      let isCounted = try eventually {
        try daemon.admin.metrics().sum("fairlead_requests_total", ["service": "web", "status_class": "2xx"]) == 1
          && daemon.admin.metrics().sum("fairlead_requests_total", ["service": "(original)"]) == 1
      }
      #expect(isCounted)
      let isLogged = eventually {
        let lines = readFile(daemon.directory.path("access.log")).split(separator: "\n")
        return lines.count == 2
          && lines.allSatisfy { $0.contains(#""method":"CONNECT""#) && $0.contains(#""http_version":"1.1""#) }
      }
      #expect(isLogged, "\(readFile(daemon.directory.path("access.log")))")
    }
  }

  @Test("curl carries TLS through a tunnel, which the proxy sees nothing of", needsNginx)
  func secrets() throws {
    let (server, address) = try TLSPeers.nginx("web")
    defer { server.stop() }
    var options = FairleadOptions()
    options.services["web"] = [address.description]
    options.listener = #"connect: ["web:443"]"#
    try withFairlead(options) { daemon in
      let got = try curl(daemon, "https://web/", ["-k"])
      #expect(got.connect == 200 && got.status == 200, "\(got.output)")
      #expect(got.output.hasPrefix("web web HTTP/"), "\(got.output)")
      // Its connection is nobody's to take back.
      server.stop()
    }
  }

  @Test("a destination that is not on the list is refused, with a reason")
  func refused() throws {
    let upstream = try ScriptedUpstream(.answering)
    var options = FairleadOptions(upstream)
    options.listener = #"connect: ["web:80"]"#
    try withFairlead(options, upstreams: [upstream]) { daemon in
      for url in ["http://web:81/", "http://\(upstream.address)/", "http://other/"] {
        let got = try curl(daemon, url, ["-i"])
        #expect(got.connect == 403 && got.status == 0, "\(got.output)")
        #expect(got.output.contains("fairlead-code: FL1107"))
      }
      #expect(upstream.connections.isEmpty)
      #expect(try daemon.admin.metrics().sum("fairlead_errors_total", ["code": "FL1107"]) == 3)
      #expect(try curl(daemon, "http://web/").status == 200)
    }
  }

  @Test("without a list CONNECT is refused as a method that is not served")
  func none() throws {
    let upstream = try ScriptedUpstream(.answering)
    try withFairlead(FairleadOptions(upstream), upstreams: [upstream]) { daemon in
      let got = try curl(daemon, "http://web/", ["-i"])
      #expect(got.connect == 405 && got.output.contains("fairlead-code: FL1104"), "\(got.output)")
      #expect(upstream.connections.isEmpty)
    }
  }
}
