// Which parts of a configuration hold for the life of a process.

import Base

extension Configuration {
  /// What differs in `other` that a running daemon cannot take over: sockets, threads, and what they are made of. One key a
  /// line, as the file names them; empty when a reload can do it all.
  public func changesThatNeedRestart(to other: Configuration) -> [String] {
    var keys: [String] = []
    func compare<Value: Equatable>(_ key: String, _ part: (Configuration) -> Value) {
      if part(self) != part(other) { keys.append(key) }
    }
    compare("node.name", \.node.name)
    compare("node.shards", \.node.shards)
    compare("node.via", \.node.via)
    compare("admin", \.admin)
    compare("listeners", \.listeners)
    compare("workloads[].onFailure", \.failureExceptions)
    compare("limits.destinations", \.limits.destinations)
    compare("telemetry", \.telemetry)
    compare("capture", \.capture)
    return keys
  }

  /// Whose connections the kernel's rules treat otherwise than all, while the proxy does not turn: the rules are made once.
  private var failureExceptions: [FailureException] {
    guard workloads.contains(where: { $0.onFailure != nil }) else { return [] }
    return workloads.map { FailureException(addresses: $0.addresses, users: $0.users, onFailure: $0.onFailure) }
  }

  private struct FailureException: Equatable {
    let addresses: [IPNetwork]
    let users: [String]
    let onFailure: Capture.OnFailure?
  }
}
