// Why capture could not be set up: what happened, and what to do about it.

/// A refusal or a lack. One line, except where a refused rule is shown.
public enum CaptureError: Error, CustomStringConvertible, Equatable {
  case missingTool(String)
  case missingCapability
  case cannotRun(String, reason: String)
  case failed(command: String, reason: String)
  /// The kernel or its tool did not take a rule set.
  case refusedRules(tool: String, reason: String, line: Int?, text: String?, isRestored: Bool)
  case nobodyListens(UnheardListener)
  case filteredBridge(FilteredBridge)
  case tableInUse(UInt32, family: AddressFamily)
  case stateFile(path: String, reason: String)
  case waitsForConfirmation(seconds: Int)
  case nothingToConfirm(lastRollback: String?)

  public var description: String {
    switch self {
    case .missingTool(let tool):
      "'\(tool)' is not installed; on Debian: apt-get install \(Self.package(of: tool))"
    case .missingCapability:
      "this needs CAP_NET_ADMIN: run it as root (sudo), or from a unit with AmbientCapabilities=CAP_NET_ADMIN"
    case .cannotRun(let tool, let reason): "cannot run '\(tool)': \(reason)"
    case .failed(let command, let reason): "'\(command)' failed: \(reason)"
    case .refusedRules(let tool, let reason, let line, let text, let isRestored):
      "\(tool) refused the rules: \(reason)"
        + (text.map { "\n  line \(line ?? 0): \($0)" } ?? "")
        + (isRestored
          ? "\nnothing was changed" : "\nthe state before could not be restored; 'fairlead capture remove' cleans up")
    case .nobodyListens(let listener):
      "a fairleadd is alive, and nobody listens on port \(listener.port) of listener '\(listener.name)': it runs with another "
        + "configuration; restart it (systemctl restart fairlead), then apply"
    case .filteredBridge(let bridge):
      "connections that come by the bridge \(bridge.name) would be lost on their way to a tproxy listener while "
        + "\(bridge.cause): run '\(bridge.remedy)', or let a listener with 'capture: redirect' take them"
    case .tableInUse(let table, let family):
      "routing table \(table) has other \(family.title) routes; choose another with capture.routingTable"
    case .stateFile(let path, let reason): "cannot write \(path): \(reason)"
    case .waitsForConfirmation(let seconds):
      "an earlier apply waits for its confirmation (\(seconds) s left): run 'fairlead capture confirm', or 'remove', first"
    case .nothingToConfirm(let lastRollback):
      lastRollback.map { "nothing waits for a confirmation; \($0)" } ?? "nothing waits for a confirmation"
    }
  }

  static func package(of tool: String) -> String {
    switch tool {
    case "ip": "iproute2"
    case "ipset": "ipset"
    default: "iptables"
    }
  }
}
