// Where CONNECT may lead: an entry of a listener's `connect`, and what a request names.
//
//   10.0.0.0/8:443     addresses of a network, one port              db.example:5432   a name
//   [fd00::/8]:*       the same for IPv6, any port                   *.svc:8000-8999   names below one, at any depth
//                                                                    *:443             any name
//
// Names and addresses are kept apart: `*` is any name, and no address; the networks of all addresses are 0.0.0.0/0 and ::/0.

public import Base

/// What a CONNECT request asks for.
public enum ConnectTarget: Equatable {
  case address(IPAddress, port: UInt16)
  /// The bytes are the request's, without a final dot.
  case name(UnsafeRawBufferPointer, port: UInt16)

  /// - Parameter host: as a request has it, an IPv6 address without its brackets. An address in any other than its plain form
  ///   is a name, and so leads to no address.
  public init(host: UnsafeRawBufferPointer, port: UInt16) {
    if let address = IPAddress(String(decoding: host, as: UTF8.self)) {
      self = .address(address.unmapped, port: port)
    } else {
      let name = host.last == UInt8(ascii: ".") ? UnsafeRawBufferPointer(rebasing: host.dropLast()) : host
      self = .name(name, port: port)
    }
  }

  public static func == (one: ConnectTarget, other: ConnectTarget) -> Bool {
    switch (one, other) {
    case (.address(let one, let port), .address(let other, let otherPort)): one == other && port == otherPort
    case (.name(let one, let port), .name(let other, let otherPort)): one.elementsEqual(other) && port == otherPort
    case (.address, .name), (.name, .address): false
    }
  }
}

/// One entry of a listener's list.
public struct ConnectDestination: Hashable, Sendable {
  public enum Host: Hashable, Sendable {
    case network(IPNetwork)
    case name(HostPattern)
    case anyName
  }

  public let host: Host
  /// Nil for every port.
  public let ports: PortRange?

  /// Reads an entry; the forms stand above.
  public init(parsing text: String) throws(TextError) {
    guard let colon = text.lastIndex(of: ":"), text[colon...].last != "]" else {
      throw TextError("a port follows the host, such as :443, or :* for every port")
    }
    let port = text[text.index(after: colon)...]
    ports = port == "*" ? nil : try PortRange(parsing: port)
    let written = text[..<colon]
    if written == "*" {
      host = .anyName
    } else if written.hasPrefix("["), written.hasSuffix("]") {
      let network = try IPNetwork(parsing: written.dropFirst().dropLast())
      guard !network.isIPv4 else { throw TextError("IPv4 addresses stand without brackets") }
      host = .network(network)
    } else if written.contains("/") || IPv4Address(String(written)) != nil {
      let network = try IPNetwork(parsing: written)
      guard network.isIPv4 else { throw TextError("an IPv6 network stands in brackets, such as [\(network)]:\(port)") }
      host = .network(network)
    } else {
      host = .name(try HostPattern(parsing: String(written)))
    }
  }

  public func contains(_ target: ConnectTarget) -> Bool {
    switch target {
    case .address(let address, let port):
      guard case .network(let network) = host, ports?.contains(port) ?? true else { return false }
      return network.contains(address)
    case .name(let name, let port):
      guard ports?.contains(port) ?? true else { return false }
      switch host {
      case .network: return false
      case .anyName: return true
      case .name(let pattern): return pattern.matches(name)
      }
    }
  }

  /// Whether it leads to addresses that no discovery knows.
  public var isNetwork: Bool { if case .network = host { true } else { false } }
}

extension ConnectDestination: CustomStringConvertible {
  public var description: String {
    let port = ports?.description ?? "*"
    switch host {
    case .anyName: return "*:\(port)"
    case .name(let pattern): return "\(pattern):\(port)"
    case .network(let network): return network.isIPv4 ? "\(network):\(port)" : "[\(network)]:\(port)"
    }
  }
}

extension HostPattern {
  /// Whether a host, without a final dot, is this one, or stands below it; allocates nothing.
  func matches(_ host: UnsafeRawBufferPointer) -> Bool {
    let count = text.utf8.count
    guard isWildcard ? host.count > count : host.count == count else { return false }
    return zip(host.suffix(count), text.utf8).allSatisfy { byte, wanted in
      (byte &- 0x41 < 26 ? byte | 0x20 : byte) == wanted
    }
  }
}
