// Bridges whose packets iptables sees while they are still in the bridge (br_netfilter, which Docker and Kubernetes load).
// TPROXY gives such a packet its socket too early: the kernel takes it away again on the packet's way up, and the
// connection is lost. REDIRECT is not concerned.

import Base
import Glibc

/// A bridge by which no connection would reach a tproxy listener.
public struct FilteredBridge: Hashable, Sendable {
  public let name: String
  /// Those under /proc/sys and /sys that are 1.
  let files: [String]

  init(name: String, files: [String]) {
    self.name = name
    self.files = files
  }

  /// - Parameter settings: as `sysctl` calls them.
  public init(name: String, settings: [String]) {
    self.init(name: name, files: settings.map { proc + String($0.map { $0 == "." ? "/" : $0 }) })
  }

  /// What is on: `net.bridge.bridge-nf-call-iptables is 1`.
  public var cause: String {
    files.map { setting(of: $0) ?? $0 }.joined(separator: " and ") + (files.count == 1 ? " is 1" : " are 1")
  }

  /// The command that switches it off.
  public var remedy: String {
    let settings = files.compactMap { setting(of: $0) }
    let others = files.filter { setting(of: $0) == nil }
    let command = settings.isEmpty ? [] : ["sysctl " + settings.map { "\($0)=0" }.joined(separator: " ")]
    return (command + others.map { "echo 0 > \($0)" }).joined(separator: "; ")
  }

  private func setting(of file: String) -> String? {
    file.hasPrefix(proc) ? String(file.dropFirst(proc.count).map { $0 == "/" ? "." : $0 }) : nil
  }
}

private let proc = "/proc/sys/"

extension CaptureSettings {
  /// Those of this host that `interfaces` name and a tproxy listener takes from.
  public var filteredBridges: [FilteredBridge] {
    if interfaces.isEmpty { return [] }
    let families = Survey.usedFamilies.filter { interfaceDestination($0)?.listener.mode == .tproxy }
    if families.isEmpty { return [] }
    return interfaceNames(textOfFile("/proc/net/dev")).filter(capturesFrom).compactMap { name in
      let directory = "/sys/class/net/\(name)/bridge"
      guard access(directory, F_OK) == 0 else { return nil }
      let files = families.flatMap {
        ["\(proc)net/bridge/bridge-nf-call-\($0.tool)", "\(directory)/nf_call_\($0.tool)"]
      }
      let on = files.filter { textOfFile($0).hasPrefix("1") }
      return on.isEmpty ? nil : FilteredBridge(name: name, files: on)
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
