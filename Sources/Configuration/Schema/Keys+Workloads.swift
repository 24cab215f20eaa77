// The keys of an entry of `workloads`.

extension Configuration.Workload {
  static let keys: [ConfigurationKey] = [
    .init("name", .text(.segment), "names the workload in metrics and tables; never 'other'", required: true),
    .init(
      "match", .mapping(match), "whose connections are its own; at least one of these", required: true,
      example: "{users: [www-data]}"),
    .init("weight", .number(Configuration.Workload.weights), "its share against the other workloads", default: "1"),
    .init(
      "rateLimit", .mapping(Configuration.RateLimit.keys("requests")), "how many requests it may make; over it 429"),
    .init("connectionRate", .mapping(Configuration.RateLimit.keys("connections")), "how many connections it may make"),
    .init(
      "onFailure", .choice(of: Configuration.Capture.OnFailure.self),
      "as capture.onFailure, for this workload (default: as capture says)"),
  ]

  private static let match: [ConfigurationKey] = [
    .init(
      "addresses", .list(.text(.network), most: 1_000), "source addresses, for namespaces, containers and other hosts"),
    .init("users", .list(.text(.user), most: 1_000), "users of this host's own processes, by name or number"),
    .init(
      "cgroups", .list(.text(.cgroup), most: 1_000), "cgroups of this host's own processes, with everything below them"),
  ]
}
