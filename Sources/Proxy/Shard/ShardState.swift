// What of a shard changes from event to event, and the configured limits as plain numbers.

import Base
import Configuration
import HTTP
import Policy

/// What a shard's own code changes from event to event. Reached through a pointer: no exclusivity checks.
struct ShardState {
  /// The clock, read once a turn and again within long ones.
  var now: MonotonicInstant
  var random: RandomSource
  var limits: ShardLimits
  /// Connections with output to send, being closed, and waiting for a receive buffer.
  var dirty = SlotList()
  var closing = SlotList()
  var starved = SlotList()
  /// Exchanges whose next attempt begins at the end of the turn.
  var repeated = SlotList()
  /// First of the list of downstream connections.
  var downstreamHead: UInt32 = noSlot
  var listenerCount = 0
  /// What names led to before this number changed is forgotten.
  var namesGeneration: UInt32 = 1
  /// Questions for names that the control thread has not answered.
  var questionCount = 0
  /// The snapshot's.
  var identifiers: IdentifierTable
  /// What logical names lead to, where requests are called by more than their hosts.
  var logicalNames: NameCache?
  /// By the snapshot's targets.
  var targets: UnsafeMutablePointer<TargetAnswer>?
  var targetCount = 0
  /// The rules of the snapshot; nil where it has none.
  var routes: UnsafeMutablePointer<ShardRoutes>?
  /// Copies of requests that are under way.
  var mirrorCount = 0
  /// The service of original destinations, where something is captured.
  var originalService: ServiceNumber = noSlot
  /// When to look again whether what drains has drained; nil: at once.
  var sweepAt: MonotonicInstant?
  /// When to try to accept again after a shortage.
  var acceptRetryAt: MonotonicInstant?
  /// A descriptor was refused in this turn.
  var lacksDescriptors = false
  var isDraining = false
  /// While draining: what waits at a listening socket that somebody keeps is left to the next process.
  var keepsListeners = false
  var isStopping = false
  /// What the wake-up's eventfd is read into.
  var wakeCounter: UInt64 = 0
}

extension UnsafeRawBufferPointer {
  /// A copy of `bytes` in memory of its own, which the caller deallocates.
  static func copy(_ bytes: [UInt8]) -> UnsafeRawBufferPointer {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
    memory.copyBytes(from: bytes)
    return UnsafeRawBufferPointer(memory)
  }
}

/// The limits of heads and connections in the units the shard counts in.
struct ShardLimits {
  let head: HTTP1Limits
  let connections: Int
  let headerTimeoutNanoseconds: UInt64
  let idleTimeoutNanoseconds: UInt64
  let viaHops: Int
  /// 0 for none.
  let loopLagMarkNanoseconds: UInt64

  init(_ configured: Configuration.Limits) {
    head = HTTP1Limits(
      headerBytes: Int(clamping: configured.headerBytes.bytes), headers: configured.headers,
      requestLineBytes: Int(clamping: configured.requestLineBytes.bytes))
    connections = configured.connections
    headerTimeoutNanoseconds = configured.headerTimeout.wholeNanoseconds
    idleTimeoutNanoseconds = configured.idleTimeout.wholeNanoseconds
    viaHops = configured.viaHops
    loopLagMarkNanoseconds = configured.overload.loopLag?.wholeNanoseconds ?? 0
  }
}
