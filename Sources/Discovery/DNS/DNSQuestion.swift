// Which bound names a DNS source can answer, and what it asks name servers for them.
//
//     /#/<prefix>/<host>/<port>            A and AAAA records of the host, with this port
//     /#/<prefix>/<host>                   the same with port 80, also where the next segment is no number
//     /#/<prefix>/_service._proto.<host>   SRV records (RFC 2782), which bring their ports
//     /#/<prefix>/<IP address>/<port>      nothing is asked

import Base
import Policy

/// What stands behind a name.
struct DNSQuestion: Equatable {
  enum Subject: Equatable {
    /// In lower case, without a final dot. Absolute: no search domain is tried.
    case host(String, isAbsolute: Bool, port: UInt16)
    case service(String, isAbsolute: Bool)
    case address(Endpoint)
  }

  let subject: Subject
  /// The service's name: leading segments, in lower case.
  let service: BoundName

  /// Nil for what no name server could know.
  init?(_ name: BoundName) {
    let segments = name.path.segments
    let text = segments[2].lowercased()
    let port = segments.count > 3 ? Self.port(segments[3]) : .none
    if case .impossible = port { return nil }
    let isServiceName = Self.isServiceName(text)
    var kept = ["#", segments[1], text]
    if case .number = port, !isServiceName { kept.append(segments[3]) }
    guard let path = try? Path(segments: kept), let service = BoundName(path) else { return nil }
    self.service = service
    var number: UInt16 = 80
    if case .number(let written) = port { number = written }
    if let address = Self.address(text, number) {
      guard let endpoint = try? Endpoint(address) else { return nil }
      subject = .address(endpoint)
      return
    }
    let isAbsolute = text.last == "."
    let host = isAbsolute ? String(text.dropLast()) : text
    // All digits and dots is an address that is none.
    guard DNSName.isHostName(host), !host.utf8.allSatisfy({ $0 == 0x2E || ($0 >= 0x30 && $0 <= 0x39) }) else {
      return nil
    }
    subject =
      isServiceName
      ? .service(host, isAbsolute: isAbsolute) : .host(host, isAbsolute: isAbsolute, port: number)
  }

  private enum Port { case none, impossible, number(UInt16) }

  private static func port(_ text: String) -> Port {
    guard text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return .none }
    guard let number = UInt16(text), number > 0, text.utf8.first != 0x30 else { return .impossible }
    return .number(number)
  }

  private static func address(_ text: String, _ port: UInt16) -> SocketAddress? {
    if let address = IPv4Address(text) { return .v4(address, port: port) }
    let isBracketed = text.first == "[" && text.last == "]"
    return IPv6Address(isBracketed ? String(text.dropFirst().dropLast()) : text).map { .v6($0, port: port) }
  }

  private static func isServiceName(_ text: String) -> Bool {
    let labels = text.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
    return labels.count == 3 && labels[0].first == "_" && labels[1].first == "_"
  }
}
