// A socket that accepts connections, and how what comes in there is taken.

public import Base

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
      /// By the first bytes. This version knows HTTP/1 only.
      case detect
      case http1
    }

    public enum Trust: String, CaseIterable, Hashable, Sendable {
      /// Steering headers (`l5d-dtab` and its like) are removed.
      case none
      /// Clients may steer their own requests.
      case clients
    }

    /// Names the listener in metrics and tables.
    public let name: String
    /// Port 0 lets the kernel choose. `[::]`, which `:80` is read as, takes both families.
    public let address: SocketAddress
    public let direction: Direction
    public let `protocol`: DownstreamProtocol
    public let trust: Trust

    public init(
      name: String, address: SocketAddress, direction: Direction = .outbound, protocol: DownstreamProtocol = .detect,
      trust: Trust = .none
    ) {
      self.name = name
      self.address = address
      self.direction = direction
      self.protocol = `protocol`
      self.trust = trust
    }
  }
}
