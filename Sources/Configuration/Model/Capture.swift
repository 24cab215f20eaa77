// Which of the host's connections are led to the listeners that capture, and what becomes of them when the proxy is not
// there. `fairlead capture` makes firewall rules of it; the daemon takes the marks and the detection from it.

public import Base

extension Configuration {
  /// `capture`.
  public struct Capture: Hashable, Sendable {
    /// What new connections meet while the proxy does not turn.
    public enum OnFailure: String, CaseIterable, Hashable, Sendable {
      /// Their destination, as if nothing were captured.
      case bypass
      /// A reset.
      case refuse
    }

    /// Are the connections of the host's own processes captured?
    public let processes: Bool
    /// By which containers and namespaces come in; `br-+` stands for every name that starts with `br-`.
    public let interfaces: [String]
    /// Only these destination ports; empty for all.
    public let ports: [PortRange]
    public let excludePorts: [PortRange]
    /// Destinations that are not captured. Loopback to loopback never is.
    public let excludeAddresses: [IPNetwork]
    /// Users, by name or number, whose processes are not captured.
    public let excludeUsers: [String]
    /// Connections from outside to these local ports go to the inbound listener; empty for none.
    public let inboundPorts: [PortRange]
    /// The proxy's own user: what it sends is let through even without the mark.
    public let user: String
    /// SO_MARK of the proxy's own sockets.
    public let mark: UInt32
    /// The mark of packets that TPROXY leads to the proxy, and the routing table that takes them there.
    public let routingMark: UInt32
    public let routingTable: UInt32
    public let onFailure: OnFailure
    /// How long the first bytes of a connection are waited for before it is carried as it is.
    public let detectTimeout: Duration
    /// Destination ports where the server speaks first: carried as they are at once.
    public let serverFirstPorts: [UInt16]

    public init(
      processes: Bool = true, interfaces: [String] = [], ports: [PortRange] = [],
      excludePorts: [PortRange] = Capture.defaultExcludePorts, excludeAddresses: [IPNetwork] = [],
      excludeUsers: [String] = [], inboundPorts: [PortRange] = [], user: String = "fairlead", mark: UInt32 = 0xFA1,
      routingMark: UInt32 = 0xFA2, routingTable: UInt32 = 4140, onFailure: OnFailure = .bypass,
      detectTimeout: Duration = .seconds(3), serverFirstPorts: [UInt16] = Capture.defaultServerFirstPorts
    ) {
      self.processes = processes
      self.interfaces = interfaces
      self.ports = ports
      self.excludePorts = excludePorts
      self.excludeAddresses = excludeAddresses
      self.excludeUsers = excludeUsers
      self.inboundPorts = inboundPorts
      self.user = user
      self.mark = mark
      self.routingMark = routingMark
      self.routingTable = routingTable
      self.onFailure = onFailure
      self.detectTimeout = detectTimeout
      self.serverFirstPorts = serverFirstPorts
    }

    /// The way back in must never depend on the proxy.
    public static let defaultExcludePorts = [PortRange(22)].compactMap(\.self)
    /// FTP, SMTP, POP3, IMAP, submission, MySQL, PostgreSQL, VNC: the client waits for the server's greeting, or for an
    /// answer to a handshake that no detection knows.
    public static let defaultServerFirstPorts: [UInt16] = [21, 25, 110, 143, 587, 3306, 5432, 5900]
  }
}
