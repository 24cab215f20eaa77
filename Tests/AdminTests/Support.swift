// What the admin tests share: a node that says what it is told to, a server on a thread of its own, a raw client.

import Base
import EventLoop
import Glibc
import Policy
import Synchronization
import Telemetry
import Testing

import class TestSupport.TemporaryDirectory

@testable import Admin

/// A node without a data plane.
final class FakeNode: NodeAdministration {
  struct State {
    var ready = Health.ok
    var live = Health.ok
    var level = LogLevel.info
    var drains = 0
    var shutdowns = 0
    var configuration = "{\"node\": {}}"
    var services: [ServicesReport] = []
    var endpoints: [EndpointReport] = []
    var connections: [ConnectionReport] = []
    var workloads: [WorkloadReport] = []
    var routes: [RouteReport] = []
    var inFlight = 0
    var delegation: [DelegationEntry] = []
    var names: [String: NameLookup] = [:]
    var changes: Result<ConfigurationChangesReport, ConfigurationRefusal> =
      .success(ConfigurationChangesReport(source: "/etc/fairlead/fairlead.yaml", changes: []))
    var reload: Result<ReloadReport, ConfigurationRefusal> =
      .success(ReloadReport(source: "/etc/fairlead/fairlead.yaml", generation: 4, changes: []))
    /// With which confirmation time each reload was asked for.
    var reloads: [Duration?] = []
    /// Why there is nothing to confirm.
    var unconfirmed: String? = "nothing waits"
    var explanation = ExplainReport(request: "", verdict: "")
    var explained: [ExplainQuery] = []
    /// Replies that are held back until the test gives them.
    var holds = false
    var held: [@Sendable () -> Void] = []
  }

  let registry = Registry(shardCount: 1)
  private let state = Mutex(State())

  func set(_ change: @Sendable (inout State) -> Void) { state.withLock { change(&$0) } }
  func get<T: Sendable>(_ read: @Sendable (State) -> T) -> T { state.withLock { read($0) } }

  /// Gives all replies held back.
  func release() {
    let held = state.withLock { state in
      defer { state.held = [] }
      return state.held
    }
    for reply in held { reply() }
  }

  private func answer(_ reply: @escaping @Sendable () -> Void) {
    let isHeld = state.withLock { state in
      if state.holds { state.held.append(reply) }
      return state.holds
    }
    if !isHeld { reply() }
  }

  func readiness(_ reply: @escaping @Sendable (Health) -> Void) {
    let health = get(\.ready)
    answer { reply(health) }
  }
  func liveness(_ reply: @escaping @Sendable (Health) -> Void) {
    let health = get(\.live)
    answer { reply(health) }
  }
  func status(_ reply: @escaping @Sendable (StatusReport) -> Void) {
    let report = StatusReport(
      node: "node-a", build: BuildInformation(libraries: [("liburing", "2.3")]), processIdentifier: Int(getpid()),
      state: get(\.drains) > 0 ? .draining : .ready, uptimeSeconds: 93_784,
      configuration: "/etc/fairlead/fairlead.yaml",
      snapshotGeneration: 3, residentBytes: 20 << 20, downstreamConnections: 12, upstreamConnections: 4,
      inFlightRequests: get(\.inFlight),
      shards: [.init(index: 0, cpu: 1, connections: 12, requests: 1000, loopLagNanoseconds: 1_500_000)],
      listeners: [.init(name: "outbound", address: "0.0.0.0:4140", direction: "outbound", protocolName: "http1")],
      discovery: [.init(prefix: "static", kind: "static", services: 2, ageSeconds: 5)],
      accessLog: AccessLogStatistics(written: 7), degraded: ["perf is not there"])
    answer { reply(report) }
  }
  func endpoints(_ reply: @escaping @Sendable ([EndpointReport]) -> Void) {
    let endpoints = get(\.endpoints)
    answer { reply(endpoints) }
  }
  func services(_ reply: @escaping @Sendable (ServicesReport) -> Void) {
    // One report after the other, the last one for good.
    let report = state.withLock { $0.services.count > 1 ? $0.services.removeFirst() : $0.services.first }
    answer { reply(report ?? ServicesReport(at: MonotonicInstant(nanoseconds: 0), services: [])) }
  }
  func workloads(_ reply: @escaping @Sendable ([WorkloadReport]) -> Void) {
    let workloads = get(\.workloads)
    answer { reply(workloads) }
  }
  func names(_ path: Path, override: [DelegationEntry], _ reply: @escaping @Sendable (NamesReport) -> Void) {
    let table = get(\.delegation)
    let all = Delegation(entries: table).appending(override)
    let places = table.indices.map { NamesReport.Place(file: "f.yaml", line: $0 + 1, column: 3) }
    let known = get(\.names)
    let (binding, steps) = all.explain(path) { known[$0.description] ?? .negative }
    let report = NamesReport(
      path, binding, steps,
      entries: zip(all.entries, places + override.map { _ in NamesReport.Place(file: "dtab") }).map { ($0, $1) }
    ) { _ in NamesReport.Service(endpoints: 3, liveEndpoints: 2) }
    answer { reply(report) }
  }
  func routes(_ reply: @escaping @Sendable ([RouteReport]) -> Void) {
    let routes = get(\.routes)
    answer { reply(routes) }
  }
  func connections(limit: Int, _ reply: @escaping @Sendable (ConnectionsReport) -> Void) {
    let all = get(\.connections)
    answer { reply(ConnectionsReport(total: all.count, connections: Array(all.prefix(limit)))) }
  }
  func configurationChanges(
    _ reply: @escaping @Sendable (Result<ConfigurationChangesReport, ConfigurationRefusal>) -> Void
  ) {
    let changes = get(\.changes)
    answer { reply(changes) }
  }
  func reload(
    confirmWithin: Duration?, _ reply: @escaping @Sendable (Result<ReloadReport, ConfigurationRefusal>) -> Void
  ) {
    set { $0.reloads.append(confirmWithin) }
    let result = get(\.reload)
    answer { reply(result) }
  }
  func confirmReload() -> String? { get(\.unconfirmed) }
  func explain(_ query: ExplainQuery, _ reply: @escaping @Sendable (ExplainReport) -> Void) {
    set { $0.explained.append(query) }
    let report = get(\.explanation)
    answer { reply(report) }
  }
  func configurationJSON() -> String { get(\.configuration) }
  func metrics(_ format: ExpositionFormat) -> [UInt8] { registry.render(format) }
  func flatMetrics() -> [UInt8] { registry.renderFlatJSON() }
  var logLevel: LogLevel { self.get(\.level) }
  func setLogLevel(_ level: LogLevel) { set { $0.level = level } }
  func drain() { set { $0.drains += 1 } }
  func shutdown() { set { $0.shutdowns += 1 } }
}

/// A server with its loop on a thread of its own, in a directory of its own.
final class RunningServer: @unchecked Sendable {
  let node = FakeNode()
  let directory: TemporaryDirectory
  let path: String
  private(set) var readOnlyAddress: SocketAddress?
  let loop: ControlLoop
  private let server: AdminServer
  private var worker: Worker?

  init(
    limits: AdminLimits = AdminLimits(), group: String? = nil, operators: String? = "operators", tcp: Bool = false
  ) throws {
    directory = try TemporaryDirectory()
    path = directory.path + "/admin.sock"
    loop = try ControlLoop()
    server = AdminServer(loop: loop, node: node, limits: limits, operatorsGroup: operators)
    try server.listen(unixSocket: path, group: group)
    if tcp { readOnlyAddress = try server.listen(readOnly: SocketAddress(parsing: "127.0.0.1:0")) }
    let running = loop
    worker = Worker { running.run() }
  }

  /// Clients the server has, told by its own thread.
  func clientCount() -> Int {
    let box = Box()
    loop.post { [server] in box.value.store(server.clientCount, ordering: .releasing) }
    waitUntil { box.value.load(ordering: .acquiring) >= 0 }
    return box.value.load(ordering: .acquiring)
  }

  func stop() {
    guard let worker else { return }
    loop.post { [server] in server.stop() }
    loop.post { [loop] in loop.stop() }
    worker.join()
    self.worker = nil
  }

  deinit { stop() }
}

private final class Box: Sendable {
  let value = Atomic<Int>(-1)
}

/// A client that sends bytes as they are.
final class RawClient {
  let descriptor: Int32

  init(_ address: SocketAddress, receiveBuffer: Int32? = nil) throws {
    let family = if case .unix = address { AF_UNIX } else { AF_INET }
    descriptor = socket(family, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    try #require(descriptor >= 0)
    if var size = receiveBuffer {
      setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &size, socklen_t(MemoryLayout<Int32>.size))
    }
    var limit = timeval(tv_sec: 20, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    try #require(address.withSockaddr { connect(descriptor, $0, $1) } == 0)
  }

  convenience init(_ server: RunningServer) throws { try self.init(.unix(path: server.path)) }

  deinit { close(descriptor) }

  func send(_ text: String) {
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
  }

  func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

  /// Some bytes, none at the end; nil on an error or after twenty seconds.
  func receive(upTo count: Int = 65_536) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    let received = recv(descriptor, &bytes, count, 0)
    return received < 0 ? nil : Array(bytes[..<received])
  }

  /// Everything until the server closes.
  func receiveAll() -> String {
    var all: [UInt8] = []
    while let bytes = receive(), !bytes.isEmpty { all += bytes }
    return String(decoding: all, as: UTF8.self)
  }

  /// One answer of a kept connection; a HEAD's has no body.
  func receiveAnswer(hasBody: Bool = true) -> (head: String, body: String) {
    var head: [UInt8] = []
    while !head.suffix(4).elementsEqual("\r\n\r\n".utf8) {
      guard let byte = receive(upTo: 1), !byte.isEmpty else { return (String(decoding: head, as: UTF8.self), "") }
      head += byte
    }
    let text = String(decoding: head, as: UTF8.self)
    let length = text.split(separator: "\r\n").first { $0.hasPrefix("content-length: ") }
      .flatMap { Int($0.dropFirst("content-length: ".count)) }
    var body: [UInt8] = []
    while hasBody, body.count < length ?? 0 {
      guard let bytes = receive(upTo: (length ?? 0) - body.count), !bytes.isEmpty else { break }
      body += bytes
    }
    return (text, String(decoding: body, as: UTF8.self))
  }
}

/// A thread for a test's other side.
final class Worker: @unchecked Sendable {
  private let body: @Sendable () -> Void
  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () -> Void) {
    self.body = body
    let retained = Unmanaged.passRetained(self)
    let result = pthread_create(
      &thread, nil,
      { context in
        if let context { Unmanaged<Worker>.fromOpaque(context).takeRetainedValue().body() }
        return nil
      }, retained.toOpaque())
    precondition(result == 0, "pthread_create: \(result)")
  }

  func join() { pthread_join(thread, nil) }
}

/// Polls until the other thread got there; fails after twenty seconds.
func waitUntil(_ condition: () -> Bool) {
  let deadline = MonotonicInstant.now().advanced(byNanoseconds: 20_000_000_000)
  while !condition() {
    if MonotonicInstant.now() > deadline {
      Issue.record("waited twenty seconds in vain")
      return
    }
    sched_yield()
  }
}

/// Runs a shell command; its output, errors included, and its exit code.
func shell(_ command: String) -> (output: String, code: Int32) {
  guard let pipe = popen(command + " 2>&1", "r") else { return ("popen failed", -1) }
  var output: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65_536)
  while true {
    let count = fread(&chunk, 1, chunk.count, pipe)
    if count == 0 { break }
    output += chunk[..<count]
  }
  let status = pclose(pipe)
  return (String(decoding: output, as: UTF8.self), status & 0x7F == 0 ? (status >> 8) & 0xFF : -1)
}

let curl: String? = ["/usr/bin/curl", "/usr/local/bin/curl"].first { access($0, X_OK) == 0 }
let setpriv: String? = ["/usr/bin/setpriv", "/bin/setpriv"].first { access($0, X_OK) == 0 }
