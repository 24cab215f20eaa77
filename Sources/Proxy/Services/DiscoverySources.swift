// The discovery sources of a configuration, and what of their services the data plane knows. It asks them for names, follows
// what they tell, and puts into the directory what requests can go to: static services at once, others when a name first
// leads to them, because a source may know many more than anybody asks for.

import Base
import Configuration
import Discovery
import EventLoop
import Policy

/// All sources by their prefixes. The control thread's own.
final class DiscoverySources: DiscoveryDelegate {
  /// Called when sources have news: which names are known better now, and whether any name may lead elsewhere than before.
  var onNews: (_ names: [BoundName], _ mayLeadElsewhere: Bool) -> Void = { _, _ in }

  private struct Running {
    let description: Configuration.Discovery
    let source: any DiscoverySource
  }

  private let directory: ServiceDirectory
  private let loop: ControlLoop
  private let log: (String) -> Void
  private var configuration: Configuration
  private var running: [String: Running] = [:]
  /// Services of sources that change, which the directory has.
  private var used: Set<BoundName> = []
  /// How many of them each prefix has.
  private var usedCounts: [String: Int] = [:]
  /// Names that were said not to exist since names were forgotten last; nil when they were too many to remember.
  private var denied: Set<BoundName>? = []
  private var sweep: (timer: UInt64, at: MonotonicInstant)?
  /// Services that had nothing to do at the last sweep.
  private var resting: Set<BoundName> = []
  /// More could be given up than has been.
  private var isSweeping = false

  // What the lookups since `beginAnswer` have come across.
  private(set) var pending: [BoundName] = []
  private(set) var holdsUntil: MonotonicInstant?

  /// - Parameter log: takes lines for the daemon's log.
  init(
    _ configuration: Configuration, _ directory: ServiceDirectory, _ loop: ControlLoop, log: @escaping (String) -> Void
  ) {
    self.configuration = configuration
    self.directory = directory
    self.loop = loop
    self.log = log
    for description in configuration.discovery { start(description) }
    planSweep()
  }

  func stop() {
    if let sweep { loop.cancel(sweep.timer) }
    for one in running.values { one.source.stop() }
    running = [:]
  }

  // MARK: Asking

  /// Forgets what earlier lookups have come across.
  func beginAnswer() {
    pending = []
    holdsUntil = nil
  }

  /// What is known of a bound name. A service that exists is in the directory afterwards.
  func lookup(_ path: Path) -> NameLookup {
    guard let name = BoundName(path), let source = running[name.prefix]?.source else { return .negative }
    switch source.lookup(name) {
    case .service(let service):
      guard use(service, source) else { return .unavailable("this node has no room for another service") }
      return .service(service)
    case .negative(let until):
      if let until { holdsUntil = min(holdsUntil ?? until, until) }
      deny(name)
      return .negative
    case .pending(let service):
      pending.append(service)
      return .pending
    case .failed(let reason, _): return .unavailable(reason)
    }
  }

  /// Names were forgotten by all who asked.
  func namesForgotten() { denied = [] }

  /// How the sources are, in the configuration's order.
  func reports() -> [SourceReport] { configuration.discovery.compactMap { running[$0.prefix]?.source.report() } }

  /// How far the endpoints of a service can be trusted; nil for what is no source's.
  func freshness(of service: BoundName) -> Freshness? { running[service.prefix]?.source.freshness(of: service) }

  private func deny(_ name: BoundName) {
    guard let count = denied?.count else { return }
    if count < Self.deniedLimit { denied?.insert(Self.key(name)) } else { denied = nil }
  }

  /// What a name and every service that it could be have in common.
  private static func key(_ name: BoundName) -> BoundName {
    BoundName(prefix: name.prefix, service: name.path.segments[2].lowercased())
  }

  // MARK: Following

  func discoveryChanged(_ source: any DiscoverySource, _ changes: [BoundName: Change]) {
    guard running[source.prefix]?.source === source else { return }
    var gone: [BoundName] = []
    var mayLeadElsewhere = false
    for (name, change) in changes {
      switch change {
      case .appeared:
        if denied?.contains(Self.key(name)) ?? true { mayLeadElsewhere = true }
        if used.contains(name) { set(name, source) }
      case .endpoints: if used.contains(name) { set(name, source) }
      case .vanished: if used.contains(name) { gone.append(name) }
      case .failed: break
      }
    }
    onNews(Array(changes.keys), mayLeadElsewhere || !gone.isEmpty)
    for name in gone { remove(name) }
  }

  /// Puts a service into the directory where it is not yet. False when that is full.
  private func use(_ service: BoundName, _ source: any DiscoverySource) -> Bool {
    if case .static? = running[service.prefix]?.description { return directory[service.description] != nil }
    if used.contains(service) { return true }
    guard set(service, source) else {
      source.release(service)
      return false
    }
    used.insert(service)
    usedCounts[service.prefix, default: 0] += 1
    if excess(service.prefix) > 0 { hastenSweep() }
    return true
  }

  @discardableResult
  private func set(_ service: BoundName, _ source: any DiscoverySource) -> Bool {
    let number = directory.set(
      service.description, label: service.name, policy: configuration.policy(forServiceName: "/svc/\(service.name)"),
      endpoints: source.endpoints(of: service))
    return number != nil
  }

  private func remove(_ service: BoundName) {
    if used.remove(service) != nil { usedCounts[service.prefix, default: 1] -= 1 }
    resting.remove(service)
    directory.remove(service.description)
    running[service.prefix]?.source.release(service)
  }

  // MARK: Sweeping

  /// Clients can make names up that name servers know. Where many are in use, those that rest are given up; and where a name
  /// server has hardly room for another name, those that nothing is asked of now, and soon.
  private func planSweep(after nanoseconds: UInt64 = DiscoverySources.sweepPeriod) {
    let at = MonotonicInstant.now().advanced(byNanoseconds: nanoseconds)
    let timer = loop.schedule(at: at) { [weak self] in
      guard let self else { return }
      giveUpResting()
      let isCrowded = usedCounts.keys.contains { excess($0) > 0 }
      planSweep(after: isSweeping ? Self.sweepPause : isCrowded ? Self.crowdedSweepPeriod : Self.sweepPeriod)
    }
    sweep = (timer, at)
  }

  private func hastenSweep() {
    let soon = MonotonicInstant.now().advanced(byNanoseconds: Self.crowdedSweepPeriod)
    guard let sweep, sweep.at > soon else { return }
    loop.cancel(sweep.timer)
    planSweep(after: Self.crowdedSweepPeriod)
  }

  /// How many names of a name server are more than three quarters of those that it may know.
  private func excess(_ prefix: String) -> Int {
    guard case .dns(let dns)? = running[prefix]?.description else { return 0 }
    return usedCounts[prefix, default: 0] - dns.limits.names * 3 / 4
  }

  /// Some at a time: each is work for every shard, on which requests would wait for the end of it.
  private func giveUpResting() {
    isSweeping = false
    let dynamic = used.filter { if case .dns? = running[$0.prefix]?.description { true } else { false } }
    var left = Dictionary(uniqueKeysWithValues: usedCounts.keys.map { ($0, excess($0)) })
    let isMany = dynamic.count > Self.restingLimit
    guard isMany || left.values.contains(where: { $0 > 0 }) else { return resting = [] }
    let idle = dynamic.filter { directory[$0.description]?.service.isUnused ?? true }
    var gone: [BoundName] = []
    for name in idle.intersection(resting) where gone.count < Self.sweptAtOnce {
      let isPushedOut = left[name.prefix, default: 0] > 0
      guard isPushedOut || isMany && directory[name.description]?.service.isResting ?? true else { continue }
      left[name.prefix, default: 0] -= 1
      gone.append(name)
    }
    resting = idle
    if gone.isEmpty { return }
    isSweeping = gone.count == Self.sweptAtOnce
    onNews([], true)
    for name in gone { remove(name) }
  }

  // MARK: Configurations

  /// Sources that are described as before go on; the others end and begin.
  func follow(_ next: Configuration) {
    configuration = next
    let wanted = Dictionary(next.discovery.map { ($0.prefix, $0) }, uniquingKeysWith: { first, _ in first })
    for (prefix, one) in running where wanted[prefix] != one.description {
      one.source.stop()
      running[prefix] = nil
    }
    for description in next.discovery where running[description.prefix] == nil { start(description) }
    var gone: [BoundName] = []
    for service in used {
      guard let source = running[service.prefix]?.source else {
        gone.append(service)
        continue
      }
      switch source.lookup(service) {
      case .service(let same) where same == service: set(service, source)
      // The new source does not know yet: what the old one said holds until it tells.
      case .pending, .failed: break
      case .service, .negative: gone.append(service)
      }
    }
    onNews([], true)
    for service in gone { remove(service) }
  }

  private func start(_ description: Configuration.Discovery) {
    let captures = configuration.listeners.contains { $0.capture != .none }
    let mark = captures && configuration.capture.mark != 0 ? configuration.capture.mark : nil
    let source: any DiscoverySource
    switch description {
    case .static(let statics):
      let services = statics.services.map { ($0.name, $0.endpoints) }
      source = StaticSource(
        prefix: statics.prefix, services: Dictionary(services, uniquingKeysWith: { first, _ in first }), now: .now())
    case .file(let file): source = FileSource(FileSettings(file), loop: loop, log: log)
    case .dns(let dns): source = DNSSource(DNSSettings(dns, mark: mark), loop: loop, log: log)
    }
    source.delegate = self
    source.start()
    running[description.prefix] = Running(description: description, source: source)
  }

  private static let deniedLimit = 10_000
  private static let sweepPeriod: UInt64 = 15_000_000_000
  private static let crowdedSweepPeriod: UInt64 = 1_000_000_000
  private static let sweepPause: UInt64 = 50_000_000
  private static let sweptAtOnce = 128
  /// As many services of name servers may rest.
  private static let restingLimit = 256
}

extension Service {
  /// Nothing goes on.
  fileprivate var isUnused: Bool { shared.pointee.requests.value == 0 && shared.pointee.pending.value == 0 }
  /// And no connection is open.
  fileprivate var isResting: Bool { isUnused && shared.pointee.connections.value == 0 }
}

extension FileSettings {
  fileprivate init(_ discovery: Configuration.FileDiscovery) {
    self.init(prefix: discovery.prefix, directory: discovery.directory)
    serviceLimit = discovery.limits.services
    endpointLimit = discovery.limits.endpoints
    byteLimit = Int(clamping: discovery.limits.fileBytes.bytes)
  }
}

extension DNSSettings {
  fileprivate init(_ discovery: Configuration.DNSDiscovery, mark: UInt32?) {
    self.init(prefix: discovery.prefix)
    servers = discovery.servers
    search = discovery.search
    ndots = discovery.ndots
    family =
      switch discovery.family {
      case .any: .any
      case .ipv4: .ipv4
      case .ipv6: .ipv6
      }
    timeoutMilliseconds = Int(clamping: discovery.timeout.wholeNanoseconds / 1_000_000)
    tries = discovery.tries
    minimumTTLNanoseconds = discovery.ttl.min.wholeNanoseconds
    maximumTTLNanoseconds = discovery.ttl.max.wholeNanoseconds
    negativeTTLNanoseconds = discovery.ttl.negative.wholeNanoseconds
    nameLimit = discovery.limits.names
    recordLimit = discovery.limits.records
    self.mark = mark
  }
}
