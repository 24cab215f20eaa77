// The host's name: what a node is called that nobody named.

import Glibc

extension Configuration {
  /// The kernel's name of this host, with what cannot stand in `via` replaced by `-`; `fairlead` when it has none.
  public static func hostName() -> String {
    var buffer = [CChar](repeating: 0, count: 256)
    let result = gethostname(&buffer, buffer.count - 1)
    let name = buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }.map { isNodeNameByte($0) ? $0 : 0x2D }
    return result == 0 && !name.isEmpty ? String(decoding: name, as: UTF8.self) : "fairlead"
  }

  /// What stands in `via` as a pseudonym (RFC 9110 section 7.6.3): fewer characters than a token has, none that needs
  /// thought.
  static func isNodeName(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.count <= 255 && name.utf8.allSatisfy(isNodeNameByte)
  }

  private static func isNodeNameByte(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
    default: false
    }
  }
}
