// Active health checks: the control thread asks endpoints whether they are well, whether or not there are requests for them.
//
//   due ──► connect ──► (tcp: that is all) ──► http: GET, status line ──┬──► what that makes of the endpoint (Policy's HealthCheckState)
//     │                                  └───► grpc: GRPCHealthCall ──────┤
//     └── its interval, with jitter ◄─────────────────────────────────────┘
//
// A check has a connection of its own, and so does what is checked. So many at a time, the others wait their turn: a thousand
// endpoints that do not answer must not cost a thousand descriptors. What a verdict means is written into the endpoint's gate,
// where every shard's balancer sees it.

import Base
import CFairlead
import Capture
import Configuration
import EventLoop
import Glibc
import Policy
import Telemetry

/// The checks of all services' endpoints. The control thread's own.
final class HealthChecker {
  /// One endpoint that is checked.
  private final class Target {
    let service: Service
    let endpoint: SharedEndpoint
    let address: SocketAddress
    var check: ServicePolicy.HealthCheck
    /// What its connections begin with.
    var proxyHeader: ProxyHeader.Version?
    var state: HealthCheckState
    let slot: UInt32
    /// It could not even be begun.
    var isRefused = false
    /// The check under way.
    var descriptor: Int32 = -1
    var received: [UInt8] = []
    var call: GRPCHealthCall?
    var isWaiting = false

    init(
      _ service: Service, _ endpoint: SharedEndpoint, _ address: SocketAddress, _ check: ServicePolicy.HealthCheck,
      _ state: HealthCheckState, slot: UInt32
    ) {
      self.service = service
      self.endpoint = endpoint
      self.address = address
      self.check = check
      self.state = state
      self.slot = slot
    }
  }

  private let loop: ControlLoop
  private let metrics: NodeMetrics
  /// SO_MARK of the checks' sockets, so that they are not captured; 0 for none.
  private let mark: UInt32
  /// Called when an endpoint of a service turned.
  private let onTurn: (ServiceNumber) -> Void
  private lazy var client = GRPCHealthClient(calls: HealthChecker.mostAtOnce)
  private var random = RandomSource.seededByKernel()
  /// By service and address.
  private var targets: [ServiceNumber: [SocketAddress: Target]] = [:]
  /// By slot of `wheel`.
  private var slots: [Target?] = []
  private var freeSlots: [UInt32] = []
  /// When targets are due, and when the check under way is late; nil before there is anything to check.
  private var wheel: TimerWheel?
  private var timer: (serial: UInt64, deadline: MonotonicInstant)?
  private var waiting: [Target] = []
  private var runningCount = 0
  private var isStopped = false

  init(loop: ControlLoop, metrics: NodeMetrics, mark: UInt32, onTurn: @escaping (ServiceNumber) -> Void) {
    self.loop = loop
    self.metrics = metrics
    self.mark = mark
    self.onTurn = onTurn
  }

  deinit { wheel?.destroy() }

  /// A service has changed: its endpoints are checked as its policy says now.
  func update(_ entry: ServiceDirectory.Entry) {
    if isStopped { return }
    let number = entry.service.number
    let check = entry.policy.healthCheck
    var former = targets.removeValue(forKey: number) ?? [:]
    var kept: [SocketAddress: Target] = [:]
    if check.kind != .none {
      for (address, member) in entry.members {
        if let target = former[address], target.endpoint === member {
          former[address] = nil
          target.check = check
          kept[address] = target
        } else {
          kept[address] = add(entry.service, member, address, check)
        }
      }
    }
    for target in kept.values { target.proxyHeader = entry.policy.proxyProtocol.version }
    for target in former.values {
      drop(target)
      // Nobody says any more that it is not well. One that has left its service stays out for good.
      if entry.members[target.address] === target.endpoint, !target.state.isHealthy {
        tell(target, isHealthy: true)
      }
      target.endpoint.checkFailure = nil
    }
    if !kept.isEmpty { targets[number] = kept }
    armTimer()
  }

  /// Ends all checks.
  func stop() {
    isStopped = true
    for target in slots.compactMap({ $0 }) { drop(target) }
    targets = [:]
    if let timer { loop.cancel(timer.serial) }
    timer = nil
  }

  /// Targets that are checked.
  var count: Int { targets.values.reduce(0) { $0 + $1.count } }

  private func add(
    _ service: Service, _ endpoint: SharedEndpoint, _ address: SocketAddress, _ check: ServicePolicy.HealthCheck
  ) -> Target? {
    let now = MonotonicInstant.now()
    guard let wheel = wheel ?? (try? TimerWheel(capacity: HealthChecker.capacity, now: now)) else { return nil }
    self.wheel = wheel
    let slot: UInt32
    if let free = freeSlots.popLast() {
      slot = free
    } else {
      guard slots.count < Int(HealthChecker.capacity) else { return nil }
      slot = UInt32(slots.count)
      slots.append(nil)
    }
    let target = Target(
      service, endpoint, address, check, HealthCheckState(check.terms, now: now, random: &random), slot: slot)
    slots[Int(slot)] = target
    wheel.schedule(slot, deadline: target.state.nextCheck)
    return target
  }

  private func drop(_ target: Target) {
    disconnect(target)
    wheel?.remove(target.slot)
    slots[Int(target.slot)] = nil
    freeSlots.append(target.slot)
    if target.isWaiting { waiting.removeAll { $0 === target } }
  }

  // MARK: Turns

  private func armTimer() {
    guard let wake = wheel?.nextWake(after: .now()) else { return }
    if let timer {
      if timer.deadline <= wake { return }
      loop.cancel(timer.serial)
    }
    let serial = loop.schedule(at: wake) { [weak self] in self?.turn() }
    timer = (serial, wake)
  }

  private func turn() {
    timer = nil
    let now = MonotonicInstant.now()
    while let slot = wheel?.popExpired(now) {
      guard let target = slots[Int(slot)] else { continue }
      if target.descriptor >= 0 {
        ended(target, target.isRefused ? .refused : .late)
      } else if runningCount < HealthChecker.mostAtOnce {
        begin(target)
      } else if !target.isWaiting {
        target.isWaiting = true
        waiting.append(target)
      }
    }
    armTimer()
  }

  private func beginWaiting() {
    while runningCount < HealthChecker.mostAtOnce, !waiting.isEmpty, !isStopped {
      let target = waiting.removeFirst()
      target.isWaiting = false
      begin(target)
    }
  }

  // MARK: One check

  private func begin(_ target: Target) {
    let address = target.endpoint.address
    let descriptor = socket(address.pointee.family, fl_sock_stream | fl_sock_cloexec | fl_sock_nonblock, 0)
    guard descriptor >= 0 else {
      // Our own shortage says nothing about the endpoint.
      wheel?.schedule(target.slot, deadline: .now().advanced(byNanoseconds: target.check.interval.wholeNanoseconds))
      return
    }
    fl_prepare_stream(descriptor)
    if mark != 0 { _ = fl_set_mark(descriptor, mark) }
    target.descriptor = descriptor
    target.received = []
    target.isRefused = false
    runningCount += 1
    wheel?.schedule(target.slot, deadline: .now().advanced(byNanoseconds: target.check.timeout.wholeNanoseconds))
    let result = address.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      connect(descriptor, $0, address.pointee.length)
    }
    guard result == 0 || errno == EINPROGRESS else {
      // It has failed; said with the next turn, for many may fail one after the other.
      target.isRefused = true
      wheel?.schedule(target.slot, deadline: .now())
      return
    }
    loop.watch(descriptor, events: Int16(POLLOUT)) { [weak self] _ in self?.connected(target) }
  }

  private func connected(_ target: Target) {
    var error: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    getsockopt(target.descriptor, SOL_SOCKET, SO_ERROR, &error, &length)
    guard error == 0 else { return ended(target, .refused) }
    // A check is nobody's, which an endpoint that expects a header must be told, too.
    let header = target.proxyHeader.map { ProxyHeader.bytes($0, nil) } ?? []
    let authority = target.check.host ?? target.service.name
    let request: [UInt8]
    switch target.check.kind {
    case .none, .tcp: return ended(target, nil)
    case .http: request = HealthChecker.get(target.check.path, host: authority)
    case .grpc:
      target.call = client.flatMap {
        GRPCHealthCall(
          service: target.check.service, authority: authority, timeout: target.check.timeout, $0)
      }
      // Without memory the check is late.
      guard let call = target.call else { return loop.unwatch(target.descriptor) }
      request = call.takeOutput()
    }
    guard send(target, header + request) else { return ended(target, .closed) }
    loop.watch(target.descriptor, events: Int16(POLLIN)) { [weak self] _ in self?.readable(target) }
  }

  private static func get(_ path: String, host: String) -> [UInt8] {
    Array(
      """
      GET \(path) HTTP/1.1\r
      host: \(host)\r
      user-agent: fairlead-health-check\r
      connection: close\r
      \r

      """.utf8)
  }

  /// A fresh socket takes a few hundred bytes at once, or is of no use.
  private func send(_ target: Target, _ bytes: [UInt8]) -> Bool {
    bytes.isEmpty || Glibc.send(target.descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
  }

  private func readable(_ target: Target) {
    var buffer = [UInt8](repeating: 0, count: 4096)
    let count = recv(target.descriptor, &buffer, buffer.count, 0)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    guard count > 0 else { return ended(target, .closed) }
    if let call = target.call {
      answered(target, call, buffer.prefix(count))
      return
    }
    target.received += buffer.prefix(min(count, 512))
    switch StatusLine(target.received) {
    case .status(let status): ended(target, target.check.expect.contains(status) ? nil : .status(status))
    case .incomplete: break
    case .none: ended(target, .garbage)
    }
  }

  private func answered(_ target: Target, _ call: GRPCHealthCall, _ bytes: ArraySlice<UInt8>) {
    bytes.withUnsafeBytes { call.receive($0) }
    if call.verdict != nil { call.end() }
    let output = call.takeOutput()
    let isSent = send(target, output)
    switch call.verdict {
    case .success: ended(target, nil)
    case .failure(let failure): ended(target, failure)
    case nil: if !isSent { ended(target, .closed) }
    }
  }

  private func disconnect(_ target: Target) {
    guard target.descriptor >= 0 else { return }
    loop.unwatch(target.descriptor)
    close(target.descriptor)
    target.descriptor = -1
    target.call = nil
    runningCount -= 1
  }

  /// A check is over.
  ///
  /// - Parameter failure: nil when it was passed.
  private func ended(_ target: Target, _ failure: CheckFailure?) {
    disconnect(target)
    let succeeded = failure == nil
    target.endpoint.checkFailure = failure
    metrics.healthChecks.cell(
      shard: metrics.registry.controlShard, labels: [target.service.name, succeeded ? "success" : "failure"]
    ).add(1)
    let turned = target.state.record(
      succeeded: succeeded, target.check.terms, now: .now(), random: &random)
    wheel?.schedule(target.slot, deadline: target.state.nextCheck)
    if turned { tell(target, isHealthy: target.state.isHealthy) }
    beginWaiting()
    armTimer()
  }

  private func tell(_ target: Target, isHealthy: Bool) {
    let change = target.endpoint.accrual.pointee.checked(
      isHealthy: isHealthy, ejections: target.service.shared.pointee.ejections)
    guard change != .nothing else { return }
    target.service.healthEpoch.bump()
    onTurn(target.service.number)
  }

  /// Endpoints that can be checked.
  private static let capacity: UInt32 = 65_536
  private static let mostAtOnce = 256
}

/// The beginning of what an endpoint answers to a check.
enum StatusLine: Equatable {
  case status(UInt16)
  /// So far it may become one.
  case incomplete
  /// It is no HTTP/1.
  case none

  /// `HTTP/1.1 200` and what follows; a reason is not looked at.
  init(_ bytes: [UInt8]) {
    let pattern = Array("HTTP/1.".utf8)
    guard bytes.starts(with: pattern.prefix(bytes.count)) else {
      self = .none
      return
    }
    guard bytes.count >= 13 else {
      self = .incomplete
      return
    }
    let digits = bytes[9..<12]
    let isOver = bytes[12] == 0x20 || bytes[12] == 0x0D
    guard bytes[7] == 0x30 || bytes[7] == 0x31, bytes[8] == 0x20, isOver,
      digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 })
    else {
      self = .none
      return
    }
    self = .status(digits.reduce(0) { $0 * 10 + UInt16($1 - 0x30) })
  }
}
