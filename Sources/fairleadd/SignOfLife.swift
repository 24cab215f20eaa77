// Tells the kernel that this node lives: its capturing rules hold for two seconds more each time. Only when a listener
// captures: another node's entries are not ours to refresh.

import Capture
import Glibc
import Telemetry

/// Used on the control thread only.
final class SignOfLife {
  private let alive: GaugeCell
  private let report: (_ degraded: String) -> Void
  /// Nil when there is nothing to tell (any more).
  private var sets: AliveSets?
  private var lastOutcome: AliveSets.Outcome?

  /// - Parameters:
  ///   - captures: whether a listener of this node takes captured connections.
  ///   - report: told, once each, what does not work here.
  init(captures: Bool, registry: Registry, report: @escaping (_ degraded: String) -> Void) {
    alive = ProxyMetrics(registry: registry).captureAlive.cell(shard: registry.controlShard)
    alive.set(0)
    self.report = report
    sets = captures ? AliveSets() : nil
  }

  /// To be called while every shard turns, more often than every two seconds.
  func give() {
    guard let sets else { return }
    let outcome = sets.refresh()
    alive.set(outcome == .done ? 1 : 0)
    if outcome == lastOutcome { return }
    switch outcome {
    case .done: Daemon.say("fairleadd: capture: new connections are led here")
    case .absent:
      // At the start that is how it should be: the rules come after the proxy.
      if lastOutcome == .done { Daemon.say("fairleadd: capture: removed") }
    case .notAllowed:
      report(
        "capture: without CAP_NET_ADMIN the kernel is not told that this node lives, and no connection is led here; "
          + "add AmbientCapabilities=CAP_NET_ADMIN to its unit")
    case .failed(let code):
      report("capture: the kernel does not take this node's sign of life: \(String(cString: strerror(code)))")
    }
    lastOutcome = outcome
  }

  /// Lets new connections past this node at once: when it drains, and when it ends.
  func end() {
    _ = sets?.delete()
    sets = nil
    alive.set(0)
  }
}
