// Three hosts of a test's own, in network namespaces: a node with a proxy, a client behind it, and a server beyond it.
//
//   client 10.8.0.2, fd08::2  ──  node 10.8.0.1 10.9.0.1, fd08::1 fd09::1  ──  server 10.9.0.2, fd09::2
//
// The node forwards between the two. Everything is named after the test process and gone at the end.

import Glibc
import Synchronization

/// The three hosts. Needs root.
public final class TestNetwork: Sendable {
  public enum Host: String, CaseIterable, Sendable { case client, node, server }

  /// What a command said.
  public struct Output: Sendable {
    public let status: Child.ExitStatus?
    public let text: String
    public let errors: String
    /// Without the newline at its end.
    public var line: String { String(text.drop { $0 == "\n" }.reversed().drop { $0 == "\n" }.reversed()) }
  }

  public let directory: TemporaryDirectory
  private let names: [Host: String]
  private let children = Monitor<[Child]>([])

  /// Nil when namespaces can be made here; else why not.
  public static let obstacle: String? = {
    if geteuid() != 0 { return "network namespaces need root" }
    for tool in ["ip", "iptables", "ip6tables", "python3"] where findTool(tool) == nil {
      return "\(tool) is not installed"
    }
    return nil
  }()

  private static let count = Atomic<Int>(0)

  public init() throws {
    directory = try TemporaryDirectory()
    let number = Self.count.wrappingAdd(1, ordering: .relaxed).newValue
    var names: [Host: String] = [:]
    for host in Host.allCases { names[host] = "flt\(getpid())n\(number)\(host.rawValue.prefix(1))" }
    self.names = names
    do {
      for host in Host.allCases {
        try command(["ip", "netns", "add", name(host)])
        // Nobody else has these addresses: a second of waiting for that to be found out is a second lost.
        try run(host, ["sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.default.accept_dad=0"])
          .expectSuccess()
      }
      try link(.node, "toclient", .client, "eth0", network: 8)
      try link(.node, "toserver", .server, "eth0", network: 9)
      for host in Host.allCases { try command(["ip", "-n", name(host), "link", "set", "lo", "up"]) }
      try command(["ip", "-n", name(.client), "route", "add", "default", "via", "10.8.0.1"])
      try command(["ip", "-n", name(.client), "-6", "route", "add", "default", "via", "fd08::1"])
      try command(["ip", "-n", name(.server), "route", "add", "default", "via", "10.9.0.1"])
      try command(["ip", "-n", name(.server), "-6", "route", "add", "default", "via", "fd09::1"])
      for setting in ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"] {
        try run(.node, ["sysctl", "-qw", setting]).expectSuccess()
      }
      _ = try directory.write("peer.py", peerScript)
    } catch {
      remove()
      throw error
    }
  }

  deinit { remove() }

  public func name(_ host: Host) -> String { names[host] ?? "" }

  /// Ends what was started here and removes the hosts.
  public func remove() {
    stopPeers()
    for host in Host.allCases { _ = try? command(["ip", "netns", "del", name(host)]) }
  }

  /// Ends what was started here.
  public func stopPeers() {
    children.with { children in
      for child in children { child.stop(seconds: 1) }
      children = []
    }
  }

  private func link(_ first: Host, _ interface: String, _ second: Host, _ other: String, network: Int) throws {
    try command(
      [
        "ip", "link", "add", interface, "netns", name(first), "type", "veth", "peer", "name", other, "netns",
        name(second),
      ])
    for (host, device, number) in [(first, interface, 1), (second, other, 2)] {
      let namespace = name(host)
      try command(["ip", "-n", namespace, "link", "set", device, "up"])
      try command(["ip", "-n", namespace, "addr", "add", "10.\(network).0.\(number)/24", "dev", device])
      try command(["ip", "-n", namespace, "addr", "add", "fd0\(network)::\(number)/64", "dev", device, "nodad"])
    }
  }

  // MARK: Commands

  /// What to put in front of a command to run it on a host.
  public func launcher(_ host: Host) -> [String] { ["ip", "netns", "exec", name(host)] }

  /// Runs a command on a host and waits for its end.
  @discardableResult
  public func run(_ host: Host, _ arguments: [String], seconds: Double = 30) throws -> Output {
    try command(launcher(host) + arguments, seconds: seconds, mustSucceed: false)
  }

  /// Starts a command on a host; it is ended with the network.
  @discardableResult
  public func start(_ host: Host, _ arguments: [String], name: String) throws -> Child {
    let child = try Child(launcher(host) + arguments, directory: directory, name: name)
    children.with { $0.append(child) }
    return child
  }

  @discardableResult
  private func command(_ arguments: [String], seconds: Double = 10, mustSucceed: Bool = true) throws -> Output {
    let number = Self.count.wrappingAdd(1, ordering: .relaxed).newValue
    let child = try Child(arguments, directory: directory, name: "command\(number)")
    let status = child.wait(seconds: seconds)
    if status == nil { child.stop(seconds: 0.1) }
    let output = Output(status: status, text: child.standardOutput, errors: child.standardError)
    if mustSucceed { try output.expectSuccess() }
    return output
  }

  // MARK: The peers

  /// Starts the server: HTTP on 8080, an echo on 7777, one that speaks first on 7025. Returns when all listen.
  public func startServer(on host: Host = .server) throws {
    let child = try start(host, ["python3", directory.path("peer.py"), "serve"], name: "server-\(host.rawValue)")
    guard eventually(seconds: 20, { child.standardOutput.contains("ready") || !child.isRunning }), child.isRunning
    else {
      throw HarnessError("the server did not start: \(child.standardError)")
    }
  }

  /// Runs one of the peer script's clients on a host; what it printed.
  public func client(_ host: Host, _ arguments: String..., seconds: Double = 20) throws -> String {
    let output = try run(host, ["python3", directory.path("peer.py")] + arguments, seconds: seconds)
    if output.status != .exited(0) { return "failed: \(output.errors.suffix(400))" }
    return output.line
  }

  /// Starts a proxy on the node. Its admin socket is `admin.sock` in the network's directory.
  ///
  /// - Parameter limits: what to put between the node and the proxy, to take something away from it.
  public func startProxy(_ configuration: String, under limits: [String] = []) throws -> FairleadProcess {
    let file = try directory.write("fairlead.yaml", configuration)
    return try FairleadProcess(["--config", file], directory: directory, launcher: launcher(.node) + limits)
  }
}

extension TestNetwork.Output {
  public func expectSuccess() throws {
    guard status == .exited(0) else { throw HarnessError("\(status.map { "\($0)" } ?? "no end"): \(text)\(errors)") }
  }
}

/// Servers and clients in one file, so that nothing else must be installed.
private let peerScript = #"""
  import http.client, http.server, os, socket, socketserver, struct, sys, threading, time

  class Web(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"
      def do_GET(self):
          body = f"{self.client_address[0].replace('::ffff:', '')} {self.headers.get('host')} {self.path}".encode()
          self.send_response(200)
          self.send_header("content-length", str(len(body)))
          self.end_headers()
          self.wfile.write(body)
      def log_message(self, *arguments): pass

  class Echo(socketserver.BaseRequestHandler):
      greeting = b""
      def handle(self):
          self.request.sendall(self.greeting)
          while data := self.request.recv(65536):
              self.request.sendall(data)
          self.request.sendall(b"" if not self.greeting else b"bye")

  class Greeter(Echo):
      greeting = b"220 hello\r\n"

  class Server(socketserver.ThreadingTCPServer):
      address_family = socket.AF_INET6
      allow_reuse_address = True
      daemon_threads = True
      request_queue_size = 1024
      def server_bind(self):
          self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
          super().server_bind()

  def serve():
      for port, handler in ((8080, Web), (7777, Echo), (7025, Greeter)):
          threading.Thread(target=Server(("::", port), handler).serve_forever, daemon=True).start()
      print("ready", flush=True)
      threading.Event().wait()

  def connect(host, port):
      return socket.create_connection((host, int(port)), 10)

  def get(host, port, name=None, path="/"):
      connection = http.client.HTTPConnection(host, int(port), timeout=10)
      connection.request("GET", path, headers={"Host": name} if name else {})
      answer = connection.getresponse()
      body = answer.read().decode()
      print(answer.status, answer.getheader("fairlead-code") or body)

  def echo(host, port, text):
      with connect(host, port) as peer:
          peer.sendall(text.encode()); peer.shutdown(socket.SHUT_WR)
          got = b""
          while data := peer.recv(65536): got += data
          print(got.decode())

  def bulk(host, port, mebibytes):
      data = os.urandom(1 << 20)
      total = int(mebibytes) << 20
      with connect(host, port) as peer:
          def send():
              for _ in range(int(mebibytes)): peer.sendall(data)
              peer.shutdown(socket.SHUT_WR)
          threading.Thread(target=send, daemon=True).start()
          count, good = 0, True
          while piece := peer.recv(262144):
              start = count % len(data)
              good = good and piece == (data + data)[start:start + len(piece)]
              count += len(piece)
          print(count == total and good)

  def dribble(host, port, text, seconds="0.003"):
      with connect(host, port) as peer:
          peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
          for byte in text.encode().decode("unicode_escape").encode():
              peer.sendall(bytes([byte])); time.sleep(float(seconds))
          print(repr(peer.recv(4096).decode()))

  def greeted(host, port):
      with connect(host, port) as peer:
          print(peer.recv(100).decode().strip(), end=" ")
          peer.sendall(b"x"); peer.shutdown(socket.SHUT_WR)
          got = b""
          while data := peer.recv(100): got += data
          print(got.decode())

  def late(host, port, wait, text):
      with connect(host, port) as peer:
          time.sleep(float(wait)); peer.sendall(text.encode())
          print(peer.recv(100).decode())

  def ending(host, port):
      try:
          with connect(host, port) as peer:
              peer.sendall(b"\0binary")
              print("closed" if peer.recv(100) == b"" else "answered")
      except ConnectionError as error:
          print(type(error).__name__)

  def reset(host, port):
      peer = connect(host, port)
      peer.sendall(b"\0x"); peer.recv(2)
      peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); peer.close()
      print("reset")

  def many(host, first, count, hold="0"):
      # Connections to `count` addresses from `first` on, all open at once; how many echo.
      base = struct.unpack(">I", socket.inet_aton(host))[0]
      peers, good = [], 0
      for number in range(int(count)):
          address = socket.inet_ntoa(struct.pack(">I", base + number))
          peer = connect(address, first); peers.append(peer)
          try:
              peer.sendall(b"\0x")
              good += peer.recv(2) == b"\0x"
          except ConnectionError: pass
      time.sleep(float(hold))
      print(good)

  def silent(host, port):
      # Ends its side without a byte and waits for what the server has to say.
      with connect(host, port) as peer:
          peer.shutdown(socket.SHUT_WR)
          got = b""
          while data := peer.recv(100): got += data
          print(got.decode().split())

  def crowd(host, port, count):
      # More streams at once than the proxy has descriptors for; done when one of them was turned away, or all were served.
      peers = [connect(host, port) for _ in range(int(count))]
      for peer in peers: peer.sendall(b"\0x")
      good = 0
      for peer in peers:
          peer.settimeout(2)
          try: good += peer.recv(2) == b"\0x"
          except OSError: break
      print("served", good < len(peers))

  def hold(host, port):
      # One stream that echoes a line of standard input at a time, until it breaks.
      with connect(host, port) as peer:
          print("open", flush=True)
          for line in sys.stdin:
              try:
                  peer.sendall(b"\0" + line.encode()); print(len(peer.recv(4096)), flush=True)
              except OSError as error:
                  print(type(error).__name__, flush=True); return

  globals()[sys.argv[1]](*sys.argv[2:])
  """#
