// How an endpoint is chosen. As in `ServicePolicy` there is a whole value with its defaults, and what one entry says of it.

import Base
public import Policy

extension ServicePolicy {
  public enum BalancerLoad: String, CaseIterable, Hashable, Sendable {
    /// Latency, weighted towards its peaks, times requests in flight.
    case ewma
    case inFlight = "in-flight"
  }

  /// What the kinds that go by a key make it of.
  public enum HashSource: Hashable, Sendable {
    /// A request's field, its name in lower case.
    case header(String)
    case cookie(String)
    /// The client's address, without its port.
    case source
  }

  /// `balancer`: which endpoint gets a request.
  public struct Balancer: Hashable, Sendable {
    public var kind: BalancerKind = .p2c
    public var load: BalancerLoad = .ewma
    /// How long a latency is remembered.
    public var decay: Duration = .seconds(10)
    public var hash: HashSource = .source
    /// Nil for the kind's own default.
    public var tableSize: Int?
    /// How long a new endpoint takes to come up to its weight; zero for at once.
    public var slowStart: Duration = .zero
    /// The slice of one node, for `aperture`; where it stands without peers is the node's.
    public var aperture = Aperture()
    public var prefer: LocalityPreference = .none
    /// Percent of a level's endpoints that must be healthy for it to keep all its requests.
    public var spillOver = 70
    /// Percent of all endpoints that must be healthy for health to count at all; 0 for never to doubt it.
    public var panic = 50

    /// As `Policy` counts with it.
    public var settings: BalancerSettings {
      let metric: LoadMetric =
        switch load {
        case .ewma: .ewma(PeakEWMA(decayNanoseconds: decay.wholeNanoseconds))
        case .inFlight: .inFlight
        }
      return BalancerSettings(
        kind: kind, metric: metric, tableSize: tableSize,
        slowStart: SlowStart(durationNanoseconds: slowStart.wholeNanoseconds), aperture: aperture,
        prefer: prefer,
        spillOver: Double(spillOver) / 100, panic: Double(panic) / 100)
    }
  }
}

extension Configuration {
  /// What an entry says of `balancer`; nil says nothing.
  public struct Balancer: Hashable, Sendable {
    public var kind: BalancerKind?
    public var load: ServicePolicy.BalancerLoad?
    public var decay: Duration?
    public var hash: ServicePolicy.HashSource?
    public var tableSize: Int?
    public var slowStart: Duration?
    public var apertureSize: Int?
    public var aperturePeers: Int?
    public var aperturePosition: Int?
    public var prefer: LocalityPreference?
    public var spillOver: Int?
    public var panic: Int?

    public init() {}

    func apply(to balancer: inout ServicePolicy.Balancer) {
      if let kind { balancer.kind = kind }
      if let load { balancer.load = load }
      if let decay { balancer.decay = decay }
      if let hash { balancer.hash = hash }
      if let tableSize { balancer.tableSize = tableSize }
      if let slowStart { balancer.slowStart = slowStart }
      if let apertureSize { balancer.aperture.size = apertureSize }
      if let aperturePeers { balancer.aperture.peers = aperturePeers }
      if let aperturePosition { balancer.aperture.position = aperturePosition }
      if let prefer { balancer.prefer = prefer }
      if let spillOver { balancer.spillOver = spillOver }
      if let panic { balancer.panic = panic }
    }
  }
}
