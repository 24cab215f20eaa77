// The rendered rule sets, word for word, and how one is turned into another.

import Base
import Testing

@testable import Capture

private func networks(_ texts: String...) -> [IPNetwork] { texts.compactMap { IPNetwork($0) } }
private func ports(_ texts: String...) -> [PortRange] { texts.compactMap { PortRange($0) } }

private func listener(
  _ address: String, _ mode: CaptureSettings.Listener.Mode = .redirect,
  _ direction: CaptureSettings.Listener.Direction = .outbound
) throws -> CaptureSettings.Listener {
  CaptureSettings.Listener(
    name: "l\(address)", address: try SocketAddress(parsing: address), direction: direction, mode: mode)
}

private func transaction(_ settings: CaptureSettings, _ family: AddressFamily) -> String? {
  OwnTables(RuleSet(settings, family: family)).transaction(from: OwnTables())
}

@Suite struct RuleSetTests {
  @Test("the host's own processes, IPv4")
  func processes() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140")])
    settings.user = 998
    settings.excludePorts = ports("22")
    settings.excludeAddresses = networks("10.9.0.0/16", "10.0.0.1", "fd09::/16")
    settings.excludeUsers = [1001]
    #expect(
      transaction(settings, .v4) == """
        *nat
        :FAIRLEAD_OUTPUT - [0:0]
        -A FAIRLEAD_OUTPUT -m mark --mark 0xfa1 -j RETURN
        -A FAIRLEAD_OUTPUT -m owner --uid-owner 998 -j RETURN
        -A FAIRLEAD_OUTPUT -d 127.0.0.0/8 -j RETURN
        -A FAIRLEAD_OUTPUT -p tcp -m multiport --dports 22 -j RETURN
        -A FAIRLEAD_OUTPUT -d 10.9.0.0/16 -j RETURN
        -A FAIRLEAD_OUTPUT -d 10.0.0.1/32 -j RETURN
        -A FAIRLEAD_OUTPUT -m owner --uid-owner 1001 -j RETURN
        -A FAIRLEAD_OUTPUT -p tcp -m set --match-set fairlead-alive4 dst -j REDIRECT --to-ports 4140
        -I OUTPUT 1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j FAIRLEAD_OUTPUT
        COMMIT

        """)
  }

  @Test("the host's own processes, IPv6: its own loopback, its own set, its own exclusions")
  func processesIPv6() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140")])
    settings.excludeAddresses = networks("10.9.0.0/16", "fd09::/16")
    #expect(
      transaction(settings, .v6) == """
        *nat
        :FAIRLEAD_OUTPUT - [0:0]
        -A FAIRLEAD_OUTPUT -m mark --mark 0xfa1 -j RETURN
        -A FAIRLEAD_OUTPUT -d ::1/128 -j RETURN
        -A FAIRLEAD_OUTPUT -d fe80::/10 -j RETURN
        -A FAIRLEAD_OUTPUT -d fd09::/16 -j RETURN
        -A FAIRLEAD_OUTPUT -p tcp -m set --match-set fairlead-alive6 dst -j REDIRECT --to-ports 4140
        -I OUTPUT 1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j FAIRLEAD_OUTPUT
        COMMIT

        """)
  }

  @Test("interfaces and inbound ports by REDIRECT: what the interfaces bring is never inbound")
  func prerouting() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140"), try listener(":4143", .redirect, .inbound)])
    settings.processes = false
    settings.interfaces = ["br-+", "veth0"]
    settings.inboundPorts = ports("80", "8000-8100")
    settings.adminPort = 9990
    #expect(
      transaction(settings, .v4) == """
        *nat
        :FAIRLEAD_PREROUTING - [0:0]
        -A FAIRLEAD_PREROUTING -m mark --mark 0xfa1 -j RETURN
        -A FAIRLEAD_PREROUTING -i lo -j RETURN
        -A FAIRLEAD_PREROUTING -d 127.0.0.0/8 -j RETURN
        -A FAIRLEAD_PREROUTING -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 9990 -j RETURN
        -A FAIRLEAD_PREROUTING -i br-+ -p tcp -m set --match-set fairlead-alive4 dst -j REDIRECT --to-ports 4140
        -A FAIRLEAD_PREROUTING -i veth0 -p tcp -m set --match-set fairlead-alive4 dst -j REDIRECT --to-ports 4140
        -A FAIRLEAD_PREROUTING -i br-+ -j RETURN
        -A FAIRLEAD_PREROUTING -i veth0 -j RETURN
        -A FAIRLEAD_PREROUTING -p tcp -m addrtype --dst-type LOCAL -m multiport --dports 80,8000:8100 \
        -m set --match-set fairlead-alive4 dst -j REDIRECT --to-ports 4143
        -I PREROUTING 1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j FAIRLEAD_PREROUTING
        COMMIT

        """)
  }

  @Test("TPROXY: open sockets first, only opening packets, and refusal in the nat table")
  func tproxy() throws {
    var settings = CaptureSettings(listeners: [try listener("0.0.0.0:4141", .tproxy)])
    settings.processes = false
    settings.interfaces = ["br0"]
    settings.onFailure = .refuse
    #expect(
      transaction(settings, .v4) == """
        *nat
        :FAIRLEAD_PREROUTING - [0:0]
        -A FAIRLEAD_PREROUTING -m mark --mark 0xfa1 -j RETURN
        -A FAIRLEAD_PREROUTING -m mark --mark 0xfa2 -j ACCEPT
        -A FAIRLEAD_PREROUTING -i lo -j RETURN
        -A FAIRLEAD_PREROUTING -d 127.0.0.0/8 -j RETURN
        -A FAIRLEAD_PREROUTING -i br0 -m addrtype --dst-type LOCAL -j RETURN
        -A FAIRLEAD_PREROUTING -i br0 -p tcp -m set ! --match-set fairlead-alive4 dst -j REDIRECT --to-ports 1
        -I PREROUTING 1 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j FAIRLEAD_PREROUTING
        COMMIT
        *mangle
        :FAIRLEAD_DIVERT - [0:0]
        :FAIRLEAD_TPROXY - [0:0]
        -A FAIRLEAD_DIVERT -j MARK --set-xmark 0xfa2/0xffffffff
        -A FAIRLEAD_DIVERT -j ACCEPT
        -A FAIRLEAD_TPROXY -p tcp -m socket --transparent -j FAIRLEAD_DIVERT
        -A FAIRLEAD_TPROXY -m mark --mark 0xfa1 -j RETURN
        -A FAIRLEAD_TPROXY -i lo -j RETURN
        -A FAIRLEAD_TPROXY -d 127.0.0.0/8 -j RETURN
        -A FAIRLEAD_TPROXY -i br0 -m addrtype --dst-type LOCAL -j RETURN
        -A FAIRLEAD_TPROXY -i br0 -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -m set --match-set fairlead-alive4 dst \
        -j TPROXY --on-port 4141 --on-ip 0.0.0.0 --tproxy-mark 0xfa2/0xffffffff
        -I PREROUTING 1 -p tcp -j FAIRLEAD_TPROXY
        COMMIT

        """)
    // The listener takes IPv4 only.
    #expect(transaction(settings, .v6) == nil)
  }

  @Test("without the proxy each workload meets what was chosen for it, the first that fits")
  func exceptions() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140")])
    settings.onFailure = .refuse
    settings.ports = ports("80")
    settings.exceptions = [
      CaptureSettings.Exception(source: .user(33), onFailure: .bypass),
      CaptureSettings.Exception(source: .network(networks("10.1.0.0/16")[0]), onFailure: .bypass),
      CaptureSettings.Exception(source: .network(networks("fd01::/16")[0]), onFailure: .bypass),
    ]
    let chain = RuleSet(settings, family: .v4).tables[0].chains[0].rules.map { $0.text(.v4) }
    #expect(
      chain.suffix(4) == [
        "-p tcp -m multiport --dports 80 -m set --match-set fairlead-alive4 dst -j REDIRECT --to-ports 4140",
        "-p tcp -m owner --uid-owner 33 -m multiport --dports 80 -m set ! --match-set fairlead-alive4 dst -j RETURN",
        "-s 10.1.0.0/16 -p tcp -m multiport --dports 80 -m set ! --match-set fairlead-alive4 dst -j RETURN",
        "-p tcp -m multiport --dports 80 -m set ! --match-set fairlead-alive4 dst -j REDIRECT --to-ports 1",
      ])

    // All pass but one.
    settings.onFailure = .bypass
    settings.exceptions = [CaptureSettings.Exception(source: .user(33), onFailure: .refuse)]
    #expect(
      RuleSet(settings, family: .v4).tables[0].chains[0].rules.last?.text(.v4)
        == "-p tcp -m owner --uid-owner 33 -m multiport --dports 80 -m set ! --match-set fairlead-alive4 dst "
        + "-j REDIRECT --to-ports 1")

    // Exceptions that change nothing are no rules.
    settings.exceptions = [CaptureSettings.Exception(source: .user(33), onFailure: .bypass)]
    #expect(RuleSet(settings, family: .v4).tables[0].chains[0].rules.count == 3)
  }

  @Test("more ports than one rule holds are several rules")
  func manyPorts() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140")])
    settings.ports = (1...16).compactMap { PortRange($0 * 10) } + ports("1000-2000")
    let rules = RuleSet(settings, family: .v4).tables[0].chains[0].rules.suffix(2).map { $0.text(.v4) }
    #expect(rules[0].contains("--dports 10,20,30,40,50,60,70,80,90,100,110,120,130,140,150 "))
    #expect(rules[1].contains("--dports 160,1000:2000 "))
  }

  @Test(
    "a listener takes what can reach it",
    arguments: [
      ("127.0.0.1:4140", true, false, false, false), ("[::1]:4140", false, true, false, false),
      ("0.0.0.0:4140", true, false, true, false), (":4140", true, true, true, true),
      ("10.0.0.1:4140", false, false, false, false), (":0", false, false, false, false),
      ("unix:/run/x", false, false, false, false),
    ])
  func reach(address: String, own4: Bool, own6: Bool, others4: Bool, others6: Bool) throws {
    let settings = CaptureSettings(listeners: [try listener(address)])
    #expect((settings.processDestination(.v4) != nil, settings.processDestination(.v6) != nil) == (own4, own6))
    #expect(
      (settings.interfaceDestination(.v4) != nil, settings.interfaceDestination(.v6) != nil) == (others4, others6))
  }

  @Test("settings that cannot work, and what will not be captured, are told")
  func findings() throws {
    var settings = CaptureSettings(listeners: [try listener("0.0.0.0:4140")])
    settings.user = 1
    #expect(settings.findings(families: [.v4]).notes.first?.contains("port 22 (ssh) is captured as well") == true)
    settings.ports = ports("80")
    #expect(settings.findings(families: [.v4]).notes.isEmpty)
    settings.ports = []
    settings.excludePorts = ports("22")
    #expect(settings.findings().errors.isEmpty)
    #expect(
      settings.findings().notes == [
        "connections of the host's own processes over IPv6 are not captured: no listener takes them; an address such as "
          + "':4140' takes both families"
      ])
    #expect(settings.findings(families: [.v4]).notes.isEmpty)
    settings.onFailure = .refuse
    settings.excludePorts = []
    settings.inboundPorts = ports("1-1024")
    #expect(settings.findings(families: [.v4]).notes.last?.contains("22 to capture.excludePorts") == true)
    settings.excludePorts = ports("20-22")
    #expect(settings.findings(families: [.v4]).notes.isEmpty)
    settings.inboundPorts = ports("80")
    settings.interfaces = ["much-too-long-a-name", "a b", "+", "ok+"]
    settings.routingTable = 254
    settings.routingMark = settings.mark
    let errors = settings.findings().errors
    #expect(errors.count == 6, "\(errors)")
    #expect(errors.contains { $0.contains("connections from outside have no listener") })
    settings.listeners.append(try listener(":4143", .tproxy, .inbound))
    #expect(settings.findings().errors.contains { $0.hasSuffix("tproxy is for outbound connections alone") })
    settings = CaptureSettings(listeners: [])
    settings.processes = false
    #expect(settings.findings().errors.first?.hasPrefix("nothing to capture") == true)
    #expect(settings.findings().notes.first?.contains("mark alone") == true)
  }
}

@Suite struct TransactionTests {
  private static let saved = """
    # Generated by iptables-save v1.8.9 (nf_tables) on Sat Nov 21 06:42:54 2026
    *nat
    :PREROUTING ACCEPT [0:0]
    :OUTPUT ACCEPT [12:345]
    :DOCKER - [0:0]
    :FAIRLEAD_OLD - [0:0]
    :FAIRLEAD_OUTPUT - [0:0]
    -A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
    -A OUTPUT -p tcp -j FAIRLEAD_OUTPUT
    -A DOCKER -g FAIRLEAD_OLD
    -A FAIRLEAD_OUTPUT -d 127.0.0.0/8 -j RETURN
    COMMIT
    # Completed on Sat Nov 21 06:42:54 2026
    *filter
    :INPUT ACCEPT [0:0]
    -A INPUT -m comment --comment "a -j FAIRLEAD_OUTPUT \\" -j FAIRLEAD_OLD" -j ACCEPT
    -A INPUT -j LOG --log-prefix "-j FAIRLEAD_OUTPUT "
    COMMIT

    """

  @Test("what is ours is found in iptables-save, wherever it stands")
  func parsing() {
    let own = OwnTables(saved: SavedTables(parsing: Self.saved))
    #expect(own.tables.keys.sorted() == ["nat"])
    #expect(own.tables["nat"]?.chains == ["FAIRLEAD_OLD": [], "FAIRLEAD_OUTPUT": ["-d 127.0.0.0/8 -j RETURN"]])
    #expect(
      own.tables["nat"]?.jumps == [
        OwnTables.Jump(from: "DOCKER", rule: "-g FAIRLEAD_OLD", position: 0),
        OwnTables.Jump(from: "OUTPUT", rule: "-p tcp -j FAIRLEAD_OUTPUT", position: 1),
      ])
  }

  @Test("everything of ours is taken away, and nothing else")
  func removal() {
    let own = OwnTables(saved: SavedTables(parsing: Self.saved))
    #expect(
      OwnTables().transaction(from: own) == """
        *nat
        :FAIRLEAD_OLD - [0:0]
        :FAIRLEAD_OUTPUT - [0:0]
        -D DOCKER -g FAIRLEAD_OLD
        -D OUTPUT -p tcp -j FAIRLEAD_OUTPUT
        -X FAIRLEAD_OLD
        -X FAIRLEAD_OUTPUT
        COMMIT

        """)
    #expect(own.transaction(from: own) == nil)
  }

  @Test("the way back puts a jump where it was")
  func wayBack() {
    let own = OwnTables(saved: SavedTables(parsing: Self.saved))
    #expect(own.transaction(from: OwnTables())?.contains("-I OUTPUT 2 -p tcp -j FAIRLEAD_OUTPUT\n") == true)
  }

  @Test("any text is taken apart without harm")
  func anyText() {
    for text in ["", "*", ":", "-A", "-A X", ":X\n-A X y", "*nat\n:\n:A\n-A\n-A B c\nCOMMIT", "-A FAIRLEAD_X -j Y"] {
      #expect(OwnTables(saved: SavedTables(parsing: text)).isEmpty)
    }
  }

  @Test(
    "the refused line is found in the tools' words",
    arguments: [
      ("iptables-restore v1.8.9 (nf_tables): \nline 7: RULE_APPEND failed (Invalid argument): rule in chain X", 7),
      ("iptables-restore: line 12 failed", 12), ("Error occurred at line: 3\nTry `iptables-restore -h'", 3),
      ("no number", nil), ("line", nil), ("line x line 4", 4),
    ] as [(String, Int?)])
  func refused(text: String, line: Int?) { #expect(refusedLine(text) == line) }

  @Test("routing rules of ours are known by their place")
  func routing() {
    let text = "0:\tfrom all lookup 255\n4140:\tfrom all fwmark 0xfa2 lookup 4140\n4140:\tfrom all lookup 7\n"
    #expect(Routing.parse(rules: text) == [Routing(mark: 0xFA2, table: 4140)])
    #expect(Routing.isOurs(routes: "") == nil)
    #expect(Routing.isOurs(routes: "local default dev lo scope host \n") == true)
    #expect(Routing.isOurs(routes: "local default dev lo metric 1024 pref medium\n") == true)
    #expect(Routing.isOurs(routes: "default via 10.0.0.1 dev eth0\n") == false)
    #expect(Routing.isOurs(routes: "local default dev lo scope host\n10.0.0.0/8 dev eth0\n") == false)
  }

  @Test("a route goes before the rule by which it is known as ours")
  func routesFirst() throws {
    var settings = CaptureSettings(listeners: [try listener("0.0.0.0:4141", .tproxy)])
    settings.processes = false
    settings.interfaces = ["br0"]
    let there = CaptureState(settings, families: [.v4])
    let removal = CaptureState.nothing.commands(from: there).filter { $0.tool == "ip" }
    #expect(removal.map { $0.arguments[2...3].joined(separator: " ") } == ["route del", "rule del"])
  }

  @Test("a filter that drops what the rules lead here is found, and one that was made for it is not")
  func inputFilter() throws {
    var settings = CaptureSettings(listeners: [try listener(":4140"), try listener(":4143", .redirect, .inbound)])
    settings.interfaces = ["br0"]
    settings.inboundPorts = ports("80")
    let dropped = { (policy: String, rules: String) in
      settings.droppedPorts(
        SavedTables(parsing: "*filter\n:INPUT \(policy) [0:0]\n:FORWARD DROP [0:0]\n\(rules)\nCOMMIT\n"), .v4)
    }
    #expect(dropped("ACCEPT", "") == [])
    #expect(dropped("DROP", "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT") == [4140, 4143])
    #expect(dropped("DROP", "-A INPUT -i br0 -j ACCEPT") == [4143])
    #expect(dropped("DROP", "-A INPUT -p tcp -m multiport --dports 4140,4143 -j ACCEPT") == [])
    #expect(dropped("DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED,DNAT -j ACCEPT") == [])
    settings.interfaces = []
    #expect(dropped("DROP", "") == [4143])
    #expect(SavedTables(parsing: "").tables.isEmpty && settings.droppedPorts(SavedTables(parsing: ""), .v4) == [])
  }

  @Test("the ports that are listened to are found among the kernel's sockets")
  func listening() {
    let text = """
        sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
         0: 0100007F:102C 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
         1: 0200000A:1770 0200000A:A1B2 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0
         2: 00000000000000000000000000000000:1A0B 00000000000000000000000000000000:0000 0A 00000000
      """
    #expect(listeningPorts(text) == [4140, 6667])
    for text in ["", "\n", "0: x 0 0A", "0: :zz 0 0A", "0: 0:10000 0 0A"] { #expect(listeningPorts(text).isEmpty) }
  }

  @Test("the kernel's list of interfaces is read, and a name with a plus means all that begin so")
  func interfacesOfTheHost() throws {
    let text = """
      Inter-|   Receive                                                |  Transmit
       face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
          lo:    6424      65    0    0    0     0          0         0     6424      65    0    0
      br-1a2b: 1 0
      docker0:1 0

      """
    #expect(interfaceNames(text) == ["lo", "br-1a2b", "docker0"])
    #expect(interfaceNames("").isEmpty)
    var settings = CaptureSettings(listeners: [])
    settings.interfaces = ["br-+", "docker0"]
    #expect(["br-1a2b", "docker0"].allSatisfy(settings.capturesFrom))
    #expect(!["br0", "docker01", "lo"].contains(where: settings.capturesFrom))
  }

  @Test("what loses a bridge's connections is named with one command against it")
  func filteredBridge() {
    let one = FilteredBridge(name: "br0", settings: ["net.bridge.a"])
    #expect(one.cause == "net.bridge.a is 1" && one.remedy == "sysctl net.bridge.a=0")
    let all = FilteredBridge(name: "br0", files: ["/proc/sys/net/bridge/a", "/proc/sys/net/bridge/b", "/sys/c"])
    #expect(all.cause == "net.bridge.a and net.bridge.b and /sys/c are 1")
    #expect(all.remedy == "sysctl net.bridge.a=0 net.bridge.b=0; echo 0 > /sys/c")
  }

  @Test("a command is printed as a shell takes it")
  func commandText() {
    #expect(Command("ip", "rule").text == "ip rule\n")
    #expect(Command("ipset", "restore", input: "create x\n").text == "ipset restore <<'END'\ncreate x\nEND\n")
  }

  @Test("what is missing is named with its package")
  func packages() {
    #expect(CaptureError.missingTool("ip6tables-restore").description.hasSuffix("apt-get install iptables"))
    #expect(CaptureError.missingTool("ipset").description.hasSuffix("apt-get install ipset"))
    #expect(CaptureError.missingTool("ip").description.hasSuffix("apt-get install iproute2"))
  }
}
