// What was decoded, with the places it came from: the cross-checks compare the one and point at the other.

import Base
import Policy

/// A configuration on its way: parts that were wrong are missing, and then a finding says so.
struct Draft {
  struct Listener {
    let name: (text: String, range: SourceRange)?
    let address: (value: SocketAddress, range: SourceRange)?
    let value: Configuration.Listener?
  }

  struct Discovery {
    let prefix: (text: String, range: SourceRange)?
    /// Where each of its services is written; nil when only the source itself knows them.
    let servicePlaces: [String: SourceRange]?
    var serviceNames: Dictionary<String, SourceRange>.Keys? { servicePlaces?.keys }
    let value: Configuration.Discovery?
  }

  struct Delegation {
    let value: Configuration.Delegation
    let prefixRange: SourceRange
    /// The names of its right side.
    let names: [(name: Path, range: SourceRange)]
  }

  struct Service {
    let value: Configuration.ServiceEntry
    let nameRange: SourceRange
  }

  var node: Configuration.Node?
  var admin: (value: Configuration.Admin, httpRange: SourceRange?)?
  var listeners: [Listener] = []
  /// False when `listeners` is missing or empty; true also when nothing in it could be read.
  var namesListeners = true
  var discovery: [Discovery] = []
  var identifiers = Configuration.defaultIdentifiers
  var delegations: [Delegation] = []
  /// False when an entry of the table could not be read: then nothing is said about names that lead nowhere.
  var delegationsAreWhole = true
  var routes: [Route] = []
  var services: [Service] = []
  var workloads: [Workload] = []
  var limits = Configuration.Limits()
  var telemetry = Configuration.Telemetry()
  var capture = Configuration.Capture()

  /// The configuration; nil when a part is missing.
  var finished: Configuration? {
    guard let node, let admin else { return nil }
    return Configuration(
      node: node, admin: admin.value, listeners: listeners.compactMap(\.value),
      discovery: discovery.compactMap(\.value), identifiers: identifiers,
      delegations: delegations.map(\.value), routes: routes.map(\.value), services: services.map(\.value),
      workloads: workloads.compactMap(\.value), limits: limits, telemetry: telemetry, capture: capture)
  }
}

// MARK: The document

extension Draft {
  /// Reads the keys of the whole document.
  /// - Parameters:
  ///   - delegations: the text blocks, in the order of their files: they append to each other.
  ///   - hostName: what the node is called when nothing says it.
  init(_ decoder: Decoder, root: YAMLNode, delegations blocks: [YAMLNode], hostName: String) {
    guard
      let fields = Fields(
        decoder, YAMLValue(node: root, path: ""),
        known: [
          "node", "admin", "listeners", "discovery", "identifiers", "delegations", "routes", "services", "workloads",
          "limits", "telemetry", "capture",
        ])
    else { return }
    namesListeners = !(fields["listeners"]?.isEmptyList ?? true)
    node = Self.node(fields, hostName: hostName)
    admin = Self.admin(fields)
    listeners = Self.bounded(fields, "listeners", 64).map { Self.listener(decoder, $0) }
    discovery = Self.bounded(fields, "discovery", 64).map { Self.discovery(decoder, $0) }
    identifiers = Self.identifiers(fields)
    routes = Self.bounded(fields, "routes", Self.mostRoutes).compactMap { Self.route(decoder, $0) }
    services = Self.bounded(fields, "services", 1_000).compactMap { Self.service(decoder, $0) }
    workloads = Self.bounded(fields, "workloads", Self.mostWorkloads).map { Self.workload(decoder, $0) }
    limits = Self.limits(fields)
    telemetry = Self.telemetry(fields)
    capture = Self.capture(fields)
    for block in blocks { addDelegations(decoder, YAMLValue(node: block, path: "delegations")) }
  }

  static func bounded(_ fields: Fields, _ key: String, _ most: Int) -> [YAMLValue] {
    let items = fields.items(key)
    if items.count > most {
      fields.decoder.report(items[most].node.range, "'\(key)' has more than \(most) entries")
    }
    return Array(items.prefix(most))
  }

  private static func node(_ fields: Fields, hostName: String) -> Configuration.Node? {
    let known = ["name", "zone", "shards", "via", "drainTimeout", "reloadOnChange"]
    let node = fields.fields("node", known: known)
    var name = hostName
    if let written = node?.text("name") {
      name = written
      if !Configuration.isNodeName(written) {
        node?.reportValue("name", "a node's name has letters, digits, '.', '_' and '-', not \(quoted(written))")
      }
    }
    let zone = node?.text("zone")
    if let problem = zone.flatMap(Endpoint.problem(withZone:)) { node?.reportValue("zone", problem) }
    let shards = node?.integer("shards", in: Configuration.Shards.allowed, orWord: "auto")
    return Configuration.Node(
      name: name, zone: zone,
      shards: shards?.number.map { .count($0) } ?? .auto,
      via: node?.bool("via") ?? true,
      drainTimeout: node?.duration("drainTimeout", in: .zero ... .seconds(3600))
        ?? Configuration.Node.defaultDrainTimeout,
      reloadOnChange: node?.bool("reloadOnChange") ?? true
    )
  }

  private static func admin(_ fields: Fields) -> (Configuration.Admin, SourceRange?) {
    guard let admin = fields.fields("admin", known: ["socket", "group", "operators", "http"]) else {
      return (Configuration.Admin(), nil)
    }
    var socket: String? = Configuration.Admin.defaultSocket
    if let written = admin.text("socket") {
      socket = written == "none" ? nil : written
      if written != "none", written.utf8.first != 0x2F {
        admin.reportValue("socket", "'admin.socket' must be a full path or 'none', not \(quoted(written))")
      } else if let reason = Configuration.adminSocketProblem(written) {
        admin.reportValue("socket", "'admin.socket' is no path for a socket: \(reason)")
      }
    }
    let http = admin.address("http")
    if case .unix = http { admin.reportValue("http", "'admin.http' must be an IP address with a port") }
    let value = Configuration.Admin(
      socket: socket, group: admin.group("group"), operators: admin.group("operators"), http: http)
    return (value, http.flatMap { _ in admin["http"]?.node.range })
  }

  private static func limits(_ fields: Fields) -> Configuration.Limits {
    let known = [
      "headerBytes", "headers", "requestLineBytes", "connections", "headerTimeout", "idleTimeout", "viaHops",
      "destinations", "overload",
    ]
    let defaults = Configuration.Limits()
    guard let limits = fields.fields("limits", known: known) else { return defaults }
    let value = Configuration.Limits(
      headerBytes: limits.size("headerBytes", in: .kibibytes(1) ... .mebibytes(1)) ?? defaults.headerBytes,
      headers: limits.integer("headers", in: 8...10_000) ?? defaults.headers,
      requestLineBytes: limits.size("requestLineBytes", in: ByteCount(bytes: 128) ... .mebibytes(1))
        ?? defaults.requestLineBytes,
      connections: limits.integer("connections", in: 1...10_000_000) ?? defaults.connections,
      headerTimeout: limits.duration("headerTimeout", in: .milliseconds(10) ... .seconds(3600))
        ?? defaults.headerTimeout,
      idleTimeout: limits.duration("idleTimeout", in: .milliseconds(10) ... .seconds(86400)) ?? defaults.idleTimeout,
      viaHops: limits.integer("viaHops", in: 1...1_000) ?? defaults.viaHops,
      destinations: limits.integer("destinations", in: 1...1_000_000) ?? defaults.destinations,
      overload: limits.overload("overload") ?? defaults.overload)
    if value.requestLineBytes > value.headerBytes {
      let key = limits.has("requestLineBytes") ? "requestLineBytes" : "headerBytes"
      limits.reportValue(
        key,
        "a request line of \(value.requestLineBytes) does not fit a head of \(value.headerBytes); "
          + "'limits.requestLineBytes' must be at most 'limits.headerBytes'")
    }
    return value
  }

  private static func telemetry(_ fields: Fields) -> Configuration.Telemetry {
    let defaults = Configuration.Telemetry()
    guard let telemetry = fields.fields("telemetry", known: ["accessLog", "labels"]) else { return defaults }
    var log: Configuration.AccessLog?
    if let accessLog = telemetry.fields("accessLog", known: ["path", "format"]) {
      accessLog.require("path", "path: /var/log/fairlead/access.log")
      let format: Configuration.AccessLog.Format = accessLog.choice("format") ?? .json
      if let path = accessLog.text("path") {
        if path.utf8.first != 0x2F {
          accessLog.reportValue("path", "'telemetry.accessLog.path' must be a full path, not \(quoted(path))")
        }
        log = Configuration.AccessLog(path: path, format: format)
      }
    }
    let labels = telemetry.fields("labels", known: ["maxSeries"])
    return Configuration.Telemetry(
      accessLog: log, maxSeries: labels?.integer("maxSeries", in: 1...1_000_000) ?? defaults.maxSeries)
  }
}

extension Fields {
  /// Reports something about the value of a key that is there.
  func reportValue(_ key: String, _ message: String) {
    decoder.report(self[key]?.node.range ?? range, message)
  }

  /// A group of users, by its name.
  fileprivate func group(_ key: String) -> String? {
    guard let name = text(key) else { return nil }
    let isName = name.utf8.count <= 32 && name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != 0x3A && $0 != 0x2F }
    if !isName { reportValue(key, "\(quoted(name)) is no name of a group") }
    return name
  }
}
