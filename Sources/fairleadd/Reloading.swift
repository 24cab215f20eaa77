// Another configuration for the running daemon: read and checked whole beside the one that runs, refused whole when anything is
// wrong with it, and otherwise published to the shards, which swap it without losing a request. Asked for by SIGHUP, by the
// admin socket, or by a change of the files themselves.

import Admin
import Base
import CFairlead
import Configuration
import EventLoop
import Glibc
import Proxy
import Telemetry

/// What came of a reload.
enum ReloadOutcome {
  /// The files say what runs already.
  case unchanged
  /// It holds from now on, as this generation of the snapshot, where another one held before.
  case published(generation: UInt64, former: Configuration)
  /// Nothing has changed; why, in lines for people.
  case refused(String)
}

/// Reads the configuration again. The control thread's own.
final class Reloading {
  /// The configuration file; nil where the daemon was started without one.
  let path: String?
  private let node: Node
  private let loop: ControlLoop
  private let say: (String) -> Void
  private let succeeded: CounterCell
  private let refused: CounterCell
  private let rolledBack: CounterCell
  private let lastSuccess: GaugeCell
  /// What ran before the last change of the files was taken over by itself.
  private var beforeAutomatic: (configuration: Configuration, until: MonotonicInstant)?
  private var lastRefusal: String?
  /// What runs when nobody confirms in time.
  private var unconfirmed: (former: Configuration, timer: UInt64)?

  init(path: String?, node: Node, loop: ControlLoop, say: @escaping (String) -> Void) {
    self.path = path
    self.node = node
    self.loop = loop
    self.say = say
    let metrics = ProxyMetrics(registry: node.registry)
    let reloads = metrics.configReloads
    let shard = node.registry.controlShard
    succeeded = reloads.cell(shard: shard, labels: ["published"])
    refused = reloads.cell(shard: shard, labels: ["refused"])
    rolledBack = reloads.cell(shard: shard, labels: ["rolled_back"])
    lastSuccess = metrics.configReloadSuccessful.cell(shard: shard)
    lastSuccess.set(1)
  }

  /// Reads the files and takes over what they say, or says why not.
  ///
  /// - Parameters:
  ///   - why: what asked for it, for the log.
  ///   - isAutomatic: whether nobody has asked for it: then nothing is said where nothing is new, and what waits to be
  ///     confirmed still does.
  ///   - confirmWithin: go back to the former configuration unless `confirm` is called in time; nil for no such thing.
  func reload(why: String, isAutomatic: Bool = false, confirmWithin limit: Duration? = nil) -> ReloadOutcome {
    let outcome = attempt(isAutomatic, confirmWithin: limit)
    let formerRefusal = lastRefusal
    lastRefusal = nil
    switch outcome {
    case .unchanged:
      lastSuccess.set(1)
      if !isAutomatic { say("reload (\(why)): nothing has changed") }
    case .published(let generation, _):
      succeeded.add(1)
      lastSuccess.set(1)
      say("reload (\(why)): generation \(generation) holds")
    case .refused(let reason):
      lastRefusal = reason
      if isAutomatic, reason == formerRefusal { return outcome }
      refused.add(1)
      lastSuccess.set(0)
      say("reload (\(why)): refused, nothing has changed:\n\(reason)")
    }
    return outcome
  }

  private func attempt(_ isAutomatic: Bool, confirmWithin limit: Duration?) -> ReloadOutcome {
    guard let path else {
      return .refused(Self.withoutFile)
    }
    let next: Configuration
    do throws(Diagnostics) {
      next = try Configuration.load(path: path, fragments: Daemon.fragments(beside: path))
    } catch {
      return .refused(error.render())
    }
    let former = node.configuration
    if next == former, next.isWritten(as: former) {
      // The files were changed just now, to be confirmed, and have been taken over by themselves meanwhile.
      guard let limit, let before = beforeAutomatic, before.until >= .now() else { return .unchanged }
      beforeAutomatic = nil
      askForConfirmation(of: before.configuration, within: limit)
      return .published(generation: node.generation, former: before.configuration)
    }
    let fixed = former.changesThatNeedRestart(to: next)
    guard fixed.isEmpty else {
      return .refused(
        "\(path): these have changed and need a restart: \(fixed.joined(separator: ", ")); "
          + "next: systemctl restart fairlead")
    }
    node.publish(next)
    if let limit {
      askForConfirmation(of: former, within: limit)
    } else if !isAutomatic {
      confirm()
    }
    beforeAutomatic = isAutomatic ? (former, .now().advanced(byNanoseconds: Self.automaticNanoseconds)) : nil
    return .published(generation: node.generation, former: former)
  }

  /// How long after its change a file can still be reloaded to be confirmed.
  private static let automaticNanoseconds: UInt64 = 300_000_000_000
  static let withoutFile = "this daemon was started without a configuration file; restart it with --config FILE"

  // MARK: Confirmation

  /// Whether a configuration runs that will be taken back unless it is confirmed.
  var awaitsConfirmation: Bool { unconfirmed != nil }

  /// What was published stays. Without anything to confirm, nothing happens.
  ///
  /// - Returns: whether there was something to confirm.
  @discardableResult
  func confirm() -> Bool {
    guard let waiting = unconfirmed else { return false }
    loop.cancel(waiting.timer)
    unconfirmed = nil
    return true
  }

  /// A second unconfirmed reload goes back to what ran before the first.
  private func askForConfirmation(of former: Configuration, within limit: Duration) {
    let goal = unconfirmed?.former ?? former
    confirm()
    let deadline = MonotonicInstant.now().advanced(byNanoseconds: limit.wholeNanoseconds)
    let timer = loop.schedule(at: deadline) { [weak self] in self?.rollBack() }
    unconfirmed = (goal, timer)
  }

  private func rollBack() {
    guard let waiting = unconfirmed else { return }
    unconfirmed = nil
    node.publish(waiting.former)
    rolledBack.add(1)
    say(
      "reload was not confirmed in time: generation \(node.generation) is what ran before; the files still say otherwise"
    )
  }
}
