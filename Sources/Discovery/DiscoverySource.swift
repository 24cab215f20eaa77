// What discovery is to the rest of the house: sources that know names, say which endpoints stand behind them, and tell
// when that changes. How a source comes to know it (values, files, name servers) is its own business.
//
// Terms: a *source* owns one prefix. A *service* is a name that exists at a source, with its endpoints, perhaps none. A name
// is *held* from the first lookup that answers `service` or `pending` on, however often it is looked up, until it is released,
// or until the source tells that it has vanished or failed. Sources keep what is held fresh, and may forget the rest.

public import Base
public import Policy

/// Where endpoints come from. Used on the control thread only; no method waits for anything.
public protocol DiscoverySource: AnyObject {
  /// What stands after `/#/` in the names it knows.
  var prefix: String { get }

  /// Who is told of changes; set before `start`.
  var delegate: (any DiscoveryDelegate)? { get set }

  /// Begins to watch. A source answers from then on; what it can find out at once, it knows when this returns.
  func start()

  /// What is known of a name with this source's prefix. It may begin to find out.
  func lookup(_ name: BoundName) -> Lookup

  /// The endpoints of a service that `lookup` has named, each address once; the last ones that were good while the source
  /// fails. None where it has none, or is not known (any more).
  func endpoints(of service: BoundName) -> [Endpoint]

  /// Nobody uses the name any more: it need not be kept fresh.
  func release(_ service: BoundName)

  /// How the source is.
  func report() -> SourceReport

  /// How fresh the endpoints of one service are; nil for one that is not known.
  func freshness(of service: BoundName) -> Freshness?

  /// Ends watching and asking; nothing is told any more.
  func stop()
}

/// Who is told of changes, on the control thread.
public protocol DiscoveryDelegate: AnyObject {
  /// Some services are not what they were, all at once what changed in one turn of the loop. Never called from inside a call
  /// to the source.
  func discoveryChanged(_ source: any DiscoverySource, _ changes: [BoundName: Change])
}

/// What a source says of a name.
public enum Lookup: Hashable, Sendable {
  /// It exists. The service is named by leading segments of the name that was asked for; what follows them is dropped.
  case service(BoundName)
  /// It is known not to exist. With an instant: until then; the source does not tell when that changes, ask again. Without one:
  /// until the source tells that it has appeared.
  case negative(until: MonotonicInstant?)
  /// Not known yet. It is being found out, and the delegate will be told of this name: appeared, vanished or failed.
  case pending(BoundName)
  /// It cannot be said whether it exists. Ask again from the instant on; sooner gives the same answer.
  case failed(reason: String, until: MonotonicInstant)
}

/// What has happened to a name.
public enum Change: Hashable, Sendable {
  /// It exists now, and its endpoints can be asked for.
  case appeared
  /// It existed before and has other endpoints, perhaps none.
  case endpoints
  /// It is known not to exist (any more). It is not held any more.
  case vanished
  /// Nothing could be found out about a name that was pending. It is not held any more. Services do not fail: they keep the
  /// endpoints that were good last.
  case failed
}

/// How far what is known can be trusted.
public struct Freshness: Hashable, Sendable {
  /// When what is known was last confirmed; nil when it never was.
  public let confirmed: MonotonicInstant?
  /// Why it cannot be confirmed now; nil when it can.
  public let failure: String?

  public init(confirmed: MonotonicInstant?, failure: String? = nil) {
    self.confirmed = confirmed
    self.failure = failure
  }

  /// In one word.
  public var state: State {
    if failure == nil { return .fresh }
    return confirmed == nil ? .failing : .stale
  }

  public enum State: String, Hashable, Sendable, CaseIterable {
    /// As its origin has it.
    case fresh
    /// The last good answer, because the origin gives none now.
    case stale
    /// There never was a good answer.
    case failing
  }
}

/// How a source is, for people and dashboards.
public struct SourceReport: Hashable, Sendable {
  /// `static`, `file`, `dns`.
  public var kind: String
  public var prefix: String
  /// Where it looks: a directory, name servers; empty for what needs none.
  public var origin = ""
  public var freshness: Freshness
  /// Names that exist, and the endpoints they have together.
  public var services = 0
  public var endpoints = 0
  /// How often the endpoints of a service have become others, and how often asking or reading went wrong.
  public var updates: UInt64 = 0
  public var errors: UInt64 = 0
  /// What is there and is not used: lines that say nothing, records that lie or are too many. As of now.
  public var badEntries = 0
  /// What is wrong now, at most `problemLimit` lines, each with its place.
  public var problems: [String] = []

  public init(kind: String, prefix: String, freshness: Freshness) {
    self.kind = kind
    self.prefix = prefix
    self.freshness = freshness
  }

  public static let problemLimit = 32
}
