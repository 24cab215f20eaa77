// What the admin server asks of the node it belongs to. The daemon conforms its node to it; tests conform a fake.

public import Policy
import Telemetry

/// How much the daemon says on its standard error.
public enum LogLevel: String, CaseIterable, Sendable { case error, warning, info, debug, trace }

/// The node, seen from its steering side.
///
/// Every call comes on the control thread and must return at once. What only the shards know is given to `reply`, from any
/// thread, now or later, at most once. The server waits two seconds for a reply, then tells its client that the shards do not
/// answer: a shard that hangs can make neither the control thread nor a client hang.
public protocol NodeAdministration: Sendable {
  /// Whether new traffic should be sent here; asked of every shard.
  func readiness(_ reply: @escaping @Sendable (Health) -> Void)
  /// Whether every shard still turns.
  func liveness(_ reply: @escaping @Sendable (Health) -> Void)
  func status(_ reply: @escaping @Sendable (StatusReport) -> Void)
  func endpoints(_ reply: @escaping @Sendable ([EndpointReport]) -> Void)
  func services(_ reply: @escaping @Sendable (ServicesReport) -> Void)
  /// Every workload in the configuration's order, then `other`.
  func workloads(_ reply: @escaping @Sendable ([WorkloadReport]) -> Void)
  /// How a name is delegated; `override` is added to the table, as a request's own would be.
  func names(_ path: Path, override: [DelegationEntry], _ reply: @escaping @Sendable (NamesReport) -> Void)
  /// Every rule in the configuration's order.
  func routes(_ reply: @escaping @Sendable ([RouteReport]) -> Void)
  /// At most `limit` connections, and how many there are.
  func connections(limit: Int, _ reply: @escaping @Sendable (ConnectionsReport) -> Void)
  /// The running configuration as JSON text, secrets left out.
  func configurationJSON() -> String
  /// What a reload would change: the files are read, and nothing is done.
  func configurationChanges(
    _ reply: @escaping @Sendable (Result<ConfigurationChangesReport, ConfigurationRefusal>) -> Void)
  /// Reads the configuration again and swaps it in, or changes nothing.
  ///
  /// - Parameter confirmWithin: the old one comes back after this time unless `confirmReload` is called; nil for never.
  func reload(
    confirmWithin: Duration?, _ reply: @escaping @Sendable (Result<ReloadReport, ConfigurationRefusal>) -> Void)
  /// Keeps what was reloaded for a while. Returns why there is nothing to confirm; nil when it was.
  func confirmReload() -> String?
  /// What would happen to a request.
  func explain(_ query: ExplainQuery, _ reply: @escaping @Sendable (ExplainReport) -> Void)
  func metrics(_ format: ExpositionFormat) -> [UInt8]
  func flatMetrics() -> [UInt8]
  var logLevel: LogLevel { get }
  func setLogLevel(_ level: LogLevel)
  /// Starts draining: no new connections, what is in flight ends, then the daemon does. Again: nothing more happens.
  func drain()
  /// Ends the daemon at once. Called after the answer went out.
  func shutdown()
}
