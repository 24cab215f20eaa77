// What `fairlead check` looks at: the kernel's files, the tools, the daemon. Gathered once; the judgement is in Check.swift.

import Base
import CFairlead
import Capture
import Glibc

/// One look at this host.
struct CheckFacts {
  enum Probe: Equatable {
    case works, unknown
    case degraded([String])
    case refused(String)
  }

  enum Configuration {
    case ready(file: String, CaptureSettings)
    case refused(file: String)
    case missing(file: String)

    var settings: CaptureSettings? { if case .ready(_, let settings) = self { settings } else { nil } }
    var captures: Bool { settings?.listeners.isEmpty == false }
  }

  var kernelRelease = ""
  var ringDisabled = ""
  var probe = Probe.unknown
  var descriptorLimit: UInt64 = 0
  /// By name; those that are not there are left out.
  var sysctls: [String: Int] = [:]
  var configuration: Configuration
  var missingTools: [(tool: String, package: String)] = []
  var backend = ""
  var hasBothBackends = false
  var captureErrors: [String] = []
  var captureNotes: [String] = []
  var capture: CaptureStatus?
  var unheardListeners: [UnheardListener] = []
  var filteredBridges: [FilteredBridge] = []
  var captureFailure: String?
  var isClockSynchronised = false
  var status: StatusAnswer?
  var statusFailure: AdminClientError?
  var daemonCapabilities: Capabilities?
  var ownVersion = ""

  init(configuration: Configuration) { self.configuration = configuration }

  var daemonProcess: Int? { status?.pid }

  func sysctl(_ name: String) -> Int? { sysctls[name] }

  /// The first two numbers of the release.
  var kernelVersion: (Int, Int) {
    let numbers = kernelRelease.split(whereSeparator: { $0 == "." || $0 == "-" }).prefix(2).map { Int($0) ?? 0 }
    return numbers.count == 2 ? (numbers[0], numbers[1]) : (0, 0)
  }
}

// MARK: Gathering

extension CheckFacts {
  /// Looks at this host.
  static func gather(
    _ daemon: AdminConnection, configuration: Configuration, ownVersion: String, host: CaptureHost
  ) -> CheckFacts {
    var facts = CheckFacts(configuration: configuration)
    facts.ownVersion = ownVersion
    do throws(AdminClientError) {
      facts.status = try daemon.decoded(StatusAnswer.self, "/status")
    } catch {
      facts.statusFailure = error
    }
    facts.lookAtKernel()
    facts.lookAtProcess()
    if configuration.captures { facts.lookAtCapture(host) }
    return facts
  }

  private mutating func lookAtKernel() {
    kernelRelease = firstWord("/proc/sys/kernel/osrelease")
    ringDisabled = firstWord("/proc/sys/kernel/io_uring_disabled")
    for name in [
      "net.core.somaxconn", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.all.rp_filter",
      "net.ipv4.conf.all.route_localnet",
    ] {
      let path = "/proc/sys/" + String(name.map { $0 == "." ? "/" : $0 })
      if let value = Int(firstWord(path)) { sysctls[name] = value }
    }
    isClockSynchronised = fl_clock_is_synchronised() != 0
  }

  private mutating func lookAtProcess() {
    if let process = status?.pid {
      descriptorLimit = descriptorLimit(of: "\(process)")
      daemonCapabilities = Capabilities.of(process: "\(process)")
      // It serves, so its own probe went well.
      let degraded = status?.degraded.filter { $0.hasPrefix("io_uring") } ?? []
      probe = degraded.isEmpty ? .works : .degraded(degraded)
    } else {
      descriptorLimit = descriptorLimit(of: "self")
      probe = Self.runProbe()
    }
  }

  private mutating func lookAtCapture(_ host: CaptureHost) {
    missingTools = CaptureHost.missingTools.map { ($0, CaptureHost.package(of: $0)) }
    backend = CaptureHost.backend ?? "unknown"
    hasBothBackends = backend == "nf_tables" && CaptureHost.hasLegacyTables
    guard let settings = configuration.settings else { return }
    let findings = settings.findings(families: CaptureHost.families)
    (captureErrors, captureNotes) = (findings.errors, findings.notes)
    filteredBridges = settings.filteredBridges
    if !findings.errors.isEmpty || !missingTools.isEmpty { return }
    do throws(CaptureError) {
      capture = try host.status(settings)
      unheardListeners = settings.unheardListeners
    } catch {
      captureFailure = "\(error)"
    }
  }

  /// `fairleadd --probe`, of the fairleadd that was installed with this program.
  private static func runProbe() -> Probe {
    guard let daemon = Self.daemonPath, let result = CaptureHost.run([daemon, "--probe"]) else { return .unknown }
    let lines = (result.output + result.errors).split(separator: "\n").map(String.init)
    guard result.isSuccess else { return .refused(lines.last ?? "io_uring cannot be used here") }
    let degraded = lines.filter { $0.hasPrefix("degraded: ") }.map { String($0.dropFirst("degraded: ".count)) }
    return degraded.isEmpty ? .works : .degraded(degraded)
  }

  private static var daemonPath: String? {
    var target = [UInt8](repeating: 0, count: 4096)
    let count = target.withUnsafeMutableBytes { space in
      space.baseAddress.map { readlink("/proc/self/exe", $0, space.count) } ?? 0
    }
    let own = String(decoding: target.prefix(max(count, 0)), as: UTF8.self)
    let directory = own.lastIndex(of: "/").map { String(own[..<$0]) } ?? ""
    return ["\(directory)/fairleadd", "\(directory)/../sbin/fairleadd", "/usr/sbin/fairleadd"]
      .first { access($0, X_OK) == 0 }
  }

  /// `Max open files            1024                 1048576              files`
  private func descriptorLimit(of process: String) -> UInt64 {
    for line in textOfFile("/proc/\(process)/limits").split(separator: "\n") where line.hasPrefix("Max open files") {
      let words = line.dropFirst("Max open files".count).split(separator: " ")
      // The daemon raises its limit to the hard one; a shell's would be raised by it.
      if words.count >= 2 { return UInt64(words[1]) ?? .max }
    }
    return 0
  }

  private func firstWord(_ path: String) -> String {
    textOfFile(path).split(whereSeparator: { $0 == "\n" || $0 == " " }).first.map(String.init) ?? ""
  }
}
