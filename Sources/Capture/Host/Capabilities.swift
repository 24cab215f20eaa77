// What this process may do, as the kernel tells it in /proc.

import Glibc

/// A set of capabilities (linux/capability.h).
public struct Capabilities: OptionSet, Sendable {
  public let rawValue: UInt64
  public init(rawValue: UInt64) { self.rawValue = rawValue }

  /// Ports below 1024.
  public static let netBindService = Capabilities(rawValue: 1 << 10)
  /// Firewall, routing, sets, marks, foreign addresses.
  public static let netAdmin = Capabilities(rawValue: 1 << 12)

  /// This process's own, those in effect.
  public static var current: Capabilities { of(process: "self") }

  /// Another process's; none when it cannot be looked at.
  public static func of(process: String) -> Capabilities {
    for line in textOfFile("/proc/\(process)/status").split(separator: "\n") where line.hasPrefix("CapEff:") {
      let digits = line.dropFirst("CapEff:".count).filter { $0 != "\t" && $0 != " " }
      return Capabilities(rawValue: UInt64(digits, radix: 16) ?? 0)
    }
    return []
  }
}

/// A small file's text, such as those in /proc; empty when it cannot be read.
public func textOfFile(_ path: String) -> String {
  let file = open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { return "" }
  defer { close(file) }
  var bytes: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 16 * 1024)
  while bytes.count < 4 << 20 {
    let count = read(file, &block, block.count)
    if count <= 0 { break }
    bytes += block[..<count]
  }
  return String(decoding: bytes, as: UTF8.self)
}
