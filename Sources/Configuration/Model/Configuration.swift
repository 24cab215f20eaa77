// The configuration as values: complete, checked, immutable. What stands here can be used without a second check.
//
// A file gets here through `Configuration.load`, the command line's shorthand through `Configuration.straight`; both
// say everything that is wrong at once. Defaults are written beside what they are the default of, and nowhere else.

public import Base
public import Policy

/// Everything the daemon is told. A plain value: copy it, send it to any thread, compare two of them.
public struct Configuration: Hashable, Sendable {
  public let node: Node
  public let admin: Admin
  /// At least one; names and addresses are distinct.
  public let listeners: [Listener]
  public let discovery: [Discovery]
  /// Tried in this order until one applies; at least one.
  public let identifiers: [Identifier]
  /// In the order written: of two that match, the later one goes first.
  public let delegations: [Delegation]
  /// In the order written: the first that matches has a request. Names are distinct.
  public let routes: [Route]
  /// Policy by name prefix in the order written; `policy(forServiceName:)` merges what matches.
  public let services: [ServiceEntry]
  /// In the order written; names are distinct, and so is everything they match.
  public let workloads: [Workload]
  public let limits: Limits
  public let telemetry: Telemetry
  public let capture: Capture

  public init(
    node: Node, admin: Admin = Admin(), listeners: [Listener], discovery: [Discovery] = [],
    identifiers: [Identifier] = Configuration.defaultIdentifiers, delegations: [Delegation] = [], routes: [Route] = [],
    services: [ServiceEntry] = [], workloads: [Workload] = [],
    limits: Limits = Limits(), telemetry: Telemetry = Telemetry(), capture: Capture = Capture()
  ) {
    self.node = node
    self.admin = admin
    self.listeners = listeners
    self.discovery = discovery
    self.identifiers = identifiers
    self.delegations = delegations
    self.routes = routes
    self.services = services
    self.workloads = workloads
    self.limits = limits
    self.telemetry = telemetry
    self.capture = capture
  }
}

extension Configuration {
  /// `node`: this host's proxy.
  public struct Node: Hashable, Sendable {
    /// Stands in `via` and on the status page: letters, digits, `.`, `_` and `-`.
    public let name: String
    /// Where the node stands, for services that prefer endpoints near by; nil for nowhere in particular.
    public let zone: String?
    public let shards: Shards
    /// Is `via` added to requests and responses?
    public let via: Bool
    /// How long what is in flight may take to finish once the daemon is asked to stop.
    public let drainTimeout: Duration
    /// Is a change of the configuration's files taken over by itself?
    public let reloadOnChange: Bool

    public init(
      name: String, zone: String? = nil, shards: Shards = .auto, via: Bool = true,
      drainTimeout: Duration = Node.defaultDrainTimeout, reloadOnChange: Bool = true
    ) {
      self.name = name
      self.zone = zone
      self.shards = shards
      self.via = via
      self.drainTimeout = drainTimeout
      self.reloadOnChange = reloadOnChange
    }

    public static let defaultDrainTimeout: Duration = .seconds(30)
  }

  /// How many event-loop threads.
  public enum Shards: Hashable, Sendable {
    /// One for each core the process may use.
    case auto
    /// Within `Shards.allowed`.
    case count(Int)

    public static let allowed = 1...256
  }

  /// `admin`: where the daemon is steered.
  public struct Admin: Hashable, Sendable {
    /// The path of the Unix socket; nil for none.
    public let socket: String?
    /// The group that owns the socket, and may read; nil leaves it with the daemon's own.
    public let group: String?
    /// The group that may also change things; root always may.
    public let operators: String?
    /// A read-only listener for metrics and readiness; nil for none.
    public let http: SocketAddress?

    public init(
      socket: String? = Admin.defaultSocket, group: String? = nil, operators: String? = nil,
      http: SocketAddress? = nil
    ) {
      self.socket = socket
      self.group = group
      self.operators = operators
      self.http = http
    }

    public static let defaultSocket = "/run/fairlead/admin.sock"
  }

  /// `limits`: what one client, one connection, one head may take.
  public struct Limits: Hashable, Sendable {
    /// A whole head, request line included.
    public let headerBytes: ByteCount
    public let headers: Int
    /// At most `headerBytes`.
    public let requestLineBytes: ByteCount
    /// Downstream connections of the whole process.
    public let connections: Int
    /// From the first byte of a head (or the accept) to its end.
    public let headerTimeout: Duration
    /// How long a downstream keep-alive connection may rest between two requests.
    public let idleTimeout: Duration
    /// How many times this node's name may stand in `via` before a request counts as going in circles.
    public let viaHops: Int
    /// Addresses that captured clients connect to, at once on one shard.
    public let destinations: Int
    /// From when on new requests are refused.
    public let overload: Overload

    public init(
      headerBytes: ByteCount = .kibibytes(32), headers: Int = 128, requestLineBytes: ByteCount = .kibibytes(8),
      connections: Int = 100_000, headerTimeout: Duration = .seconds(10), idleTimeout: Duration = .seconds(60),
      viaHops: Int = 10, destinations: Int = 4096, overload: Overload = Overload()
    ) {
      self.headerBytes = headerBytes
      self.headers = headers
      self.requestLineBytes = requestLineBytes
      self.connections = connections
      self.headerTimeout = headerTimeout
      self.idleTimeout = idleTimeout
      self.viaHops = viaHops
      self.destinations = destinations
      self.overload = overload
    }
  }

  /// `telemetry`: what is written down.
  public struct Telemetry: Hashable, Sendable {
    /// Nil for no access log.
    public let accessLog: AccessLog?
    /// The most label combinations of one metric; what is over it is counted in one series.
    public let maxSeries: Int

    public init(accessLog: AccessLog? = nil, maxSeries: Int = 10_000) {
      self.accessLog = accessLog
      self.maxSeries = maxSeries
    }
  }

  public struct AccessLog: Hashable, Sendable {
    public enum Format: String, CaseIterable, Hashable, Sendable { case json, text }

    /// A full path.
    public let path: String
    public let format: Format

    public init(path: String, format: Format = .json) {
      self.path = path
      self.format = format
    }
  }
}
