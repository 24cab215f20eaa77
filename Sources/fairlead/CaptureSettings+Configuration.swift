// From the configuration to what the capture rules are made of: names of users become numbers here, on the host they are
// the names of.

import AdminClient
import Base
import Capture
import Configuration

/// Reads a file for `fairlead capture`, the fragments in `conf.d` beside it included.
@Sendable func prepareCapture(_ file: String) -> CapturePreparation {
  do throws(Diagnostics) {
    let configuration = try Configuration.load(path: file, fragments: fragments(beside: file))
    return CaptureSettings.prepared(configuration, file: file)
  } catch {
    return .refused(error.render(), code: ExitCode.configuration)
  }
}

extension CaptureSettings {
  fileprivate static func prepared(_ configuration: Configuration, file: String) -> CapturePreparation {
    let capture = configuration.capture
    var settings = CaptureSettings(listeners: configuration.listeners.compactMap(Listener.init))
    settings.processes = capture.processes
    settings.interfaces = capture.interfaces
    settings.ports = capture.ports
    settings.excludePorts = capture.excludePorts
    settings.excludeAddresses = capture.excludeAddresses
    settings.inboundPorts = capture.inboundPorts
    settings.user = UserNames.number(of: capture.user)
    settings.mark = capture.mark
    settings.routingMark = capture.routingMark
    settings.routingTable = capture.routingTable
    settings.onFailure = capture.onFailure == .refuse ? .refuse : .bypass
    settings.adminPort = configuration.admin.http?.port
    settings.addExceptions(of: configuration.workloads)
    var unknown: [String] = []
    for user in capture.excludeUsers {
      if let number = UserNames.number(of: user) { settings.excludeUsers.append(number) } else { unknown.append(user) }
    }
    // Capturing somebody who was to be left alone would be worse than capturing nobody.
    if unknown.isEmpty { return .ready(settings) }
    let lines = unknown.map { "fairlead: \(file): capture.excludeUsers: this host has no user '\($0)'\n" }
    return .refused(lines.joined(), code: ExitCode.configuration)
  }

  /// What the workloads ask for where it is not what all get: users first, then the longest networks, as connections are
  /// told apart.
  private mutating func addExceptions(of workloads: [Configuration.Workload]) {
    var users: [Exception] = []
    var networks: [(length: Int, exception: Exception)] = []
    for workload in workloads {
      let choice = workload.onFailure.map { $0 == .refuse ? OnFailure.refuse : .bypass } ?? onFailure
      users += workload.users.compactMap { UserNames.number(of: $0) }.map {
        Exception(source: .user($0), onFailure: choice)
      }
      networks += workload.addresses.map { ($0.prefixLength, Exception(source: .network($0), onFailure: choice)) }
      for user in workload.users where choice != onFailure && UserNames.number(of: user) == nil {
        notes.append("workload '\(workload.name)': onFailure does not hold for '\(user)': this host has no such user")
      }
      if !workload.cgroups.isEmpty, choice != onFailure {
        notes.append(
          "workload '\(workload.name)': onFailure holds for its addresses and users, not for its cgroups: the kernel's rules "
            + "cannot name a cgroup that may not be there yet")
      }
    }
    exceptions = users + networks.sorted { $0.length > $1.length }.map(\.exception)
    // At the end of the list those that are no exception have no effect.
    while exceptions.last?.onFailure == onFailure { exceptions.removeLast() }
  }
}

extension CaptureSettings.Listener {
  fileprivate init?(_ listener: Configuration.Listener) {
    let mode: Mode
    switch listener.capture {
    case .none: return nil
    case .redirect: mode = .redirect
    case .tproxy: mode = .tproxy
    }
    self.init(
      name: listener.name, address: listener.address,
      direction: listener.direction == .inbound ? .inbound : .outbound, mode: mode)
  }
}
