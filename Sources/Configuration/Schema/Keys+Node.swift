// The keys of `node`, `admin`, `limits` and `telemetry`.

import Base

extension Configuration.Node {
  static let keys: [ConfigurationKey] = [
    .init("name", .text(.nodeName), "stands in 'via' and on the status page (default: the host's name)"),
    .init("zone", .text(.zone), "where this host stands, for balancers that prefer what is near"),
    .init(
      "shards", .integer(Configuration.Shards.allowed, word: "auto"), "event-loop threads; auto: one for each core",
      default: "auto"),
    .init("via", .flag(), "whether 'via' is added to requests and responses", default: "true"),
    .init(
      "drainTimeout", .duration(.zero ... .seconds(3600)),
      "how long what is in flight may take to finish when the daemon stops", default: "30s"),
    .init(
      "reloadOnChange", .flag(), "whether a change of the configuration's files is taken over by itself",
      default: "true"),
  ]
}

extension Configuration.Admin {
  static let keys: [ConfigurationKey] = [
    .init(
      "socket", .text(.socketPath), "the Unix socket that fairlead(1) talks to", default: "/run/fairlead/admin.sock"),
    .init("group", .text(.group), "the group that owns the socket: its members may read"),
    .init("operators", .text(.group), "the group whose members may also change things, as root may"),
    .init("http", .text(.internetAddress), "a read-only listener for metrics and readiness; left out for none"),
  ]
}

extension Configuration.Limits {
  static let keys: [ConfigurationKey] = [
    .init(
      "headerBytes", .size(.kibibytes(1) ... .mebibytes(1)),
      "a whole head, request line included; by HTTP/2, four times as much ends the connection",
      default: "32KiB"),
    .init("headers", .integer(8...10_000), "fields of one head", default: "128"),
    .init(
      "requestLineBytes", .size(ByteCount(bytes: 128) ... .mebibytes(1)), "a request line; at most headerBytes",
      default: "8KiB"),
    .init("connections", .integer(1...10_000_000), "downstream connections of the whole process", default: "100000"),
    .init(
      "headerTimeout", .duration(.milliseconds(10) ... .seconds(3600)),
      "from the first byte of a head to its end, and for a new connection to send one",
      default: "10s"),
    .init(
      "idleTimeout", .duration(.milliseconds(10) ... .seconds(86400)),
      "how long a downstream connection may rest between two requests", default: "60s"),
    .init(
      "viaHops", .integer(1...1_000), "how often a request may pass this node before it counts as going in circles",
      default: "10"),
    .init(
      "destinations", .integer(1...1_000_000), "addresses that captured clients connect to, at once on one shard",
      default: "4096"),
    .init(
      "overload", .mapping(Configuration.Overload.keys),
      "from when on new requests are refused, those of light workloads first"),
  ]
}

extension Configuration.Telemetry {
  static let keys: [ConfigurationKey] = [
    .init("accessLog", .mapping(accessLog), "a line for each request; left out for none"),
    .init("labels", .mapping(labels), "bounds of the metrics"),
  ]

  private static let accessLog: [ConfigurationKey] = [
    .init("path", .text(.path), "the file; opened again on SIGUSR1", required: true),
    .init("format", .choice(of: Configuration.AccessLog.Format.self), "how a line is written", default: "json"),
  ]

  private static let labels: [ConfigurationKey] = [
    .init(
      "maxSeries", .integer(1...1_000_000),
      "label combinations of one metric; what is over it is counted in one series", default: "10000")
  ]
}
