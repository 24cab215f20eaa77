// Is a capture possible with these settings, and what will it leave out? Told before anything is run.

import Base

/// What is wrong with settings, or left out by them. One line each.
public struct CaptureFindings: Hashable, Sendable {
  /// With these nothing is applied.
  public var errors: [String] = []
  /// What somebody may have expected and will not get.
  public var notes: [String] = []
}

extension CaptureSettings {
  /// Looks at the settings only, not at the host.
  public func findings(families: [AddressFamily] = AddressFamily.allCases) -> CaptureFindings {
    var findings = CaptureFindings()
    checkKinds(families, &findings)
    checkNumbers(&findings)
    for name in interfaces where !isInterfaceName(name) {
      findings.errors.append(
        "'\(name)' cannot be the name of an interface: 1 to 15 letters, digits, '.', '_', '-', a '+' last")
    }
    if user == nil {
      findings.notes.append(
        "the proxy's user does not exist on this host: its own connections are told by their mark alone (capture.user)")
    }
    let capturesSSH = ports.isEmpty || ports.contains { $0.contains(22) }
    if processes || !interfaces.isEmpty, capturesSSH, !excludePorts.contains(where: { $0.contains(22) }) {
      findings.notes.append(
        "port 22 (ssh) is captured as well: a list in capture.excludePorts stands in place of its default, [22]")
    }
    if onFailure == .refuse, inboundPorts.contains(where: { $0.contains(22) }),
      !excludePorts.contains(where: { $0.contains(22) })
    {
      findings.notes.append(
        "inbound connections to port 22 (ssh) are refused while the proxy is down: add 22 to capture.excludePorts")
    }
    findings.notes += notes
    return findings
  }

  private func checkKinds(_ families: [AddressFamily], _ findings: inout CaptureFindings) {
    if !processes && interfaces.isEmpty && inboundPorts.isEmpty {
      findings.errors.append(
        "nothing to capture: set capture.processes, capture.interfaces or capture.inboundPorts")
    }
    for listener in listeners where listener.address.port == 0 {
      findings.errors.append("listener '\(listener.name)' has port 0: rules need a fixed port, such as 4140")
    }
    if processes {
      check(
        "connections of the host's own processes", processDestination, families,
        remedy: "an outbound listener with 'capture: redirect'; or set capture.processes to false", &findings)
    }
    if !interfaces.isEmpty {
      check(
        "connections from \(interfaces.joined(separator: ", "))", interfaceDestination, families,
        remedy: "an outbound listener on every address (':4140') with 'capture: redirect' or 'capture: tproxy'",
        &findings)
    }
    if !inboundPorts.isEmpty {
      check(
        "connections from outside", inboundDestination, families,
        remedy: listeners.first { $0.direction == .inbound && $0.mode == .tproxy }.map {
          "'capture: redirect' to listener '\($0.name)': tproxy is for outbound connections alone"
        } ?? "an inbound listener on every address (':4143') with 'capture: redirect'", &findings)
    }
  }

  private func check(
    _ kind: String, _ destination: (AddressFamily) -> Destination?, _ families: [AddressFamily], remedy: String,
    _ findings: inout CaptureFindings
  ) {
    let missing = families.filter { destination($0) == nil }
    if missing.isEmpty { return }
    if missing.count == families.count {
      findings.errors.append("\(kind) have no listener to go to: add \(remedy)")
    } else {
      let names = missing.map(\.title).joined(separator: " and ")
      findings.notes.append(
        "\(kind) over \(names) are not captured: no listener takes them; an address such as ':4140' takes both families"
      )
    }
  }

  private func checkNumbers(_ findings: inout CaptureFindings) {
    if mark == 0 || routingMark == 0 || mark == routingMark {
      findings.errors.append("capture.mark and capture.routingMark must differ, and neither may be 0")
    }
    // 253 to 255 are the kernel's default, main and local.
    if routingTable == 0 || (253...255).contains(routingTable) {
      findings.errors.append(
        "capture.routingTable \(routingTable) is one of the kernel's own; choose another, such as 4140")
    }
  }

  private func isInterfaceName(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    guard (1...15).contains(bytes.count), bytes != [0x2B] else { return false }
    return bytes.enumerated().allSatisfy { index, byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F, 0x40: true
      case 0x2B: index == bytes.count - 1
      default: false
      }
    }
  }
}
