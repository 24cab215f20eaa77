// `kind: dns`: names that name servers know. Nobody says beforehand which: a name is looked up when it is asked for, and kept
// fresh while it is held. An answer is renewed before its time to live ends; while no answer comes, the last good one stays.
//
// Clients can make names up, so there is a bound on how many are known at once; those that nobody holds go first.

public import Base
public import EventLoop
public import Policy

/// What a DNS source is made of.
public struct DNSSettings: Sendable {
  public enum Family: Sendable { case any, ipv4, ipv6 }

  public let prefix: String
  /// Empty for those of resolv.conf, which is read again when it changes.
  public var servers: [SocketAddress] = []
  /// Domains tried behind names with fewer dots than `ndots`; nil for what resolv.conf says.
  public var search: [String]?
  public var ndots: Int?
  public var family = Family.any
  /// For the first try at one server, and how often all are tried.
  public var timeoutMilliseconds = 1000
  public var tries = 2
  /// Bounds on how long answers are believed.
  public var minimumTTLNanoseconds: UInt64 = 1_000_000_000
  public var maximumTTLNanoseconds: UInt64 = 3_600_000_000_000
  public var negativeTTLNanoseconds: UInt64 = 30_000_000_000
  /// Names at once, and endpoints of one.
  public var nameLimit = 4096
  public var recordLimit = 1000
  /// For sockets that the host's capturing rules must let pass; nil for none.
  public var mark: UInt32?

  public init(prefix: String) { self.prefix = prefix }
}

/// Services that are host names and SRV names.
public final class DNSSource: DiscoverySource {
  public var prefix: String { settings.prefix }
  public weak var delegate: (any DiscoveryDelegate)?

  private let settings: DNSSettings
  private let times: DNSTimes
  private let loop: ControlLoop
  private var log: LogBudget
  private var random: RandomSource
  private let news: ChangeQueue
  private var channel: DNSChannel?
  private var channelFailure: String?
  private var resolverFile = FileStamp(DNSSource.resolverPath)
  private var resolverLooked: MonotonicInstant
  private var hostsFile = FileStamp(DNSSource.hostsPath)
  /// Hosts that /etc/hosts, as it is, does not have.
  private var notInHosts: Set<String> = []
  private var entries: [BoundName: DNSEntry] = [:]
  private var resolutions: [BoundName: DNSResolution] = [:]
  private var queue = DeadlineQueue<BoundName>()
  private var timer: (number: UInt64, deadline: MonotonicInstant)?
  private var confirmed: MonotonicInstant?
  /// Of the last lookup, if it failed, with its name.
  private var lastFailure: String?
  private var updates: UInt64 = 0
  private var errors: UInt64 = 0
  private var isStopped = false

  /// - Parameters:
  ///   - random: spreads renewals.
  ///   - log: takes lines for the daemon's log, a bounded number of them.
  public init(
    _ settings: DNSSettings, loop: ControlLoop, random: RandomSource = .seededByKernel(),
    log: @escaping (String) -> Void
  ) {
    self.settings = settings
    self.loop = loop
    self.random = random
    self.log = LogBudget(log)
    times = DNSTimes(
      minimum: settings.minimumTTLNanoseconds, maximum: settings.maximumTTLNanoseconds,
      negative: settings.negativeTTLNanoseconds)
    resolverLooked = .now()
    news = ChangeQueue(loop)
    news.deliver = { [weak self] changes in
      guard let self else { return }
      delegate?.discoveryChanged(self, changes)
    }
  }

  public func start() { openChannel() }

  public func stop() {
    isStopped = true
    channel?.close()
    channel = nil
    resolutions = [:]
    (timer?.number).map(loop.cancel)
    timer = nil
    news.stop()
  }

  // MARK: Asking

  public func lookup(_ name: BoundName) -> Lookup {
    guard name.prefix == prefix, let question = DNSQuestion(name) else { return .negative(until: nil) }
    let service = question.service
    if case .address = question.subject { return .service(service) }
    let now = MonotonicInstant.now()
    if let known = entries[service] {
      entries[service]?.used = now
      switch known.state {
      case .service:
        entries[service]?.isHeld = true
        return .service(service)
      case .pending:
        entries[service]?.isHeld = true
        return .pending(service)
      case .negative where now < known.due: return .negative(until: known.due)
      case .failed where now < known.due: return .failed(reason: known.failure ?? "", until: known.due)
      case .negative where now < known.end:
        if !known.isAsking { begin(service) }
        return .negative(until: now.advanced(byNanoseconds: DNSTimes.firstRetry))
      case .negative, .failed: entries[service]?.beginAgain()
      }
    } else {
      guard makeRoom() else {
        return .failed(
          reason: "\(settings.nameLimit) names are in use already",
          until: now.advanced(byNanoseconds: DNSTimes.firstRetry))
      }
      entries[service] = DNSEntry(question, now: now)
    }
    begin(service)
    return .pending(service)
  }

  public func endpoints(of service: BoundName) -> [Endpoint] {
    if let known = entries[service] { return known.endpoints }
    guard let question = literal(service), case .address(let endpoint) = question.subject else { return [] }
    return [endpoint]
  }

  /// It stays known until its answer ends.
  public func release(_ service: BoundName) { entries[service]?.isHeld = false }

  public func freshness(of service: BoundName) -> Freshness? {
    if let known = entries[service], known.state == .service { return known.freshness }
    return literal(service).map { _ in Freshness(confirmed: .now()) }
  }

  /// The question of a name that holds its address itself.
  private func literal(_ service: BoundName) -> DNSQuestion? {
    guard service.prefix == prefix, let question = DNSQuestion(service), question.service == service,
      case .address = question.subject
    else { return nil }
    return question
  }

  public func report() -> SourceReport {
    let known = entries.values.filter { $0.state == .service }
    let failing = known.filter { $0.failure != nil }.sorted { $0.question.service.name < $1.question.service.name }
    var lines = failing.prefix(SourceReport.problemLimit).map { "\($0.question.service.name): \($0.failure ?? "")" }
    // A name that clients made up may fail alone; only while nothing else is heard that says something of the servers.
    if lines.isEmpty, let lastFailure { lines = [lastFailure] }
    var failure = channelFailure
    if failure == nil, let first = lines.first {
      failure = failing.count > 1 ? "\(first) (and \(failing.count - 1) more)" : first
    }
    var report = SourceReport(kind: "dns", prefix: prefix, freshness: Freshness(confirmed: confirmed, failure: failure))
    report.origin =
      settings.servers.isEmpty ? Self.resolverPath : settings.servers.map(\.description).joined(separator: ", ")
    report.services = known.count
    report.endpoints = known.reduce(0) { $0 + $1.endpoints.count }
    report.updates = updates
    report.errors = errors
    report.badEntries = known.reduce(0) { $0 + $1.ignored }
    report.problems = Array(((channelFailure.map { [$0] } ?? []) + lines).prefix(SourceReport.problemLimit))
    return report
  }

  // MARK: Looking up

  /// Makes room for one name more, and some to come: clients can make names up as fast as they can write, and to look through
  /// all that are known for each would take longer than anything else. False when all that are known are held.
  private func makeRoom() -> Bool {
    if entries.count < settings.nameLimit { return true }
    var idle: [(used: MonotonicInstant, name: BoundName)] = []
    for (name, entry) in entries where !entry.isHeld && !entry.isAsking { idle.append((entry.used, name)) }
    if idle.isEmpty { return false }
    idle.sort { $0.used < $1.used }
    for one in idle.prefix(max(settings.nameLimit / 16, 1)) { entries[one.name] = nil }
    return true
  }

  private func begin(_ service: BoundName) {
    guard !isStopped, let question = entries[service]?.question else { return }
    renewChannel()
    entries[service]?.isAsking = true
    if case .host(let name, _, let port) = question.subject, let found = inHosts(name, port) {
      // Not from inside of the call that asked.
      loop.schedule(at: .now()) { [weak self] in self?.ended(service, .found(found)) }
      return
    }
    guard let channel else {
      let reason = channelFailure ?? "no way to name servers"
      loop.schedule(at: .now()) { [weak self] in self?.ended(service, .failed(reason)) }
      return
    }
    let resolution = DNSResolution(
      question, rules(channel),
      ask: { [weak channel] name, type, reply in
        channel?.ask(name, type) { answer in
          switch answer {
          case .message(let bytes):
            guard let message = DNSMessage(bytes) else { return reply(.failed("the answer cannot be read")) }
            reply(DNSAnswer(message, to: name, type))
          case .failed(let reason): reply(.failed(reason))
          }
        }
      },
      done: { [weak self] outcome in self?.ended(service, outcome) })
    resolutions[service] = resolution
    resolution.begin()
  }

  private func rules(_ channel: DNSChannel) -> DNSRules {
    let families: [DNSType] =
      switch settings.family {
      case .any: [.a, .aaaa]
      case .ipv4: [.a]
      case .ipv6: [.aaaa]
      }
    return DNSRules(
      families: families, search: channel.search, ndots: channel.ndots, recordLimit: settings.recordLimit)
  }

  private func ended(_ service: BoundName, _ outcome: DNSOutcome) {
    guard !isStopped, var entry = entries[service], entry.isAsking else { return }
    resolutions[service] = nil
    let now = MonotonicInstant.now()
    let before = entry
    let change = entry.ended(outcome, now: now, times: times, random: &random)
    entries[service] = entry
    queue.push(service, at: entry.end)
    if queue.count > 4 * entries.count + 1024 { rebuildQueue() }
    arm()
    if let failure = entry.failure {
      errors &+= 1
      lastFailure = "\(service.name): \(failure)"
      if before.failure != failure {
        let stays = entry.state == .service ? "; keeping \(entry.endpoints.count) endpoints" : ""
        log.say("discovery /#/\(prefix): \(service.name): \(failure)\(stays)")
      }
    } else {
      confirmed = now
      lastFailure = nil
      if before.failure != nil, before.state == .service {
        log.say("discovery /#/\(prefix): \(service.name): answers again")
      }
    }
    guard let change else { return }
    updates &+= 1
    news.add(service, change)
  }

  // MARK: Time

  private func arm() {
    guard let next = queue.next, !isStopped else { return }
    if let timer {
      if timer.deadline <= next { return }
      loop.cancel(timer.number)
    }
    let number = loop.schedule(at: next) { [weak self] in self?.fired() }
    timer = (number, next)
  }

  private func fired() {
    timer = nil
    let now = MonotonicInstant.now()
    while let service = queue.pop(until: now) {
      guard let entry = entries[service], entry.end <= now, !entry.isAsking else { continue }
      if entry.isHeld, entry.state == .service {
        begin(service)
      } else if entry.state != .pending {
        entries[service] = nil
      }
    }
    arm()
  }

  private func rebuildQueue() {
    queue.removeAll()
    for (service, entry) in entries where !entry.isAsking { queue.push(service, at: entry.end) }
  }

  // MARK: Files of the host

  private func openChannel() {
    var options = DNSChannel.Options(
      servers: settings.servers, search: settings.search, ndots: settings.ndots, tries: Int32(clamping: settings.tries))
    options.timeoutMilliseconds = Int32(clamping: settings.timeoutMilliseconds)
    options.mark = settings.mark
    do throws(TextError) {
      channel = try DNSChannel(options, loop: loop)
      channelFailure = nil
    } catch {
      channel = nil
      channelFailure = "c-ares: \(error.reason)"
      log.say("discovery /#/\(prefix): c-ares: \(error.reason)")
    }
  }

  /// Another resolv.conf makes another channel. Looked at once a second at most.
  private func renewChannel() {
    let now = MonotonicInstant.now()
    guard channel == nil || settings.servers.isEmpty || settings.search == nil,
      now.nanoseconds(since: resolverLooked) >= Self.resolverPeriod
    else { return }
    resolverLooked = now
    let file = FileStamp(Self.resolverPath)
    guard channel == nil || file != resolverFile else { return }
    resolverFile = file
    let asking = Array(resolutions.keys)
    channel?.close()
    resolutions = [:]
    openChannel()
    for service in asking { begin(service) }
  }

  /// What /etc/hosts says of a name; nil where it says nothing.
  private func inHosts(_ name: String, _ port: UInt16) -> DNSOutcome.Found? {
    guard let channel else { return nil }
    let file = FileStamp(Self.hostsPath)
    if file != hostsFile {
      hostsFile = file
      notInHosts = []
    }
    if notInHosts.contains(name) { return nil }
    let families = rules(channel).families
    let records = channel.hosts(name).filter { record in families.contains { DNSAnswer.isUsable(record, as: $0) } }
    if records.isEmpty {
      if notInHosts.count >= settings.nameLimit { notInHosts = [] }
      notInHosts.insert(name)
      return nil
    }
    return DNSOutcome.Found(records: records, port: port, ttlSeconds: Self.hostsSeconds)
  }

  private static let resolverPath = "/etc/resolv.conf"
  private static let resolverPeriod: UInt64 = 1_000_000_000
  private static let hostsPath = "/etc/hosts"
  /// How long an entry of the hosts file is believed.
  private static let hostsSeconds: UInt32 = 5
}
