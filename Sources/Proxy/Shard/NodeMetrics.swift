// The families of metrics that a node has, and the words of their labels.

import Policy
import Telemetry

/// The families of a node: those every dashboard knows (`ProxyMetrics`), and the data plane's own.
final class NodeMetrics: Sendable {
  let registry: Registry
  let common: ProxyMetrics
  let endpointAttempts: CounterFamily
  let endpointInFlight: GaugeFamily
  let endpointConnections: GaugeFamily
  let healthChecks: CounterFamily
  let pendingRequests: GaugeFamily
  let connectFailures: CounterFamily
  let acceptFailures: CounterFamily
  let handedOver: CounterFamily
  let bufferShortages: CounterFamily
  let descriptorShortages: CounterFamily
  let shardConnections: GaugeFamily
  let shardRequests: CounterFamily
  let listenerConnections: GaugeFamily
  let listeningSockets: GaugeFamily
  let turns: CounterFamily
  let workloads: WorkloadMetrics
  let routing: RoutingMetrics
  let streams: CounterFamily
  let streamBytes: CounterFamily
  let http2Streams: GaugeFamily
  let unansweredPings: CounterFamily
  let grpcResponses: CounterFamily
  let captured: CounterFamily
  let clientHellos: CounterFamily
  let proxyHeaders: CounterFamily
  let originalDestinations: GaugeFamily
  let sourcesNotKept: CounterFamily
  let balancerPanic: GaugeFamily
  let hedges: CounterFamily
  let apertureEndpoints: GaugeFamily
  let overloadState: GaugeFamily
  let overloadChanges: CounterFamily

  init(registry: Registry) {
    self.registry = registry
    common = ProxyMetrics(registry: registry)
    endpointAttempts = registry.counter(
      "fairlead_endpoint_attempts_total", help: "Attempts at an endpoint, by what came of them.",
      labels: ["service", "endpoint", "outcome"])
    endpointInFlight = registry.gauge(
      "fairlead_endpoint_in_flight_requests", help: "Requests an endpoint is working on.",
      labels: ["service", "endpoint"])
    endpointConnections = registry.gauge(
      "fairlead_endpoint_connections", help: "Open connections to an endpoint.", labels: ["service", "endpoint"])
    grpcResponses = registry.counter(
      "fairlead_grpc_responses_total", help: "gRPC calls ended, by their status code.",
      labels: ["service", "grpc_status"])
    http2Streams = registry.gauge(
      "fairlead_http2_streams", help: "Open streams of connections that carry HTTP/2.", labels: ["direction"])
    unansweredPings = registry.counter(
      "fairlead_http2_unanswered_pings_total",
      help: "Connections to endpoints that were ended because a PING was not answered.")
    healthChecks = registry.counter(
      "fairlead_health_checks_total", help: "Active health checks, by what came of them.",
      labels: ["service", "outcome"])
    pendingRequests = registry.gauge(
      "fairlead_pending_requests", help: "Requests waiting for a connection to their service, or for a place there.")
    connectFailures = registry.counter(
      "fairlead_connect_failures_total", help: "Connects to endpoints that were refused or took too long.")
    acceptFailures = registry.counter(
      "fairlead_accept_failures_total", help: "Accepts that failed, mostly for want of descriptors.")
    handedOver = registry.counter(
      "fairlead_connections_handed_over_total", help: "Fresh connections given to a less loaded shard.")
    bufferShortages = registry.counter(
      "fairlead_receive_buffer_shortages_total", help: "Receives that had to wait for a buffer.")
    descriptorShortages = registry.counter(
      "fairlead_descriptor_shortages_total", help: "Connections to endpoints not opened for want of descriptors.")
    shardConnections = registry.gauge(
      "fairlead_shard_connections", help: "Downstream connections of a shard.", labels: ["shard"])
    shardRequests = registry.counter(
      "fairlead_shard_requests_total", help: "Requests finished by a shard.", labels: ["shard"])
    listenerConnections = registry.gauge(
      "fairlead_listener_connections", help: "Downstream connections that came through a listener.",
      labels: ["listener"])
    listeningSockets = registry.gauge(
      "fairlead_listening_sockets",
      help: "Listening sockets of a listener: opened by this process, kept over a restart, or activated by systemd.",
      labels: ["listener", "source"])
    turns = registry.counter("fairlead_shard_turns_total", help: "Turns of a shard's event loop.", labels: ["shard"])
    workloads = WorkloadMetrics(registry: registry)
    routing = RoutingMetrics(registry: registry)
    streams = registry.counter(
      "fairlead_streams_total", help: "TCP connections carried as they are.", labels: ["listener", "service"])
    streamBytes = registry.counter(
      "fairlead_stream_bytes_total", help: "Bytes carried in TCP streams: in from clients, out to them.",
      labels: ["service", "direction"])
    captured = registry.counter(
      "fairlead_captured_connections_total", help: "Connections with an original destination, by what they speak.",
      labels: ["listener", "protocol"])
    clientHellos = registry.counter(
      "fairlead_client_hellos_total", help: "ClientHellos of TLS connections, by where they led or why they did not.",
      labels: ["listener", "outcome"])
    proxyHeaders = registry.counter(
      "fairlead_proxy_headers_total",
      help: "Headers of the PROXY protocol that came or were missing, by what came of them.",
      labels: ["listener", "outcome"])
    originalDestinations = registry.gauge(
      "fairlead_original_destinations", help: "Addresses that captured clients connect to and that have a slot.")
    balancerPanic = registry.gauge(
      "fairlead_balancer_panic",
      help: "1 while so few endpoints of a service are healthy that health is not believed and all are used.",
      labels: ["service"], merge: .maximum)
    apertureEndpoints = registry.gauge(
      "fairlead_balancer_aperture_endpoints", help: "Endpoints of a service that this node's slice touches (aperture).",
      labels: ["service"])
    hedges = registry.counter(
      "fairlead_hedges_total",
      help:
        "Second attempts sent while the first was slow; outcome: won, lost, failed, or refused by the retry budget.",
      labels: ["service", "outcome"])
    sourcesNotKept = registry.counter(
      "fairlead_sources_not_kept_total", help: "Upstream connections that could not be made from the client's address.")
    overloadState = registry.gauge(
      "fairlead_overload_state",
      help: "Whether a shard refuses new requests because there is too much to do: 0 no, 1 for its lag, 2 for memory.",
      labels: ["shard"])
    overloadChanges = registry.counter(
      "fairlead_overload_changes_total", help: "How often a shard began to refuse new requests, or ceased to.",
      labels: ["shard"])
  }

  /// An endpoint's cells on each of the first shards.
  func endpointCells(shardCount: Int, service: String, endpoint: String) -> [EndpointCells] {
    let labels = [service, endpoint]
    let succeeded = endpointAttempts.cells(shardCount: shardCount, labels: labels + ["success"])
    let failed = endpointAttempts.cells(shardCount: shardCount, labels: labels + ["failure"])
    let inFlight = endpointInFlight.cells(shardCount: shardCount, labels: labels)
    let connections = endpointConnections.cells(shardCount: shardCount, labels: labels)
    return (0..<shardCount).map {
      EndpointCells(succeeded: succeeded[$0], failed: failed[$0], inFlight: inFlight[$0], connections: connections[$0])
    }
  }

  func endpointCells(shard: Int, service: String, endpoint: String) -> EndpointCells {
    let labels = [service, endpoint]
    return EndpointCells(
      succeeded: endpointAttempts.cell(shard: shard, labels: labels + ["success"]),
      failed: endpointAttempts.cell(shard: shard, labels: labels + ["failure"]),
      inFlight: endpointInFlight.cell(shard: shard, labels: labels),
      connections: endpointConnections.cell(shard: shard, labels: labels))
  }

  /// An endpoint is gone: its series go, too.
  func forgetEndpoint(service: String, endpoint: String) {
    for outcome in ["success", "failure"] { endpointAttempts.retire(labels: [service, endpoint, outcome]) }
    endpointInFlight.retire(labels: [service, endpoint])
    endpointConnections.retire(labels: [service, endpoint])
    for state in EndpointState.allCases {
      common.endpointState.retire(labels: [service, endpoint, state.rawValue])
    }
  }

  /// A service is given up: what counted it serves others, or names that clients make up would fill every family for good.
  func forgetService(_ service: String, listeners: [String]) {
    for listener in listeners {
      for name in ServiceCells.classes { common.requests.retire(labels: [listener, service, name]) }
      common.requestDuration.retire(labels: [listener, service])
      streams.retire(labels: [listener, service])
    }
    for direction in ["in", "out"] { streamBytes.retire(labels: [service, direction]) }
    common.attemptDuration.retire(labels: [service])
    for reason in ["unreachable", "closed", "status", "timeout"] { common.retries.retire(labels: [service, reason]) }
    workloads.rateLimited.retire(labels: ["service", service])
    common.retryBudgetExhausted.retire(labels: [service])
    balancerPanic.retire(labels: [service])
    for outcome in HedgeOutcome.allCases { hedges.retire(labels: [service, outcome.rawValue]) }
    for outcome in ["success", "failure"] { healthChecks.retire(labels: [service, outcome]) }
    for code in 0..<GRPCStatus.count { grpcResponses.retire(labels: [service, String(code)]) }
  }

  func serviceCells(shard: Int, service: String, listeners: [String]) -> ServiceCells {
    ServiceCells(metrics: self, shard: shard, service: service, listeners: listeners)
  }
}

/// What a captured connection speaks, as far as that was looked at.
enum CapturedProtocol: Int, CaseIterable { case http1, http2, tls, tcp }

/// What came of the ClientHello of a connection.
enum ClientHelloOutcome: Int, CaseIterable {
  /// A rule had it.
  case route
  /// It went to the service of its server's name.
  case name
  /// It went to its original destination.
  case original
  /// It names no server, and there was nowhere else to go.
  case unnamed
  /// Something else than TLS came.
  case foreign
  case malformed
  case oversized
  /// It did not come, or not all of it, in time.
  case truncated
}

/// What came of the header of the PROXY protocol that a connection begins with, or should.
enum ProxyHeaderOutcome: Int, CaseIterable {
  /// It names the client.
  case client
  /// It names nobody: a balancer's own connection.
  case own
  /// It should have come, and something else did.
  case missing
  /// Its sender is nobody who is believed.
  case stranger
  case malformed
  /// It did not come, or not all of it, in time.
  case truncated
}
