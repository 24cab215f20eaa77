// Finds out everything about one name: the search domains one after the other, both address families at once, the targets of
// SRV records. It puts questions and gets answers through a function; it knows no sockets, no clock and no cache.

import Base
import Policy

/// What has become of it.
enum DNSOutcome: Equatable {
  case found(Found)
  /// There is no such name, and for how long that may be believed, where it is said.
  case negative(ttlSeconds: UInt32?)
  case failed(String)

  struct Found: Equatable {
    /// Each address once, in the order of `Endpoint.precedes`.
    var endpoints: [Endpoint] = []
    /// Nil where nothing says it.
    var ttlSeconds: UInt32?
    /// Records that lie or make no sense, and records over the limit.
    var ignored = 0
    /// A part that could not be found out: its family, where it is one. What was known of it before still holds.
    var gap: Gap?
  }

  struct Gap: Equatable {
    enum Part: Equatable { case ipv4, ipv6, targets }
    let part: Part
    let reason: String
  }
}

/// How names are looked up.
struct DNSRules: Equatable {
  var families: [DNSType] = [.a, .aaaa]
  var search: [String] = []
  var ndots = 1
  /// Endpoints of one name.
  var recordLimit = 1000

  /// The names to ask for, first to last (as resolv.conf(5) says of `search` and `ndots`).
  func candidates(_ name: String, isAbsolute: Bool) -> [String] {
    if isAbsolute { return [name] }
    let dots = name.utf8.count(where: { $0 == UInt8(ascii: ".") })
    let searched = search.map { "\(name).\($0.lowercased())" }.filter(DNSName.isHostName)
    return dots >= ndots ? [name] + searched : searched + [name]
  }
}

/// One name being looked up. It is done once, and tells then; lives as long as somebody keeps it.
final class DNSResolution {
  typealias Ask = (_ name: String, _ type: DNSType, _ reply: @escaping (DNSAnswer) -> Void) -> Void

  private let rules: DNSRules
  private let ask: Ask
  private let done: (DNSOutcome) -> Void
  private var candidates: ArraySlice<String>
  private var isService = false
  private var port: UInt16 = 0
  /// Some candidate is there without such records.
  private var sawNoData = false
  private var ignored = 0
  private var negativeTTL: UInt32?

  init(_ question: DNSQuestion, _ rules: DNSRules, ask: @escaping Ask, done: @escaping (DNSOutcome) -> Void) {
    self.rules = rules
    self.ask = ask
    self.done = done
    switch question.subject {
    case .host(let name, let isAbsolute, let port):
      candidates = rules.candidates(name, isAbsolute: isAbsolute)[...]
      self.port = port
    case .service(let name, let isAbsolute):
      candidates = rules.candidates(name, isAbsolute: isAbsolute)[...]
      isService = true
    case .address: candidates = []
    }
  }

  func begin() { next() }

  private func next() {
    guard let name = candidates.popFirst() else {
      // A name that is there without addresses exists and is empty.
      let found = DNSOutcome.Found(ttlSeconds: negativeTTL, ignored: ignored)
      return done(sawNoData ? .found(found) : .negative(ttlSeconds: negativeTTL))
    }
    if isService {
      ask(name, .srv) { [weak self] in self?.serviceAnswered($0) }
    } else {
      addresses(of: name, at: port) { [weak self] in self?.hostAnswered($0) }
    }
  }

  private func noticeNegative(_ ttlSeconds: UInt32?) {
    guard let ttlSeconds else { return }
    negativeTTL = min(negativeTTL ?? .max, ttlSeconds)
  }

  // MARK: Addresses

  private enum Addresses {
    case found(DNSOutcome.Found)
    case noData
    case nameError
    case failed(String)
  }

  private func hostAnswered(_ addresses: Addresses) {
    switch addresses {
    case .found(let found): finish(found)
    case .noData:
      sawNoData = true
      next()
    case .nameError: next()
    // Another candidate might be another service: what cannot be found out must not lead there.
    case .failed(let reason): done(.failed(reason))
    }
  }

  /// Asks for all families at once.
  private func addresses(of name: String, at port: UInt16, _ reply: @escaping (Addresses) -> Void) {
    var answers: [(type: DNSType, answer: DNSAnswer)] = []
    let count = rules.families.count
    for type in rules.families {
      ask(name, type) { [weak self] answer in
        answers.append((type, answer))
        if answers.count == count, let self { reply(combine(answers, port)) }
      }
    }
  }

  private func combine(_ answers: [(type: DNSType, answer: DNSAnswer)], _ port: UInt16) -> Addresses {
    var found = DNSOutcome.Found()
    var failure: DNSOutcome.Gap?
    var isThere = false
    for (type, answer) in answers {
      switch answer {
      case .records(let records, let ttl, _, let ignored):
        found.endpoints += records.compactMap { Endpoint($0, port) }
        found.ttlSeconds = min(found.ttlSeconds ?? .max, ttl)
        found.ignored += ignored
      case .noData(let ttl, let ignored):
        isThere = true
        found.ignored += ignored
        noticeNegative(ttl)
      case .nameError(let ttl): noticeNegative(ttl)
      case .failed(let reason):
        failure = DNSOutcome.Gap(part: type == .a ? .ipv4 : .ipv6, reason: reason)
      }
    }
    if found.ttlSeconds == nil {
      ignored += found.ignored
      if let failure { return .failed(failure.reason) }
      return isThere ? .noData : .nameError
    }
    found.gap = failure
    return .found(found)
  }

  // MARK: Services

  private struct Target {
    let name: String
    let port: UInt16
    let weight: UInt16
  }

  private func serviceAnswered(_ answer: DNSAnswer) {
    switch answer {
    case .records(let records, let ttl, let additionals, let ignored):
      self.ignored += ignored
      let targets = chosen(records)
      // Only the root as target: not there on purpose.
      if targets.isEmpty { return done(.negative(ttlSeconds: ttl)) }
      resolve(targets, ttl, additionals)
    case .noData(let ttl, let ignored):
      self.ignored += ignored
      sawNoData = true
      noticeNegative(ttl)
      next()
    case .nameError(let ttl):
      noticeNegative(ttl)
      next()
    case .failed(let reason): done(.failed(reason))
    }
  }

  /// The targets of the best priority, in an order of their own.
  private func chosen(_ records: [DNSRecord.Content]) -> [Target] {
    var best = UInt16.max
    var targets: [Target] = []
    for case .service(let priority, let weight, let port, let target) in records where !target.isEmpty {
      if priority < best { targets = [] }
      best = min(best, priority)
      if priority == best { targets.append(Target(name: target, port: port, weight: weight)) }
    }
    targets.sort { ($0.name, $0.port, $0.weight) < ($1.name, $1.port, $1.weight) }
    if targets.count > rules.recordLimit {
      ignored += targets.count - rules.recordLimit
      targets.removeLast(targets.count - rules.recordLimit)
    }
    return targets
  }

  /// Finds the addresses of the targets: those that came along, else by asking.
  private func resolve(_ targets: [Target], _ ttlSeconds: UInt32, _ additionals: [DNSRecord]) {
    var known: [String: [DNSRecord]] = [:]
    for record in additionals where rules.families.contains(where: { DNSAnswer.isUsable(record.content, as: $0) }) {
      known[record.name, default: []].append(record)
    }
    var found = DNSOutcome.Found(ttlSeconds: ttlSeconds)
    var asked: [String: [Target]] = [:]
    let largest = targets.map(\.weight).max() ?? 0
    for target in targets {
      if let records = known[target.name] {
        found.ttlSeconds = min(found.ttlSeconds ?? .max, records.map(\.ttlSeconds).min() ?? .max)
        let endpoints = records.compactMap { Endpoint($0.content, target.port) }
        found.endpoints += Self.weighted(endpoints, target.weight, largest)
      } else if asked[target.name] != nil || asked.count < Self.maximumTargetsAsked {
        asked[target.name, default: []].append(target)
      } else {
        found.ignored += 1
      }
    }
    if asked.isEmpty { return finish(found) }
    var left = asked.count
    for name in asked.keys.sorted() {
      addresses(of: name, at: 1) { [weak self] addresses in
        self?.add(addresses, of: asked[name] ?? [], largest, to: &found)
        left -= 1
        if left == 0 { self?.finish(found) }
      }
    }
  }

  private func add(_ addresses: Addresses, of targets: [Target], _ largest: UInt16, to found: inout DNSOutcome.Found) {
    switch addresses {
    case .found(let part):
      found.ttlSeconds = min(found.ttlSeconds ?? .max, part.ttlSeconds ?? .max)
      found.ignored += part.ignored
      if let gap = part.gap { found.gap = DNSOutcome.Gap(part: .targets, reason: gap.reason) }
      for target in targets {
        let endpoints = part.endpoints.compactMap { try? Endpoint($0.address.withPort(target.port)) }
        found.endpoints += Self.weighted(endpoints, target.weight, largest)
      }
    case .noData, .nameError: found.ignored += targets.count
    case .failed(let reason): found.gap = DNSOutcome.Gap(part: .targets, reason: reason)
    }
  }

  /// A target's weight is that of all its addresses together. Weights become fractions of the largest, which is 1: what
  /// counts is how they compare. Zero means "hardly ever", unless all are zero.
  private static func weighted(_ endpoints: [Endpoint], _ weight: UInt16, _ largest: UInt16) -> [Endpoint] {
    guard largest > 0 else { return endpoints }
    let share = Double(weight) / Double(largest) / Double(max(endpoints.count, 1))
    let allowed = min(max(share, Endpoint.weights.lowerBound), Endpoint.weights.upperBound)
    return endpoints.compactMap { try? Endpoint($0.address, weight: allowed) }
  }

  // MARK: End

  private func finish(_ found: DNSOutcome.Found) {
    if found.endpoints.isEmpty, let gap = found.gap { return done(.failed(gap.reason)) }
    var found = found
    found.ignored += ignored
    found.endpoints.sort(by: Endpoint.precedes)
    var seen: Set<SocketAddress> = []
    found.endpoints.removeAll { !seen.insert($0.address).inserted }
    if found.endpoints.count > rules.recordLimit {
      found.ignored += found.endpoints.count - rules.recordLimit
      found.endpoints.removeLast(found.endpoints.count - rules.recordLimit)
    }
    done(.found(found))
  }

  private static let maximumTargetsAsked = 100
}

extension Endpoint {
  /// Nil for what is no address.
  fileprivate init?(_ record: DNSRecord.Content, _ port: UInt16) {
    let address: SocketAddress
    switch record {
    case .v4(let v4): address = .v4(v4, port: port)
    case .v6(let v6): address = v6.mappedIPv4.map { .v4($0, port: port) } ?? .v6(v6, port: port)
    case .alias, .service: return nil
    }
    guard let endpoint = try? Endpoint(address) else { return nil }
    self = endpoint
  }
}

extension DNSOutcome.Found {
  /// Addresses that are known without asking.
  init(records: [DNSRecord.Content], port: UInt16, ttlSeconds: UInt32) {
    var seen: Set<SocketAddress> = []
    endpoints = records.compactMap { Endpoint($0, port) }.filter { seen.insert($0.address).inserted }
    endpoints.sort(by: Endpoint.precedes)
    self.ttlSeconds = ttlSeconds
  }
}
