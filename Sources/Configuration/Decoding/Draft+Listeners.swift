// Decodes one entry of `listeners`.

import Base
import Policy

extension Draft {
  static func listener(_ decoder: Decoder, _ value: YAMLValue) -> Listener {
    let known = [
      "name", "address", "direction", "capture", "unresolved", "protocol", "to", "trust", "proxyProtocol", "connect",
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
      fields.choice("protocol") ?? .detect
    let capture: Configuration.Listener.Capture = fields.choice("capture") ?? .none
    let trust = fields.choice("trust") ?? Configuration.Listener.Trust.usual(direction, capture)
    let unresolved: Configuration.Listener.Unresolved = fields.choice("unresolved") ?? .forward
    checkCapture(fields, capture, kind, address)
    let proxySources = proxySources(fields, capture)
    let connect = connect(fields, capture, kind)
    let located = (name: fields["name"]?.node.range, address: fields["address"]?.node.range)
    var listener: Configuration.Listener?
    if let name, let address {
      listener = Configuration.Listener(
        name: name, address: address, direction: direction, protocol: kind, trust: trust, capture: capture,
        unresolved: unresolved, to: destination(fields, capture, kind), proxySources: proxySources,
        connect: connect)
    }
    return Listener(
      name: name.flatMap { text in located.name.map { (text, $0) } },
      address: address.flatMap { address in located.address.map { (address, $0) } },
      value: listener)
  }

  /// False, or who is believed.
  private static func proxySources(
    _ fields: Fields, _ capture: Configuration.Listener.Capture
  ) -> [IPNetwork] {
    guard let value = fields["proxyProtocol"] else { return [] }
    if case .scalar = value.node.content {
      if fields.bool("proxyProtocol") == true {
        fields.reportValue(
          "proxyProtocol", "'\(value.path)' must say whose headers are believed; write { from: [10.0.0.0/8] }")
      }
      return []
    }
    guard let written = fields.fields("proxyProtocol", known: ["from"]) else { return [] }
    written.require("from", "from: [10.0.0.0/8]")
    if written["from"]?.isEmptyList == true {
      written.reportValue(
        "from", "'\(written.path).from' is empty: nobody would be believed; write proxyProtocol: false")
    }
    if capture != .none {
      fields.reportValue(
        "proxyProtocol", "captured connections begin with what their client says to its server; write capture: none")
    }
    return written.networks("from")
  }

  /// Where CONNECT may lead.
  private static func connect(
    _ fields: Fields, _ capture: Configuration.Listener.Capture, _ kind: Configuration.Listener.DownstreamProtocol
  ) -> [ConnectDestination] {
    guard fields.has("connect") else { return [] }
    if kind == .tcp || kind == .tls {
      fields.reportValue("connect", "'connect' is for listeners that take HTTP requests; write protocol: detect")
    }
    if capture != .none {
      fields.reportValue("connect", "captured connections go where their clients meant to; write capture: none")
    }
    let entries = fields.list("connect", most: 1000, "a destination such as db.example:5432", "a destination") {
      text throws(TextError) in try ConnectDestination(parsing: text)
    }
    return entries.map(\.value)
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
}
