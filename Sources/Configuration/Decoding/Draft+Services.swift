// Decodes one entry of `services`.

import Base
import Policy

extension Draft {
  static func service(_ decoder: Decoder, _ value: YAMLValue) -> Service? {
    let known = [
      "name", "balancer", "timeouts", "keepAlive", "limits", "retries", "hedging", "circuitBreaker", "healthCheck",
      "rateLimit", "protocol", "proxyProtocol",
    ]
    guard let fields = Fields(decoder, value, known: known) else { return nil }
    fields.require("name", "name: /svc")
    var name: Path?
    if let text = fields.text("name") {
      name = Self.name(text)
      if name == nil {
        fields.reportValue("name", "\(quoted(text)) is not a name; write a path such as /svc or /svc/web")
      }
    }
    var entry = Configuration.ServiceEntry(name: name ?? .root)
    entry.balancer = balancer(fields)
    timeouts(fields, &entry)
    if let keepAlive = fields.fields("keepAlive", known: ["interval", "timeout"]) {
      entry.keepAliveInterval = keepAlive.optionalDuration("interval", in: .milliseconds(100) ... .seconds(3600))
      entry.keepAliveTimeout = keepAlive.duration("timeout", in: .milliseconds(10) ... .seconds(60))
    }
    limits(fields, &entry)
    entry.retries = retries(fields, hasBudget: true)
    entry.hedging = hedging(fields)
    entry.circuitBreaker = circuitBreaker(fields)
    entry.healthCheck = healthCheck(fields)
    entry.rateLimit = fields.optionalRateLimit("rateLimit")
    entry.protocol = fields.choice("protocol")
    entry.proxyProtocol = fields.choice("proxyProtocol")
    if entry.protocol == .http2, let written = entry.proxyProtocol, written != .none {
      fields.reportValue(
        "proxyProtocol", "a header names one client, and a connection with HTTP/2 serves many; write protocol: http1")
    }
    entry.places.lines = places(in: value.node)
    guard name != nil, let nameRange = fields["name"]?.node.range else { return nil }
    return Service(value: entry, nameRange: nameRange)
  }

  /// `file:line` of every single value and list in a mapping, by its path.
  private static func places(in node: YAMLNode, below path: String = "") -> [String: String] {
    guard case .mapping(let mapping) = node.content else { return [:] }
    var places: [String: String] = [:]
    for member in mapping.members {
      let key = path.isEmpty ? member.key : "\(path).\(member.key)"
      if case .mapping = member.value.content {
        places.merge(Self.places(in: member.value, below: key)) { first, _ in first }
      } else if !member.value.isNull {
        places[key] = "\(member.keyRange.source.name):\(member.keyRange.start.line)"
      }
    }
    return places
  }

  /// As requests have it, hosts in lower case. Nil for what is no name; `/` alone is none either.
  static func name(_ text: String) -> Path? {
    guard let name = try? Path(parsing: text), name != .root else { return nil }
    return HostIdentifier().normalized(name)
  }

  private static func timeouts(_ fields: Fields, _ entry: inout Configuration.ServiceEntry) {
    let known = ["connect", "request", "attempt", "idle", "stream", "tunnel"]
    guard let timeouts = fields.fields("timeouts", known: known) else { return }
    entry.connectTimeout = timeouts.duration("connect", in: .milliseconds(1) ... .seconds(3600))
    entry.requestTimeout = timeouts.duration("request", in: .milliseconds(1) ... .seconds(86400))
    entry.attemptTimeout = timeouts.optionalDuration("attempt", in: .milliseconds(1) ... .seconds(86400))
    entry.idleTimeout = timeouts.duration("idle", in: .milliseconds(10) ... .seconds(86400))
    entry.streamTimeout = timeouts.duration("stream", in: .milliseconds(10) ... .seconds(604_800))
    entry.tunnelTimeout = timeouts.duration("tunnel", in: .milliseconds(10) ... .seconds(604_800))
  }

  private static func limits(_ fields: Fields, _ entry: inout Configuration.ServiceEntry) {
    guard let limits = fields.fields("limits", known: ["connections", "pending", "requests"]) else { return }
    entry.connections = limits.integer("connections", in: 1...1_000_000)
    entry.pending = limits.integer("pending", in: 0...1_000_000)
    entry.requests = limits.integer("requests", in: 1...1_000_000)
  }
}
