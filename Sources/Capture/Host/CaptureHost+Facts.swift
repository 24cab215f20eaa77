// Facts about the host's firewall tools, for those who check a host rather than change it.

import Glibc

extension CaptureHost {
  /// Which of the kernel's two firewalls `iptables` works on here: `nf_tables` or `legacy`; nil without iptables.
  public static var backend: String? {
    // iptables v1.8.9 (nf_tables)
    guard let version = run(["iptables-save", "--version"]) else { return nil }
    if version.output.contains("nf_tables") { return "nf_tables" }
    return version.isSuccess ? "legacy" : nil
  }

  /// Whether tables of iptables-legacy are there, which its kernel modules list. Looking does not load them.
  public static var hasLegacyTables: Bool {
    !textOfFile("/proc/net/ip_tables_names").isEmpty || !textOfFile("/proc/net/ip6_tables_names").isEmpty
  }

  /// The Debian package that has a tool.
  public static func package(of tool: String) -> String { CaptureError.package(of: tool) }

  /// Runs a program to its end; nil when it cannot be started.
  public static func run(_ arguments: [String]) -> CommandResult? {
    try? CommandRunner().run(Command(arguments: arguments))
  }
}

extension CaptureSettings {
  /// Whether a listener takes connections by TPROXY.
  public var usesTPROXY: Bool { listeners.contains { $0.mode == .tproxy } }
}
