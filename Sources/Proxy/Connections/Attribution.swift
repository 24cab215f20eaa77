// Who is calling: which workload a downstream connection belongs to. Found out once, when a shard takes the connection on,
// and never again: requests only read the number.
//
//   the other end is a process of this host  →  its cgroup (the deepest configured one), else its user
//   else, or when neither is configured      →  the source address (the longest configured network)
//   else                                     →  0, `other`
//
// Whose the other end is, the shard asks the kernel itself (`SocketOwners`): two system calls that never wait, and only
// where the peer has an address of this host and the configuration names users or cgroups. Measured: a connection with one
// request takes 40 µs of a shard's time, 4 to 5 µs more with this, and as good as nothing more with 1,000 networks.
//
// A cgroup that is in no table yet, such as a service's that has just been started, is a question to the control thread.
// The connection is not read until the answer is there, so that its first request is counted right; after
// `longestWait` it goes on with what is known.

import Base
import CFairlead
import Capture
import Configuration
import Glibc
import Telemetry

/// A shard's means to tell callers apart. Reached only by its shard.
final class Callers {
  private(set) var workloads: WorkloadTable
  var host: HostTables
  /// Nil where nobody has to be asked, or the kernel does not allow it.
  fileprivate var owners: SocketOwners?
  fileprivate var waiting: [Waiting] = []

  /// A connection whose cgroup nobody knows yet.
  fileprivate struct Waiting {
    let index: UInt32
    let generation: UInt32
    let cgroup: UInt64
    /// What it is otherwise.
    let fallback: WorkloadNumber
    let deadline: MonotonicInstant
  }

  /// - Returns: nil when no workloads are configured.
  init?(_ workloads: WorkloadTable, host: HostTables) {
    if workloads.isEmpty { return nil }
    self.workloads = workloads
    self.host = host
    owners = workloads.needsOwners ? try? SocketOwners() : nil
  }

  /// Other workloads hold from now on; who waits goes on waiting.
  fileprivate func take(_ workloads: WorkloadTable, host: HostTables) {
    self.workloads = workloads
    self.host = host
    if !workloads.needsOwners {
      owners = nil
    } else if owners == nil {
      owners = try? SocketOwners()
    }
  }

  /// More connections than this do not wait at the same time: the next go on with what is known.
  fileprivate static let mostWaiting = 1_024
}

extension Shard {
  /// Finds out the workload of a fresh connection whose original destination, if it has one, is known.
  ///
  /// - Returns: false when that takes a while: the connection is served (`serve`) when it is over.
  func attribute(_ connection: ConnectionPointer) -> Bool {
    guard let callers else {
      statistics.workloads.countConnection(1, workload: 0)
      return true
    }
    var found: WorkloadNumber = 0
    var unknown: UInt64?
    if let owner = owner(of: connection, callers) {
      if let cgroup = owner.cgroup, callers.workloads.namesCGroups {
        if let known = callers.host.cgroups.value(of: cgroup) { found = known } else { unknown = cgroup }
      }
      if found == 0, let user = owner.user { found = callers.workloads.workload(ofUser: user) }
    }
    if found == 0, !connection.pointee.peer.isNone {
      found = callers.workloads.workload(ofAddress: connection.pointee.peer.address)
    }
    connection.pointee.workload = found
    statistics.workloads.countConnection(1, workload: found)
    guard let unknown else { return true }
    guard callers.waiting.count < Callers.mostWaiting else {
      statistics.lateAttributions.add(1)
      return true
    }
    callers.waiting.append(
      Callers.Waiting(
        index: connection.pointee.index, generation: connection.pointee.generation, cgroup: unknown, fallback: found,
        deadline: deadline(after: longestWaitNanoseconds)))
    node.ask(about: unknown)
    return false
  }

  /// How long a connection waits for its cgroup to become known. A survey of thousands takes a few milliseconds, and so may
  /// the control thread's turn on a busy host.
  private var longestWaitNanoseconds: UInt64 { 200_000_000 }

  /// The owner of the client's socket; nil when that is not asked for, or there is no answer.
  private func owner(of connection: ConnectionPointer, _ callers: Callers) -> SocketOwner? {
    let peer = connection.pointee.peer
    if peer.isNone { return unixOwner(of: connection, callers) }
    guard callers.owners != nil, callers.host.addresses.contains(peer.address),
      let pair = addressPair(of: connection)
    else { return nil }
    switch callers.owners?.owner(of: pair) {
    case .owner(let owner):
      statistics.foundOwners.add(1)
      return owner
    case .absent, nil: statistics.absentOwners.add(1)
    case .failed: statistics.failedOwners.add(1)
    }
    return nil
  }

  /// A Unix socket's peer needs no search: the socket knows its user.
  private func unixOwner(of connection: ConnectionPointer, _ callers: Callers) -> SocketOwner? {
    guard callers.workloads.namesUsers else { return nil }
    var process: Int32 = 0
    var (user, group): (UInt32, UInt32) = (0, 0)
    guard fl_peer_credentials(connection.pointee.descriptor, &process, &user, &group) == 0 else { return nil }
    return SocketOwner(user: user, cgroup: nil)
  }

  /// The connection as the client's own socket has it: to where the client meant to go.
  private func addressPair(of connection: ConnectionPointer) -> AddressPair? {
    let peer = connection.pointee.peer
    var destination = connection.pointee.original
    var interface: UInt32 = 0
    if destination.isNone {
      var storage = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let result = withUnsafeMutablePointer(to: &storage) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
          getsockname(connection.pointee.descriptor, $0, &length)
        }
      }
      guard result == 0 else { return nil }
      destination = PeerAddress(storage)
      if case .v6(_, _, let scope) = SocketAddress(storage, length: length) { interface = scope }
    }
    return AddressPair(
      client: peer.address, clientPort: peer.port, destination: destination.address,
      destinationPort: destination.port, interface: interface)
  }

  // MARK: Waiting for a cgroup

  /// The control thread has looked at the host: connections whose cgroup is known now go on.
  func takeHostTables(_ host: HostTables) {
    guard let callers else { return }
    callers.host = host
    settle(callers) { host.cgroups.value(of: $0.cgroup) }
  }

  /// Other workloads hold from now on. Connections that are known stay what they are; those that wait to hear of their cgroup
  /// are what that says now.
  func takeCallers(_ workloads: WorkloadTable, host: HostTables) {
    guard let callers else {
      callers = Callers(workloads, host: host)
      return
    }
    callers.take(workloads, host: host)
    settle(callers) { host.cgroups.value(of: $0.cgroup) ?? (workloads.namesCGroups ? nil : 0) }
    for waiting in callers.waiting { node.ask(about: waiting.cgroup) }
  }

  /// When the first connection will have waited long enough.
  var nextAttribution: MonotonicInstant? { callers?.waiting.first?.deadline }

  /// Connections that have waited long enough go on with what is known.
  func settleOverdueAttributions() {
    guard let callers, let first = callers.waiting.first, first.deadline <= state.pointee.now else { return }
    let now = state.pointee.now
    settle(callers) { [statistics] in
      guard $0.deadline <= now else { return nil }
      statistics.lateAttributions.add(1)
      return 0
    }
  }

  /// Lets those connections go on that `workload` answers for: 0 leaves them what they are.
  private func settle(_ callers: Callers, _ workload: (Callers.Waiting) -> WorkloadNumber?) {
    var settled: [(Callers.Waiting, WorkloadNumber)] = []
    callers.waiting.removeAll { waiting in
      guard let number = workload(waiting) else { return false }
      settled.append((waiting, number))
      return true
    }
    for (waiting, number) in settled {
      guard
        let connection = connections.pointer(waiting.index, generation: waiting.generation),
        !connection.pointee.flags.contains(.closing)
      else { continue }
      if number != 0, number != connection.pointee.workload {
        statistics.workloads.countConnection(-1, workload: connection.pointee.workload)
        connection.pointee.workload = number
        statistics.workloads.countConnection(1, workload: number)
      }
      serve(connection)
      // What came behind its header has waited as well.
      if connection.pointee.flags.contains(.inputHeld), connection.pointee.isServing { resumeInput(connection) }
    }
  }
}

extension PeerAddress {
  var address: IPv6Address { IPv6Address(high: high, low: low) }
}

extension WorkloadTable {
  /// Compiles what is configured; users are looked up. For the control thread.
  /// - Parameters:
  ///   - numbers: of the workloads, in their order; nil for their places.
  ///   - number: the number of a user; nil when there is none of that name.
  /// - Returns: the table, and what of it cannot be matched on this host, one line each.
  static func compiled(
    _ workloads: [Configuration.Workload], numbers: [WorkloadNumber]? = nil,
    number: (String) -> UInt32? = UserNames.number
  ) -> (table: WorkloadTable, problems: [String]) {
    var problems: [String] = []
    var taken: [UInt32: String] = [:]
    let rules = workloads.map { workload in
      var users: [UInt32] = []
      for name in workload.users {
        guard let user = number(name) else {
          problems.append(
            "workload '\(workload.name)': this host has no user '\(name)', so nothing is counted for it; create the user "
              + "and restart, or take it out of the configuration")
          continue
        }
        if let other = taken[user] {
          problems.append(
            "workload '\(workload.name)': user '\(name)' has the number \(user), which is workload '\(other)' already")
        } else {
          taken[user] = workload.name
          users.append(user)
        }
      }
      return WorkloadRule(name: workload.name, networks: workload.addresses, users: users, cgroups: workload.cgroups)
    }
    return (WorkloadTable(rules, numbers: numbers), problems)
  }
}
