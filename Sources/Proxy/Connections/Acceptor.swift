// New connections: accepted on every shard's own listening sockets (SO_REUSEPORT), counted against the node's limit, and
// handed to another shard when this one holds clearly more than the least loaded.

import Base
import CFairlead
import EventLoop
import Glibc
import Telemetry

/// A listening socket of one shard.
struct ListenerSocket {
  /// -1 once it is closed.
  var descriptor: Int32
  /// Its place among the configuration's listeners.
  let listener: UInt32
  /// Whether it goes on listening when this process has closed it.
  let keeping: Keeping
  var isArmed = false

  enum Keeping: Sendable {
    case none
    /// Kept for the next process by the service manager, and given up when told to.
    case byKeeper
    /// Opened by the service manager, whose it stays.
    case byOwner
  }

  init(descriptor: Int32, listener: UInt32, keeping: Keeping = .none) {
    self.descriptor = descriptor
    self.listener = listener
    self.keeping = keeping
  }
}

extension Shard {
  /// Before the shard runs, and no more often than it was made for.
  func addListener(_ listener: ListenerSocket) {
    precondition(state.pointee.listenerCount < listenerCapacity, "more listening sockets than the shard was made for")
    (listeners + state.pointee.listenerCount).initialize(to: listener)
    state.pointee.listenerCount += 1
  }

  func armAccepts() {
    for position in 0..<state.pointee.listenerCount where !listeners[position].isArmed {
      listeners[position].isArmed = true
      ring.acceptMultishot(
        listeners[position].descriptor,
        tag: OperationTag(kind: .accept, slot: UInt32(position), generation: 0))
    }
  }

  /// An accept completion: a descriptor, or why there is none.
  func accepted(_ completion: Completion) {
    let position = Int(completion.tag.slot)
    guard position < state.pointee.listenerCount else { return }
    if !completion.hasMore { listeners[position].isArmed = false }
    if completion.result >= 0 {
      admit(completion.result, listeners[position].listener)
    } else if completion.result != -ECANCELED {
      // Out of descriptors or memory: connections wait in the kernel's queue until the next try.
      statistics.acceptFailures.add(1)
      state.pointee.lacksDescriptors = true
    }
    if completion.hasMore { return }
    if state.pointee.isDraining {
      closeListener(position)
    } else if completion.result >= 0 {
      armAccepts()
    } else {
      state.pointee.acceptRetryAt = deadline(after: acceptPauseNanoseconds)
    }
  }

  private var acceptPauseNanoseconds: UInt64 { 100_000_000 }

  private func admit(_ descriptor: Int32, _ listener: UInt32) {
    guard node.downstreamConnections.tryAdd(limit: limits.connections) else {
      statistics.countError(.nodeFull)
      refuse(descriptor, .nodeFull)
      return
    }
    if let other = node.shardToTake(insteadOf: index) {
      node.addConnection(to: other)
      if node.send(.adopt(descriptor: descriptor, listener: listener), to: other) {
        statistics.handedOver.add(1)
        return
      }
      node.removeConnection(from: other)
    }
    node.addConnection(to: index)
    adopt(descriptor, listener)
  }

  /// A descriptor that is this shard's from now on and is counted already.
  func adopt(_ descriptor: Int32, _ listener: UInt32) {
    guard let slot = connections.allocate() else {
      node.removeConnection(from: index)
      node.downstreamConnections.subtract()
      statistics.countError(.nodeFull)
      refuse(descriptor, .nodeFull)
      return
    }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getpeername(descriptor, $0, &length) }
    }
    let connection = connections.pointer(slot)
    connection.initialize(
      to: Connection(
        index: slot, generation: connections.generation(slot), descriptor: descriptor, role: .downstream,
        origin: listener, openedAt: state.pointee.now, peer: PeerAddress(storage)))
    connection.pointee.next = state.pointee.downstreamHead
    if state.pointee.downstreamHead != noSlot {
      connections.pointer(state.pointee.downstreamHead).pointee.previous = slot
    }
    state.pointee.downstreamHead = slot
    statistics.countDownstream(1, listener: Int(listener))
    statistics.accepted.add(1)
    classify(connection)
  }

  /// A downstream connection is being closed.
  func forgetDownstream(_ connection: ConnectionPointer) {
    let (previous, next) = (connection.pointee.previous, connection.pointee.next)
    if previous == noSlot {
      state.pointee.downstreamHead = next
    } else {
      connections.pointer(previous).pointee.next = next
    }
    if next != noSlot { connections.pointer(next).pointee.previous = previous }
    statistics.countDownstream(-1, listener: Int(connection.pointee.origin))
    statistics.workloads.countConnection(-1, workload: connection.pointee.workload)
    node.removeConnection(from: index)
    node.downstreamConnections.subtract()
    if connection.pointee.exchange != noSlot { downstreamGone(exchanges.pointer(connection.pointee.exchange)) }
  }

  /// One short answer that needs no connection of ours, then the end.
  private func refuse(_ descriptor: Int32, _ error: ProxyError) {
    withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 8) { buffer in
      let count =
        LocalResponse.write(
          error, service: nil, closes: true, withBody: true, via: UnsafeRawBufferPointer(start: nil, count: 0),
          retryAfter: takeRetryAfter(error), into: buffer) ?? 0
      // Best effort: the socket's buffer is empty, so this does not block; if it cannot be sent, the end says enough.
      send(descriptor, buffer.baseAddress, count, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
    }
    Glibc.close(descriptor)
  }

  /// Gives the listening sockets up. One whose accept is armed is closed when that has ended.
  func closeListeners() {
    state.pointee.acceptRetryAt = nil
    for position in 0..<state.pointee.listenerCount {
      if listeners[position].isArmed {
        ring.cancelAll(
          on: listeners[position].descriptor, tag: OperationTag(kind: .cancel, slot: 0, generation: 0))
      } else {
        closeListener(position)
      }
    }
  }

  /// Closes a listening socket. Clients that already wait there are connected as far as they know: where the socket lives on,
  /// the next process answers them; where it does not, they are taken now and get one answer that says to close.
  private func closeListener(_ position: Int) {
    let descriptor = listeners[position].descriptor
    if descriptor < 0 { return }
    listeners[position].descriptor = -1
    defer { Glibc.close(descriptor) }
    switch listeners[position].keeping {
    case .byOwner: return
    case .byKeeper where state.pointee.keepsListeners: return
    case .none, .byKeeper: break
    }
    while case let pending = fl_accept_pending(descriptor), pending >= 0 {
      admit(pending, listeners[position].listener)
    }
    // The keeper has a copy, which must not go on listening until it is let go.
    if listeners[position].keeping == .byKeeper { shutdown(descriptor, fl_shutdown_both) }
  }
}
