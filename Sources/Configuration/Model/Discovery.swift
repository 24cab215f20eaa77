// Where the endpoints of services are found: an entry of `discovery` for each kind of source.

public import Base
public import Policy

extension Configuration {
  /// An entry of `discovery`: who knows the bound names `/#/<prefix>/…`.
  public enum Discovery: Hashable, Sendable {
    case `static`(StaticDiscovery)
    case file(FileDiscovery)
    case dns(DNSDiscovery)

    /// One segment, unlike every other discovery's.
    public var prefix: String {
      switch self {
      case .static(let discovery): discovery.prefix
      case .file(let discovery): discovery.prefix
      case .dns(let discovery): discovery.prefix
      }
    }

    /// As it is written.
    public var kind: String {
      switch self {
      case .static: "static"
      case .file: "file"
      case .dns: "dns"
      }
    }

    /// The services that stand in the configuration itself; empty for the other kinds.
    public var staticServices: [StaticService] {
      if case .static(let discovery) = self { discovery.services } else { [] }
    }
  }

  /// `kind: static`: bound names `/#/<prefix>/<service>`, whose endpoints stand in the configuration.
  public struct StaticDiscovery: Hashable, Sendable {
    public let prefix: String
    /// In the order written; names are distinct.
    public let services: [StaticService]

    public init(prefix: String, services: [StaticService]) {
      self.prefix = prefix
      self.services = services
    }
  }

  public struct StaticService: Hashable, Sendable {
    /// One segment.
    public let name: String
    /// Addresses are distinct. Empty: the service exists, and answers 503.
    public let endpoints: [Endpoint]

    public init(name: String, endpoints: [Endpoint]) {
      self.name = name
      self.endpoints = endpoints
    }
  }

  /// `kind: file`: bound names `/#/<prefix>/<file name>`, a file of endpoint lines for each.
  public struct FileDiscovery: Hashable, Sendable {
    public let prefix: String
    /// A full path. It need not be there yet.
    public let directory: String
    public let limits: Limits

    public init(prefix: String, directory: String, limits: Limits = Limits()) {
      self.prefix = prefix
      self.directory = directory
      self.limits = limits
    }

    /// What is over a limit is left out and told of.
    public struct Limits: Hashable, Sendable {
      /// Files in the directory.
      public let services: Int
      /// Lines of a file that count.
      public let endpoints: Int
      public let fileBytes: ByteCount

      public init(services: Int = 10_000, endpoints: Int = 10_000, fileBytes: ByteCount = .mebibytes(1)) {
        self.services = services
        self.endpoints = endpoints
        self.fileBytes = fileBytes
      }
    }
  }

  /// `kind: dns`: bound names `/#/<prefix>/<host>/<port>`, and `/#/<prefix>/_service._proto.host` for SRV records.
  public struct DNSDiscovery: Hashable, Sendable {
    /// Which addresses of a host are taken.
    public enum Family: String, CaseIterable, Hashable, Sendable { case any, ipv4, ipv6 }

    public let prefix: String
    /// With their ports; empty for those of resolv.conf.
    public let servers: [SocketAddress]
    /// Domains that are tried behind a name with few dots; nil for those of resolv.conf.
    public let search: [String]?
    /// A name with at least this many dots is tried as it is first; nil for what resolv.conf says.
    public let ndots: Int?
    public let family: Family
    /// For the first try at one server.
    public let timeout: Duration
    /// How often all servers are asked.
    public let tries: Int
    public let ttl: TTL
    public let limits: Limits

    public init(
      prefix: String, servers: [SocketAddress] = [], search: [String]? = nil, ndots: Int? = nil, family: Family = .any,
      timeout: Duration = .seconds(1), tries: Int = 2, ttl: TTL = TTL(), limits: Limits = Limits()
    ) {
      self.prefix = prefix
      self.servers = servers
      self.search = search
      self.ndots = ndots
      self.family = family
      self.timeout = timeout
      self.tries = tries
      self.ttl = ttl
      self.limits = limits
    }

    /// How long an answer is believed, whatever the answer says.
    public struct TTL: Hashable, Sendable {
      public let min: Duration
      /// At least `min`.
      public let max: Duration
      /// The most for the answer that there is no such name.
      public let negative: Duration

      public init(min: Duration = .seconds(1), max: Duration = .seconds(3600), negative: Duration = .seconds(30)) {
        self.min = min
        self.max = max
        self.negative = negative
      }
    }

    public struct Limits: Hashable, Sendable {
      /// Names that are known at once, those that do not exist included.
      public let names: Int
      /// Endpoints of one name; what is over it is left out and counted.
      public let records: Int

      public init(names: Int = 4096, records: Int = 1000) {
        self.names = names
        self.records = records
      }
    }
  }
}
