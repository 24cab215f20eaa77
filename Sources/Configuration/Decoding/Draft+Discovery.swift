// Decodes one entry of `discovery`: its kind says which keys there are.

import Base
import Policy

extension Draft {
  static func discovery(_ decoder: Decoder, _ value: YAMLValue) -> Discovery {
    switch kind(of: value) {
    case "file": fileDiscovery(decoder, value)
    case "dns": dnsDiscovery(decoder, value)
    default: staticDiscovery(decoder, value)
    }
  }

  private static let kinds = ["static", "file", "dns"]

  private static func kind(of value: YAMLValue) -> String? {
    guard case .mapping(let mapping) = value.node.content, case .scalar(let kind) = mapping["kind"]?.value.content
    else { return nil }
    return kind.text
  }

  /// The prefix, which all kinds have.
  private static func prefix(_ fields: Fields, _ example: String) -> (text: String, range: SourceRange)? {
    fields.require("prefix", "prefix: \(example)")
    guard let prefix = fields.text("prefix"), let value = fields["prefix"] else { return nil }
    checkSegment(fields, "prefix", prefix, "a discovery's prefix")
    return (prefix, value.node.range)
  }

  private static func checkSegment(_ fields: Fields, _ key: String, _ text: String, _ subject: String) {
    if text == NameRewriter.reservedPrefix {
      fields.reportValue(key, "/#/rewrite is the proxy's own; give the discovery another prefix")
    }
    guard !Path.isSegment(text) || text == "#" else { return }
    fields.reportValue(key, "\(subject) has letters, digits and any of -._, not \(quoted(text))")
  }

  // MARK: static

  private static func staticDiscovery(_ decoder: Decoder, _ value: YAMLValue) -> Discovery {
    guard let fields = Fields(decoder, value, known: ["kind", "prefix", "services"]) else {
      return Discovery(prefix: nil, servicePlaces: nil, value: nil)
    }
    fields.require("kind", "kind: static")
    let isStatic = fields.choice("kind", kinds) != nil
    let prefix = prefix(fields, "static")
    var places: [String: SourceRange] = [:]
    var services: [Configuration.StaticService] = []
    if let value = fields["services"] {
      guard case .mapping(let mapping) = value.node.content else {
        fields.reportValue(
          "services", "'\(value.path)' must be a mapping (name: [endpoint, ...]), not \(value.node.kind)")
        return Discovery(prefix: prefix, servicePlaces: nil, value: nil)
      }
      for member in mapping.members {
        places[member.key] = member.keyRange
        services.append(staticService(decoder, member, path: value.path))
      }
    }
    return Discovery(
      prefix: prefix, servicePlaces: isStatic ? places : nil,
      value: prefix.map { .static(Configuration.StaticDiscovery(prefix: $0.text, services: services)) })
  }

  private static func staticService(
    _ decoder: Decoder, _ member: YAMLMapping.Member, path: String
  ) -> Configuration.StaticService {
    if !Path.isSegment(member.key) {
      decoder.report(member.keyRange, "a service's name has letters, digits and any of -._, not \(quoted(member.key))")
    }
    let value = YAMLValue(node: member.value, path: "\(path).\(unquoted(member.key))")
    if member.value.isNull {
      decoder.report(member.keyRange, "'\(value.path)' has no endpoints; write [127.0.0.1:9001], or [] for none")
    }
    var endpoints: [Endpoint] = []
    var places: [SocketAddress: SourceRange] = [:]
    for item in decoder.items(of: value) {
      guard let scalar = decoder.scalar(of: item, "an endpoint such as 127.0.0.1:9001") else { continue }
      do throws(TextError) {
        let endpoint = try Endpoint(parsing: scalar.text)
        if let first = places[endpoint.address] {
          decoder.report(
            item.node.range,
            "\(endpoint.address) is in '\(value.path)' twice; it is first written at \(first.place) "
              + "(for a larger share write \"\(endpoint.address) * 2\")")
        } else {
          places[endpoint.address] = item.node.range
          endpoints.append(endpoint)
        }
      } catch {
        decoder.report(item.node.range, "\(quoted(scalar.text)) is not an endpoint: \(error.reason)")
      }
    }
    return Configuration.StaticService(name: member.key, endpoints: endpoints)
  }

  // MARK: file

  private static func fileDiscovery(_ decoder: Decoder, _ value: YAMLValue) -> Discovery {
    guard let fields = Fields(decoder, value, known: ["kind", "prefix", "directory", "limits"]) else {
      return Discovery(prefix: nil, servicePlaces: nil, value: nil)
    }
    let prefix = prefix(fields, "file")
    fields.require("directory", "directory: /etc/fairlead/services")
    let directory = fields.text("directory")
    if let directory, let flaw = directoryFlaw(directory) {
      fields.reportValue("directory", "'\(fields.path).directory' \(flaw), not \(quoted(directory))")
    }
    let defaults = Configuration.FileDiscovery.Limits()
    let limits = fields.fields("limits", known: ["services", "endpoints", "fileBytes"])
    guard let prefix, let directory else { return Discovery(prefix: prefix, servicePlaces: nil, value: nil) }
    let entry = Configuration.FileDiscovery(
      prefix: prefix.text, directory: directory,
      limits: Configuration.FileDiscovery.Limits(
        services: limits?.integer("services", in: 1...100_000) ?? defaults.services,
        endpoints: limits?.integer("endpoints", in: 1...100_000) ?? defaults.endpoints,
        fileBytes: limits?.size("fileBytes", in: .kibibytes(1) ... .mebibytes(16)) ?? defaults.fileBytes))
    return Discovery(prefix: prefix, servicePlaces: nil, value: .file(entry))
  }

  private static func directoryFlaw(_ path: String) -> String? {
    if path.utf8.first != 0x2F { return "must be a full path" }
    return path.utf8.count > 4000 ? "must have at most 4000 bytes" : nil
  }

  // MARK: dns

  private static func dnsDiscovery(_ decoder: Decoder, _ value: YAMLValue) -> Discovery {
    let known = ["kind", "prefix", "servers", "search", "ndots", "family", "timeout", "tries", "ttl", "limits"]
    guard let fields = Fields(decoder, value, known: known) else {
      return Discovery(prefix: nil, servicePlaces: nil, value: nil)
    }
    let prefix = prefix(fields, "dns")
    let servers = dnsServers(fields)
    let search = searchDomains(fields)
    let ndots = fields.integer("ndots", in: 0...15)
    let family: Configuration.DNSDiscovery.Family? = fields.choice("family")
    let timeout = fields.duration("timeout", in: .milliseconds(50) ... .seconds(30))
    let tries = fields.integer("tries", in: 1...10)
    let ttl = timeToLive(fields)
    let limits = fields.fields("limits", known: ["names", "records"])
    let defaults = Configuration.DNSDiscovery(prefix: "")
    let names = limits?.integer("names", in: 1...100_000) ?? defaults.limits.names
    let records = limits?.integer("records", in: 1...10_000) ?? defaults.limits.records
    return Discovery(
      prefix: prefix, servicePlaces: nil,
      value: prefix.map { prefix in
        .dns(
          Configuration.DNSDiscovery(
            prefix: prefix.text, servers: servers, search: search, ndots: ndots, family: family ?? defaults.family,
            timeout: timeout ?? defaults.timeout, tries: tries ?? defaults.tries, ttl: ttl,
            limits: Configuration.DNSDiscovery.Limits(names: names, records: records)))
      })
  }

  /// IP addresses; a port that is not written is 53.
  private static func dnsServers(_ fields: Fields) -> [SocketAddress] {
    var servers: [SocketAddress] = []
    for item in bounded(fields, "servers", 16) {
      guard let scalar = fields.decoder.scalar(of: item, "an address such as 127.0.0.1:53") else { continue }
      do throws(TextError) {
        let server = try dnsServer(scalar.text)
        _ = try Endpoint(server)
        if case .unix = server { throw TextError("a name server has an IP address") }
        if servers.contains(server) {
          fields.decoder.report(item.node.range, "the name server \(server) is there twice")
        }
        servers.append(server)
      } catch {
        fields.decoder.report(item.node.range, "\(quoted(scalar.text)) is not a name server: \(error.reason)")
      }
    }
    return servers
  }

  private static func dnsServer(_ text: String) throws(TextError) -> SocketAddress {
    if let address = IPv4Address(text) { return .v4(address, port: 53) }
    if let address = IPv6Address(text) { return .v6(address, port: 53) }
    return try SocketAddress(parsing: text)
  }

  private static func searchDomains(_ fields: Fields) -> [String]? {
    guard fields.has("search") else { return nil }
    return bounded(fields, "search", 16).compactMap { item in
      guard let scalar = fields.decoder.scalar(of: item, "a domain such as mesh.internal") else { return nil }
      let domain = scalar.text.last == "." ? String(scalar.text.dropLast()) : scalar.text
      if DNSName.isHostName(domain) { return domain }
      fields.decoder.report(item.node.range, "\(quoted(scalar.text)) is not a domain; write one such as mesh.internal")
      return nil
    }
  }

  private static func timeToLive(_ fields: Fields) -> Configuration.DNSDiscovery.TTL {
    let defaults = Configuration.DNSDiscovery.TTL()
    guard let ttl = fields.fields("ttl", known: ["min", "max", "negative"]) else { return defaults }
    let allowed: ClosedRange<Duration> = .seconds(1) ... .seconds(604_800)
    let value = Configuration.DNSDiscovery.TTL(
      min: ttl.duration("min", in: allowed) ?? defaults.min,
      max: ttl.duration("max", in: allowed) ?? defaults.max,
      negative: ttl.duration("negative", in: allowed) ?? defaults.negative)
    if value.min > value.max {
      let key = ttl.has("min") ? "min" : "max"
      ttl.reportValue(
        key, "'\(ttl.path).min' (\(value.min.shortText)) must be at most '\(ttl.path).max' (\(value.max.shortText))")
    }
    return value
  }
}
