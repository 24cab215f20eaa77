// What is to be captured, as one value: all that the rules are made of. The program that reads the configuration fills it
// in; this module knows neither files nor names of users.

public import Base

/// Everything the rule sets depend on.
public struct CaptureSettings: Hashable, Sendable {
  /// A listener that takes captured connections.
  public struct Listener: Hashable, Sendable {
    public enum Mode: String, Hashable, Sendable {
      /// The destination is rewritten to the listener; SO_ORIGINAL_DST tells what it was.
      case redirect
      /// The packet stays as it is and is given to the listener's socket.
      case tproxy
    }

    public enum Direction: String, Hashable, Sendable { case outbound, inbound }

    public let name: String
    public let address: SocketAddress
    public let direction: Direction
    public let mode: Mode

    public init(name: String, address: SocketAddress, direction: Direction, mode: Mode) {
      self.name = name
      self.address = address
      self.direction = direction
      self.mode = mode
    }
  }

  /// What new connections meet while the proxy does not turn.
  public enum OnFailure: String, CaseIterable, Hashable, Sendable {
    /// Their destination, as if nothing were captured.
    case bypass
    /// A reset.
    case refuse
  }

  /// What one workload meets instead of what all the others do.
  public struct Exception: Hashable, Sendable {
    public enum Source: Hashable, Sendable {
      /// Where its connections come from: a container's or a namespace's addresses.
      case network(IPNetwork)
      /// The user its processes run as.
      case user(UInt32)
    }

    public let source: Source
    public let onFailure: OnFailure

    public init(source: Source, onFailure: OnFailure) {
      self.source = source
      self.onFailure = onFailure
    }
  }

  public var listeners: [Listener]
  /// Are the connections of the host's own processes captured?
  public var processes = true
  /// By which containers and namespaces come in; a name that ends in `+` stands for all that begin so.
  public var interfaces: [String] = []
  /// Only these destination ports; empty for all.
  public var ports: [PortRange] = []
  public var excludePorts: [PortRange] = []
  public var excludeAddresses: [IPNetwork] = []
  public var excludeUsers: [UInt32] = []
  /// Connections from outside to these local ports go to the inbound listener.
  public var inboundPorts: [PortRange] = []
  /// The proxy's own user; nil where this host has none of that name.
  public var user: UInt32?
  /// SO_MARK of the proxy's own sockets.
  public var mark: UInt32 = 0xFA1
  /// The mark of TPROXY'd packets, and the routing table that keeps them on this host.
  public var routingMark: UInt32 = 0xFA2
  public var routingTable: UInt32 = 4140
  public var onFailure: OnFailure = .bypass
  /// The first that fits decides.
  public var exceptions: [Exception] = []
  /// The read-only admin listener, which stays reachable from everywhere; nil for none.
  public var adminPort: UInt16?

  /// What who made the settings has to add to the findings.
  public var notes: [String] = []

  public init(listeners: [Listener]) { self.listeners = listeners }
}

// MARK: Which listener takes what

extension CaptureSettings {
  /// Where connections of one kind and family are led.
  struct Destination: Hashable, Sendable {
    let listener: Listener
    let port: UInt16
  }

  /// For the host's own processes: REDIRECT in OUTPUT rewrites to the loopback address.
  func processDestination(_ family: AddressFamily) -> Destination? {
    destination(family) { $0.direction == .outbound && $0.mode == .redirect && ($0.isEverywhere || $0.address.isLocal) }
  }

  /// For what comes in by the interfaces: TPROXY where a listener takes it, else REDIRECT, which rewrites to the address of
  /// the interface.
  func interfaceDestination(_ family: AddressFamily) -> Destination? {
    destination(family) { $0.direction == .outbound && $0.mode == .tproxy && $0.isEverywhere }
      ?? destination(family) { $0.direction == .outbound && $0.mode == .redirect && $0.isEverywhere }
  }

  /// REDIRECT alone: an endpoint on this host would answer a client's address, and not the proxy that speaks from it.
  func inboundDestination(_ family: AddressFamily) -> Destination? {
    destination(family) { $0.direction == .inbound && $0.mode == .redirect && $0.isEverywhere }
  }

  private func destination(_ family: AddressFamily, _ fits: (Listener) -> Bool) -> Destination? {
    for listener in listeners where fits(listener) && listener.families.contains(family) {
      if let port = listener.address.port, port != 0 { return Destination(listener: listener, port: port) }
    }
    return nil
  }
}

extension CaptureSettings.Listener {
  /// A wildcard address of IPv6 takes both families.
  var families: Set<AddressFamily> {
    switch address {
    case .v4: [.v4]
    case .v6(let host, _, _): host == .unspecified ? [.v4, .v6] : [.v6]
    case .unix: []
    }
  }

  var isEverywhere: Bool { address.isUnspecified }
}
