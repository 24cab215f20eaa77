// The keys of an entry of `listeners`.

extension Configuration.Listener {
  static let keys: [ConfigurationKey] = [
    .init(
      "name", .text(.segment), "names the listener in metrics and tables; up to 63 characters", required: true,
      example: "outbound"),
    .init(
      "address", .text(.address), "where it listens; :80 takes both families, port 0 lets the kernel choose",
      required: true),
    .init("direction", .choice(of: Direction.self), "from this host's workloads, or to them", default: "outbound"),
    .init(
      "capture", .choice(of: Capture.self), "where a connection's original destination is taken from", default: "none"),
    .init(
      "unresolved", .choice(of: Unresolved.self),
      "a captured request of an unknown name goes where its client meant to, or is refused", default: "forward",
      needs: [("capture", ["redirect", "tproxy"])]),
    .init(
      "protocol", .choice(of: DownstreamProtocol.self),
      "what clients speak; detect looks at the first bytes, tls at the ClientHello, tcp at nothing; http2 takes HTTP/1, too",
      default: "detect"),
    .init(
      "to", .text(.name), "the service of every connection that is not captured",
      needs: [("protocol", ["tcp"]), ("capture", ["none"])]),
    .init(
      "trust", .choice(of: Trust.self),
      "whether clients may steer their own requests (l5d-dtab and its like); clients, where outbound traffic is captured"
    ),
    .init(
      "proxyProtocol", .either([.flag([false]), .mapping(proxyProtocol)]),
      "connections of these sources begin with a PROXY header, version 1 or 2, and their client is the one it names; of "
        + "nobody else's is one taken", default: "false", needs: [("capture", ["none"])]),
    .init(
      "connect", .list(.text(.destination), most: 1000),
      "where CONNECT may lead: networks and names (*.svc: all below it, *: any), each with a port, a range or *; nowhere "
        + "by default", needs: [("capture", ["none"])], excludedBy: [("protocol", ["tcp", "tls"])]),
  ]

  private static let proxyProtocol: [ConfigurationKey] = [
    .init(
      "from", .list(.text(.network), most: 1000), "networks that are believed", required: true, example: "[10.0.0.0/8]")
  ]
}
