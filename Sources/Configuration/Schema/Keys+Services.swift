// The keys of an entry of `services`.

import Base

extension Configuration.ServiceEntry {
  static let keys: [ConfigurationKey] = [
    .init("name", .text(.name), "the prefix of the services' names this entry is for", required: true, example: "/svc"),
    .init("balancer", .mapping(Configuration.Balancer.keys), "how an endpoint is chosen"),
    .init("timeouts", .mapping(timeouts), "how long things may take"),
    .init(
      "keepAlive", .mapping(keepAlive), "how silent connections over HTTP/2 are asked whether their endpoint is there"),
    .init("limits", .mapping(limits), "what may be open at once; over it 503"),
    .init("retries", .mapping(Configuration.Retries.keys), "which requests are sent again, how often, how many"),
    .init(
      "hedging", .either([.choice(["none"]), .mapping(Configuration.Hedging.keys)]),
      "when an idempotent request that has no answer is sent to a second endpoint as well; its retry budget pays",
      default: "none"),
    .init("circuitBreaker", .mapping(Configuration.CircuitBreaker.keys), "when an endpoint that fails is left out"),
    .init("healthCheck", .mapping(Configuration.HealthCheck.keys), "how endpoints are asked whether they are well"),
    .init(
      "rateLimit", .either([.choice(["none"]), .mapping(Configuration.RateLimit.keys("requests"))]),
      "how many requests it gets from this node; over it 429", default: "none"),
    .init(
      "protocol", .choice(of: ServicePolicy.UpstreamProtocol.self), "what endpoints are spoken to in", default: "same"),
    .init(
      "proxyProtocol", .choice(of: ServicePolicy.ProxyProtocol.self),
      "new connections begin with a PROXY header that names the client; each client address has its own",
      default: "none"),
  ]

  private static let timeouts: [ConfigurationKey] = [
    .init("connect", .duration(.milliseconds(1) ... .seconds(3600)), "until an endpoint accepts", default: "1s"),
    .init(
      "request", .duration(.milliseconds(1) ... .seconds(86400)),
      "from a request's last byte to its response's head, all attempts together",
      default: "15s"),
    .init(
      "attempt", .duration(.milliseconds(1) ... .seconds(86400), word: "none"), "one try at one endpoint",
      default: "none"),
    .init(
      "idle", .duration(.milliseconds(10) ... .seconds(86400)),
      "how long an upstream connection is kept without work, and a body may be silent: a gRPC stream, too",
      default: "60s"),
    .init(
      "stream", .duration(.milliseconds(10) ... .seconds(604_800)),
      "how long a connection that is carried as it is may be silent", default: "1h"),
    .init(
      "tunnel", .duration(.milliseconds(10) ... .seconds(604_800)),
      "the same for what a request has opened: an upgrade such as WebSocket's, or CONNECT", default: "1h"),
  ]

  private static let keepAlive: [ConfigurationKey] = [
    .init(
      "interval", .duration(.milliseconds(100) ... .seconds(3600), word: "none"), "silence after which a PING is sent",
      default: "30s"),
    .init("timeout", .duration(.milliseconds(10) ... .seconds(60)), "without an answer it is ended", default: "10s"),
  ]

  private static let limits: [ConfigurationKey] = [
    .init("connections", .integer(1...1_000_000), "upstream connections", default: "1024"),
    .init("pending", .integer(0...1_000_000), "requests that wait for a connection", default: "1024"),
    .init("requests", .integer(1...1_000_000), "requests under way", default: "1024"),
  ]
}
