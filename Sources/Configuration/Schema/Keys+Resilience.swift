// The keys of `retries`, `circuitBreaker` and `healthCheck`.

import Base
import Policy

extension Configuration.Retries {
  static let keys: [ConfigurationKey] = [
    .init(
      "classifier", .choice(ResponseClassifier.allCases.map(\.word)),
      "which answers are failures that may be tried again", default: "read-5xx"),
    .init("budget", .mapping(budget), "how many retries all requests to the service may cost together"),
    .init(
      "backoff", .mapping(Configuration.Wait.keys(upTo: .seconds(60), min: "10ms", max: "1s")),
      "the wait before a retry"),
    .init("limit", .integer(0...10), "retries of one request", default: "3"),
  ]

  private static let budget: [ConfigurationKey] = [
    .init("percent", .integer(0...1_000), "of a hundred requests, so many may be sent again", default: "20"),
    .init("minPerSecond", .integer(0...1_000_000), "and so many each second besides", default: "10"),
    .init("window", .duration(.seconds(1) ... .seconds(600)), "how long a request counts for that", default: "10s"),
  ]
}

extension Configuration.Hedging {
  static let keys: [ConfigurationKey] = [
    .init(
      "percentile", .integer(50...99), "of a hundred recent answers, so many came sooner than a second attempt is sent",
      default: "95"),
    .init(
      "min", .duration(.milliseconds(1) ... .seconds(3600)), "a second attempt is never sent sooner", default: "1ms"),
    .init("samples", .integer(10...2_000), "answers that a shard must have seen lately", default: "100"),
  ]
}

extension Configuration.CircuitBreaker {
  static let keys: [ConfigurationKey] = [
    .init(
      "kind", .choice(of: ServicePolicy.CircuitBreaker.Kind.self), "what takes an endpoint out",
      default: "consecutive-failures"),
    .init("failures", .integer(1...1_000_000), "in a row, for consecutive-failures", default: "5"),
    .init("successRate", .integer(1...100), "in percent, for success-rate", default: "80"),
    .init("window", .duration(.seconds(1) ... .seconds(600)), "over which the success rate is taken", default: "10s"),
    .init("minRequests", .integer(1...1_000_000), "requests that the window must have seen", default: "20"),
    .init(
      "backoff", .mapping(Configuration.Wait.keys(upTo: .seconds(86400), min: "5s", max: "5m")),
      "how long an endpoint is out before one request probes it"),
  ]
}

extension Configuration.HealthCheck {
  static let keys: [ConfigurationKey] = [
    .init(
      "kind", .choice(of: ServicePolicy.HealthCheck.Kind.self), "how endpoints are asked whether they are well",
      default: "none"),
    .init("path", .text(requestPath), "what a GET asks for", default: "/", excludedBy: [("kind", ["tcp", "grpc"])]),
    .init("host", .text(host), "its Host (default: the service's name)", excludedBy: [("kind", ["tcp"])]),
    .init(
      "service", .text(grpcService), "the gRPC service whose health is asked for; empty for the server's as a whole",
      excludedBy: [("kind", ["tcp", "http"])]),
    .init(
      "interval", .duration(.milliseconds(100) ... .seconds(3600)), "between two checks of an endpoint", default: "5s"),
    .init("timeout", .duration(.milliseconds(10) ... .seconds(60)), "how long one check may take", default: "1s"),
    .init("healthy", .integer(1...100), "good answers in a row that bring an endpoint back", default: "2"),
    .init("unhealthy", .integer(1...100), "bad ones in a row that take it out", default: "3"),
    .init(
      "expect", .text(statuses), "the status of a good answer", default: "200-399",
      excludedBy: [("kind", ["tcp", "grpc"])]),
  ]

  private static let requestPath = TextForm("path", pattern: "^/[!-~]*$", example: "/health", wrong: "health")
  private static let grpcService = TextForm(
    "gRPC service", pattern: "^[!-~]{0,255}$", example: "shop.v1.Cart", wrong: "a b", isNumberToo: true)
  private static let host = TextForm(
    "host", pattern: "^[!-.0-?A-~]{1,255}$", example: "web.local", wrong: "a/b", isNumberToo: true)
  private static let statuses = TextForm(
    "status or range", pattern: "^[1-5][0-9][0-9](-[1-5][0-9][0-9])?$", example: "200-399", wrong: "2xx",
    isNumberToo: true)
}

extension Configuration.Wait {
  static func keys(upTo most: Duration, min: String, max: String) -> [ConfigurationKey] {
    [
      .init(
        "kind", .choice(of: ServicePolicy.Wait.Kind.self),
        "doubled each time and drawn at random below that, or always min", default: "jittered"),
      .init("min", .duration(.milliseconds(1)...most), "the first wait", default: min),
      .init("max", .duration(.milliseconds(1)...most), "the longest", default: max),
    ]
  }
}
