// The running configuration against the files it came from, for those who ask by the admin socket.

import Admin
import Base
import Configuration
import EventLoop
import Proxy

extension Administration {
  func configurationChanges(
    _ reply: @escaping @Sendable (Result<ConfigurationChangesReport, ConfigurationRefusal>) -> Void
  ) {
    guard let path = reloading?.path else { return reply(.failure(.notNow(Reloading.withoutFile))) }
    let now = MonotonicInstant.now()
    // Everybody may ask, and reading costs the control thread time: twice a second is enough for anybody.
    if let last = lastChanges, now.nanoseconds(since: last.at) < 500_000_000 { return reply(last.answer) }
    let answer = readChanges(path)
    lastChanges = (now, answer)
    reply(answer)
  }

  private func readChanges(_ path: String) -> Result<ConfigurationChangesReport, ConfigurationRefusal> {
    do throws(Diagnostics) {
      let next = try Configuration.load(path: path, fragments: Daemon.fragments(beside: path))
      return .success(ConfigurationChangesReport(source: path, changes: Self.changes(from: configuration, to: next)))
    } catch {
      return .failure(.findings(error.render()))
    }
  }

  func reload(
    confirmWithin limit: Duration?, _ reply: @escaping @Sendable (Result<ReloadReport, ConfigurationRefusal>) -> Void
  ) {
    guard let path = reloading?.path else { return reply(.failure(.notNow(Reloading.withoutFile))) }
    if isDraining { return reply(.failure(.notNow("draining: this node takes no new configuration"))) }
    lastChanges = nil
    switch reloadAction(limit) {
    case .refused(let text): reply(.failure(.findings(text.hasSuffix("\n") ? text : text + "\n")))
    case .unchanged: reply(.success(report(path, changes: [], limit: nil)))
    case .published(_, let former):
      reply(.success(report(path, changes: Self.changes(from: former, to: configuration), limit: limit)))
    }
  }

  private func report(_ path: String, changes: [ConfigurationChangeReport], limit: Duration?) -> ReloadReport {
    ReloadReport(
      source: path, generation: node?.generation ?? 0, changes: changes,
      confirmWithinSeconds: limit.map { Double($0.wholeNanoseconds) / 1e9 })
  }

  func confirmReload() -> String? {
    reloading?.confirm() == true ? nil : "nothing waits to be confirmed: no reload, or it has been taken back already"
  }

  private static func changes(from old: Configuration, to new: Configuration) -> [ConfigurationChangeReport] {
    let fixed = old.changesThatNeedRestart(to: new)
    return old.changes(to: new).map { change in
      ConfigurationChangeReport(
        path: change.path, old: change.old, new: change.new,
        needsRestart: fixed.contains { isSame(change.path, orBelow: $0) })
    }
  }

  private static func isSame(_ path: String, orBelow key: String) -> Bool {
    path.hasPrefix(key) && (path.utf8.count == key.utf8.count || ".[ ".contains(path.dropFirst(key.count).prefix(1)))
  }
}
