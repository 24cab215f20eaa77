// How requests to a service are treated. Entries name a prefix and say some of it; what applies to a name is the
// default with every matching entry laid over it in the order written, key by key.

public import Policy

/// Everything that applies to one service.
public struct ServicePolicy: Hashable, Sendable {
  public enum UpstreamProtocol: String, CaseIterable, Hashable, Sendable {
    case http1
    case http2
    /// As the client speaks it.
    case same
  }

  /// What an endpoint is told of the client in front of all other bytes.
  public enum ProxyProtocol: String, CaseIterable, Hashable, Sendable {
    case none
    case v1
    case v2
  }

  public struct Timeouts: Hashable, Sendable {
    public var connect: Duration = .seconds(1)
    /// From the request's head to the end of the response.
    public var request: Duration = .seconds(15)
    /// Of one try; nil for none of its own.
    public var attempt: Duration?
    /// How long an upstream connection is kept without work.
    public var idle: Duration = .seconds(60)
    /// How long a TCP connection that is carried as it is may be silent: longer than most pools of database connections.
    public var stream: Duration = .seconds(3600)
    /// The same for what a request has opened: an upgraded connection, a WebSocket over HTTP/2, a CONNECT tunnel.
    public var tunnel: Duration = .seconds(3600)
  }

  /// How connections over HTTP/2 that have fallen silent are asked whether their endpoint is there.
  public struct KeepAlive: Hashable, Sendable {
    /// Of silence; nil where they are not asked.
    public var interval: Duration? = .seconds(30)
    /// For the answer.
    public var timeout: Duration = .seconds(10)
  }

  public struct Limits: Hashable, Sendable {
    public var connections = 1024
    public var pending = 1024
    public var requests = 1024
  }

  public var balancer = Balancer()
  public var timeouts = Timeouts()
  public var keepAlive = KeepAlive()
  public var limits = Limits()
  public var retries = Retries()
  /// Nil for none.
  public var hedging: Hedging?
  public var circuitBreaker = CircuitBreaker()
  public var healthCheck = HealthCheck()
  /// Of requests to the service, node-wide; nil for none.
  public var rateLimit: Configuration.RateLimit?
  public var `protocol` = UpstreamProtocol.same
  public var proxyProtocol = ProxyProtocol.none

  /// The defaults.
  public init() {}
}

extension Configuration {
  /// One entry of `services`: nil says nothing, an earlier entry or the default stands.
  public struct ServiceEntry: Hashable, Sendable {
    public let name: Path
    public var balancer = Balancer()
    public var connectTimeout: Duration?
    public var requestTimeout: Duration?
    /// `.some(nil)` is `attempt: none`: takes back what an earlier entry says.
    public var attemptTimeout: Duration??
    public var idleTimeout: Duration?
    public var streamTimeout: Duration?
    public var tunnelTimeout: Duration?
    /// `.some(nil)` is `interval: none`: takes back what an earlier entry says.
    public var keepAliveInterval: Duration??
    public var keepAliveTimeout: Duration?
    public var connections: Int?
    public var pending: Int?
    public var requests: Int?
    public var retries = Retries()
    /// `.some(nil)` is `hedging: none`: takes back what an earlier entry says.
    public var hedging: Hedging??
    public var circuitBreaker = CircuitBreaker()
    public var healthCheck = HealthCheck()
    /// `.some(nil)` is `rateLimit: none`: takes back what an earlier entry says.
    public var rateLimit: RateLimit??
    public var `protocol`: ServicePolicy.UpstreamProtocol?
    public var proxyProtocol: ServicePolicy.ProxyProtocol?
    public var places = WrittenPlaces()

    public init(name: Path) { self.name = name }

    func apply(to policy: inout ServicePolicy) {
      balancer.apply(to: &policy.balancer)
      if let connectTimeout { policy.timeouts.connect = connectTimeout }
      if let requestTimeout { policy.timeouts.request = requestTimeout }
      if let attemptTimeout { policy.timeouts.attempt = attemptTimeout }
      if let idleTimeout { policy.timeouts.idle = idleTimeout }
      if let streamTimeout { policy.timeouts.stream = streamTimeout }
      if let tunnelTimeout { policy.timeouts.tunnel = tunnelTimeout }
      if let keepAliveInterval { policy.keepAlive.interval = keepAliveInterval }
      if let keepAliveTimeout { policy.keepAlive.timeout = keepAliveTimeout }
      if let connections { policy.limits.connections = connections }
      if let pending { policy.limits.pending = pending }
      if let requests { policy.limits.requests = requests }
      retries.apply(to: &policy.retries)
      if let hedging {
        if let hedging { hedging.apply(to: &policy.hedging) } else { policy.hedging = nil }
      }
      circuitBreaker.apply(to: &policy.circuitBreaker)
      healthCheck.apply(to: &policy.healthCheck)
      if let rateLimit { policy.rateLimit = rateLimit }
      if let `protocol` { policy.protocol = `protocol` }
      if let proxyProtocol { policy.proxyProtocol = proxyProtocol }
    }
  }

  /// What applies to a service: the defaults and every entry whose name is a prefix of `name`, later ones over earlier.
  /// A host in `name` is compared in lower case, as those of the entries are kept.
  public func policy(for name: Path) -> ServicePolicy {
    var policy = ServicePolicy()
    let name = HostIdentifier().normalized(name)
    for entry in services where name.hasPrefix(entry.name) { entry.apply(to: &policy) }
    return policy
  }

  /// The same for a name in text, such as `/svc/web`; a name that is none gets the defaults.
  public func policy(forServiceName name: String) -> ServicePolicy {
    (try? Path(parsing: name)).map { policy(for: $0) } ?? ServicePolicy()
  }
}
