// Decodes one entry of `listeners` and one of `discovery`.

import Base
import Policy

extension Draft {
  static func listener(_ decoder: Decoder, _ value: YAMLValue) -> Listener {
    let known = [
      "name", "address", "direction", "capture", "unresolved", "protocol", "to", "trust", "proxyProtocol",
    ]
    guard let fields = Fields(decoder, value, known: known) else {
      return Listener(name: nil, address: nil, value: nil)
    }
    fields.require("name", "name: outbound")
    fields.require("address", "address: 127.0.0.1:4140")
    let name = fields.text("name")
    if let name, !Path.isSegment(name) || name.utf8.count > 63 {
      fields.reportValue(
        "name", "a listener's name has up to 63 letters, digits and any of -._, not \(quoted(name))")
    }
    let address = fields.address("address")
    let direction: Configuration.Listener.Direction = fields.choice("direction") ?? .outbound
    let kind: Configuration.Listener.DownstreamProtocol =
      fields.choice("protocol", later: ["http2", "tls"]) ?? .detect
    let trust: Configuration.Listener.Trust = fields.choice("trust") ?? .none
    let capture: Configuration.Listener.Capture = fields.choice("capture") ?? .none
    let unresolved: Configuration.Listener.Unresolved = fields.choice("unresolved") ?? .forward
    checkCapture(fields, capture, kind, address)
    if fields.bool("proxyProtocol") == true {
      fields.reportValue("proxyProtocol", notAvailable("proxyProtocol: true"))
    }
    let located = (name: fields["name"]?.node.range, address: fields["address"]?.node.range)
    var listener: Configuration.Listener?
    if let name, let address {
      listener = Configuration.Listener(
        name: name, address: address, direction: direction, protocol: kind, trust: trust, capture: capture,
        unresolved: unresolved, to: destination(fields, capture, kind))
    }
    return Listener(
      name: name.flatMap { text in located.name.map { (text, $0) } },
      address: address.flatMap { address in located.address.map { (address, $0) } },
      value: listener)
  }

  private static func checkCapture(
    _ fields: Fields, _ capture: Configuration.Listener.Capture, _ kind: Configuration.Listener.DownstreamProtocol,
    _ address: SocketAddress?
  ) {
    if case .unix = address, capture != .none {
      fields.reportValue("capture", "a Unix socket has no original destination; 'capture' must be 'none' here")
    }
    if capture == .none, fields.has("unresolved") {
      fields.reportValue(
        "unresolved", "'unresolved' says what becomes of captured requests; write capture: redirect, or leave it out")
    }
  }

  /// Where the connections of a `tcp` listener go when none has an original destination.
  private static func destination(
    _ fields: Fields, _ capture: Configuration.Listener.Capture, _ kind: Configuration.Listener.DownstreamProtocol
  ) -> Path? {
    let isNeeded = kind == .tcp && capture == .none
    guard let text = fields.text("to") else {
      if isNeeded, !fields.has("to") { fields.require("to", "to: /svc/redis") }
      return nil
    }
    if !isNeeded {
      fields.reportValue(
        "to", "'to' is for listeners with protocol: tcp and capture: none; others find names themselves")
      return nil
    }
    if let name = name(text) { return name }
    fields.reportValue("to", "\(quoted(text)) is not a name; write a path such as /svc/redis")
    return nil
  }

  static func discovery(_ decoder: Decoder, _ value: YAMLValue) -> Discovery {
    let later = ["file", "dns"]
    if case .mapping(let mapping) = value.node.content, case .scalar(let kind) = mapping["kind"]?.value.content,
      later.contains(kind.text)
    {
      return unavailableDiscovery(decoder, mapping, kind.text)
    }
    let known = ["kind", "prefix", "services"]
    guard let fields = Fields(decoder, value, known: known, later: ["directory"]) else {
      return Discovery(prefix: nil, servicePlaces: nil, value: nil)
    }
    fields.require("kind", "kind: static")
    fields.require("prefix", "prefix: static")
    _ = fields.choice("kind", ["static"], later: later)
    let prefix = fields.text("prefix")
    if let prefix { checkSegment(fields, "prefix", prefix, "a discovery's prefix") }
    var places: [String: SourceRange] = [:]
    var services: [Configuration.StaticService] = []
    if let value = fields["services"] {
      guard case .mapping(let mapping) = value.node.content else {
        fields.reportValue(
          "services", "'\(value.path)' must be a mapping (name: [endpoint, ...]), not \(value.node.kind)")
        return Discovery(prefix: prefix.flatMap { located(fields, "prefix", $0) }, servicePlaces: nil, value: nil)
      }
      for member in mapping.members {
        places[member.key] = member.keyRange
        services.append(staticService(decoder, member, path: value.path))
      }
    }
    return Discovery(
      prefix: prefix.flatMap { located(fields, "prefix", $0) }, servicePlaces: places,
      value: prefix.map { Configuration.StaticDiscovery(prefix: $0, services: services) })
  }

  /// Its other keys are those of a later version: only its prefix is looked at.
  private static func unavailableDiscovery(_ decoder: Decoder, _ mapping: YAMLMapping, _ kind: String) -> Discovery {
    if let member = mapping["kind"] {
      decoder.report(member.value.range, "\(notAvailable("kind: \(kind)")); 'kind' can be 'static'")
    }
    guard let prefix = mapping["prefix"], case .scalar(let text) = prefix.value.content else {
      return Discovery(prefix: nil, servicePlaces: nil, value: nil)
    }
    return Discovery(prefix: (text.text, prefix.value.range), servicePlaces: nil, value: nil)
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

  private static func checkSegment(_ fields: Fields, _ key: String, _ text: String, _ subject: String) {
    if text == NameRewriter.reservedPrefix {
      fields.reportValue(key, "/#/rewrite is the proxy's own; give the discovery another prefix")
    }
    guard !Path.isSegment(text) || text == "#" else { return }
    fields.reportValue(key, "\(subject) has letters, digits and any of -._, not \(quoted(text))")
  }

  private static func located(_ fields: Fields, _ key: String, _ text: String) -> (String, SourceRange)? {
    fields[key].map { (text, $0.node.range) }
  }
}
