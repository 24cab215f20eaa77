// A real dnsmasq as a name server: a peer that nobody here wrote.

import Glibc

/// One dnsmasq on a loopback port that answers from a hosts file of the test, and knows nothing else.
public final class DnsmasqProcess: Sendable {
  public let address: LoopbackAddress
  private let directory: TemporaryDirectory
  private let child: Child

  public static var isInstalled: Bool { findTool("dnsmasq") != nil }
  public static let unavailable = "dnsmasq is not installed (apt-get install dnsmasq-base)"

  /// - Parameters:
  ///   - hosts: lines of a hosts file: `10.0.0.1 web.test`.
  ///   - arguments: such as `--srv-host=_http._tcp.web.test,web.test,8080`.
  ///   - port: nil for any that is free.
  public init(hosts: String, arguments: [String] = [], port: UInt16? = nil) throws {
    guard let tool = findTool("dnsmasq") else { throw HarnessError(Self.unavailable) }
    directory = try TemporaryDirectory()
    try directory.write("hosts", hosts)
    for _ in 0..<10 {
      let address = LoopbackAddress(port: try port ?? probablyFreePort())
      let child = try Child(
        [
          tool, "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=",
          "--user=\(geteuid() == 0 ? "root" : "")", "--listen-address=127.0.0.1", "--bind-interfaces",
          "--port=\(address.port)", "--addn-hosts=\(directory.path("hosts"))", "--local-ttl=1", "--neg-ttl=1",
          "--local=/test/",
        ] + arguments, directory: directory, name: "dnsmasq")
      let up = eventually(seconds: 10) { !child.isRunning || (try? RawClient(address)) != nil }
      if up, child.isRunning {
        self.address = address
        self.child = child
        return
      }
      child.stop(seconds: 1)
      guard child.standardError.contains("in use") else {
        throw HarnessError("dnsmasq did not start: \(child.standardError)")
      }
    }
    throw HarnessError("dnsmasq found no free port in ten tries")
  }

  deinit { stop() }

  /// Answers from these lines from now on.
  public func set(hosts: String) throws {
    try directory.write("hosts.next", hosts)
    rename(directory.path("hosts.next"), directory.path("hosts"))
    child.signal(SIGHUP)
  }

  public func stop() { child.stop(seconds: 5) }
}
