// The keys of the whole document, and a walk over all of them.

import Policy

extension Configuration {
  /// Every key that can be written, section by section. The order is that of the manual.
  public static let schema: [ConfigurationKey] = [
    .init("node", .mapping(Node.keys), "this host's proxy"),
    .init("admin", .mapping(Admin.keys), "where the daemon is steered and watched"),
    .init(
      "listeners", .list(.mapping(Listener.keys), most: 64), "sockets that accept connections; at least one",
      required: true, example: "[{name: outbound, address: \"127.0.0.1:4140\"}]"),
    .init(
      "discovery", .list(.mapping(Configuration.Discovery.keys), most: 64),
      "where endpoints are found, each under a prefix of its own",
      example: "[{kind: static, prefix: static, services: {web: [\"127.0.0.1:9001\"]}}]"),
    .init(
      "delegations", .text(delegationTable),
      "the table from logical names to bound ones: PREFIX => DESTINATION ; of two that match, the later one goes first",
      example: "/svc => /#/static ;"),
    .init(
      "identifiers", .list(Identifier.value, most: Identifier.maximumCount),
      "what a request is called, tried in this order until one applies", default: "[\"host\"]", example: "[host]"),
    .init(
      "routes", .list(.mapping(Route.keys), most: 20_000),
      "rules for requests; the first that matches has a request, and others go to the name they have"),
    .init(
      "services", .list(.mapping(ServiceEntry.keys), most: 1_000),
      "how requests to a service are treated; every entry whose name is a prefix counts, later ones over earlier"),
    .init(
      "workloads", .list(.mapping(Workload.keys), most: 1_000),
      "who is calling; the deepest cgroup wins, then the user, then the longest network"),
    .init("limits", .mapping(Limits.keys), "what one client, one connection, one head may take"),
    .init("telemetry", .mapping(Telemetry.keys), "what is written down"),
    .init("capture", .mapping(Capture.keys), "which connections 'fairlead capture apply' leads to the listeners"),
  ]

  private static let delegationTable = TextForm(
    "delegation table", pattern: "=>", example: "/svc => /#/static ;", wrong: "/svc")
}

/// A key and where it stands: `listeners[].address`, `discovery[].services.*`.
struct PlacedKey {
  let path: String
  let key: ConfigurationKey
}

extension ConfigurationKey {
  /// The keys in `kind`, in order, each before those below it.
  static func all(of keys: [ConfigurationKey] = Configuration.schema, below path: String = "") -> [PlacedKey] {
    keys.flatMap { key in
      let own = path.isEmpty ? key.name : "\(path).\(key.name)"
      return [PlacedKey(path: own, key: key)] + below(key.kind, own)
    }
  }

  private static func below(_ kind: ConfigurationValue, _ path: String) -> [PlacedKey] {
    switch kind {
    case .mapping(let keys), .oneKey(let keys): all(of: keys, below: path)
    case .list(let item, _): below(item, path + "[]")
    case .table(_, let value): below(value, path + ".*")
    case .either(let ways): ways.flatMap { below($0, path) }
    case .text, .flag, .integer, .number, .duration, .size, .choice: []
    }
  }
}
