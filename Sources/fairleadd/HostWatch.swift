// Keeps the shards' knowledge of the host fresh, where workloads are matched by user or cgroup: every second, and at once
// when a connection waits to hear whose its cgroup is. Lives on the control thread.

import Admin
import Base
import EventLoop
import Proxy

/// When the host is looked at.
final class HostWatch: @unchecked Sendable {
  private let node: Node
  private let loop: ControlLoop
  private var nextRound: UInt64 = 0
  /// Looking again before this would keep the control thread busy.
  private var restsUntil = MonotonicInstant.now()
  private var isAsked = false

  init(_ node: Node, _ loop: ControlLoop) {
    self.node = node
    self.loop = loop
    node.onUnknownCGroup { [weak self] in
      guard let self else { return }
      loop.post { self.asked() }
    }
    follow()
  }

  /// The workloads are others: looks from now on, or no longer.
  func follow() {
    loop.cancel(nextRound)
    guard node.needsSurveys else { return }
    nextRound = loop.schedule(at: MonotonicInstant.now().advanced(byNanoseconds: Self.period)) { [weak self] in
      self?.look()
    }
  }

  /// A shard has met a cgroup that nobody knows.
  private func asked() {
    if isAsked || !node.needsSurveys { return }
    if restsUntil <= .now() { return look() }
    isAsked = true
    loop.cancel(nextRound)
    nextRound = loop.schedule(at: restsUntil) { [weak self] in self?.look() }
  }

  private func look() {
    isAsked = false
    loop.cancel(nextRound)
    let begin = MonotonicInstant.now()
    node.surveyHost()
    let end = MonotonicInstant.now()
    // A tenth of the control thread's time at most.
    restsUntil = end.advanced(byNanoseconds: end.nanoseconds(since: begin) &* 9)
    let next = max(restsUntil, begin.advanced(byNanoseconds: Self.period))
    nextRound = loop.schedule(at: next) { [weak self] in self?.look() }
  }

  private static let period: UInt64 = 1_000_000_000
}
