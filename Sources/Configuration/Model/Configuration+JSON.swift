// The effective configuration as JSON: with every default filled in, in the words of the file. What is written here
// can be read again as a configuration (JSON is YAML), and gives the same values.

public import Base
import Policy

extension Configuration {
  /// Writes the whole configuration as one JSON object.
  public func write(to json: inout JSONWriter) {
    json.object { json in
      json.object("node") { node.write(to: &$0) }
      json.object("admin") { admin.write(to: &$0) }
      json.array("listeners") { json in
        for listener in listeners { json.object { listener.write(to: &$0) } }
      }
      json.array("discovery") { json in
        for entry in discovery { json.object { entry.write(to: &$0) } }
      }
      json.array("identifiers") { json in
        for identifier in identifiers { identifier.write(to: &json) }
      }
      json.member("delegations", delegations.reduce("") { $0 + "\($1.entry) ;\n" })
      json.array("routes") { json in
        for route in routes { json.object { route.write(to: &$0) } }
      }
      json.array("services") { json in
        for entry in services { json.object { entry.write(to: &$0) } }
      }
      json.array("workloads") { json in
        for workload in workloads { json.object { workload.write(to: &$0) } }
      }
      json.object("limits") { limits.write(to: &$0) }
      json.object("telemetry") { telemetry.write(to: &$0) }
      json.object("capture") { capture.write(to: &$0) }
    }
  }

  /// The same as text, indented for people, with a newline at its end.
  public func render() -> String {
    var json = JSONWriter(indented: true, reserving: 4096)
    write(to: &json)
    json.newline()
    return json.text
  }
}

extension Configuration.Node {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("name", name)
    if let zone { json.member("zone", zone) }
    switch shards {
    case .auto: json.member("shards", "auto")
    case .count(let count): json.member("shards", count)
    }
    json.member("via", via)
    json.member("drainTimeout", drainTimeout.shortText)
    json.member("reloadOnChange", reloadOnChange)
  }
}

extension Configuration.Admin {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("socket", socket ?? "none")
    if let group { json.member("group", group) }
    if let operators { json.member("operators", operators) }
    if let http { json.member("http", http.description) }
  }
}

extension Configuration.Listener {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("name", name)
    json.member("address", address.description)
    json.member("direction", direction.rawValue)
    json.member("capture", capture.rawValue)
    if capture != .none { json.member("unresolved", unresolved.rawValue) }
    json.member("protocol", self.protocol.rawValue)
    if let to { json.member("to", to.description) }
    json.member("trust", trust.rawValue)
    if proxySources.isEmpty {
      json.member("proxyProtocol", false)
    } else {
      json.object("proxyProtocol") { $0.strings("from", proxySources.map(\.description)) }
    }
    if !connect.isEmpty { json.strings("connect", connect.map(\.description)) }
  }
}

extension Configuration.ServiceEntry {
  func write(to json: inout JSONWriter) {
    json.member("name", name.description)
    json.object("balancer") { balancer.write(to: &$0) }
    json.object("timeouts") { json in
      if let connectTimeout { json.member("connect", connectTimeout.shortText) }
      if let requestTimeout { json.member("request", requestTimeout.shortText) }
      if let attemptTimeout { json.member("attempt", attemptTimeout?.shortText ?? "none") }
      if let idleTimeout { json.member("idle", idleTimeout.shortText) }
      if let streamTimeout { json.member("stream", streamTimeout.shortText) }
      if let tunnelTimeout { json.member("tunnel", tunnelTimeout.shortText) }
    }
    json.object("keepAlive") { json in
      if let keepAliveInterval { json.member("interval", keepAliveInterval?.shortText ?? "none") }
      if let keepAliveTimeout { json.member("timeout", keepAliveTimeout.shortText) }
    }
    json.object("limits") { json in
      if let connections { json.member("connections", connections) }
      if let pending { json.member("pending", pending) }
      if let requests { json.member("requests", requests) }
    }
    json.object("retries") { retries.write(to: &$0) }
    if let hedging {
      if let hedging {
        json.object("hedging") { hedging.write(to: &$0) }
      } else {
        json.member("hedging", "none")
      }
    }
    json.object("circuitBreaker") { circuitBreaker.write(to: &$0) }
    json.object("healthCheck") { healthCheck.write(to: &$0) }
    if let rateLimit {
      if let rateLimit {
        json.object("rateLimit") { rateLimit.write(to: &$0) }
      } else {
        json.member("rateLimit", "none")
      }
    }
    if let `protocol` { json.member("protocol", `protocol`.rawValue) }
    if let proxyProtocol { json.member("proxyProtocol", proxyProtocol.rawValue) }
  }
}

extension Configuration.Workload {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("name", name)
    json.object("match") { json in
      json.strings("addresses", addresses.map(\.description))
      json.strings("users", users)
      json.strings("cgroups", cgroups)
    }
    json.member("weight", weight)
    if let rateLimit { json.object("rateLimit") { rateLimit.write(to: &$0) } }
    if let connectionRate { json.object("connectionRate") { connectionRate.write(to: &$0, counting: "connections") } }
    if let onFailure { json.member("onFailure", onFailure.rawValue) }
  }
}

extension JSONWriter {
  fileprivate mutating func strings(_ name: String, _ values: [String]) {
    array(name) { json in
      for value in values { json.string(value) }
    }
  }
}

extension Configuration.Limits {
  fileprivate func write(to json: inout JSONWriter) {
    json.member("headerBytes", headerBytes.description)
    json.member("headers", headers)
    json.member("requestLineBytes", requestLineBytes.description)
    json.member("connections", connections)
    json.member("headerTimeout", headerTimeout.shortText)
    json.member("idleTimeout", idleTimeout.shortText)
    json.member("viaHops", viaHops)
    json.member("destinations", destinations)
    json.object("overload") { overload.write(to: &$0) }
  }
}

extension Configuration.Telemetry {
  fileprivate func write(to json: inout JSONWriter) {
    if let accessLog {
      json.object("accessLog") { json in
        json.member("path", accessLog.path)
        json.member("format", accessLog.format.rawValue)
      }
    }
    json.object("labels") { $0.member("maxSeries", maxSeries) }
  }
}

extension Configuration.Capture {
  fileprivate func write(to json: inout JSONWriter) {
    func list(_ name: String, _ words: [String], _ json: inout JSONWriter) {
      json.array(name) { json in for word in words { json.string(word) } }
    }
    json.member("processes", processes)
    list("interfaces", interfaces, &json)
    list("ports", ports.map(\.description), &json)
    list("excludePorts", excludePorts.map(\.description), &json)
    list("excludeAddresses", excludeAddresses.map(\.description), &json)
    list("excludeUsers", excludeUsers, &json)
    list("inboundPorts", inboundPorts.map(\.description), &json)
    json.member("user", user)
    json.member("mark", Int(mark))
    json.member("routingMark", Int(routingMark))
    json.member("routingTable", Int(routingTable))
    json.member("onFailure", onFailure.rawValue)
    json.member("detectTimeout", detectTimeout.shortText)
    list("serverFirstPorts", serverFirstPorts.map(\.description), &json)
  }
}
