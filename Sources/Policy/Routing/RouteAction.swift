// What becomes of a request that a rule matches.

/// The actions of one rule. Without any, the request goes where its host says.
public struct RouteAction: Hashable, Sendable {
  /// Logical names and their weights; one is chosen by weight. Empty: as the host says.
  public var destinations: [WeightedName] = []
  public var pathRewrite: PathRewrite?
  /// What Host says from here on: `host[:port]`.
  public var hostRewrite: String?
  public var requestHeaders = HeaderEdits()
  /// Of what an endpoint answers; answers of the proxy's own are as they are.
  public var responseHeaders = HeaderEdits()
  /// A copy of the request goes there too, and nobody waits for what comes of it.
  public var mirror: Mirror?
  public var delay: Delay?
  public var abort: Abort?
  /// How long the whole request may take, in the place of the service's `timeouts.request`.
  public var timeout: Duration?
  /// The request is answered by the proxy and goes nowhere.
  public var answer: Answer?

  public init() {}

  public struct WeightedName: Hashable, Sendable {
    public let name: Path
    public let weight: UInt32

    public init(_ name: Path, weight: UInt32 = 1) {
      self.name = name
      self.weight = weight
    }
  }

  /// How a path becomes another; the query stays.
  public enum PathRewrite: Hashable, Sendable {
    /// Stands in the place of `RouteMatch.PathMatch.prefix`, the slash between it and the rest neither missing nor doubled.
    case prefix(String)
    case full(String)
    /// The first part that the pattern matches is replaced; where none does, the path stays.
    case regex(Pattern, Replacement)
  }

  /// `set` takes all fields of a name away and adds one; `add` leaves what is there. Names are in lower case.
  public struct HeaderEdits: Hashable, Sendable {
    public var set: [Field] = []
    public var add: [Field] = []
    public var remove: [String] = []

    public init() {}

    public var isEmpty: Bool { self.set.isEmpty && add.isEmpty && remove.isEmpty }
  }

  public struct Field: Hashable, Sendable {
    public let name: String
    public let value: String

    /// A token, and a value without CR, LF and NUL: the caller has checked.
    public init(name: String, value: String) {
      self.name = name
      self.value = value
    }
  }

  public struct Mirror: Hashable, Sendable {
    public let name: Path
    public let share: Percent

    public init(name: Path, share: Percent = .all) {
      self.name = name
      self.share = share
    }
  }

  public struct Delay: Hashable, Sendable {
    public let share: Percent
    public let duration: Duration

    public init(share: Percent, duration: Duration) {
      self.share = share
      self.duration = duration
    }
  }

  public struct Abort: Hashable, Sendable {
    public let share: Percent
    public let status: UInt16

    public init(share: Percent, status: UInt16) {
      self.share = share
      self.status = status
    }
  }

  public enum Answer: Hashable, Sendable {
    case redirect(Redirect)
    case respond(Respond)
  }

  /// Sends the client elsewhere. What is nil stays as the request has it; a port stays only with scheme and host.
  public struct Redirect: Hashable, Sendable {
    public var scheme: String?
    public var host: String?
    public var port: UInt16?
    public var path: PathRewrite?
    public var status: UInt16

    public init(
      scheme: String? = nil, host: String? = nil, port: UInt16? = nil, path: PathRewrite? = nil, status: UInt16 = 302
    ) {
      self.scheme = scheme
      self.host = host
      self.port = port
      self.path = path
      self.status = status
    }
  }

  public struct Respond: Hashable, Sendable {
    public var status: UInt16
    public var body: String
    public var contentType: String
    public var headers: [Field]

    public init(
      status: UInt16, body: String = "", contentType: String = Respond.defaultContentType, headers: [Field] = []
    ) {
      self.status = status
      self.body = body
      self.contentType = contentType
      self.headers = headers
    }

    public static let defaultContentType = "text/plain; charset=utf-8"
  }
}
