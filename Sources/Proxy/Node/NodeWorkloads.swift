// The node's part in telling callers apart: it looks at the host for the shards, and says what was counted.

import Base
import Capture
import Configuration
import EventLoop
import Telemetry

extension Node {
  /// Workloads' names by number: `other` first; also of those that are gone and still have connections.
  public var workloadNames: [String] { snapshot.workloads.names }

  /// Must the host be looked at while the node runs?
  public var needsSurveys: Bool { snapshot.workloads.table.needsOwners }

  /// What of the configured workloads cannot be matched on this host, one line each.
  public func workloadProblems() -> [String] {
    var problems = snapshot.workloads.problems
    if survey.lacksCGroups {
      problems.append(
        "cgroups of workloads are not matched: no cgroup version 2 hierarchy is mounted at /sys/fs/cgroup; boot with "
          + "systemd.unified_cgroup_hierarchy=1")
    }
    if survey.isCut {
      problems.append("there are more cgroups under the workloads' than can be looked at: some count as other")
    }
    guard needsSurveys else { return problems }
    do throws(AttributionError) {
      _ = try SocketOwners()
    } catch {
      problems.append("users and cgroups of workloads are not matched: \(error)")
    }
    return problems
  }

  /// What shards work with of a configuration's workloads: what they have, where it says the same.
  func workloadPlan(of configuration: Configuration) -> WorkloadPlan {
    let current = snapshot.workloads
    if current.configured == configuration.workloads, current.problems.isEmpty { return current }
    let plan = WorkloadPlan(
      configuration.workloads, numbering: &workloadNumbering, metrics: metrics.workloads, shardCount: shardCount,
      logNames: names)
    survey = HostSurvey(plan.table)
    if plan.table.needsOwners { _ = survey.look() }
    settleWorkloadsLater()
    return plan
  }

  /// Those that are gone are forgotten once they have no connections.
  private func settleWorkloadsLater() {
    guard workloadNumbering.isUnsettled, settling == nil else { return }
    let rest = WorkloadNumbering.restNanoseconds
    settling = loop.schedule(at: MonotonicInstant.now().advanced(byNanoseconds: rest)) { [weak self] in
      self?.settleWorkloads()
    }
  }

  private func settleWorkloads() {
    settling = nil
    let forgotten = workloadNumbering.settle(now: .now()) {
      gauge(metrics.workloads.connections.family, [$0]) == 0
    }
    for name in forgotten { metrics.workloads.retire(name) }
    settleWorkloadsLater()
  }

  /// Called from a shard's thread when a connection waits to hear whose its cgroup is.
  public func onUnknownCGroup(_ wake: @escaping @Sendable () -> Void) { shared.onUnknownCGroup(wake) }

  /// Looks at the host's addresses and cgroups, and tells the shards what is new. The control thread; reads the cgroup
  /// file system, a few microseconds a cgroup.
  public func surveyHost() {
    guard survey.look(unknown: shared.takeUnknownCGroups()) else { return }
    for shard in 0..<shardCount { _ = shared.send(.host(survey.tables), to: shard) }
  }

  /// Every configured workload's counters now, in the configuration's order, `other` first.
  public func workloadSummaries() -> [WorkloadSummary] {
    ([WorkloadTable.other] + snapshot.workloads.configured.map(\.name)).map { name in
      WorkloadSummary(
        name: name, connections: gauge(metrics.workloads.connections.family, [name]),
        responses: ServiceCells.classes.map { counter(metrics.workloads.requests.family, [name, $0]) },
        queued: gauge(metrics.workloads.queued.family, [name]),
        rateLimited: ["workload", "connection"].reduce(0) {
          $0 &+ counter(metrics.workloads.rateLimited.family, [$1, name])
        },
        shed: ["loop_lag", "memory"].reduce(0) { $0 &+ counter(metrics.workloads.shed.family, [name, $1]) },
        bytesIn: counter(metrics.workloads.bytes.family, [name, "in"]),
        bytesOut: counter(metrics.workloads.bytes.family, [name, "out"]))
    }
  }
}
