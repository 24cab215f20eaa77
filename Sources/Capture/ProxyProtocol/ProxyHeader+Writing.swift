// Writes the header of a connection that is made for a client.

import Base

extension ProxyHeader {
  /// The bytes of a header, once for each new connection.
  ///
  /// - Parameter ends: nil for a connection that is made for nobody, or for somebody without an address: UNKNOWN, LOCAL.
  public static func bytes(_ version: Version, _ ends: ProxiedEnds?) -> [UInt8] {
    switch version {
    case .v1: Array(line(ends).utf8)
    case .v2: binary(ends)
    }
  }

  private static func line(_ ends: ProxiedEnds?) -> String {
    guard let ends else { return "PROXY UNKNOWN\r\n" }
    let ports = "\(ends.sourcePort) \(ends.destinationPort)\r\n"
    if let source = ends.source.mappedIPv4, let destination = ends.destination.mappedIPv4 {
      return "PROXY TCP4 \(source) \(destination) \(ports)"
    }
    return "PROXY TCP6 \(ends.source) \(ends.destination) \(ports)"
  }

  private static func binary(_ ends: ProxiedEnds?) -> [UInt8] {
    var bytes = signature.withUTF8Buffer { Array($0) }
    guard let ends else { return bytes + [0x20, 0, 0, 0] }
    let ports = [ends.sourcePort, ends.destinationPort].flatMap { [UInt8($0 >> 8), UInt8(truncatingIfNeeded: $0)] }
    let addresses: [UInt8]
    if let source = ends.source.mappedIPv4, let destination = ends.destination.mappedIPv4 {
      bytes += [0x21, 0x11]
      addresses = bigEndian(source.value) + bigEndian(destination.value)
    } else {
      bytes += [0x21, 0x21]
      addresses = [ends.source, ends.destination].flatMap { bigEndian($0.high) + bigEndian($0.low) }
    }
    return bytes + [0, UInt8(addresses.count + ports.count)] + addresses + ports
  }

  private static func bigEndian<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] {
    withUnsafeBytes(of: number.bigEndian) { Array($0) }
  }
}
