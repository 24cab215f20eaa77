// The start-up probe and the threads of the shards.

import CFairlead
import EventLoop
import Glibc
import TestSupport
import Testing

@Suite("RingProbe")
struct RingProbeTests {
  @Test("the probe passes on this kernel and says whether completion work can be deferred")
  func passes() throws {
    let capabilities = try RingProbe.run().get()
    #expect(capabilities.degraded.isEmpty == capabilities.hasDeferredTaskRun)
  }

  @Test("the probe leaves no descriptor open", .timeLimit(.minutes(1)))
  func leavesNothing() async {
    // In a process of its own: other tests open and close descriptors meanwhile.
    await #expect(processExitsWith: .success) {
      _ = RingProbe.run()
      let before = ProcessInspector(getpid()).descriptors.count
      for _ in 0..<20 { _ = RingProbe.run() }
      // What the runtime opens for itself meanwhile it opens once; the probe would leave one each time.
      let opened = ProcessInspector(getpid()).descriptors.count - before
      #expect(opened < 20, "\(opened) descriptors more than before")
    }
  }

  @Test("the versions of kernel and liburing are those of the machine")
  func versions() {
    let release = readFile("/proc/sys/kernel/osrelease").split(separator: "\n").first.map(String.init)
    #expect(RingProbe.kernelRelease() == release)
    let version = RingProbe.liburingVersion.split(separator: ".")
    #expect(version.count >= 2)
    #expect(version.allSatisfy { UInt($0) != nil })
  }
}

@Suite("ShardThread")
struct ShardThreadTests {
  private struct Seen {
    var name = ""
    var cpus = 0
    var isTermBlocked = false
    var thread: pthread_t = 0
  }

  @Test("a thread has its name and its CPU, keeps signals away, and runs to its end")
  func runs() throws {
    var allowed = [Int32](repeating: 0, count: 1024)
    try #require(fl_allowed_cpus(&allowed, 1024) > 0)
    let seen = Monitor(Seen())
    let thread = try #require(
      ShardThread.start(name: "fl-shard-123456789", cpu: allowed[0]) {
        seen.with {
          $0.name = readFile("/proc/thread-self/comm").split(separator: "\n").first.map(String.init) ?? ""
          var cpus = [Int32](repeating: 0, count: 1024)
          $0.cpus = Int(fl_allowed_cpus(&cpus, 1024))
          var blocked = sigset_t()
          pthread_sigmask(SIG_BLOCK, nil, &blocked)
          $0.isTermBlocked = sigismember(&blocked, SIGTERM) == 1
          $0.thread = pthread_self()
        }
      })
    thread.join()
    let result = seen.with { $0 }
    #expect(result.name == "fl-shard-123456", "15 bytes of a name are kept")
    #expect(result.cpus == 1)
    #expect(result.isTermBlocked)
    #expect(result.thread != pthread_self())
  }

  @Test("a thread that cannot be pinned runs all the same")
  func cannotBePinned() throws {
    let ran = Gate()
    let thread = try #require(ShardThread.start(name: "test", cpu: 1_000) { ran.open() })
    thread.join()
    #expect(ran.isOpen)
  }

  @Test("what a thread was given is let go when it ends")
  func releasesItsBody() throws {
    final class Token: Sendable {}
    var token: Token? = Token()
    weak let observer = token
    let thread = ShardThread.start(name: "test", cpu: nil) { [token] in _ = token }
    token = nil
    try #require(thread).join()
    #expect(observer == nil)
  }
}
