// One firewall rule as a value, and its text. The text is exactly what iptables-save would print of it, for both of its
// backends: so what is in place can be compared with what ought to be, and a person can compare plan and kernel.

import Base

/// A rule of one of our chains.
struct Rule: Hashable, Sendable {
  enum Condition: Hashable, Sendable {
    case mark(UInt32)
    /// The user whose process sends it; only in OUTPUT.
    case user(UInt32)
    /// At most `Rule.portsPerRule` numbers, a range counting as two.
    case ports([PortRange])
    /// The first packet of a connection, and no other: what was open before the rules came is left alone.
    case opening
    case alive
    case notAlive
    /// The destination is an address of this host.
    case toThisHost
    /// The packet belongs to an open socket that speaks for another address.
    case transparentSocket
  }

  enum Target: Hashable, Sendable {
    case `return`
    case accept
    case redirect(port: UInt16)
    case tproxy(port: UInt16, mark: UInt32)
    case setMark(UInt32)
    case chain(String)
  }

  var source: IPNetwork?
  var destination: String?
  var interface: String?
  var isTCP = false
  var conditions: [Condition] = []
  var target: Target

  init(
    source: IPNetwork? = nil, destination: String? = nil, interface: String? = nil, isTCP: Bool = false,
    when conditions: [Condition] = [], then target: Target
  ) {
    self.source = source
    self.destination = destination
    self.interface = interface
    self.isTCP = isTCP
    self.conditions = conditions
    self.target = target
  }

  /// The rule without the chain it stands in.
  func text(_ family: AddressFamily) -> String {
    var words: [String] = []
    // Addresses, interface, protocol, matches, target: the order in which iptables-save prints. It leaves out what matches all.
    if let source, source.prefixLength > 0 { words += ["-s", source.cidr] }
    if let destination, !destination.hasSuffix("/0") { words += ["-d", destination] }
    if let interface { words += ["-i", interface] }
    if isTCP { words += ["-p", "tcp"] }
    words += conditions.map { $0.text(family) }
    words.append(target.text(family))
    return words.joined(separator: " ")
  }

  /// What the multiport match holds.
  static let portsPerRule = 15
}

extension Rule.Condition {
  func text(_ family: AddressFamily) -> String {
    switch self {
    case .mark(let mark): "-m mark --mark \(hexadecimal(mark))"
    case .user(let user): "-m owner --uid-owner \(user)"
    case .ports(let ports): "-m multiport --dports \(ports.map(\.ruleText).joined(separator: ","))"
    case .opening: "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN"
    case .alive: "-m set --match-set \(family.aliveSet) dst"
    case .notAlive: "-m set ! --match-set \(family.aliveSet) dst"
    case .toThisHost: "-m addrtype --dst-type LOCAL"
    case .transparentSocket: "-m socket --transparent"
    }
  }
}

extension Rule.Target {
  func text(_ family: AddressFamily) -> String {
    switch self {
    case .return: "-j RETURN"
    case .accept: "-j ACCEPT"
    case .redirect(let port): "-j REDIRECT --to-ports \(port)"
    case .tproxy(let port, let mark):
      "-j TPROXY --on-port \(port) --on-ip \(family.anyAddress) --tproxy-mark \(hexadecimal(mark))/0xffffffff"
    case .setMark(let mark): "-j MARK --set-xmark \(hexadecimal(mark))/0xffffffff"
    case .chain(let name): "-j \(name)"
    }
  }
}

extension PortRange {
  var ruleText: String { lower == upper ? "\(lower)" : "\(lower):\(upper)" }

  /// How many of a multiport match's places it takes.
  fileprivate var places: Int { lower == upper ? 1 : 2 }
}

extension [PortRange] {
  /// In runs that fit one rule each; no ports give one empty run: a rule without that condition.
  var chunks: [[PortRange]] {
    var chunks: [[PortRange]] = []
    var free = 0
    for range in self {
      if range.places > free {
        chunks.append([])
        free = Rule.portsPerRule
      }
      chunks[chunks.count - 1].append(range)
      free -= range.places
    }
    return chunks.isEmpty ? [[]] : chunks
  }
}

private func hexadecimal(_ mark: UInt32) -> String { "0x" + String(mark, radix: 16) }
