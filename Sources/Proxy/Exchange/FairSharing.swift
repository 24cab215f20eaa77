// Whose turn it is when there is not room for all. Two things are shared by workload weight, where workloads are configured:
//
//   turns     of a shard: requests that have come in one turn go on at its end, by weight, and only so many of them; what is
//             left waits for the next turn. So a turn is short, and whoever asks little is at the front of the next one.
//   places    a service's requests under way (`limits.requests`, and no more than connections): who finds none waits, up to
//             `limits.pending`, and the next that comes free goes to the workload that is due. When even the queue is full, the
//             newest of the workload most over its share is refused, and not whoever came last.
//
// Places are the node's, queues are the shards' own. A place that comes free while others wait goes to a shard drawn by the
// weight that waits there, itself included: it stays counted and travels as a message, so that nobody can take it on its way.
//
// Nothing is served, and nobody refused, from within another exchange's event: what comes free in a turn is given at its end.

import Base
import EventLoop
import Policy
import Telemetry

extension Shard {
  var sharesPlaces: Bool { sharing.pointee.isActive }

  // MARK: Places

  /// Finds an exchange a place among its service's requests, at once or later, and looks for an endpoint then.
  func admit(_ exchange: ExchangePointer) {
    let service = services.service(exchange.pointee.service)
    let shared = service.pointee.shared
    let mayPass = !sharesPlaces || shared.pointee.pending.value == 0
    if mayPass, shared.pointee.requests.tryAdd(limit: placeLimit(service)) {
      begin(exchange, service)
    } else if sharesPlaces {
      enqueue(exchange, service)
    } else {
      fail(exchange, .tooManyRequests)
    }
  }

  /// Where places are shared, whoever has one can have a connection: a request takes a whole one.
  private func placeLimit(_ service: UnsafeMutablePointer<ShardService>) -> Int {
    let policy = service.pointee.policy
    return sharesPlaces ? min(policy.requestLimit, policy.connectionLimit) : policy.requestLimit
  }

  func noPlaceError(_ service: UnsafeMutablePointer<ShardService>) -> ProxyError {
    service.pointee.policy.connectionLimit < service.pointee.policy.requestLimit
      ? .tooManyConnections : .tooManyRequests
  }

  private func enqueue(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) {
    let flow = workload(of: exchange)
    let shared = service.pointee.shared
    guard makeRoom(for: flow, service) else {
      fail(exchange, noPlaceError(service))
      return
    }
    let queue: FairQueue
    if let known = service.pointee.queue {
      queue = known
    } else {
      queue = FairQueue(sharing.pointee.weights, links: sharing.pointee.links)
      service.pointee.queue = queue
    }
    queue.add(exchange.pointee.index, flow: flow)
    exchange.pointee.phase = .queued
    shared.pointee.waiting.set(queue.activeWeight, shard: index)
    statistics.pendingRequests.add(1)
    statistics.workloads.countQueued(1, workload: flow)
    // A place may have come free just before, when there was nobody to give it to.
    if shared.pointee.requests.value < placeLimit(service) { givePlacesLater(service) }
  }

  /// Counts one more among a service's pending. False when there is no room, and the one that must go is the new one itself.
  private func makeRoom(for flow: FlowNumber, _ service: UnsafeMutablePointer<ShardService>) -> Bool {
    let shared = service.pointee.shared
    let limit = service.pointee.policy.pendingLimit
    if shared.pointee.pending.tryAdd(limit: limit) { return true }
    guard limit > 0 else { return false }
    if let queue = service.pointee.queue, case let victim = queue.newestOverShare(adding: flow),
      victim != FairQueue.none
    {
      evict(exchanges.pointer(victim))
      shared.pointee.pending.add()
      return true
    }
    // Others may have filled it up on other shards: a shard has its part of the queue, and they make room for it.
    let waiting = service.pointee.queue?.count ?? 0
    guard waiting < limit / node.shardCount else { return false }
    shared.pointee.pending.add()
    node.broadcast(.makeRoom(service: service.pointee.number), from: index)
    return true
  }

  /// Another shard has let in one more than may wait: the newest goes, of the workload most over its share.
  func makeRoom(_ service: UnsafeMutablePointer<ShardService>) {
    guard let queue = service.pointee.queue else { return }
    let limit = service.pointee.policy.pendingLimit
    while queue.count > limit / node.shardCount, service.pointee.shared.pointee.pending.value > limit {
      let victim = queue.newestOverShare
      guard victim != FairQueue.none else { return }
      evict(exchanges.pointer(victim))
    }
  }

  private func evict(_ exchange: ExchangePointer) {
    leaveWaiting(exchange)
    sharing.pointee.evicted.append(exchange.pointee.index, exchanges.generation(exchange.pointee.index))
  }

  /// Takes an exchange out of whatever queue it stands in.
  func leaveWaiting(_ exchange: ExchangePointer) {
    switch exchange.pointee.phase {
    case .pending: leaveQueue(exchange)
    case .ready:
      sharing.pointee.ready.remove(exchange.pointee.index)
      exchange.pointee.phase = .dispatching
    case .queued:
      let service = services.service(exchange.pointee.service)
      service.pointee.queue?.remove(exchange.pointee.index)
      leftPlaceQueue(exchange, service)
    case .naming, .dispatching, .backingOff, .waiting, .responding: break
    }
  }

  private func leftPlaceQueue(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) {
    exchange.pointee.phase = .dispatching
    let shared = service.pointee.shared
    shared.pointee.waiting.set(service.pointee.queue?.activeWeight ?? 0, shard: index)
    shared.pointee.pending.subtract()
    statistics.pendingRequests.add(-1)
    statistics.workloads.countQueued(-1, workload: workload(of: exchange))
  }

  /// An exchange gives its place back.
  func leavePlace(_ service: UnsafeMutablePointer<ShardService>) {
    let shared = service.pointee.shared
    shared.pointee.requests.subtract()
    if shared.pointee.pending.value > 0 { givePlacesLater(service) }
  }

  /// Before the turn ends, whatever places a service has go to who waits for them.
  func givePlacesLater(_ service: UnsafeMutablePointer<ShardService>) {
    if service.pointee.hasFreePlaces { return }
    service.pointee.hasFreePlaces = true
    sharing.pointee.freed.append(service.pointee.number, 0)
  }

  private func givePlaces(_ service: UnsafeMutablePointer<ShardService>) {
    let shared = service.pointee.shared
    while shared.pointee.pending.value > 0, shared.pointee.requests.tryAdd(limit: placeLimit(service)) {
      if !givePlace(service) { return }
    }
  }

  /// Gives a place that is counted already, and nobody's, to who is due. False when nobody waits any more.
  private func givePlace(_ service: UnsafeMutablePointer<ShardService>) -> Bool {
    let shared = service.pointee.shared
    let isAlone = shared.pointee.pending.value <= (service.pointee.queue?.count ?? 0)
    let target = isAlone ? index : shared.pointee.waiting.shard(of: state.pointee.random.next())
    if let target, target != index,
      node.send(.place(service: service.pointee.number), to: target)
    {
      return true
    }
    return takePlace(service)
  }

  /// A place is this shard's to give: to the first that is due here.
  func takePlace(_ service: UnsafeMutablePointer<ShardService>) -> Bool {
    guard let member = service.pointee.queue?.takeFirst() else {
      service.pointee.shared.pointee.requests.subtract()
      // Who waits has come meanwhile, or waits elsewhere.
      if service.pointee.shared.pointee.pending.value > 0 { givePlacesLater(service) }
      return false
    }
    let exchange = exchanges.pointer(member)
    leftPlaceQueue(exchange, service)
    begin(exchange, service)
    return true
  }

  /// An exchange has its place: from now on it counts, and pays into its service's retry budget.
  private func begin(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>) {
    exchange.pointee.flags.insert(.admitted)
    service.pointee.shared.pointee.budget.deposit(service.pointee.policy.retries.budget, now: state.pointee.now)
    dispatch(exchange)
  }

  // MARK: Turns

  /// A request whose service is known goes on: at once, or where workloads share the shard, when it is due. Also who is to be
  /// refused waits: refusing one that asks again at once is work like any other.
  func takeTurn(_ exchange: ExchangePointer) {
    guard sharesPlaces else {
      goOn(exchange)
      return
    }
    exchange.pointee.phase = .ready
    exchange.pointee.attemptStartedAt = state.pointee.now
    sharing.pointee.ready.add(exchange.pointee.index, flow: workload(of: exchange))
  }

  /// The end of a turn: who lost a place is told, places and turns go to who is due.
  func serveWaiting() {
    var position = 0
    while position < sharing.pointee.evicted.count {
      let entry = sharing.pointee.evicted[position]
      position += 1
      guard exchanges.isAllocated(entry.index), exchanges.generation(entry.index) == entry.generation else { continue }
      let exchange = exchanges.pointer(entry.index)
      fail(exchange, noPlaceError(services.service(exchange.pointee.service)))
    }
    sharing.pointee.evicted.removeFirst(position)
    let freed = sharing.pointee.freed.count
    for position in 0..<freed {
      guard let service = services.find(sharing.pointee.freed[position].index) else { continue }
      service.pointee.hasFreePlaces = false
      givePlaces(service)
    }
    sharing.pointee.freed.removeFirst(freed)
    for _ in 0..<turnShare {
      guard let member = sharing.pointee.ready.takeFirst() else { return }
      let exchange = exchanges.pointer(member)
      exchange.pointee.phase = .dispatching
      sharing.pointee.lag.waited(
        nanoseconds: state.pointee.now.nanoseconds(since: exchange.pointee.attemptStartedAt))
      goOn(exchange)
    }
  }

  private func goOn(_ exchange: ExchangePointer) {
    let downstream = connections.pointer(exchange.pointee.downstream)
    if let error = limitRefusal(downstream) ?? rateRefusal(exchange, downstream) {
      fail(exchange, error)
    } else {
      admit(exchange)
    }
  }

  /// Whether the next turn has work already.
  var hasWaitingWork: Bool {
    !sharing.pointee.ready.isEmpty || sharing.pointee.freed.count > 0 || sharing.pointee.evicted.count > 0
  }

  /// Requests that go on in one turn: enough that turns cost little, few enough that who comes next does not wait long.
  private var turnShare: Int { 16 }

  private func workload(of exchange: ExchangePointer) -> FlowNumber {
    connections.pointer(exchange.pointee.downstream).pointee.workload
  }
}
