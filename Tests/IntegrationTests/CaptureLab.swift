// A host with capture rules of its own, in the three namespaces of a `TestNetwork`: the node with the proxy and its rules, a
// workload behind an interface, a server beyond it.

import Glibc
import TestSupport
import Testing

private let captureObstacle: String? =
  TestNetwork.obstacle ?? ["ipset", "curl", "setpriv"].first { findTool($0) == nil }.map { "\($0) is not installed" }

/// Every suite in namespaces with rules carries this.
let needsCapture = ConditionTrait.enabled(if: captureObstacle == nil, Comment(rawValue: captureObstacle ?? ""))

/// Namespaces, files and programs of one test. Let go at its end, whatever its end is.
final class CaptureLab {
  /// One of the network's hosts.
  struct Host {
    let network: TestNetwork
    let name: TestNetwork.Host

    /// Runs a program to its end, which must be 0, and returns what it printed.
    @discardableResult
    func run(_ arguments: [String]) throws -> String {
      let output = try attempt(arguments)
      try output.expectSuccess()
      return output.text
    }

    /// Runs a program to its end, however that is.
    func attempt(_ arguments: [String]) throws -> TestNetwork.Output {
      try network.run(name, arguments, seconds: 60)
    }
  }

  let network: TestNetwork
  let configuration: String
  private(set) var daemon: FairleadProcess?

  var host: Host { Host(network: network, name: .node) }
  var workload: Host { Host(network: network, name: .client) }
  var server: Host { Host(network: network, name: .server) }
  var directory: TemporaryDirectory { network.directory }

  /// - Parameters:
  ///   - capture: the inside of `capture: { … }`.
  ///   - extra: a top-level line.
  init(capture: String = "", listeners: [String] = CaptureLab.redirecting, extra: String = "") throws {
    network = try TestNetwork()
    configuration = try network.directory.write(
      "fairlead.yaml",
      """
      node: { name: test-node, shards: 2 }
      admin: { socket: \(network.directory.path("admin.sock")) }
      listeners:
      \(listeners.map { "  - \($0)" }.joined(separator: "\n"))
      capture: { \(capture) }
      \(extra)

      """)
  }

  deinit {
    daemon?.child.stop(seconds: 1)
    network.remove()
  }

  static let redirecting = [
    "{ name: outbound, address: \":4140\", direction: outbound, capture: redirect }",
    "{ name: inbound, address: \":4143\", direction: inbound, capture: redirect }",
  ]
  static let transparent = ["{ name: outbound, address: \":4140\", direction: outbound, capture: tproxy }"]

  // MARK: Programs

  /// Starts the daemon on the host.
  func startDaemon() throws {
    daemon = try FairleadProcess(["--config", configuration], directory: directory, launcher: network.launcher(.node))
  }

  /// Starts it and applies the rules, and waits until connections are captured.
  func startCapturing() throws {
    try startDaemon()
    try capture("apply")
    try #require(eventually(seconds: 10) { try isAlive }, "the alive sets are empty")
  }

  /// `fairlead capture …`, which must end with 0.
  @discardableResult
  func capture(_ arguments: String...) throws -> String {
    let result = try attemptCapture(arguments)
    try #require(result.status == .exited(0), "capture \(arguments): \(result)")
    return result.text
  }

  /// - Parameter prefix: what runs it.
  func attemptCapture(_ arguments: [String], by prefix: [String] = []) throws -> TestNetwork.Output {
    try host.attempt(
      prefix + [
        FairleadProcess.commandPath, "capture", "--config", configuration, "--state", directory.path("state"),
      ] + arguments)
  }

  /// Starts an HTTP server on a host that answers with who called it and by which proxies.
  func serve(on host: Host, port: UInt16 = 80) throws {
    let child = try start(["python3", "-c", Self.serverProgram, "\(port)"], on: host)
    try #require(eventually(seconds: 10) { child.standardOutput.contains("ready") }, "\(child.standardError)")
  }

  /// Starts any program.
  func start(_ arguments: [String], on host: Host) throws -> Child {
    children += 1
    return try network.start(host.name, arguments, name: "child\(children)")
  }

  private var children = 0

  /// The process that waits for a confirmation.
  func watch() throws -> String {
    let line = try host.run(["pgrep", "-f", "capture watch --state \(directory.path("state"))"])
    return line.split(separator: "\n").first.map(String.init) ?? ""
  }

  // MARK: Questions

  struct Answer {
    var text: String
    /// How curl ended: 7 is a refused connection, 28 a time-out.
    var code: Child.ExitStatus?
    /// Did the request come by the proxy?
    var isCaptured: Bool { text.contains("via=1.1 test-node") }
    var isDirect: Bool { text.contains("via=none") }
  }

  /// A request with curl, on a connection of its own.
  func get(_ url: String, from host: Host, by prefix: [String] = []) throws -> Answer {
    let result = try host.attempt(prefix + ["curl", "-gsS", "--noproxy", "*", "--max-time", "8", url])
    return Answer(text: result.text + result.errors, code: result.status)
  }

  /// Do both sets have both their entries?
  var isAlive: Bool { get throws { try remainingLives.count == 4 } }

  /// The seconds left of each entry of the sets.
  var remainingLives: [Int] {
    get throws {
      // add fairlead-alive4 0.0.0.0/1 timeout 1
      try host.run(["ipset", "save"]).split(separator: "\n").filter { $0.hasPrefix("add fairlead-alive") }
        .compactMap { $0.split(separator: " ").last.flatMap { Int($0) } }
    }
  }

  /// Everything that capture may change, without counters and the time of day.
  func kernelState() throws -> String {
    var text = ""
    for tool in [["iptables-save"], ["ip6tables-save"]] {
      let lines = try host.run(tool).split(separator: "\n").filter { !$0.hasPrefix("#") }
      text +=
        lines.map { $0.hasPrefix(":") ? String($0.prefix { $0 != "[" }) : String($0) }.joined(separator: "\n") + "\n"
    }
    for arguments in [
      ["-4", "rule"], ["-6", "rule"], ["-4", "route", "show", "table", "all"], ["-6", "route", "show", "table", "all"],
    ] { text += try host.run(["ip"] + arguments) }
    return text + (try host.run(["ipset", "list", "-name"]))
  }

  private static let serverProgram = """
    import socket, sys, threading
    def serve(c, peer):
        head = b''
        while b'\\r\\n\\r\\n' not in head:
            part = c.recv(65536)
            if not part: return c.close()
            head += part
        via = [l.split(b':', 1)[1].strip() for l in head.split(b'\\r\\n') if l.lower().startswith(b'via:')]
        body = b'peer=%s via=%s\\n' % (peer[0].replace('::ffff:', '').encode(), b','.join(via) or b'none')
        c.sendall(b'HTTP/1.1 200 OK\\r\\nconnection: close\\r\\ncontent-length: %d\\r\\n\\r\\n%s' % (len(body), body))
        c.close()
    s = socket.create_server(('::', int(sys.argv[1])), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
    print('ready', flush=True)
    while True:
        c, peer = s.accept()
        threading.Thread(target=serve, args=(c, peer), daemon=True).start()
    """
}
