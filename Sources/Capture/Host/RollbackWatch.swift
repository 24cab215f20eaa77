// The other half of `apply --confirm`: a process of its own, in a session of its own, that outlives the shell and the
// connection it was started from, because these may be what the new rules have cut off.

import Base
import CFairlead
import Glibc

/// Waits for the confirmation or the end of its time.
public struct RollbackWatch: Sendable {
  private let host: CaptureHost

  public init(stateDirectory: String) { host = CaptureHost(stateDirectory: stateDirectory) }

  /// The operand of `fairlead capture` that runs a watch.
  public static let operand = "watch"

  /// Starts this program again, detached, as a watch.
  static func start(stateDirectory: String) throws(CaptureError) {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    for number in Int32(0)..<3 { posix_spawn_file_actions_addopen(&actions, number, "/dev/null", O_RDWR, 0) }
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    posix_spawnattr_setflags(&attributes, fl_spawn_new_session())
    let words = ["fairlead", "capture", operand, "--state", stateDirectory]
    let arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) } + [nil]
    defer { for text in arguments { free(text) } }
    var process: pid_t = 0
    let failed = posix_spawn(&process, "/proc/self/exe", &actions, &attributes, arguments, environ)
    if failed != 0 { throw .cannotRun("fairlead capture watch", reason: Capture.words(failed)) }
  }

  /// Returns when there is nothing (more) to wait for.
  public func run() {
    guard let deadline = host.pending?.deadline else { return }
    while MonotonicInstant.now() < deadline {
      let left = deadline.nanoseconds(since: .now()) / 1_000_000
      poll(nil, 0, Int32(min(left + 1, 200)))
      // Confirmed, removed, or another apply's by now.
      guard host.pending?.deadline == deadline else { return }
    }
    try? host.files.withLock { () throws(CaptureError) in
      guard let pending = host.pending, pending.deadline == deadline else { return }
      host.files.remove(.pending)
      let isRestored = host.restore(pending.before.state)
      try host.files.write(
        .rolledBack,
        isRestored
          ? "the last apply was not confirmed and was rolled back"
          : "the last apply was not confirmed; rolling it back failed: run 'fairlead capture remove'")
    }
  }
}
