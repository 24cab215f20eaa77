// The start-up probe: what this kernel and this container let us do, said plainly before anything is served.

import CFairlead
import CLiburing
import Glibc

/// What the probe found.
public struct RingCapabilities: Sendable {
  /// Completion work runs only when the shard asks (kernel 6.1 and later).
  public let hasDeferredTaskRun: Bool
  /// Features that are missing and only cost speed, one line each.
  public let degraded: [String]
}

/// Why Fairlead cannot run here: one line that says what is missing and what to do.
public struct RingRefusal: Error, CustomStringConvertible {
  public let description: String
}

public enum RingProbe {
  /// Sets up a throw-away ring and receives once through it, the way a shard will. Takes well under a millisecond.
  public static func run() -> Result<RingCapabilities, RingRefusal> {
    let ring: Ring
    do throws(RingError) { ring = try Ring(submissionEntries: 8, completionEntries: 64) } catch {
      return .failure(refusal(error))
    }
    defer { ring.destroy() }
    do throws(RingError) { try ring.enable() } catch { return .failure(refusal(error)) }
    let pool: ReceiveBufferPool
    do throws(RingError) { pool = try ReceiveBufferPool(ring: ring, initial: 2, limit: 2, window: 2) } catch {
      return .failure(refusal(error))
    }
    if let missing = probeMultishotReceive(ring, pool) {
      return .failure(RingRefusal(description: missing))
    }
    let deferred = ring.setUpFlags & IORING_SETUP_DEFER_TASKRUN != 0
    return .success(
      RingCapabilities(
        hasDeferredTaskRun: deferred,
        degraded: deferred ? [] : ["io_uring without DEFER_TASKRUN: slower; kernel 6.1 or later has it"]))
  }

  /// Two messages through a socket pair: both must arrive from one arming.
  private static func probeMultishotReceive(_ ring: Ring, _ pool: ReceiveBufferPool) -> String? {
    var pair: [Int32] = [-1, -1]
    guard socketpair(AF_UNIX, fl_sock_stream, 0, &pair) == 0 else {
      return "cannot make a socket pair: \(String(cString: strerror(errno)))"
    }
    defer {
      close(pair[0])
      close(pair[1])
    }
    let tag = OperationTag(kind: .receive, slot: 1, generation: 1)
    ring.receiveMultishot(pair[0], group: pool.group, tag: tag)
    let batch = UnsafeMutablePointer<Completion>.allocate(capacity: 4)
    defer { batch.deallocate() }
    for message in 1...2 {
      var byte = UInt8(message)
      guard write(pair[1], &byte, 1) == 1 else { return "cannot write to a socket pair" }
      ring.submitAndWait(timeoutNanoseconds: 1_000_000_000)
      let count = ring.takeCompletions(into: batch, capacity: 4)
      guard count == 1, batch[0].result == 1, let buffer = batch[0].buffer, batch[0].hasMore else {
        return "io_uring of this kernel has no multishot receive: Fairlead needs kernel 6.1 or later "
          + "(this is \(kernelRelease()))"
      }
      pool.take(buffer)
      pool.release(buffer)
      pool.publish()
    }
    return nil
  }

  private static func refusal(_ error: RingError) -> RingRefusal {
    switch error {
    case .setUp(let code) where code == ENOSYS:
      return RingRefusal(
        description: "io_uring is missing from this kernel (\(kernelRelease())): Fairlead needs kernel 6.1 or later")
    case .setUp(let code) where code == EPERM || code == EACCES:
      return RingRefusal(
        description: "io_uring is refused here (\(String(cString: strerror(code)))): allow io_uring_setup, "
          + "io_uring_enter and io_uring_register in the seccomp profile, and set sysctl kernel.io_uring_disabled=0")
    case .setUp(let code) where code == ENOMEM:
      return RingRefusal(description: "no memory for io_uring: raise the memlock limit (LimitMEMLOCK= or ulimit -l)")
    case .setUp(let code):
      return RingRefusal(description: "io_uring cannot be set up: \(String(cString: strerror(code)))")
    case .bufferRing(let code):
      return RingRefusal(
        description: "io_uring of this kernel (\(kernelRelease())) has no provided-buffer rings "
          + "(\(String(cString: strerror(code)))): Fairlead needs kernel 6.1 or later")
    }
  }

  /// The version of liburing in use, such as 2.3.
  public static var liburingVersion: String {
    withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
      guard let start = buffer.baseAddress else { return "unknown" }
      fl_library_version("io_uring_queue_init_params", start, buffer.count)
      return String(cString: start)
    }
  }

  /// The running kernel's release, as `uname -r` prints it.
  public static func kernelRelease() -> String {
    var name = utsname()
    guard uname(&name) == 0 else { return "unknown" }
    return withUnsafeBytes(of: &name.release) { bytes in
      String(decoding: bytes.prefix(while: { $0 != 0 }), as: UTF8.self)
    }
  }
}
