// Endpoints in an order of their own. Name servers turn their answers round and editors move lines: neither is news, and
// where there are too many, always the same ones are left out.

import Base
import Policy

extension Endpoint {
  /// By address: IPv4, IPv6, sockets; within these by number, then by port.
  static func precedes(_ a: Endpoint, _ b: Endpoint) -> Bool {
    switch (a.address, b.address) {
    case (.v4(let a, let aPort), .v4(let b, let bPort)): a.value != b.value ? a.value < b.value : aPort < bPort
    case (.v6(let a, let aPort, let aScope), .v6(let b, let bPort, let bScope)):
      (a.high, a.low, UInt32(aPort), aScope) < (b.high, b.low, UInt32(bPort), bScope)
    case (.unix(let a), .unix(let b)): a < b
    case (.v4, .v6), (.v4, .unix), (.v6, .unix): true
    case (.v6, .v4), (.unix, .v4), (.unix, .v6): false
    }
  }
}
