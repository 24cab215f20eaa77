// What a service's balancer is told.

public import Base

/// How an endpoint is chosen.
public enum BalancerKind: String, CaseIterable, Hashable, Sendable {
  /// The less loaded of two chosen at random.
  case p2c
  /// The least loaded of all.
  case leastLoaded = "least-loaded"
  /// In turn.
  case roundRobin = "round-robin"
  /// By chance.
  case random
  /// The less loaded of two chosen at random among the node's slice of the endpoints.
  case aperture
  /// By a key, on a ring: the fewest keys move when endpoints change.
  case ringHash = "ring-hash"
  /// By a key, in a table: the evenest shares.
  case maglev

  /// Whether a key chooses. Requests without one are balanced as by `p2c`; neither locality nor slow start applies, for all
  /// nodes are to choose alike.
  public var isByKey: Bool { self == .ringHash || self == .maglev }
}

/// A value, the same on all shards.
public struct BalancerSettings: Sendable {
  public var kind: BalancerKind
  /// What loads are compared by.
  public var metric: LoadMetric
  /// The most places of a ring, or the entries of a Maglev table; nil for the kind's own default.
  public var tableSize: Int?
  public var slowStart: SlowStart
  /// The slice, for `aperture`.
  public var aperture: Aperture
  public var prefer: LocalityPreference
  /// The healthy part of a level under which requests spill over to the next: 0.7.
  public var spillOver: Double
  /// The healthy part of all endpoints under which health is not believed, and all are used; 0 for never.
  public var panic: Double

  public init(
    kind: BalancerKind = .p2c, metric: LoadMetric = .inFlight, tableSize: Int? = nil,
    slowStart: SlowStart = SlowStart(), aperture: Aperture = Aperture(), prefer: LocalityPreference = .none,
    spillOver: Double = 0.7, panic: Double = 0.5
  ) {
    self.kind = kind
    self.metric = metric
    self.tableSize = tableSize
    self.slowStart = slowStart
    self.aperture = aperture
    self.prefer = prefer
    self.spillOver = spillOver
    self.panic = panic
  }

  /// 4 MiB of ring: 256 places for each of 1,024 endpoints, 16 for each of 10,000.
  public static let defaultRingSize = 262_144
  /// The paper's small table: shares within one per cent up to some 600 endpoints.
  public static let defaultMaglevSize = 65_537
}

/// An endpoint, as a balancer's tables are made of it.
public struct BalancerMember: Sendable {
  /// Its share against the others'; what is no positive finite number counts as none.
  public var weight: Double
  public var locality: Locality
  /// What hash tables know it by: the same on every node, and no other endpoint's.
  public var identity: UInt64
  /// When it came, for slow start; 0 for one that was there from the beginning.
  public var addedAt: MonotonicInstant

  public init(
    weight: Double = 1, locality: Locality = .other, identity: UInt64 = 0,
    addedAt: MonotonicInstant = MonotonicInstant(nanoseconds: 0)
  ) {
    self.weight = weight
    self.locality = locality
    self.identity = identity
    self.addedAt = addedAt
  }
}
