// Bridges whose packets iptables sees while they are still in the bridge (br_netfilter, which Docker and Kubernetes load).
// TPROXY gives such a packet its socket too early: the kernel takes it away again on the packet's way up, and the
// connection is lost. REDIRECT is not concerned.

import Base
import Glibc

/// A bridge by which no connection would reach a tproxy listener.
public struct FilteredBridge: Hashable, Sendable {
  public let name: String
  /// The file under /proc/sys or /sys that is 1.
  let file: String

  init(name: String, file: String) {
    self.name = name
    self.file = file
  }

  /// - Parameter setting: as `sysctl` calls it.
  public init(name: String, setting: String) {
    self.init(name: name, file: "/proc/sys/" + String(setting.map { $0 == "." ? "/" : $0 }))
  }

  /// What is on, as people write it.
  public var setting: String {
    guard file.hasPrefix("/proc/sys/") else { return file }
    return String(file.dropFirst("/proc/sys/".count).map { $0 == "/" ? "." : $0 })
  }

  /// The command that switches it off.
  public var remedy: String { file.hasPrefix("/proc/sys/") ? "sysctl \(setting)=0" : "echo 0 > \(file)" }
}

extension CaptureSettings {
  /// Those of this host that `interfaces` name and a tproxy listener takes from, each with the first setting that is on.
  public var filteredBridges: [FilteredBridge] {
    if interfaces.isEmpty { return [] }
    let families = Survey.usedFamilies.filter { interfaceDestination($0)?.listener.mode == .tproxy }
    if families.isEmpty { return [] }
    return interfaceNames(textOfFile("/proc/net/dev")).filter(capturesFrom).compactMap { name in
      let directory = "/sys/class/net/\(name)/bridge"
      guard access(directory, F_OK) == 0 else { return nil }
      let files = families.flatMap {
        ["/proc/sys/net/bridge/bridge-nf-call-\($0.tool)", "\(directory)/nf_call_\($0.tool)"]
      }
      return files.first { textOfFile($0).hasPrefix("1") }.map { FilteredBridge(name: name, file: $0) }
    }
  }

  /// Whether `interfaces` mean this one.
  func capturesFrom(_ name: String) -> Bool {
    interfaces.contains { $0.hasSuffix("+") ? name.hasPrefix($0.dropLast()) : name == $0 }
  }
}

extension AddressFamily {
  fileprivate var tool: String { self == .v4 ? "iptables" : "ip6tables" }
}

/// The interfaces of /proc/net/dev: `  eth0: 1234 …`, below two lines of headings.
func interfaceNames(_ text: String) -> [String] {
  text.split(separator: "\n").dropFirst(2).compactMap { line in
    line.lastIndex(of: ":").map { String(line[..<$0].drop { $0 == " " }) }
  }
}
