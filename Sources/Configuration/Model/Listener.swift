// A socket that accepts connections, and how what comes in there is taken.

public import Base
public import Policy

extension Configuration {
  /// One entry of `listeners`.
  public struct Listener: Hashable, Sendable {
    public enum Direction: String, CaseIterable, Hashable, Sendable {
      /// From this host's workloads to any service.
      case outbound
      /// From other hosts to this host's workloads.
      case inbound
    }

    public enum DownstreamProtocol: String, CaseIterable, Hashable, Sendable {
      /// By the first bytes: HTTP/1, HTTP/2, and where the original destination is known TLS and any other TCP protocol as well.
      case detect
      case http1
      /// With prior knowledge.
      case http2
      /// TLS, carried as it is to where its ClientHello says.
      case tls
      /// Bytes both ways, never looked into.
      case tcp
    }

    /// Where a connection's original destination is taken from.
    public enum Capture: String, CaseIterable, Hashable, Sendable {
      /// Clients connect to the listener itself.
      case none
      /// From the kernel's translation table (SO_ORIGINAL_DST): REDIRECT.
      case redirect
      /// The socket's own local address is the destination: TPROXY. The endpoint sees the client's address.
      case tproxy
    }

    /// What becomes of a captured request that names no known service.
    public enum Unresolved: String, CaseIterable, Hashable, Sendable {
      /// It goes to the address that the client had connected to.
      case forward
      case refuse
    }

    public enum Trust: String, CaseIterable, Hashable, Sendable {
      /// Steering headers (`l5d-dtab` and its like) are removed.
      case none
      /// Clients may steer their own requests.
      case clients

      /// Captured clients are workloads of this host, whose requests are theirs to steer; others may be anybody.
      static func usual(_ direction: Direction, _ capture: Capture) -> Trust {
        direction == .outbound && capture != .none ? .clients : .none
      }
    }

    /// Names the listener in metrics and tables.
    public let name: String
    /// Port 0 lets the kernel choose. `[::]`, which `:80` is read as, takes both families.
    public let address: SocketAddress
    public let direction: Direction
    public let `protocol`: DownstreamProtocol
    public let trust: Trust
    public let capture: Capture
    public let unresolved: Unresolved
    /// The logical name of every connection of a `tcp` listener that does not capture.
    public let to: Path?
    /// Where connections come from that begin with a PROXY protocol header; empty for nowhere.
    public let proxySources: [IPNetwork]
    /// Where CONNECT may lead; empty for nowhere.
    public let connect: [ConnectDestination]

    public init(
      name: String, address: SocketAddress, direction: Direction = .outbound, protocol: DownstreamProtocol = .detect,
      trust: Trust = .none, capture: Capture = .none, unresolved: Unresolved = .forward, to: Path? = nil,
      proxySources: [IPNetwork] = [], connect: [ConnectDestination] = []
    ) {
      self.name = name
      self.address = address
      self.direction = direction
      self.protocol = `protocol`
      self.trust = trust
      self.capture = capture
      self.unresolved = unresolved
      self.to = to
      self.proxySources = proxySources
      self.connect = connect
    }
  }
}
