// What the admin API says about a node, as plain values: the data plane fills them in, this module shows them.
// Names of JSON members are the contract with `fairlead` and with scripts: units last, camel case as in the configuration.

import Base
import Telemetry

/// Yes, or no with the reason in one line.
public enum Health: Equatable, Sendable {
  case ok
  case failing(String)
}

/// A value that is shown as a JSON object.
public protocol JSONReport: Sendable {
  /// Writes the members into an object that is already open.
  func writeMembers(to json: inout JSONWriter)
}

/// `/status`: the node at a glance.
public struct StatusReport: JSONReport, Equatable {
  /// Where a daemon is in its life.
  public enum State: String, Sendable { case starting, ready, degraded, draining }

  public struct Shard: JSONReport, Equatable {
    public var index: Int
    /// The CPU it is pinned to; nil when it is not.
    public var cpu: Int?
    public var connections: Int
    public var requests: UInt64
    public var loopLagNanoseconds: UInt64
    /// What it refuses new requests for; nil when it does not.
    public var overload: String?

    public init(
      index: Int, cpu: Int? = nil, connections: Int = 0, requests: UInt64 = 0, loopLagNanoseconds: UInt64 = 0,
      overload: String? = nil
    ) {
      self.index = index
      self.cpu = cpu
      self.connections = connections
      self.requests = requests
      self.loopLagNanoseconds = loopLagNanoseconds
      self.overload = overload
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("index", index)
      if let cpu { json.member("cpu", cpu) }
      json.member("connections", connections)
      json.member("requests", requests)
      json.member("loopLagMilliseconds", milliseconds(loopLagNanoseconds))
      json.member("overload", overload ?? "no")
    }
  }

  public struct Listener: JSONReport, Equatable {
    public var name: String
    /// The address really bound: the port is known even where 0 was asked for.
    public var address: String
    public var direction: String
    public var protocolName: String
    public var connections: Int

    public init(name: String, address: String, direction: String, protocolName: String, connections: Int = 0) {
      self.name = name
      self.address = address
      self.direction = direction
      self.protocolName = protocolName
      self.connections = connections
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("name", name)
      json.member("address", address)
      json.member("direction", direction)
      json.member("protocol", protocolName)
      json.member("connections", connections)
    }
  }

  public struct Discovery: JSONReport, Equatable {
    public var prefix: String
    public var kind: String
    /// `fresh`, `stale` (the last good answer is used) or `failing` (there never was one).
    public var state: String
    public var services: Int
    /// How old the last good answer is.
    public var ageSeconds: Double
    /// Why the last attempt failed; nil when it did not.
    public var failure: String?
    /// Where it looks: a directory, name servers.
    public var origin = ""
    public var endpoints = 0
    /// Since the source began.
    public var updates: UInt64 = 0
    public var errors: UInt64 = 0
    /// Lines and records that are there and not used.
    public var badLines = 0
    /// What is wrong now, each with its place; a bounded number.
    public var problems: [String] = []

    public init(
      prefix: String, kind: String, state: String = "fresh", services: Int, ageSeconds: Double, failure: String? = nil
    ) {
      self.prefix = prefix
      self.kind = kind
      self.state = state
      self.services = services
      self.ageSeconds = ageSeconds
      self.failure = failure
    }

    public func writeMembers(to json: inout JSONWriter) {
      json.member("prefix", prefix)
      json.member("kind", kind)
      json.member("state", state)
      if !origin.isEmpty { json.member("origin", origin) }
      json.member("services", services)
      json.member("endpoints", endpoints)
      json.member("ageSeconds", ageSeconds)
      if let failure { json.member("failure", failure) }
      json.member("updates", updates)
      json.member("errors", errors)
      json.member("badLines", badLines)
      json.array("problems") { json in for problem in problems { json.string(problem) } }
    }
  }

  public var node: String
  public var build: BuildInformation
  public var processIdentifier: Int
  public var state: State
  /// Why the state is what it is, where that helps.
  public var reason: String?
  public var uptimeSeconds: Double
  /// Where the configuration came from: a path, or "command line".
  public var configuration: String
  public var snapshotGeneration: UInt64
  public var logLevel: LogLevel
  public var residentBytes: UInt64
  public var downstreamConnections: Int
  public var upstreamConnections: Int
  public var inFlightRequests: Int
  public var shards: [Shard]
  public var listeners: [Listener]
  public var discovery: [Discovery]
  /// Nil when no access log is written.
  public var accessLog: AccessLogStatistics?
  /// Features that do not work here and what that means, one sentence each.
  public var degraded: [String]

  public init(
    node: String, build: BuildInformation, processIdentifier: Int, state: State, reason: String? = nil,
    uptimeSeconds: Double, configuration: String, snapshotGeneration: UInt64 = 0, logLevel: LogLevel = .info,
    residentBytes: UInt64 = 0, downstreamConnections: Int = 0, upstreamConnections: Int = 0, inFlightRequests: Int = 0,
    shards: [Shard] = [], listeners: [Listener] = [], discovery: [Discovery] = [],
    accessLog: AccessLogStatistics? = nil, degraded: [String] = []
  ) {
    self.node = node
    self.build = build
    self.processIdentifier = processIdentifier
    self.state = state
    self.reason = reason
    self.uptimeSeconds = uptimeSeconds
    self.configuration = configuration
    self.snapshotGeneration = snapshotGeneration
    self.logLevel = logLevel
    self.residentBytes = residentBytes
    self.downstreamConnections = downstreamConnections
    self.upstreamConnections = upstreamConnections
    self.inFlightRequests = inFlightRequests
    self.shards = shards
    self.listeners = listeners
    self.discovery = discovery
    self.accessLog = accessLog
    self.degraded = degraded
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("node", node)
    json.member("version", build.version)
    json.member("commit", build.commit)
    json.member("swift", build.swift)
    json.object("libraries") { for library in build.libraries { $0.member(library.name, library.version) } }
    json.member("pid", processIdentifier)
    json.member("state", state.rawValue)
    json.member("reason", reason)
    json.member("uptimeSeconds", uptimeSeconds)
    json.member("configuration", configuration)
    json.member("snapshotGeneration", snapshotGeneration)
    json.member("logLevel", logLevel.rawValue)
    json.member("residentBytes", residentBytes)
    json.member("downstreamConnections", downstreamConnections)
    json.member("upstreamConnections", upstreamConnections)
    json.member("inFlightRequests", inFlightRequests)
    json.reports("shards", shards)
    json.reports("listeners", listeners)
    json.reports("discovery", discovery)
    if let accessLog {
      json.object("accessLog") {
        $0.member("written", accessLog.written)
        $0.member("dropped", accessLog.dropped)
        $0.member("failed", accessLog.failed)
        $0.member("errors", accessLog.errors)
      }
    }
    json.array("degraded") { for sentence in degraded { $0.string(sentence) } }
  }
}

/// `/endpoints`: one row.
public struct EndpointReport: JSONReport, Equatable {
  public var service: String
  public var address: String
  /// `live`, `probing`, `ejected`, `draining`: the words of the balancer.
  public var state: String
  /// Nil for an endpoint that says none.
  public var zone: String?
  public var weight: Double
  /// What its share follows now: less than its weight while it is in its slow start.
  public var effectiveWeight: Double
  public var inFlight: Int
  public var connections: Int
  /// The moving average the balancer works with.
  public var latencyNanoseconds: UInt64
  public var requests: UInt64
  public var failures: UInt64
  /// The prefix of the discovery that told of it; empty where nobody knows.
  public var source = ""
  /// Whether the discovery still says so: `fresh` or `stale`; empty where nobody knows.
  public var sourceState = ""
  /// Why its last active check failed, in a few words; nil when it did not.
  public var checkFailure: String?

  public init(
    service: String, address: String, state: String, zone: String? = nil, weight: Double = 1,
    effectiveWeight: Double? = nil, inFlight: Int = 0, connections: Int = 0, latencyNanoseconds: UInt64 = 0,
    requests: UInt64 = 0, failures: UInt64 = 0
  ) {
    self.service = service
    self.address = address
    self.state = state
    self.zone = zone
    self.weight = weight
    self.effectiveWeight = effectiveWeight ?? weight
    self.inFlight = inFlight
    self.connections = connections
    self.latencyNanoseconds = latencyNanoseconds
    self.requests = requests
    self.failures = failures
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("service", service)
    json.member("address", address)
    json.member("state", state)
    if let checkFailure { json.member("checkFailure", checkFailure) }
    if let zone { json.member("zone", zone) }
    json.member("weight", weight)
    json.member("effectiveWeight", effectiveWeight)
    json.member("inFlight", inFlight)
    json.member("connections", connections)
    json.member("latencyMilliseconds", milliseconds(latencyNanoseconds))
    json.member("requests", requests)
    json.member("failures", failures)
    if !source.isEmpty { json.member("source", source) }
    if !sourceState.isEmpty { json.member("sourceState", sourceState) }
  }
}

/// `/connections`: one row.
public struct ConnectionReport: JSONReport, Equatable {
  public var shard: Int
  public var id: UInt64
  /// `downstream` or `upstream`.
  public var direction: String
  public var peer: String
  public var local: String
  /// The listener of a downstream connection, the service of an upstream one.
  public var owner: String
  /// Who is calling; nil for an upstream connection.
  public var workload: String?
  public var state: String
  public var protocolName: String
  public var ageSeconds: Double
  public var idleSeconds: Double
  public var requests: UInt64
  public var bytesIn: UInt64
  public var bytesOut: UInt64

  public init(
    shard: Int, id: UInt64, direction: String, peer: String, local: String, owner: String,
    workload: String? = nil, state: String, protocolName: String, ageSeconds: Double, idleSeconds: Double = 0,
    requests: UInt64 = 0, bytesIn: UInt64 = 0,
    bytesOut: UInt64 = 0
  ) {
    self.shard = shard
    self.id = id
    self.direction = direction
    self.peer = peer
    self.local = local
    self.owner = owner
    self.workload = workload
    self.state = state
    self.protocolName = protocolName
    self.ageSeconds = ageSeconds
    self.idleSeconds = idleSeconds
    self.requests = requests
    self.bytesIn = bytesIn
    self.bytesOut = bytesOut
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("shard", shard)
    json.member("id", id)
    json.member("direction", direction)
    json.member("peer", peer)
    json.member("local", local)
    json.member(direction == "upstream" ? "service" : "listener", owner)
    if let workload { json.member("workload", workload) }
    json.member("state", state)
    json.member("protocol", protocolName)
    json.member("ageSeconds", ageSeconds)
    json.member("idleSeconds", idleSeconds)
    json.member("requests", requests)
    json.member("bytesIn", bytesIn)
    json.member("bytesOut", bytesOut)
  }
}

/// `/connections`: how many there are, and the first of them.
public struct ConnectionsReport: JSONReport, Equatable {
  /// All connections, shown or not.
  public var total: Int
  public var connections: [ConnectionReport]

  public init(total: Int, connections: [ConnectionReport]) {
    self.total = total
    self.connections = connections
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("total", total)
    json.member("shown", connections.count)
    json.reports("connections", connections)
  }
}

extension JSONWriter {
  mutating func reports(_ name: String, _ reports: [some JSONReport]) {
    array(name) {
      for report in reports {
        $0.object { report.writeMembers(to: &$0) }
      }
    }
  }
}

/// Milliseconds with a microsecond's precision, which is what people read.
func milliseconds(_ nanoseconds: UInt64) -> Double { (Double(nanoseconds) / 1000).rounded() / 1000 }
