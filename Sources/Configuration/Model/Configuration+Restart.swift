// Which parts of a configuration hold for the life of a process.

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
    compare("workloads", \.workloads)
    compare("limits.destinations", \.limits.destinations)
    compare("telemetry", \.telemetry)
    compare("capture", \.capture)
    return keys
  }
}
