// A node's listening sockets, one a listener and shard: taken over where an earlier process left them, opened where not.

import Base
import CFairlead
import Configuration
import Glibc

/// Opens a node's listening sockets, or takes those that were passed. Control thread, before the shards run.
struct ListenerOpening {
  private let listeners: [Configuration.Listener]
  private let shards: [Shard]
  private let passed: PassedListeners
  private let keeper: (any ListenerKeeper)?
  /// What there is to say about it, a line each.
  private(set) var notes: [String] = []
  /// The addresses really bound, in the configuration's order.
  private(set) var addresses: [SocketAddress] = []
  /// What becomes of each listener's sockets when this process has closed them.
  private(set) var keeping: [ListenerSocket.Keeping] = []
  /// How many sockets each listener has, by where they came from.
  private(set) var counts: [[Source: Int]] = []

  /// Where a socket came from; the metric's label.
  enum Source: String, CaseIterable {
    case opened
    /// Kept over a restart.
    case kept
    /// Opened by the service manager.
    case activated
  }

  init(
    _ listeners: [Configuration.Listener], shards: [Shard], passed: PassedListeners, keeper: (any ListenerKeeper)?
  ) {
    self.listeners = listeners
    self.shards = shards
    self.passed = passed
    self.keeper = keeper
  }

  mutating func run() throws(NodeError) {
    passed.rejected.forEach { reject($0) }
    for position in listeners.indices {
      keeping.append(.none)
      counts.append([:])
      addresses.append(try open(position))
    }
  }

  /// A socket of an earlier configuration must not go on listening where nobody accepts, neither here nor in the keeper's
  /// copy of it: shutting it down ends both at once. What the service manager opened itself is its own.
  private mutating func reject(_ socket: PassedSocket) {
    if PassedListeners.number(of: socket.name) != nil {
      shutdown(socket.descriptor, fl_shutdown_both)
      notes.append("the kept socket '\(socket.name)' belongs to no listener now and is closed")
    } else {
      notes.append(
        "the passed socket '\(socket.name)' is not used: no listener has this name (FileDescriptorName=) and its address"
      )
    }
    close(socket.descriptor)
    keeper?.forget(socket.name)
  }

  private mutating func open(_ position: Int) throws(NodeError) -> SocketAddress {
    let listener = listeners[position]
    let taken = passed.sockets(of: position)
    guard let first = taken.first else {
      try ListeningSocket.checkFree(listener.address, name: listener.name)
      return try openMissing(position, listener.address, numbers: [])
    }
    for (place, socket) in taken.enumerated() {
      try ListeningSocket.prepare(
        socket.descriptor, socket.address, name: listener.name, isTransparent: listener.capture == .tproxy)
      // With fewer shards than before, some serve two: nothing that waits at a socket is lost.
      let shard = shards[(socket.number ?? place) % shards.count]
      if socket.number == nil {
        add(socket.descriptor, position, to: shard, .byOwner, .activated)
      } else {
        keep(socket.descriptor, position, as: socket.name, shard: shard, .kept)
      }
    }
    notes.append(
      "listener '\(listener.name)' goes on with \(taken.count) socket\(taken.count == 1 ? "" : "s") passed to it")
    // A socket of somebody else's has no others beside it: its connections are spread by handing them over, as a path's are.
    if taken.contains(where: { $0.number == nil }) { return first.address }
    if case .unix = first.address { return first.address }
    do throws(NodeError) {
      return try openMissing(position, first.address, numbers: Set(taken.compactMap(\.number)))
    } catch {
      notes.append("\(error.description); those that were passed serve")
      return first.address
    }
  }

  /// Opens a socket for each shard that has none.
  private mutating func openMissing(
    _ position: Int, _ wanted: SocketAddress, numbers: Set<Int>
  ) throws(NodeError) -> SocketAddress {
    let listener = listeners[position]
    var address = wanted
    for shard in shards where !numbers.contains(shard.index) {
      // A path has one socket; its connections are spread over the shards by handing them over.
      if case .unix = address, shard.index > 0 { continue }
      let (descriptor, bound) = try ListeningSocket.open(
        address, name: listener.name, isTransparent: listener.capture == .tproxy)
      address = bound
      keep(descriptor, position, as: PassedListeners.name(listener.name, shard.index), shard: shard, .opened)
    }
    return address
  }

  private mutating func keep(_ descriptor: Int32, _ position: Int, as name: String, shard: Shard, _ source: Source) {
    add(descriptor, position, to: shard, keeper?.keep(descriptor, as: name) == true ? .byKeeper : .none, source)
  }

  private mutating func add(
    _ descriptor: Int32, _ position: Int, to shard: Shard, _ kept: ListenerSocket.Keeping, _ source: Source
  ) {
    shard.addListener(ListenerSocket(descriptor: descriptor, listener: UInt32(position), keeping: kept))
    keeping[position] = kept
    counts[position][source, default: 0] += 1
  }
}
