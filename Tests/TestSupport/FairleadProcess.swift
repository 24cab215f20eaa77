// The real daemon as a child process: a configuration in a directory of its own, port 0, readiness and the real port
// learnt through the admin socket, and at the end the checks that every test makes without asking: it did not trap, it
// gave back every descriptor, and SIGTERM ends it with 0.

import Foundation

/// What a test wants of the daemon's configuration. Lists and maps are written in YAML's flow style.
public struct FairleadOptions: Sendable {
  public var shards = 1
  /// Service name → endpoint addresses (with a weight if wanted: `127.0.0.1:1 * 2.0`).
  public var services: [String: [String]] = [:]
  /// For `services: - name: /svc`, for example `["timeouts": "{ request: 500ms }"]`.
  public var policy: [String: String] = [:]
  /// The inside of `limits: { … }`.
  public var limits: String = ""
  /// Whole top-level YAML lines to add.
  public var extra: String = ""
  /// The inside of `node: { … }` besides name and shards.
  public var node: String = ""
  /// The inside of the listener's `{ … }` besides name, address and direction.
  public var listener: String = ""
  public var environment: [String: String] = [:]
  /// More entries of `discovery`, in flow style: `{ kind: file, prefix: file, directory: /srv }`.
  public var discovery: [String] = []
  /// The delegation table.
  public var delegations = ["/svc => /#/static ;"]
  /// Opens as many descriptors as the hard limit allows when true; else the shell's default.
  public var accessLog = false
  public var accessLogFormat = "json"

  public init() {}

  /// One service, `web`, with these endpoints.
  public init(web endpoints: [LoopbackAddress]) { services["web"] = endpoints.map(\.description) }

  /// One service, `web`, served by this upstream.
  public init(_ upstream: ScriptedUpstream) { self.init(web: [upstream.address]) }

  public func yaml(in directory: TemporaryDirectory) -> String {
    let services = services.sorted { $0.key < $1.key }.map { name, endpoints in
      "      \(name): [\(endpoints.map { "\"\($0)\"" }.joined(separator: ", "))]"
    }
    let policy = policy.sorted { $0.key < $1.key }.map { "    \($0.key): \($0.value)" }
    var lines = ["node: { name: test-node, shards: \(shards)\(node.isEmpty ? "" : ", " + node) }"]
    lines += ["admin: { socket: \(directory.path("admin.sock")) }"]
    let listener = listener.isEmpty ? "" : ", " + listener
    lines += ["listeners:", "  - { name: outbound, address: \"127.0.0.1:0\", direction: outbound\(listener) }"]
    lines += ["discovery:", "  - kind: static", "    prefix: static"]
    lines += services.isEmpty ? ["    services: {}"] : ["    services:"] + services
    lines += discovery.map { "  - \($0)" }
    lines += ["delegations: |"] + delegations.map { "  \($0)" }
    if !policy.isEmpty { lines += ["services:", "  - name: /svc"] + policy }
    if !limits.isEmpty { lines += ["limits: { \(limits) }"] }
    if accessLog {
      lines += ["telemetry: { accessLog: { path: \(directory.path("access.log")), format: \(accessLogFormat) } }"]
    }
    if !extra.isEmpty { lines.append(extra) }
    return lines.joined(separator: "\n") + "\n"
  }
}

/// A running `fairleadd`.
public final class FairleadProcess: @unchecked Sendable {
  public let directory: TemporaryDirectory
  public let child: Child
  public let admin: AdminSocket
  /// Where the outbound listener really listens.
  public private(set) var address = LoopbackAddress(port: 0)
  /// The descriptors it held when it was ready.
  public private(set) var descriptorsAtStart: [String] = []
  private let clients = Monitor<[RawClient]>([])

  /// Where the built programs stand: FAIRLEAD_BIN_DIR, or the package's release directory.
  public static let binaryDirectory: String =
    getenv("FAIRLEAD_BIN_DIR").map { String(cString: $0) }
    ?? String(#filePath.prefix(upTo: #filePath.range(of: "/Tests/")?.lowerBound ?? #filePath.endIndex))
    + "/.build/release"

  public static var daemonPath: String { binaryDirectory + "/fairleadd" }
  public static var commandPath: String { binaryDirectory + "/fairlead" }

  /// Whether these tests can run. Where FAIRLEAD_BIN_DIR is given they must, and fail when the daemon is missing.
  public static var isAvailable: Bool {
    getenv("FAIRLEAD_BIN_DIR") != nil || access(daemonPath, X_OK) == 0
  }
  public static let unavailable = "fairleadd is not built: run 'make build' first"

  /// Starts the daemon with a configuration and waits until it is ready.
  public convenience init(_ options: FairleadOptions) throws {
    let directory = try TemporaryDirectory()
    let file = try directory.write("fairlead.yaml", options.yaml(in: directory))
    try self.init(["--config", file], directory: directory, environment: options.environment)
  }

  /// Starts the daemon with these arguments; it must use `admin.sock` in `directory`.
  ///
  /// - Parameter launcher: what to put in front of the command, to run it in another namespace.
  public init(
    _ arguments: [String], directory: TemporaryDirectory, environment: [String: String] = [:], launcher: [String] = []
  ) throws {
    self.directory = directory
    admin = AdminSocket(path: directory.path("admin.sock"))
    child = try Child(
      launcher + [FairleadProcess.daemonPath] + arguments, directory: directory, name: "fairleadd",
      environment: environment)
    try waitUntilReady()
  }

  private func waitUntilReady() throws {
    var last = ""
    let ready = eventually(seconds: 20) {
      guard child.isRunning else { return true }
      do {
        let response = try admin.get("/ready")
        last = response.startLine
        return response.status == 200
      } catch {
        last = "\(error)"
        return false
      }
    }
    guard ready, child.isRunning else {
      let how = child.exitStatus.map { "ended with \($0)" } ?? "was not ready in 20 s (\(last))"
      child.stop(seconds: 1)
      throw HarnessError("fairleadd \(how)\n\(child.standardError)")
    }
    let status = try admin.json("/status")
    guard let text = status["listeners"].elements.first?["address"].text, let address = LoopbackAddress(text) else {
      child.stop(seconds: 1)
      throw HarnessError("/status names no listener address: \(status)")
    }
    self.address = address
    descriptorsAtStart = settledDescriptors()
  }

  /// The descriptors once the requests made so far are put away: the same three times in a row.
  private func settledDescriptors() -> [String] {
    var last = inspector.descriptors
    var same = 0
    eventually(seconds: 2) {
      let now = inspector.descriptors
      same = now.count == last.count ? same + 1 : 0
      last = now
      return same >= 3
    }
    return last
  }

  // MARK: Using it

  public var inspector: ProcessInspector { ProcessInspector(child.processID) }

  /// A client of the outbound listener; closed at the end of the test at the latest.
  public func connect(
    timeoutSeconds: Double = 10, receiveBufferBytes: Int32? = nil, segmentBytes: Int32? = nil, source: String? = nil
  ) throws -> RawClient {
    let client = try RawClient(
      address, timeoutSeconds: timeoutSeconds, receiveBufferBytes: receiveBufferBytes, segmentBytes: segmentBytes,
      source: source)
    clients.with { $0.append(client) }
    return client
  }

  /// Sends a request on a connection of its own.
  public func request(_ text: String) throws -> Message {
    let client = try RawClient(address)
    defer { client.close() }
    return try client.request(text)
  }

  /// A GET on a connection of its own.
  public func get(_ path: String = "/", host: String = "web") throws -> Message {
    try request("GET \(path) HTTP/1.1\r\nhost: \(host)\r\nconnection: close\r\n\r\n")
  }

  /// Waits until `fairlead_errors_total` counts `count` for `code`; false when it does not.
  public func waitForError(_ code: String, count: Double = 1) throws -> Bool {
    try eventually(seconds: 5) { try admin.metrics().errorsByCode[code] ?? 0 >= count }
  }

  /// The lines of the access log so far.
  public var accessLog: [JSONValue] {
    readFile(directory.path("access.log")).split(separator: "\n").compactMap { try? JSONValue(parsing: Array($0.utf8)) }
  }

  // MARK: Ending

  func closeClients() {
    clients.with { clients in
      clients.forEach { $0.close() }
      clients = []
    }
  }

  /// Checks that every descriptor was given back. Call it when clients and upstreams are gone.
  func checkDescriptors() throws {
    let allowed = descriptorsAtStart.count
    var now: [String] = []
    let returned = eventually(seconds: 10) {
      now = inspector.descriptors
      return now.count <= allowed
    }
    if !returned {
      throw HarnessError(
        "fairleadd leaked descriptors: \(allowed) at start, now \(now.count):\n\(now.joined(separator: "\n"))")
    }
  }

  /// Waits until every descriptor is back, then ends it and checks that it ended well.
  public func end() throws {
    do {
      try checkDescriptors()
    } catch {
      child.stop(seconds: 2)
      throw error
    }
    try stopCleanly()
  }

  /// Ends it with SIGTERM and checks that it ended well.
  func stopCleanly() throws {
    child.signal(SIGTERM)
    guard let status = child.wait(seconds: 10) else {
      child.stop(seconds: 0.1)
      throw HarnessError("fairleadd did not end within 10 s of SIGTERM\n\(child.standardError)")
    }
    try checkEnd(status)
  }

  func checkEnd(_ status: Child.ExitStatus) throws {
    let text = child.standardError
    if status != .exited(0) || text.contains("Fatal error") || text.contains("Crash:") {
      throw HarnessError("fairleadd ended with \(status)\n\(text.suffix(4000))")
    }
  }
}

/// Runs `body` against a fresh daemon, then ends the clients and the upstreams, and checks that the daemon gave back its
/// descriptors, did not trap, and ends with 0 on SIGTERM. A body may end the daemon itself.
public func withFairlead(
  _ options: FairleadOptions, upstreams: [ScriptedUpstream] = [], _ body: (FairleadProcess) throws -> Void
) throws {
  let daemon = try FairleadProcess(options)
  do {
    try body(daemon)
  } catch {
    daemon.closeClients()
    upstreams.forEach { $0.stop() }
    let died = daemon.child.exitStatus.map { "; fairleadd had ended with \($0)" } ?? ""
    daemon.child.stop(seconds: 2)
    throw HarnessError("\(error)\(died)\n\(daemon.child.standardError.suffix(4000))")
  }
  daemon.closeClients()
  upstreams.forEach { $0.stop() }
  if let status = daemon.child.exitStatus { return try daemon.checkEnd(status) }
  do {
    try daemon.checkDescriptors()
  } catch {
    daemon.child.stop(seconds: 2)
    throw error
  }
  try daemon.stopCleanly()
}

/// The common case: one scripted upstream that serves `web`.
public func withFairlead(
  _ script: Script, policy: [String: String] = [:], limits: String = "", accessLog: Bool = false,
  _ body: (FairleadProcess, ScriptedUpstream) throws -> Void
) throws {
  let upstream = try ScriptedUpstream(script)
  var options = FairleadOptions(upstream)
  options.policy = policy
  options.limits = limits
  options.accessLog = accessLog
  try withFairlead(options, upstreams: [upstream]) { try body($0, upstream) }
}
