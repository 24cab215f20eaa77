// The manual's lists for dashboards and for people with an error in their hands: every metric and every code, with the words
// that the daemon itself uses for them.

import Telemetry
import TestSupport
import Testing

@testable import Proxy

@Suite("fairleadd(8)")
struct ManualTests {
  /// The entries whose first line begins so: that line, and the one after it.
  private func entries(_ prefix: String) -> [String] {
    let lines = readFile("\(repositoryPath)/systemd/man/fairleadd.8").split(separator: "\n")
    return zip(lines, lines.dropFirst()).filter { $0.0.hasPrefix(".B \(prefix)") }.map { "\($0.dropFirst(3)) \($1)" }
  }

  @Test("has every metric with its labels, and no other")
  func metrics() {
    let registry = Registry(shardCount: 1)
    _ = NodeMetrics(registry: registry)
    _ = DiscoveryMetrics(registry: registry)
    let registered = registry.allFamilies.map(\.descriptor).map { metric in
      let labels = metric.labelNames.isEmpty ? "" : "{\(metric.labelNames.joined(separator: ","))}"
      return "\(metric.name)\(metric.kind == .counter ? "_total" : "")\(labels) \(metric.help)"
    }
    #expect(entries("fairlead_").sorted() == registered.sorted())
  }

  @Test("has every error code with its status, and no other")
  func codes() {
    #expect(entries("FL") == ProxyError.all.map { "FL\($0.code) \($0.status): \($0.message)" }.sorted())
  }
}
