// A `TestNetwork` whose node captures by rules that the tests write themselves: what the daemon does with connections that are
// led to it, apart from who leads them. `CaptureLab` has the rules of `fairlead capture`.

import TestSupport
import Testing

/// Runs where namespaces can be made; elsewhere skipped with the reason.
let needsNetworks = ConditionTrait.enabled(
  if: TestNetwork.obstacle == nil, Comment(rawValue: TestNetwork.obstacle ?? ""))

/// The two families of the server's address.
enum Family: String, CaseIterable, Sendable {
  case v4, v6

  var server: String { self == .v4 ? "10.9.0.2" : "fd09::2" }
  var node: String { self == .v4 ? "10.9.0.1" : "fd09::1" }
  var client: String { self == .v4 ? "10.8.0.2" : "fd08::2" }
  var iptables: String { self == .v4 ? "iptables" : "ip6tables" }
}

extension TestNetwork {
  /// The node's own processes are led to port 4140.
  func redirectLocal() throws {
    for family in Family.allCases {
      for rule in [
        "-m mark --mark 0xfa1 -j RETURN", "! -o lo -j REDIRECT --to-ports 4140",
        "-o lo -d \(family.node) -j REDIRECT --to-ports 4140",
      ] {
        let words = rule.split(separator: " ").map(String.init)
        try run(.node, [family.iptables, "-t", "nat", "-A", "OUTPUT", "-p", "tcp"] + words).expectSuccess()
      }
    }
  }

  /// What comes from the client is led to port 4140.
  func redirectForwarded() throws {
    for family in Family.allCases {
      try run(
        .node,
        [
          family.iptables, "-t", "nat", "-A", "PREROUTING", "-i", "toclient", "-p", "tcp", "-j", "REDIRECT",
          "--to-ports", "4140",
        ]
      ).expectSuccess()
    }
  }

  /// What comes from the client is led to port 4141, its addresses untouched.
  func transparent() throws {
    for family in Family.allCases {
      for rule in [
        "-m socket --transparent -j MARK --set-mark 0xfa2", "-m socket --transparent -j ACCEPT",
        "-i toclient --syn -j TPROXY --on-port 4141 --tproxy-mark 0xfa2/0xffffffff",
      ] {
        let words = rule.split(separator: " ").map(String.init)
        try run(.node, [family.iptables, "-t", "mangle", "-A", "PREROUTING", "-p", "tcp"] + words).expectSuccess()
      }
      let ip = ["ip", family == .v4 ? "-4" : "-6"]
      try run(.node, ip + ["rule", "add", "fwmark", "0xfa2", "lookup", "4140"]).expectSuccess()
      try run(.node, ip + ["route", "add", "local", "default", "dev", "lo", "table", "4140"]).expectSuccess()
    }
  }

  /// A proxy on the node: `web` is the server, both kinds of capture listen.
  func captureConfiguration(_ extra: String = "", limits: String = "", unresolved: String = "forward", shards: Int = 1)
    -> String
  {
    """
    node: { name: test-node, shards: \(shards) }
    admin: { socket: \(directory.path("admin.sock")) }
    listeners:
      - { name: outbound, address: ":4140", capture: redirect, unresolved: \(unresolved) }
      - { name: transparent, address: ":4141", capture: tproxy }
      - { name: inbound, address: ":4143", direction: inbound, capture: redirect }
    discovery:
      - { kind: static, prefix: static, services: { web: ["10.9.0.2:8080"], web6: ["[fd09::2]:8080"] } }
    delegations: "/svc => /#/static ;"
    limits: { \(limits) }
    capture: { detectTimeout: 300ms, serverFirstPorts: [7025] }
    \(extra)

    """
  }

  /// Runs `body` against a proxy on the node and checks that this gave everything back and ended well.
  func withProxy(_ configuration: String, under limits: [String] = [], _ body: (FairleadProcess) throws -> Void) throws
  {
    let proxy = try startProxy(configuration, under: limits)
    do {
      try body(proxy)
    } catch {
      proxy.child.stop(seconds: 1)
      throw HarnessError("\(error)\n\(proxy.child.standardError.suffix(2000))")
    }
    // Kept connections to the server end with it.
    stopPeers()
    try proxy.end()
  }
}
