// A whole node inside the test process: real sockets, two shards, a scripted upstream. What the integration tests ask
// of the daemon from outside is asked here of the library, with what only the library shows.
//
// Each test runs in a process of its own, where nobody else opens or closes descriptors.

import Base
import Configuration
import EventLoop
import Glibc
import Telemetry
import TestSupport
import Testing

@testable import Proxy

/// A node in front of `upstreams`, and what a test asks it.
private final class RunningNode {
  let node: Node
  let address: LoopbackAddress

  init(
    _ ports: [UInt16], shards: Int = 2, accessRings: [AccessRing] = [],
    configuration: ((SocketAddress) throws -> Configuration)? = nil
  ) throws {
    let straight =
      try configuration.map { try $0(loopback(0)) }
      ?? Configuration.straight(
        listen: loopback(0), to: ports.map { try endpoint($0) }, adminSocket: nil, nodeName: "node-a")
    node = try Node.start(
      straight, shardCount: shards, registry: Registry(shardCount: shards), names: NameTable(),
      accessRings: accessRings, loop: controlLoop)
    guard let port = node.listenerAddresses.first?.port else { throw HarnessError("no listener") }
    address = LoopbackAddress(port: port)
  }

  /// Every shard's connections; throws when a shard does not answer.
  func connections() throws -> [ConnectionSummary] {
    let answer = Monitor<[ShardConnections]?>(nil)
    node.connections(limit: 1000) { all in answer.with { $0 = all } }
    guard answer.wait(until: { $0 != nil }), let all = answer.with({ $0 }) else {
      throw HarnessError("a shard does not answer")
    }
    return all.flatMap(\.connections)
  }
}

/// Runs `body` a few times and returns the kinds of descriptors of which each time left at least one. What the runtime
/// opens for itself meanwhile, a timer or a queue of events, it opens once.
private func kindsLeft(by body: () throws -> Void) throws -> [String] {
  let rounds = 4
  func counts() -> [String: Int] {
    // "12 → socket:[345]" is a socket; the listing's own descriptor is in the list.
    let kinds = ProcessInspector(getpid()).descriptors.compactMap { line -> String? in
      guard let kind = line.split(separator: "→").last, !kind.contains("/proc/") else { return nil }
      return String(kind.filter { !$0.isNumber && $0 != " " })
    }
    return Dictionary(kinds.map { ($0, 1) }, uniquingKeysWith: +)
  }
  let before = counts()
  for _ in 0..<rounds { try body() }
  var left: [String] = []
  // Other threads of the test let their ends go when they have seen ours closed.
  eventually(seconds: 5) {
    left = counts().filter { $0.value - before[$0.key, default: 0] >= rounds }.map { "\($0.value) \($0.key)" }
    return left.isEmpty
  }
  return left
}

@Suite("Node", .timeLimit(.minutes(2)))
struct NodeTests {
  @Test("requests go through a node of two shards, and stopping leaves no descriptor and no thread behind")
  func servesAndStops() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let inspector = ProcessInspector(getpid())
      let left = try kindsLeft {
        let running = try RunningNode([upstream.address.port])
        #expect(running.node.shardCount == 2)
        // A thread names itself, a moment after it was started.
        #expect(
          eventually { inspector.threadNames.count { $0.hasPrefix("fl-shard-") } == 2 }, "\(inspector.threadNames)")
        let clients = try (0..<12).map { _ in try RawClient(running.address) }
        for round in 0..<5 {
          for (number, client) in clients.enumerated() {
            let answer = try client.get("/\(round)/\(number)")
            #expect(answer.status == 200)
            #expect(answer.text == "GET /\(round)/\(number)")
          }
        }
        #expect(running.node.downstreamConnectionCount == 12)
        let counts = (0..<2).map { running.node.connectionCount(shard: $0) }
        #expect(counts.reduce(0, +) == 12, "\(counts)")
        #expect(counts.allSatisfy { $0 >= 4 && $0 <= 8 }, "12 connections are spread as \(counts)")
        // A request is counted when its exchange ends, a moment after the client has read the answer.
        func finished() -> UInt64 { (0..<2).reduce(0) { $0 + running.node.requestCount(shard: $1) } }
        #expect(eventually { finished() == 60 }, "\(finished()) requests were counted")
        let inFlight = running.node.inFlightRequestCount
        #expect(inFlight == 0, "\(inFlight) requests are still in flight")
        let summary = try #require(running.node.serviceSummaries().first)
        #expect(summary.name == "default")
        #expect(summary.responses == [0, 0, 60, 0, 0, 0], "\(summary.responses)")
        for client in clients { client.close() }
        #expect(eventually { running.node.downstreamConnectionCount == 0 }, "a connection is left")
        running.node.stop()
      }
      #expect(left.isEmpty, "left open: \(left)")
      // A joined thread's entry may outlive it by a moment.
      #expect(
        eventually { !inspector.threadNames.contains { $0.hasPrefix("fl-shard-") } }, "\(inspector.threadNames)")
      #expect(upstream.failures.isEmpty, "\(upstream.failures)")
      upstream.stop()
    }
  }

  @Test("a node that is stopped with requests in progress ends all the same, and leaves nothing")
  func stopsInTheMiddle() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.silent)
      var sent = 0
      let left = try kindsLeft {
        let running = try RunningNode([upstream.address.port])
        let clients = try (0..<6).map { _ in try RawClient(running.address) }
        for client in clients { try client.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n") }
        sent += clients.count
        #expect(upstream.wait { $0.reduce(0) { $0 + $1.requests.count } == sent }, "not all arrived")
        let inFlight = running.node.inFlightRequestCount
        #expect(inFlight == 6, "\(inFlight) requests are in flight")
        running.node.stop()
        for client in clients {
          let ending = try client.readToEnd()
          #expect(ending.bytes.isEmpty)
          client.close()
        }
      }
      #expect(left.isEmpty, "left open: \(left)")
      upstream.stop()
    }
  }

  @Test("every shard answers questions, and tells its connections with peers, listeners and states")
  func answersQuestions() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let running = try RunningNode([upstream.address.port])
      defer { running.node.stop() }
      let pinged = Gate()
      running.node.ping { pinged.open() }
      #expect(pinged.wait())
      let client = try RawClient(running.address)
      _ = try client.get("/one")
      _ = try client.get("/two")
      let connections = try running.connections()
      let downstream = connections.filter(\.isDownstream)
      try #require(downstream.count == 1)
      #expect(downstream[0].peer?.isLocal == true)
      #expect(downstream[0].requestCount == 2)
      #expect(downstream[0].origin == 0)
      #expect(downstream[0].state == .idle)
      #expect(downstream[0].wireProtocol == .http1)
      #expect(downstream[0].bytesReceived > 0 && downstream[0].bytesSent > 0)
      let upstreams = connections.filter { !$0.isDownstream }
      try #require(upstreams.count == 1)
      #expect(upstreams[0].peer == loopback(upstream.address.port))
      #expect(upstreams[0].state == .idle)
      #expect(upstreams[0].requestCount == 2)
      let loads = Monitor<Int>(0)
      running.node.loads { all in loads.with { $0 = all.count } }
      #expect(loads.wait { $0 == 2 })
      // What is made of the answers, reports of ten thousand lines, is made where no request waits.
      let threads = Monitor<[pthread_t]>([])
      controlLoop.post { threads.with { $0.append(pthread_self()) } }
      running.node.loads { _ in threads.with { $0.append(pthread_self()) } }
      running.node.connections(limit: 1) { _ in threads.with { $0.append(pthread_self()) } }
      #expect(threads.wait { $0.count == 3 })
      #expect(Set(threads.with { $0 }).count == 1)
      let endpoint = try #require(running.node.endpointSummaries().first)
      #expect(endpoint.successes == 2)
      #expect(endpoint.failures == 0)
      #expect(endpoint.inFlight == 0)
      #expect(endpoint.connections == 1)
      client.close()
      upstream.stop()
    }
  }

  @Test("draining answers what is in progress, closes what is idle and accepts no more")
  func drains() async {
    await #expect(processExitsWith: .success) {
      let mayAnswer = Gate()
      let upstream = try ScriptedUpstream { connection in
        while let request = try connection.readRequest() {
          if request.target == "/slow" { mayAnswer.wait() }
          try connection.respond(to: request, body: request.target)
        }
      }
      let running = try RunningNode([upstream.address.port])
      let (idle, busy) = (try RawClient(running.address), try RawClient(running.address))
      #expect(try idle.get("/quick").text == "/quick")
      try busy.send("GET /slow HTTP/1.1\r\nhost: web\r\n\r\n")
      #expect(upstream.wait { $0.contains { $0.requests.contains { $0.target == "/slow" } } })
      running.node.drain()
      let ending = try idle.readToEnd()
      #expect(ending.bytes.isEmpty)
      mayAnswer.open()
      let answer = try busy.readResponse()
      #expect(answer.text == "/slow")
      #expect(answer["connection"] == "close")
      #expect(try busy.readToEnd().bytes.isEmpty)
      idle.close()
      busy.close()
      #expect(eventually { running.node.downstreamConnectionCount == 0 }, "a connection is left")
      // Who comes now must hear so at once: nobody would ever take him out of a listening socket's queue.
      #expect(eventually(seconds: 3) { (try? RawClient(running.address)) == nil }, "a connect still succeeds")
      running.node.stop()
      upstream.stop()
    }
  }

  @Test("a record of the access log says what went through")
  func accessRecords() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let ring = AccessRing(capacity: 16)
      let running = try RunningNode([upstream.address.port], shards: 1, accessRings: [ring])
      let client = try RawClient(running.address)
      _ = try client.get("/logged?x=1")
      #expect(eventually { ring.committedCount == 1 })
      let record = try #require(ring.front()).pointee
      #expect(record.status == 200)
      #expect(record.errorCode == 0)
      #expect(record.retryCount == 0)
      #expect(record.bytesOut == UInt64("GET /logged?x=1".utf8.count))
      #expect(record.durationNanoseconds > 0)
      #expect(record.firstByteNanoseconds <= record.durationNanoseconds)
      ring.pop()
      client.close()
      running.node.stop()
      upstream.stop()
    }
  }

  @Test("connections past the node's limit are answered with 503 and closed; one that ends makes room")
  func limitsConnections() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let running = try RunningNode([]) { listen in
        let straight = try Configuration.straight(
          listen: listen, to: [endpoint(upstream.address.port)], adminSocket: nil)
        return Configuration(
          node: straight.node, listeners: straight.listeners, discovery: straight.discovery,
          delegations: straight.delegations, limits: Configuration.Limits(connections: 3))
      }
      let clients = try (0..<3).map { _ in try RawClient(running.address) }
      for client in clients { #expect(try client.get().status == 200) }
      let refused = try RawClient(running.address)
      let answer = try refused.readResponse()
      #expect(answer.status == 503)
      #expect(answer["fairlead-code"] == "FL2205")
      #expect(try refused.readToEnd().bytes.isEmpty)
      refused.close()
      #expect(running.node.downstreamConnectionCount == 3)
      clients[0].close()
      #expect(eventually { running.node.downstreamConnectionCount == 2 })
      let fresh = try RawClient(running.address)
      #expect(try fresh.get().status == 200)
      fresh.close()
      for client in clients.dropFirst() { client.close() }
      running.node.stop()
      upstream.stop()
    }
  }

  @Test("a listener on a Unix socket spreads its connections, and its path is gone after the end")
  func unixListener() async {
    await #expect(processExitsWith: .success) {
      let upstream = try ScriptedUpstream(.answering)
      let directory = try TemporaryDirectory()
      let path = directory.path("listener")
      let straight = try Configuration.straight(
        listen: .unix(path: path), to: [endpoint(upstream.address.port)], adminSocket: nil)
      let node = try Node.start(
        straight, shardCount: 2, registry: Registry(shardCount: 2), names: NameTable(), accessRings: [],
        loop: controlLoop)
      var streams: [ByteStream] = []
      for _ in 0..<10 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let done = SocketAddress.unix(path: path).withSockaddr { connect(descriptor, $0, $1) == 0 }
        try #require(done)
        let stream = ByteStream(descriptor: descriptor)
        try stream.send("GET / HTTP/1.1\r\nhost: web\r\n\r\n")
        #expect(try stream.readResponse(to: "GET").status == 200)
        streams.append(stream)
      }
      let counts = (0..<2).map { node.connectionCount(shard: $0) }
      #expect(counts.allSatisfy { $0 >= 3 }, "10 connections are spread as \(counts)")
      for stream in streams { stream.close() }
      node.stop()
      #expect(access(path, F_OK) != 0)
      upstream.stop()
    }
  }

  @Test("an address in use keeps a node from starting, in one line")
  func addressInUse() throws {
    let (descriptor, address) = try ListeningSocket.open(loopback(0), name: "other")
    defer { close(descriptor) }
    let straight = try Configuration.straight(listen: address, to: [endpoint(9001)], adminSocket: nil)
    do throws(NodeError) {
      let node = try Node.start(
        straight, shardCount: 2, registry: Registry(shardCount: 2), names: NameTable(), accessRings: [],
        loop: controlLoop)
      node.stop()
      Issue.record("the node has started")
    } catch {
      #expect(error.description.contains("another process uses this port"))
      #expect(!error.description.contains("\n"))
    }
  }
}
