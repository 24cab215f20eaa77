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
    // The end of a login session ends what it started, and that may be just what the new rules have done.
    for number in [SIGHUP, SIGINT, SIGTERM] { signal(number, SIG_IGN) }
    // None any more: confirmed, removed, or rolled back. Another apply's has a watch of its own, and two do no harm.
    while let pending = host.pending {
      let left = pending.deadline.nanoseconds(since: .now()) / 1_000_000
      if pending.deadline > .now() {
        poll(nil, 0, Int32(min(left + 1, 200)))
      } else if (try? host.files.withLock { () throws(CaptureError) in try host.rollBackOverdue() }) == nil {
        poll(nil, 0, 1000)
      }
    }
  }
}
