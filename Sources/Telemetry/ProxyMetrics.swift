// The metrics that every dashboard knows, each with its name, help and labels; `NodeMetrics` has the data plane's own. Who
// counts what is the data plane's business. No label value comes from a client's bytes unless it names something configured.
// People read of all of them in fairleadd(8), which a test holds against the registry.

/// The families every node registers. A plain value over one registry.
public struct ProxyMetrics: Sendable {
  /// `listener`, `service`, `status_class` (`1xx` ... `5xx`, `none`).
  public let requests: CounterFamily
  /// `listener`, `service`: from the request's first byte to the response's end.
  public let requestDuration: HistogramFamily
  /// `service`: one attempt at one endpoint.
  public let attemptDuration: HistogramFamily
  /// `service`, `reason` (`unreachable`, `closed`).
  public let retries: CounterFamily
  /// `service`.
  public let retryBudgetExhausted: CounterFamily
  /// `service`, `endpoint`, `state`: 1 for the state the endpoint is in.
  public let endpointState: GaugeFamily
  /// `direction` (`downstream`, `upstream`).
  public let connections: GaugeFamily
  /// `direction`.
  public let connectionsOpened: CounterFamily
  /// `direction` (`in`, `out`): body and head bytes, seen from the clients.
  public let bytes: CounterFamily
  /// `code` (`FL2103`): failures that the proxy itself answered.
  public let errors: CounterFamily
  /// How long the slowest recent turn of a shard's loop took; `shard`.
  public let loopLag: GaugeFamily
  /// Access log records lost; `reason` (`ring_full`, `write_failed`).
  public let accessLogLost: CounterFamily
  /// 1 while the kernel's capturing rules are told that this node lives.
  public let captureAlive: GaugeFamily
  public let heartbeatMissed: CounterFamily
  public let configReloads: CounterFamily
  public let configReloadSuccessful: GaugeFamily
  /// `version`, `commit`, `swift`: always 1.
  public let buildInfo: GaugeFamily

  public init(registry: Registry) {
    requests = registry.counter(
      "fairlead_requests_total", help: "Requests answered, by the class of the response's status.",
      labels: ["listener", "service", "status_class"],
      flat: [
        "rt/{listener}/service/{service}/requests", "rt/{listener}/service/{service}/status/{status_class}",
      ])
    requestDuration = registry.histogram(
      "fairlead_request_duration_seconds", help: "From a request's first byte to the end of its response.",
      labels: ["listener", "service"], flat: ["rt/{listener}/service/{service}/request_latency_ms"])
    attemptDuration = registry.histogram(
      "fairlead_upstream_attempt_duration_seconds", help: "One attempt at one endpoint, retries counted singly.",
      labels: ["service"], flat: ["service/{service}/attempt_latency_ms"])
    retries = registry.counter(
      "fairlead_retries_total", help: "Attempts after the first one, by what made them necessary.",
      labels: ["service", "reason"], flat: ["service/{service}/retries/total", "service/{service}/retries/{reason}"])
    retryBudgetExhausted = registry.counter(
      "fairlead_retry_budget_exhausted_total",
      help: "Attempts safe to repeat that were not: their request or its service had used up what it may have.",
      labels: ["service"], flat: ["service/{service}/retries/budget_exhausted"])
    endpointState = registry.gauge(
      "fairlead_endpoint_state", help: "1 for the state an endpoint is in.", labels: ["service", "endpoint", "state"])
    connections = registry.gauge(
      "fairlead_connections", help: "Connections open now.", labels: ["direction"])
    connectionsOpened = registry.counter(
      "fairlead_connections_opened_total", help: "Connections opened so far.", labels: ["direction"])
    bytes = registry.counter(
      "fairlead_bytes_total", help: "Bytes received from clients (in) and sent to them (out).", unit: .bytes,
      labels: ["direction"])
    errors = registry.counter(
      "fairlead_errors_total", help: "Failures that the proxy answered itself, by code.", labels: ["code"])
    loopLag = registry.gauge(
      "fairlead_shard_loop_lag_seconds", help: "The longest recent turn of a shard's event loop.", unit: .seconds,
      labels: ["shard"], merge: .maximum)
    accessLogLost = registry.counter(
      "fairlead_access_log_lost_total", help: "Access log records that were not written.", labels: ["reason"])
    captureAlive = registry.gauge(
      "fairlead_capture_alive", help: "1 while the kernel leads captured connections to this node.", merge: .maximum)
    configReloads = registry.counter(
      "fairlead_config_reloads_total", help: "Reloads of the configuration, by what came of them.", labels: ["outcome"])
    configReloadSuccessful = registry.gauge(
      "fairlead_config_last_reload_successful", help: "1 when the last reload was taken over, 0 when it was refused.")
    heartbeatMissed = registry.counter(
      "fairlead_heartbeat_missed_total", help: "Beats at which some shard had not answered the one before.")
    buildInfo = registry.gauge(
      "fairlead_build_info", help: "What is running.", labels: ["version", "commit", "swift"], merge: .maximum)
  }

  /// Sets the build's series. The control thread, once.
  public func publish(_ build: BuildInformation, registry: Registry) {
    buildInfo.cell(shard: registry.controlShard, labels: [build.version, build.commit, build.swift]).set(1)
  }
}
