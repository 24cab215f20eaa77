// The control thread's pulse: asks all shards at once, twice a second, whether they still turn. What must happen only while
// the whole node is alive hangs on it; when one shard stands still, none of it happens any more. One that hangs is as bad
// as all: nobody can tell beforehand which shard the kernel gives a connection to.

import Admin
import Base
import EventLoop

/// A question to every shard, again and again. Used on the control thread only.
final class Heartbeat: @unchecked Sendable {
  /// Called at each beat at which some shard has not answered the one before.
  var onMissed: () -> Void = {}

  private let loop: ControlLoop
  private let ping: (@escaping @Sendable () -> Void) -> Bool
  private var actions: [() -> Void] = []
  /// Whether a question has not been answered yet. There are never two: a shard that turns again must not find a heap of
  /// them.
  private var isOpen = false
  /// Made once: what a shard's thread does for this allocates nothing.
  private var answer: @Sendable () -> Void = {}

  /// A quarter of the time for which the kernel's capturing rules believe in the node.
  private static let periodNanoseconds: UInt64 = 500_000_000

  /// - Parameter ping: asks every shard; replies, from any thread, once all have turned. False when no reply will come.
  init(loop: ControlLoop, ping: @escaping (_ reply: @escaping @Sendable () -> Void) -> Bool) {
    self.loop = loop
    self.ping = ping
  }

  /// Calls `action` each time every shard has turned since the time before.
  func onAllShardsTurned(_ action: @escaping () -> Void) { actions.append(action) }

  /// Begins, at once, and never ends.
  func start() {
    answer = { [self] in answered() }
    beat()
  }

  private func beat() {
    if isOpen {
      onMissed()
    } else {
      isOpen = ping { [loop, answer] in loop.post(answer) }
      if !isOpen { onMissed() }
    }
    loop.schedule(at: MonotonicInstant.now().advanced(byNanoseconds: Self.periodNanoseconds)) { [self] in beat() }
  }

  private func answered() {
    isOpen = false
    for action in actions { action() }
  }
}
