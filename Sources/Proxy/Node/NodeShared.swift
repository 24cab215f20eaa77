// What the shards of a node share: counts, letter-boxes, wake-ups. Everything here may be called from any thread.

import Base
import CFairlead
import Capture
import Glibc
import Policy
import Synchronization

/// What the control thread, or another shard, asks of a shard.
enum ShardMessage: Sendable {
  /// A connection accepted elsewhere, already counted as this shard's.
  case adopt(descriptor: Int32, listener: UInt32)
  case ping(ShardRoll)
  case connections(ShardGather<ShardConnections>, limit: Int)
  case loads(ShardGather<[ShardLoad]>)
  /// A service is there, or has changed.
  case service(ServiceUpdate)
  /// A service is given up, after an update that takes its endpoints.
  case serviceRemoved(ServiceNumber)
  /// Which service is that of original destinations.
  case original(ServiceNumber)
  /// What a name this shard asked for leads to.
  case answer(NameAnswer)
  /// What answers call a tree of this number. They come in order, from 0 on.
  case tree(TreeNumber, SharedTree)
  /// What names led to no longer holds, and there are no trees.
  case forgetNames(generation: UInt32)
  /// Another configuration, and what its workloads need to know of the host.
  case publish(Snapshot, HostTables)
  /// A shard is at the limit of a service's connections and needs one: close an idle one.
  case freeConnection(service: UInt32)
  /// A connection of a service was closed while requests wait for one.
  case connectionFreed(service: UInt32)
  /// A place among a service's requests, counted already, for who waits on this shard.
  case place(service: UInt32)
  /// A shard has let one more wait for a service than may: another has to go.
  case makeRoom(service: UInt32)
  /// The control thread has looked at the host.
  case host(HostTables)
  /// `keepsListeners`: what waits at a listening socket that is kept is the next process's.
  case drain(keepsListeners: Bool)
  case stop
}

/// A question to every shard: the last one to answer passes all answers on, from its own thread. Shards that never answer
/// leave the question open; who asked must have a time limit of their own. Nothing may be made of the answers there.
final class ShardGather<Answer: Sendable>: Sendable {
  private let answers: Mutex<[Answer]> = Mutex([])
  private let expected: Int
  private let reply: @Sendable ([Answer]) -> Void

  init(expected: Int, reply: @escaping @Sendable ([Answer]) -> Void) {
    self.expected = expected
    self.reply = reply
  }

  func add(_ answer: Answer) {
    let complete = answers.withLock { answers -> [Answer]? in
      answers.append(answer)
      return answers.count == expected ? answers : nil
    }
    if let complete { reply(complete) }
  }
}

/// A call to every shard that wants no answer but that it turned: the last one replies, from its own thread. It is made
/// twice a second while requests pass, so answering it allocates nothing.
final class ShardRoll: Sendable {
  private let missing: Atomic<Int>
  private let reply: @Sendable () -> Void

  init(expected: Int, reply: @escaping @Sendable () -> Void) {
    missing = Atomic(expected)
    self.reply = reply
  }

  func answer() {
    if missing.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { reply() }
  }
}

/// Shared by all shards of a node and by its control thread.
final class NodeShared: @unchecked Sendable {
  let shardCount: Int
  /// Downstream connections of the whole node.
  let downstreamConnections = LimitCell()
  /// What the access log's records call listeners.
  let logNames: LogNames
  /// Resident memory against its mark, in millionths; 0 without a mark.
  private let memory = Atomic<UInt64>(0)
  /// The ports of this node's listeners. Set before the shards run.
  nonisolated(unsafe) var ownPorts: [UInt16] = []
  /// Cgroups that a shard met and found in no table, for the control thread.
  private let unknownCGroups = Mutex<Set<UInt64>>([])
  private let wakeForCGroups = Mutex<(@Sendable () -> Void)?>(nil)
  /// Names that shards want to know, for the control thread.
  let questions = Mailbox<NameQuestion>(capacity: 65_536)
  private let wakeForQuestions = Mutex<(@Sendable () -> Void)?>(nil)
  /// Services of which an endpoint went out or came back, for the control thread.
  let changedHealth = Mailbox<ServiceNumber>(capacity: 65_536)
  private let wakeForHealth = Mutex<(@Sendable () -> Void)?>(nil)
  private let wakeAccessLog = Mutex<(@Sendable () -> Void)?>(nil)
  private let mailboxes: [Mailbox<ShardMessage>]
  private let wakeDescriptors: [Int32]
  /// Downstream connections by shard, a cache line pair apart.
  private let loads: UnsafeMutablePointer<Atomic<Int>>
  private static let loadStride = 128 / MemoryLayout<Atomic<Int>>.stride

  init(shardCount: Int, logNames: LogNames) {
    self.shardCount = shardCount
    self.logNames = logNames
    mailboxes = (0..<shardCount).map { _ in Mailbox(capacity: 65_536) }
    wakeDescriptors = (0..<shardCount).map { _ in fl_eventfd() }
    loads = .allocate(capacity: shardCount * NodeShared.loadStride)
    for position in 0..<(shardCount * NodeShared.loadStride) { (loads + position).initialize(to: Atomic(0)) }
  }

  deinit {
    loads.deallocate()
    for descriptor in wakeDescriptors where descriptor >= 0 { Glibc.close(descriptor) }
  }

  // MARK: Messages

  func mailbox(of shard: Int) -> Mailbox<ShardMessage> { mailboxes[shard] }
  func wakeDescriptor(of shard: Int) -> Int32 { wakeDescriptors[shard] }

  /// False when the shard's letter-box is full: it has not turned for very long.
  func send(_ message: ShardMessage, to shard: Int) -> Bool {
    switch mailboxes[shard].push(message) {
    case .full: return false
    case .queued: return true
    case .wakeReader:
      fl_eventfd_signal(wakeDescriptors[shard])
      return true
    }
  }

  /// To all shards but the one that sends.
  func broadcast(_ message: ShardMessage, from sender: Int) {
    for shard in 0..<shardCount where shard != sender { _ = send(message, to: shard) }
  }

  /// To all shards.
  func broadcast(_ message: ShardMessage) {
    for shard in 0..<shardCount { _ = send(message, to: shard) }
  }

  // MARK: Memory

  /// 1 at the mark.
  var memoryPressure: Double { Double(memory.load(ordering: .relaxed)) / 1e6 }
  func setMemoryPressure(_ pressure: Double) {
    memory.store(pressure.isFinite ? UInt64(min(max(pressure, 0), 1e6) * 1e6) : 0, ordering: .relaxed)
  }

  // MARK: Names

  func onQuestion(_ wake: @escaping @Sendable () -> Void) { wakeForQuestions.withLock { $0 = wake } }

  /// A shard wants to know a name. False when too many questions wait already.
  func ask(_ question: NameQuestion) -> Bool {
    switch questions.push(question) {
    case .full: return false
    case .queued: return true
    case .wakeReader:
      wakeForQuestions.withLock { $0 }?()
      return true
    }
  }

  // MARK: Health

  func onChangedHealth(_ wake: @escaping @Sendable () -> Void) { wakeForHealth.withLock { $0 = wake } }

  /// An endpoint went out or came back. Rare; and with a full letter-box the metrics learn of it with the next one.
  func healthChanged(of service: ServiceNumber) {
    if changedHealth.push(service) == .wakeReader { wakeForHealth.withLock { $0 }?() }
  }

  // MARK: Access log

  func onAccessLogHalfFull(_ wake: @escaping @Sendable () -> Void) { wakeAccessLog.withLock { $0 = wake } }

  /// A shard's ring fills up: its writer should not wait for its next round.
  func accessLogIsHalfFull() { wakeAccessLog.withLock { $0 }?() }

  // MARK: Who is calling

  func onUnknownCGroup(_ wake: @escaping @Sendable () -> Void) { wakeForCGroups.withLock { $0 = wake } }

  /// A shard waits for what cgroup this is. Asked for once, it stays asked for until the control thread has looked.
  func ask(about cgroup: UInt64) {
    let isFirst = unknownCGroups.withLock { asked in
      // Far more than connections may wait for: whoever is over it waits in vain, and goes on.
      asked.count < 16_384 && asked.insert(cgroup).inserted && asked.count == 1
    }
    if isFirst { wakeForCGroups.withLock { $0 }?() }
  }

  /// What was asked for since the last time. The control thread.
  func takeUnknownCGroups() -> Set<UInt64> {
    unknownCGroups.withLock { asked in
      defer { asked = [] }
      return asked
    }
  }

  // MARK: Spreading connections

  private func load(_ shard: Int) -> UnsafeMutablePointer<Atomic<Int>> { loads + shard * NodeShared.loadStride }

  func addConnection(to shard: Int) { load(shard).pointee.wrappingAdd(1, ordering: .relaxed) }
  func removeConnection(from shard: Int) { load(shard).pointee.wrappingSubtract(1, ordering: .relaxed) }
  func connectionCount(of shard: Int) -> Int { load(shard).pointee.load(ordering: .relaxed) }

  /// The least loaded shard, when it holds clearly fewer connections than `shard`: by more than one and an eighth.
  func shardToTake(insteadOf shard: Int) -> Int? {
    if shardCount == 1 { return nil }
    let own = connectionCount(of: shard)
    var least = shard
    var leastCount = own
    for other in 0..<shardCount {
      let count = connectionCount(of: other)
      if count < leastCount { (least, leastCount) = (other, count) }
    }
    return own > leastCount + 1 + leastCount / 8 ? least : nil
  }
}
