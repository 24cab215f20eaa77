// The dead-man's switch: kernel sets whose entries, two halves of all addresses, die two seconds after they were last
// refreshed. Capturing rules ask for them, so a proxy that stops, crashes or hangs takes nobody's connections with it.
//
// The daemon speaks to the kernel itself: it must not start a child process every half second, and must not wait for one.

import Glibc

/// Refreshes and deletes the entries. One thread at a time.
public final class AliveSets {
  /// What became of one attempt, for both families together.
  public enum Outcome: Equatable, Sendable {
    /// At least one set was there and took it.
    case done
    /// No set: capture is not applied, or the kernel has no sets.
    case absent
    /// Without CAP_NET_ADMIN.
    case notAllowed
    /// The kernel's error.
    case failed(Int32)
  }

  private var socket: NetfilterSocket?

  public init() {}

  /// Lets the entries live for two seconds from now.
  public func refresh() -> Outcome { send(IPSet.add) }

  /// Ends their lives now.
  public func delete() -> Outcome { send(IPSet.delete) }

  private func send(_ command: UInt16) -> Outcome {
    var outcomes: [Outcome] = []
    for family in AddressFamily.allCases {
      let codes: [Int32]
      do throws(NetfilterError) {
        // A network namespace that went away and a socket that failed are both cured by a new one.
        let open: NetfilterSocket
        if let socket { open = socket } else { open = try NetfilterSocket() }
        socket = open
        codes = try open.exchange(IPSet.messages(command, family))
      } catch {
        socket = nil
        codes = [error.code]
      }
      outcomes.append(outcome(codes))
    }
    return outcomes.contains(.notAllowed)
      ? .notAllowed
      : outcomes.first { if case .failed = $0 { true } else { false } } ?? (outcomes.contains(.done) ? .done : .absent)
  }

  private func outcome(_ codes: [Int32]) -> Outcome {
    for code in codes where code != 0 {
      switch code {
      // EINVAL: a kernel that has no sets does not know who should answer.
      case ENOENT, EINVAL, EAFNOSUPPORT, EPROTONOSUPPORT: return .absent
      case EPERM, EACCES: return .notAllowed
      default: return .failed(code)
      }
    }
    return .done
  }
}

/// Messages of linux/netfilter/ipset/ip_set.h.
enum IPSet {
  static let add: UInt16 = 9
  static let delete: UInt16 = 10
  private static let subsystem: UInt16 = 6

  /// One message for each half of the family's addresses. Without NLM_F_EXCL an entry that is there is refreshed, and one
  /// that is not there is no error when it is deleted.
  static func messages(_ command: UInt16, _ family: AddressFamily) -> [NetfilterMessage] {
    let width = family == .v4 ? 4 : 16
    return [UInt8(0x00), 0x80].map { first in
      let address = [first] + [UInt8](repeating: 0, count: width - 1)
      var data = [
        // IPSET_ATTR_IP, in it IPSET_ATTR_IPADDR_IPV4 or _IPV6; IPSET_ATTR_CIDR: a set of networks has no /0.
        NetlinkAttribute(1, nested: [NetlinkAttribute(family == .v4 ? 1 : 2, network: address)]),
        NetlinkAttribute(3, [1]),
      ]
      // IPSET_ATTR_TIMEOUT
      if command == add {
        data.append(NetlinkAttribute(6, network: [0, 0, 0, UInt8(truncatingIfNeeded: aliveSeconds)]))
      }
      return NetfilterMessage(
        type: subsystem << 8 | command, flags: NetfilterMessage.request | NetfilterMessage.acknowledge,
        family: family.number,
        // IPSET_ATTR_PROTOCOL: the oldest that this command has kept its form since; _SETNAME; _DATA.
        attributes: [
          NetlinkAttribute(1, [6]), NetlinkAttribute(2, family.aliveSet), NetlinkAttribute(7, nested: data),
        ])
    }
  }
}
