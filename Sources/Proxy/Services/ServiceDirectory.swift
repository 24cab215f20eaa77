// The node's services, by name and by number, and what the shards are told of them. Static ones come with the configuration,
// others come and go with what discovery finds; either way a change is one message to every shard, which keeps the endpoints
// it knows with their connections and their loads, takes on the new ones, and lets the others drain.

import Base
import Configuration
import Policy
import Telemetry

/// The table of services. The control thread's own.
final class ServiceDirectory {
  /// A service and what the shards were told last.
  struct Entry {
    let service: Service
    fileprivate(set) var policy: ServicePolicy
    /// The node's.
    fileprivate var zone: String?
    /// In discovery's order.
    fileprivate(set) var endpoints: [Endpoint]
    fileprivate(set) var members: [SocketAddress: SharedEndpoint]

    /// What the node makes of one of its endpoints now.
    func state(of endpoint: Endpoint) -> EndpointState {
      members[endpoint.address].map { EndpointState($0.accrual.pointee.state) } ?? .live
    }

    /// The weight of one of its endpoints, or as much of it as its slow start allows.
    func effectiveWeight(of endpoint: Endpoint, now: MonotonicInstant) -> Double {
      guard !policy.balancer.kind.isByKey, let shared = members[endpoint.address] else { return endpoint.weight }
      return endpoint.weight * policy.balancer.settings.slowStart.factor(addedAt: shared.addedAt, now: now)
    }
  }

  private var byName: [String: Entry] = [:]
  private var labels: Set<String> = []
  /// Bound names by number; nil where a number is free or its service is being given up.
  private var names: [String?] = []
  /// Given up, with shards that may still use them.
  private var leaving: [Service] = []
  private let metrics: NodeMetrics
  private let shardCount: Int
  private let listeners: [String]
  private let logNames: NameTable
  private let send: (ShardMessage) -> Void
  /// Where the node stands: what services are told with their next change.
  var zone: String?
  /// Where its slice of endpoints begins, by `aperture`.
  var apertureName: UInt64 = 0

  /// - Parameters:
  ///   - listeners: the listeners' names, for labels.
  ///   - send: passes a message to every shard.
  init(
    metrics: NodeMetrics, shardCount: Int, listeners: [String], logNames: NameTable,
    send: @escaping (ShardMessage) -> Void
  ) {
    self.metrics = metrics
    self.shardCount = shardCount
    self.listeners = listeners
    self.logNames = logNames
    self.send = send
  }

  // MARK: Asking

  subscript(boundName: String) -> Entry? { byName[boundName] }

  func number(of boundName: String) -> ServiceNumber? { byName[boundName]?.service.number }

  /// Every service, by number.
  var all: [Entry] { names.compactMap { $0.flatMap { byName[$0] } } }

  /// What services are called, by number; empty for a number that has none.
  var namesByNumber: [String] { names.map { $0.flatMap { byName[$0]?.service.name } ?? "" } }

  var count: Int { byName.count }

  // MARK: Changing

  /// Adds a service, or changes what is known of it. Endpoints have distinct addresses.
  ///
  /// - Returns: its number; nil when the node has no room for another service.
  @discardableResult
  func set(_ boundName: String, label: String, policy: ServicePolicy, endpoints: [Endpoint]) -> ServiceNumber? {
    if var entry = byName[boundName] {
      guard entry.policy != policy || entry.endpoints != endpoints || entry.zone != zone else {
        return entry.service.number
      }
      entry.policy = policy
      entry.zone = zone
      let changes = setEndpoints(of: &entry, endpoints)
      byName[boundName] = entry
      tell(entry)
      show(changes, of: entry)
      return entry.service.number
    }
    guard let number = takeNumber() else { return nil }
    let name = freeLabel(label, boundName)
    let service = Service(
      number: number, boundName: boundName, name: name, logName: logNames.number(of: name),
      cells: (0..<shardCount).map { metrics.serviceCells(shard: $0, service: name, listeners: listeners) })
    var entry = Entry(service: service, policy: policy, zone: zone, endpoints: [], members: [:])
    let changes = setEndpoints(of: &entry, endpoints)
    byName[boundName] = entry
    names[Int(number)] = boundName
    tell(entry)
    show(changes, of: entry)
    return number
  }

  /// Gives a service up: exchanges that have it finish. Names that lead to it must have been forgotten.
  func remove(_ boundName: String) {
    guard var entry = byName.removeValue(forKey: boundName) else { return }
    let changes = setEndpoints(of: &entry, [])
    tell(entry)
    show(changes, of: entry)
    metrics.forgetService(entry.service.name, listeners: listeners)
    names[Int(entry.service.number)] = nil
    labels.remove(entry.service.name)
    leaving.append(entry.service)
    send(.serviceRemoved(entry.service.number))
  }

  private func tell(_ entry: Entry) {
    let shared = entry.endpoints.compactMap { entry.members[$0.address] }
    let prefersNear = entry.policy.balancer.prefer != .none
    let members = zip(entry.endpoints, shared).map { endpoint, shared in
      BalancerMember(
        weight: endpoint.weight, locality: prefersNear ? locality(of: endpoint, shared) : .other,
        identity: endpoint.identity, addedAt: shared.addedAt)
    }
    var settings = entry.policy.balancer.settings
    settings.aperture.name = apertureName
    let plan = BalancerPlan(members, settings: settings)
    showAperture(entry, plan)
    send(.service(ServiceUpdate(service: entry.service, policy: entry.policy, endpoints: shared, plan: plan)))
    onChange?(entry)
  }

  private func showAperture(_ entry: Entry, _ plan: BalancerPlan) {
    let labels = [entry.service.name]
    if plan.settings.kind == .aperture, !entry.endpoints.isEmpty {
      metrics.apertureEndpoints.cell(shard: metrics.registry.controlShard, labels: labels).set(Int64(plan.usedCount))
    } else {
      metrics.apertureEndpoints.retire(labels: labels)
    }
  }

  private func locality(of endpoint: Endpoint, _ shared: SharedEndpoint) -> Locality {
    if shared.isLocal { return .host }
    return zone != nil && endpoint.zone == zone ? .zone : .other
  }

  /// What metrics are told when the shards have been.
  private struct EndpointChanges {
    var new: [String] = []
    var gone: [String] = []
  }

  private func setEndpoints(of entry: inout Entry, _ endpoints: [Endpoint]) -> EndpointChanges {
    var changes = EndpointChanges()
    let name = entry.service.name
    // What is there from the beginning has nobody to leave its share to meanwhile.
    let addedAt = entry.members.isEmpty ? MonotonicInstant(nanoseconds: 0) : .now()
    var members: [SocketAddress: SharedEndpoint] = [:]
    members.reserveCapacity(endpoints.count)
    for endpoint in endpoints {
      if let known = entry.members[endpoint.address] {
        members[endpoint.address] = known
      } else {
        let text = endpoint.address.description
        members[endpoint.address] = SharedEndpoint(
          endpoint, of: entry.service, addedAt: addedAt,
          cells: metrics.endpointCells(shardCount: shardCount, service: name, endpoint: text))
        changes.new.append(text)
      }
    }
    for (address, member) in entry.members where members[address] == nil {
      // If it was out, another may go out now. Shards that have not heard yet choose it still, and nothing must keep them:
      // it may be the only one they know.
      _ = member.accrual.pointee.reset(ejections: entry.service.shared.pointee.ejections)
      changes.gone.append(address.description)
    }
    entry.members = members
    entry.endpoints = endpoints
    return changes
  }

  /// Of ten thousand endpoints this takes as long as all the rest: the shards do not wait for it.
  private func show(_ changes: EndpointChanges, of entry: Entry) {
    let name = entry.service.name
    for endpoint in changes.new {
      metrics.common.endpointState.cell(shard: metrics.registry.controlShard, labels: [name, endpoint, "live"]).set(1)
    }
    for endpoint in changes.gone { metrics.forgetEndpoint(service: name, endpoint: endpoint) }
  }

  // MARK: Health

  /// Called with what has been set, and with what is left of what has been removed: nothing.
  var onChange: ((Entry) -> Void)?

  /// An endpoint of this service went out or came back: the metrics say so.
  func showStates(of number: ServiceNumber) {
    guard Int(number) < names.count, let name = names[Int(number)], let entry = byName[name] else { return }
    for (address, member) in entry.members {
      let state = EndpointState(member.accrual.pointee.state)
      if state == member.shownState { continue }
      for (one, value) in [(member.shownState, Int64(0)), (state, 1)] {
        metrics.common.endpointState.cell(
          shard: metrics.registry.controlShard, labels: [entry.service.name, address.description, one.rawValue]
        ).set(value)
      }
      member.shownState = state
    }
  }

  // MARK: What the configuration says itself

  /// The services of a configuration: those it spells out, and that of original destinations.
  ///
  /// - Parameter original: called with its number.
  func setStatic(_ configuration: Configuration, hasDestinations: Bool, original: (ServiceNumber) -> Void = { _ in }) {
    for discovery in configuration.discovery {
      for service in discovery.staticServices {
        set(
          "/#/\(discovery.prefix)/\(service.name)", label: service.name,
          policy: configuration.policy(forServiceName: "/svc/\(service.name)"), endpoints: service.endpoints)
      }
    }
    guard hasDestinations else { return }
    // Whatever clients connect to has the timeouts of `/svc`, and no limit of its own but the node's: it is many services.
    var policy = configuration.policy(forServiceName: "/svc")
    policy.limits.connections = configuration.limits.connections
    policy.limits.requests = configuration.limits.connections
    policy.rateLimit = nil
    if let number = set("/#/original", label: "(original)", policy: policy, endpoints: []) { original(number) }
  }

  // MARK: Numbers and labels

  private func takeNumber() -> ServiceNumber? {
    // A number is free again when the last shard has let go of its service.
    if let place = leaving.firstIndex(where: { !$0.isUsed }) { return leaving.remove(at: place).number }
    guard names.count < ServiceDirectory.capacity else { return nil }
    names.append(nil)
    return ServiceNumber(names.count - 1)
  }

  /// Two discoveries may have a service of the same name; the second is called by its discovery, too.
  private func freeLabel(_ label: String, _ boundName: String) -> String {
    if labels.insert(label).inserted { return label }
    let whole = String(boundName.dropFirst("/#/".count))
    labels.insert(whole)
    return whole
  }

  /// Services at once.
  static let capacity = 65_536
}

extension Configuration {
  /// The bound names of the services it spells out.
  var staticServiceNames: [String] {
    discovery.flatMap { discovery in discovery.staticServices.map { "/#/\(discovery.prefix)/\($0.name)" } }
  }
}
