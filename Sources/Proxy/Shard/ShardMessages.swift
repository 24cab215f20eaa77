// What other threads tell a shard, by its mailbox: another configuration, other endpoints, connections to take, the end.

import Base
import Capture
import Configuration
import EventLoop
import Glibc
import HTTP
import Policy
import Telemetry

extension Shard {
  // MARK: Messages

  func armWakeup() {
    ring.readCounter(
      node.wakeDescriptor(of: index),
      into: UnsafeMutableRawPointer(state).advanced(by: MemoryLayout<ShardState>.offset(of: \.wakeCounter) ?? 0)
        .assumingMemoryBound(to: UInt64.self),
      tag: OperationTag(kind: .wakeup, slot: 0, generation: 0))
  }

  func wokenUp() {
    armWakeup()
    takeMessages()
  }

  func takeMessages() {
    node.mailbox(of: index).drain { message in
      switch message {
      case .service(let update): take(update)
      case .serviceRemoved(let number): if let service = services.leave(number) { retryPending(service) }
      case .original(let number):
        state.pointee.originalService = number
        if let destinations, let originalCells {
          services.makeOriginal(number, slots: Int(destinations.capacity), cells: originalCells)
        }
      case .answer(let answer): answered(answer)
      case .tree(let number, let tree): trees.add(number, tree)
      case .forgetNames(let generation):
        state.pointee.namesGeneration = generation
        trees.forget()
      case .publish(let snapshot, let host): publish(snapshot, host)
      case .adopt(let descriptor, let listener): adopt(descriptor, listener)
      case .ping(let roll): roll.answer()
      case .connections(let gather, let limit): gather.add(listConnections(limit: limit))
      case .loads(let gather): gather.add(listLoads())
      case .freeConnection(let service): freeIdleConnection(of: service)
      case .connectionFreed(let number): if let service = services.find(number) { retryPending(service) }
      case .place(let number): if let service = services.find(number) { _ = takePlace(service) }
      case .makeRoom(let number): if let service = services.find(number) { makeRoom(service) }
      case .host(let tables): takeHostTables(tables)
      case .drain(let keepsListeners): beginDrain(keepsListeners: keepsListeners)
      case .stop: state.pointee.isStopping = true
      }
    }
  }

  /// Stops accepting; connections end when they have nothing in progress. Idle ones get half a second, so that a request
  /// that is on its way is still answered.
  private func beginDrain(keepsListeners: Bool) {
    if state.pointee.isDraining { return }
    state.pointee.isDraining = true
    state.pointee.keepsListeners = keepsListeners
    closeListeners()
    var index = state.pointee.downstreamHead
    while index != noSlot {
      let connection = connections.pointer(index)
      index = connection.pointee.next
      connection.pointee.flags.insert(.closeAfterExchange)
      if connection.pointee.wire == .multiplexed { announceDrain(connection) }
      if connection.pointee.exchange == noSlot {
        connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: drainGraceNanoseconds))
      }
    }
  }

  /// How long a connection without a request is kept while draining.
  var drainGraceNanoseconds: UInt64 { 500_000_000 }

  // MARK: Configuration

  /// A new configuration holds from now on. Exchanges that have begun finish as they began.
  private func publish(_ snapshot: Snapshot, _ host: HostTables) {
    if snapshot.workloads !== self.snapshot.workloads { take(snapshot.workloads, host) }
    self.snapshot = snapshot
    let headers = limits.head.headers
    state.pointee.limits = ShardLimits(snapshot.configuration.limits)
    if limits.head.headers != headers {
      requestHead.pointee = RequestHead(maximumFields: limits.head.headers)
      responseHead.pointee = ResponseHead(maximumFields: limits.head.headers)
      trailerFields.pointee = FieldTable(capacity: limits.head.headers)
    }
    for (position, listener) in snapshot.configuration.listeners.enumerated() {
      listenerPolicies[position] = ShardListener(listener, snapshot)
    }
    setNaming()
    setRoutes()
  }

  /// Other workloads hold from now on. What is open keeps its number, which stays its workload's.
  private func take(_ workloads: WorkloadPlan, _ host: HostTables) {
    statistics.workloads.take(workloads, shard: index)
    sharing.pointee.take(workloads)
    for number in 0..<services.count {
      guard let service = services.find(number), let queue = service.pointee.queue else { continue }
      let next = queue.reweighted(workloads.weights)
      service.pointee.queue = next
      service.pointee.shared.pointee.waiting.set(next.activeWeight, shard: index)
      // Without workloads there may be more places than before.
      givePlacesLater(service)
    }
    takeCallers(workloads.table, host: host)
  }

  func setNaming() {
    state.pointee.identifiers = snapshot.identifiers
    if !snapshot.identifiers.isHostOnly, state.pointee.logicalNames == nil {
      state.pointee.logicalNames = NameCache(random: &state.pointee.random, foldsCase: false)
    }
    state.pointee.targets?.deallocate()
    let count = snapshot.targets.count
    let targets = UnsafeMutablePointer<TargetAnswer>.allocate(capacity: max(count, 1))
    targets.initialize(repeating: TargetAnswer(), count: max(count, 1))
    (state.pointee.targets, state.pointee.targetCount) = (targets, count)
  }

  /// A service has changed: idle connections to endpoints that are gone are closed, and whoever waits for one tries again.
  private func take(_ update: ServiceUpdate) {
    let draining = services.apply(update, now: state.pointee.now, random: &state.pointee.random)
    let service = services.service(update.service.number)
    for slot in draining {
      while service.pointee.endpoints[Int(slot)].idleHead != noSlot {
        close(connections.pointer(service.pointee.endpoints[Int(slot)].idleHead))
      }
    }
    for slot in draining { retireMultiplexed(service.pointee.endpoints + Int(slot)) }
    retryPending(service)
    givePlacesLater(service)
  }

  /// Frees what has drained, a few times a second while there is something that drains.
  func sweepServices() {
    guard services.needsSweep, (state.pointee.sweepAt ?? state.pointee.now) <= state.pointee.now else { return }
    services.sweep()
    state.pointee.sweepAt = services.needsSweep ? deadline(after: 250_000_000) : nil
  }
}
