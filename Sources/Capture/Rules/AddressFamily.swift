// The two families that are captured, each with tools, sets and routing rules of its own.

import Base

/// IPv4 or IPv6: whatever netfilter keeps twice.
public enum AddressFamily: String, CaseIterable, Hashable, Sendable {
  case v4, v6

  /// As people write it.
  public var title: String { self == .v4 ? "IPv4" : "IPv6" }

  /// The kernel set whose entry says that the proxy lives.
  public var aliveSet: String { self == .v4 ? "fairlead-alive4" : "fairlead-alive6" }

  var saveTool: String { self == .v4 ? "iptables-save" : "ip6tables-save" }
  var restoreTool: String { self == .v4 ? "iptables-restore" : "ip6tables-restore" }
  /// How `ip` and `ipset` call it.
  var ipOption: String { self == .v4 ? "-4" : "-6" }
  var setFamily: String { self == .v4 ? "inet" : "inet6" }
  /// The family's wildcard and loopback addresses, as iptables-save prints them.
  var anyAddress: String { self == .v4 ? "0.0.0.0" : "::" }
  var loopbackNetwork: String { self == .v4 ? "127.0.0.0/8" : "::1/128" }

  /// AF_INET and AF_INET6, which netfilter's messages use as well.
  var number: UInt8 { self == .v4 ? 2 : 10 }
}

extension IPNetwork {
  var family: AddressFamily { isIPv4 ? .v4 : .v6 }
}
