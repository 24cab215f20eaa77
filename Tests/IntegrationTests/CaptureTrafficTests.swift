// Who is captured and who is not, with real connections through the real proxy.

import Glibc
import TestSupport
import Testing

@Suite(needsDaemon, needsCapture)
struct CaptureTrafficTests {
  @Test("a process of the host is captured without knowing it", arguments: ["10.9.0.2", "[fd09::2]"])
  func processes(server: String) throws {
    let lab = try CaptureLab()
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let answer = try lab.get("http://\(server)/", from: lab.host)
    #expect(answer.isCaptured, "\(answer)")
    // Only the host's own processes were asked for.
    let other = try lab.get("http://\(server)/", from: lab.workload)
    #expect(other.isDirect, "\(other)")
    try lab.capture("remove")
    let after = try lab.get("http://\(server)/", from: lab.host)
    #expect(after.isDirect, "\(after)")
  }

  @Test("ports, addresses, users and the mark are excluded; loopback is never captured", arguments: ["4", "6"])
  func exclusions(family: String) throws {
    let lab = try CaptureLab(
      capture: "excludePorts: [22, 81], excludeAddresses: [10.8.0.0/24, \"fd08::/64\"], excludeUsers: [\"65534\"]")
    try lab.serve(on: lab.server)
    try lab.serve(on: lab.server, port: 81)
    try lab.serve(on: lab.workload)
    try lab.serve(on: lab.host)
    try lab.startCapturing()
    let (server, excluded) = family == "4" ? ("10.9.0.2", "10.8.0.2") : ("[fd09::2]", "[fd08::2]")
    #expect(try lab.get("http://\(server)/", from: lab.host).isCaptured)
    #expect(try lab.get("http://\(server):81/", from: lab.host).isDirect, "excludePorts")
    #expect(try lab.get("http://\(excluded)/", from: lab.host).isDirect, "excludeAddresses")
    let nobody = ["setpriv", "--reuid", "65534", "--clear-groups"]
    #expect(try lab.get("http://\(server)/", from: lab.host, by: nobody).isDirect, "excludeUsers")
    let loopback = family == "4" ? "127.0.0.1" : "[::1]"
    #expect(try lab.get("http://\(loopback)/", from: lab.host).isDirect, "loopback")

    let plain = server.filter { $0 != "[" && $0 != "]" }
    let marked = try lab.host.run(["python3", "-c", markedClient, plain])
    #expect(marked.contains("via=none"), "the proxy's mark: \(marked)")
  }

  @Test("only the ports that are asked for are captured")
  func ports() throws {
    let lab = try CaptureLab(capture: "ports: [80, 9000-9010]")
    try lab.serve(on: lab.server)
    try lab.serve(on: lab.server, port: 81)
    try lab.serve(on: lab.server, port: 9005)
    try lab.startCapturing()
    #expect(try lab.get("http://10.9.0.2/", from: lab.host).isCaptured)
    #expect(try lab.get("http://10.9.0.2:9005/", from: lab.host).isCaptured)
    #expect(try lab.get("http://10.9.0.2:81/", from: lab.host).isDirect)
  }

  @Test(
    "a workload behind an interface is captured by REDIRECT; the endpoint sees the proxy",
    arguments: ["10.9.0.2", "[fd09::2]"])
  func interfaces(server: String) throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [tocl+]")
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let answer = try lab.get("http://\(server)/", from: lab.workload)
    #expect(answer.isCaptured, "\(answer)")
    #expect(answer.text.contains("peer=10.9.0.1 ") || answer.text.contains("peer=fd09::1 "), "\(answer)")
    #expect(try lab.get("http://\(server)/", from: lab.host).isDirect)
  }

  @Test(
    "TPROXY keeps the client's address towards the endpoint",
    arguments: [("10.9.0.2", "10.8.0.2"), ("[fd09::2]", "fd08::2")])
  func tproxy(server: String, client: String) throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [toclient]", listeners: CaptureLab.transparent)
    try lab.serve(on: lab.server)
    try lab.startCapturing()
    let answer = try lab.get("http://\(server)/", from: lab.workload)
    #expect(answer.isCaptured, "\(answer)")
    #expect(answer.text.contains("peer=\(client) "), "\(answer)")
  }

  @Test("TPROXY behind a bridge: refused while iptables sees what is in the bridge, and captured when it does not")
  func tproxyBehindBridge() throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [br+]", listeners: CaptureLab.transparent)
    for command in [
      "link add br0 type bridge", "link set toclient master br0", "addr flush dev toclient", "link set br0 up",
      "addr add 10.8.0.1/24 dev br0", "addr add fd08::1/64 dev br0 nodad",
    ] { try lab.host.run(["ip"] + command.split(separator: " ").map(String.init)) }
    try lab.serve(on: lab.server)
    try lab.startDaemon()
    // Only where the kernel has br_netfilter.
    let setting = "net.bridge.bridge-nf-call-iptables"
    if try lab.host.attempt(["sysctl", "-qw", "\(setting)=1"]).status == .exited(0) {
      let before = try lab.kernelState()
      let refused = try lab.attemptCapture(["apply"])
      #expect(refused.status == .exited(1) && refused.errors.contains("the bridge br0"), "\(refused)")
      #expect(try lab.kernelState() == before)
      let remedy = try #require(refused.errors.split(separator: "'").first { $0.hasPrefix("sysctl ") })
      #expect(remedy.contains(" \(setting)=0"), "\(refused)")
      try lab.host.run(["sh", "-c", String(remedy)])
    }
    try lab.capture("apply")
    try #require(eventually(seconds: 10) { try lab.isAlive }, "the alive sets are empty")
    for (server, client) in [("10.9.0.2", "10.8.0.2"), ("[fd09::2]", "fd08::2")] {
      let answer = try lab.get("http://\(server)/", from: lab.workload)
      #expect(answer.isCaptured && answer.text.contains("peer=\(client) "), "\(answer)")
    }
  }

  @Test("TPROXY leaves a workload's way to services of its own host as it is", arguments: ["10.8.0.1", "[fd08::1]"])
  func tproxyToHost(address: String) throws {
    let lab = try CaptureLab(capture: "processes: false, interfaces: [toclient]", listeners: CaptureLab.transparent)
    try lab.serve(on: lab.host)
    try lab.startCapturing()
    let answer = try lab.get("http://\(address)/", from: lab.workload)
    #expect(answer.code == .exited(0) && answer.text.contains("peer="), "\(answer)")
  }

  @Test("connections from outside to a port of this host go by the inbound listener", arguments: ["4", "6"])
  func inbound(family: String) throws {
    let lab = try CaptureLab(capture: "processes: false, inboundPorts: [80]")
    try lab.serve(on: lab.host)
    try lab.serve(on: lab.host, port: 81)
    try lab.startCapturing()
    let address = family == "4" ? "10.8.0.1" : "[fd08::1]"
    let answer = try lab.get("http://\(address)/", from: lab.workload)
    #expect(answer.isCaptured, "\(answer)")
    #expect(try lab.get("http://\(address):81/", from: lab.workload).isDirect)
    #expect(try lab.get("http://\(address)/", from: lab.host).isDirect)
  }

  @Test("a connection that was open before the rules came lives on, and so it does when they go")
  func establishedSurvives() throws {
    let lab = try CaptureLab()
    let server = try lab.start(["python3", "-c", echoServer], on: lab.server)
    try #require(eventually { server.standardOutput.contains("ready") })
    let client = try lab.start(["python3", "-c", slowClient, lab.directory.path("go")], on: lab.host)
    try #require(eventually { client.standardOutput.contains("1") }, "\(client.standardError)")
    try lab.startCapturing()
    try lab.directory.write("go2", "")
    try #require(eventually { client.standardOutput.contains("2") }, "\(client.standardOutput)\(client.standardError)")
    try lab.capture("remove")
    try lab.directory.write("go3", "")
    #expect(client.wait(seconds: 10) == .exited(0), "\(client.standardError)")
  }
}

private let markedClient = """
  import socket, sys
  s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET)
  s.setsockopt(socket.SOL_SOCKET, 36, 0xFA1)
  s.settimeout(8)
  s.connect((sys.argv[1], 80))
  s.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')
  while True:
      part = s.recv(65536)
      if not part: break
      print(part.decode())
  """

private let echoServer = """
  import socket
  s = socket.create_server(('0.0.0.0', 80))
  print('ready', flush=True)
  c, _ = s.accept()
  while True:
      part = c.recv(100)
      if not part: break
      c.sendall(part)
  """

private let slowClient = """
  import os, socket, sys, time
  s = socket.create_connection(('10.9.0.2', 80), timeout=8)
  for n in '123':
      while n != '1' and not os.path.exists(sys.argv[1] + n): time.sleep(0.01)
      s.sendall(n.encode())
      print(s.recv(1).decode(), flush=True)
  """
