// Who is calling, asked of a whole node inside the test process: by user, by a cgroup that is found out while the
// connection waits, by address; and what is said of workloads that cannot be matched here.
//
// Each test with a node runs in a process of its own, where nobody else opens or closes descriptors.

import Base
import Capture
import Configuration
import Glibc
import Telemetry
import TestSupport
import Testing

@testable import Proxy

/// A node whose service has no endpoint, so that it answers 503 by itself.
private func startNode(_ workloads: [Configuration.Workload], listen: SocketAddress = loopback(0)) throws -> Node {
  let configuration = Configuration(
    node: Configuration.Node(name: "node-a"),
    listeners: [Configuration.Listener(name: "outbound", address: listen)], workloads: workloads)
  return try Node.start(
    configuration, shardCount: 2, registry: Registry(shardCount: 2), names: NameTable(), accessRings: [],
    loop: controlLoop)
}

private func port(of node: Node) throws -> UInt16 { try #require(node.listenerAddresses.first?.port) }

private func counts(_ node: Node) -> [String: UInt64] {
  Dictionary(
    node.workloadSummaries().map { ($0.name, $0.responses.reduce(0, +)) }, uniquingKeysWith: { first, _ in first })
}

private func lookups(_ node: Node, _ outcome: String) -> UInt64 {
  node.counter(node.metrics.workloads.lookups.family, [outcome])
}

@Suite("Attribution", .timeLimit(.minutes(2)))
struct AttributionTests {
  @Test("a process of this host is its user's workload, before its address's")
  func users() async {
    await #expect(processExitsWith: .success) {
      let node = try startNode([
        .init(name: "home", addresses: [try IPNetwork(parsing: "127.0.0.0/8")]),
        .init(name: "mine", users: ["\(geteuid())"]), .init(name: "others", users: ["4000000000"]),
      ])
      let client = try RawClient(LoopbackAddress(port: port(of: node)))
      for _ in 0..<3 { #expect(try client.get().status == 404) }
      #expect(eventually { counts(node) == ["other": 0, "home": 0, "mine": 3, "others": 0] }, "\(counts(node))")
      #expect(node.workloadSummaries().map(\.connections) == [0, 0, 1, 0])
      #expect(node.workloadSummaries()[2].bytesIn > 0 && node.workloadSummaries()[2].bytesOut > 0)
      #expect(lookups(node, "found") == 1 && lookups(node, "absent") == 0 && lookups(node, "failed") == 0)
      client.close()
      #expect(eventually { node.workloadSummaries().allSatisfy { $0.connections == 0 } })
      node.stop()
    }
  }

  @Test("where only addresses are configured, nobody is asked")
  func addresses() async {
    await #expect(processExitsWith: .success) {
      let node = try startNode([
        .init(name: "wide", addresses: [try IPNetwork(parsing: "127.0.0.0/8")]),
        .init(name: "near", addresses: [try IPNetwork(parsing: "127.0.0.1")]),
      ])
      #expect(!node.needsSurveys)
      let client = try RawClient(LoopbackAddress(port: port(of: node)))
      #expect(try client.get().status == 404)
      #expect(eventually { counts(node) == ["other": 0, "wide": 0, "near": 1] }, "\(counts(node))")
      #expect(lookups(node, "found") + lookups(node, "absent") == 0)
      client.close()
      node.stop()
    }
  }

  @Test("a connection whose cgroup nobody knows waits for the survey, and is its user's when it is nobody's")
  func unknownCGroup() async {
    await #expect(processExitsWith: .success) {
      let node = try startNode([
        .init(name: "mine", users: ["\(geteuid())"]), .init(name: "batch", cgroups: ["/no-such-cgroup-here"]),
      ])
      let asked = Monitor(0)
      node.onUnknownCGroup { asked.with { $0 += 1 } }
      // The control thread's part, when this test lets it.
      let client = try RawClient(LoopbackAddress(port: port(of: node)))
      #expect(asked.wait(until: { $0 == 1 }))
      node.surveyHost()
      #expect(try client.get().status == 404)
      #expect(eventually { counts(node) == ["other": 0, "mine": 1, "batch": 0] }, "\(counts(node))")
      // What was found out once is not asked for again.
      let second = try RawClient(LoopbackAddress(port: port(of: node)))
      #expect(try second.get().status == 404)
      #expect(asked.with { $0 } == 1 && lookups(node, "found") == 2)
      client.close()
      second.close()
      node.stop()
    }
  }

  @Test("a control thread that does not answer delays a connection, no more")
  func late() async {
    await #expect(processExitsWith: .success) {
      let node = try startNode([
        .init(name: "mine", users: ["\(geteuid())"]), .init(name: "batch", cgroups: ["/no-such-cgroup-here"]),
      ])
      let clients = try (0..<20).map { _ in try RawClient(LoopbackAddress(port: port(of: node))) }
      // One leaves before its time.
      clients[0].close()
      for client in clients.dropFirst() { #expect(try client.get().status == 404) }
      #expect(eventually { counts(node)["mine"] == 19 }, "\(counts(node))")
      // The one that has left may have no owner any more when it is asked for.
      #expect(eventually { lookups(node, "late") >= 19 }, "\(lookups(node, "late"))")
      for client in clients.dropFirst() { client.close() }
      #expect(eventually { node.downstreamConnectionCount == 0 })
      #expect(node.workloadSummaries().allSatisfy { $0.connections == 0 })
      node.stop()
    }
  }

  @Test("a Unix socket's peer is known by its user")
  func unixSocket() async {
    await #expect(processExitsWith: .success) {
      let directory = try TemporaryDirectory()
      let path = directory.path("listener.sock")
      let node = try startNode([.init(name: "mine", users: ["\(geteuid())"])], listen: .unix(path: path))
      let answer = try AdminSocket(path: path).get("/")
      #expect(answer.status == 404)
      #expect(eventually { counts(node) == ["other": 0, "mine": 1] }, "\(counts(node))")
      node.stop()
    }
  }

  @Test("users that this host does not have, or that two workloads mean, are said and do no harm")
  func problems() {
    let (table, problems) = WorkloadTable.compiled(
      [
        .init(name: "web", users: ["www", "ghost"]), .init(name: "api", users: ["33", "100"]),
      ], number: { ["www": 33, "33": 33, "100": 100][$0] })
    #expect(table.workload(ofUser: 33) == 1 && table.workload(ofUser: 100) == 2)
    #expect(
      problems == [
        "workload 'web': this host has no user 'ghost', so nothing is counted for it; create the user and restart, or "
          + "take it out of the configuration",
        "workload 'api': user '33' has the number 33, which is workload 'web' already",
      ])
  }

  @Test("an idle connection stays within its memory")
  func size() {
    #expect(MemoryLayout<Connection>.size <= 360, "\(MemoryLayout<Connection>.size) bytes")
  }
}
