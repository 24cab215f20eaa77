// The thread that writes the access log: takes records out of the shards' rings, formats them, appends them to a file.
// It is the one place in this module that does I/O, and it does it on a thread of its own: a full disk or a stalled file
// system stops the log (rings fill, drops are counted) and never a request.

import Base
import Glibc
import Synchronization

/// Why an access log cannot be written.
public struct AccessLogError: Error, CustomStringConvertible {
  public let path: String
  /// The errno of the failed call.
  public let code: Int32

  public var description: String {
    let reason = String(cString: strerror(code))
    let hint =
      switch code {
      case ENOENT: "; create its directory"
      case EACCES, EPERM, EROFS: "; make it writable for the user fairleadd runs as"
      case EISDIR: "; name a file"
      case ENXIO: "; a pipe needs a reader first"
      default: ""
      }
    return "cannot open the access log \(path): \(reason)\(hint)"
  }
}

/// What happened to the access log so far.
public struct AccessLogStatistics: Equatable, Sendable {
  /// Lines that reached the file.
  public var written: UInt64 = 0
  /// Records lost because a ring was full.
  public var dropped: UInt64 = 0
  /// Lines lost because writing failed.
  public var failed: UInt64 = 0
  /// Failed calls of open or write.
  public var errors: UInt64 = 0

  public init(written: UInt64 = 0, dropped: UInt64 = 0, failed: UInt64 = 0, errors: UInt64 = 0) {
    self.written = written
    self.dropped = dropped
    self.failed = failed
    self.errors = errors
  }
}

/// The access log's writer. Starts with `start`, ends with `stop`; what is between may be called from any thread.
public final class AccessLogWriter: @unchecked Sendable {
  private let path: String
  private let format: AccessLogFormat
  private let rings: [AccessRing]
  private let names: NameTable
  private let wakeUp: WakeUp
  private let written = Atomic<UInt64>(0)
  private let failed = Atomic<UInt64>(0)
  private let errors = Atomic<UInt64>(0)
  private let reopenRequests = Atomic<UInt64>(0)
  private let stopping = Atomic<Bool>(false)
  private let thread = Mutex<pthread_t?>(nil)

  // The writer thread's own.
  private var descriptor: Int32
  private var reopened: UInt64 = 0
  private var output = TextOutput(reserving: flushByteCount + 4096)
  private var pendingLines: UInt64 = 0
  private var lineIsTorn = false
  /// The log is a pipe, and nobody has read it for a while after the end was asked for: nothing is waited for any more.
  private var isUnread = false

  /// Opens the file (appending, created with mode 0640) and starts the thread.
  ///
  /// - Parameter rings: one a shard; this writer becomes their only consumer.
  public static func start(
    path: String, format: AccessLogFormat, rings: [AccessRing], names: NameTable
  ) throws(AccessLogError) -> AccessLogWriter {
    let descriptor = openLog(path)
    guard descriptor >= 0 else { throw AccessLogError(path: path, code: errno) }
    let wakeUp: WakeUp
    do {
      wakeUp = try WakeUp()
    } catch {
      close(descriptor)
      throw AccessLogError(path: path, code: error.code)
    }
    let writer = AccessLogWriter(path, format, rings, names, descriptor, wakeUp)
    var thread = pthread_t()
    let retained = Unmanaged.passRetained(writer)
    let result = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<AccessLogWriter>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, retained.toOpaque())
    guard result == 0 else {
      retained.release()
      throw AccessLogError(path: path, code: result)
    }
    let started = thread
    writer.thread.withLock { $0 = started }
    return writer
  }

  private init(
    _ path: String, _ format: AccessLogFormat, _ rings: [AccessRing], _ names: NameTable, _ descriptor: Int32,
    _ wakeUp: WakeUp
  ) {
    self.path = path
    self.format = format
    self.rings = rings
    self.names = names
    self.descriptor = descriptor
    self.wakeUp = wakeUp
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
  }

  /// Asks the thread to look at the rings now: when `AccessRing.commit()` says so. One system call, never blocks.
  public func wake() {
    wakeUp.signal()
  }

  /// Asks the thread to close the file and open the path again, after a rotation. What was logged before the call goes
  /// to the old file.
  public func reopen() {
    reopenRequests.wrappingAdd(1, ordering: .releasing)
    wake()
  }

  /// Writes what is in the rings, ends the thread and waits for that.
  public func stop() {
    stopping.store(true, ordering: .releasing)
    wake()
    let started = thread.withLock { thread in
      defer { thread = nil }
      return thread
    }
    if let started { pthread_join(started, nil) }
  }

  /// Counts so far.
  public var statistics: AccessLogStatistics {
    AccessLogStatistics(
      written: written.load(ordering: .relaxed), dropped: rings.reduce(0) { $0 &+ $1.droppedCount },
      failed: failed.load(ordering: .relaxed), errors: errors.load(ordering: .relaxed))
  }

  // MARK: The thread

  private func run() {
    var wait = shortestWaitMilliseconds
    while true {
      let isLast = stopping.load(ordering: .acquiring)
      let requests = reopenRequests.load(ordering: .acquiring)
      let found = drain()
      if isLast { return }
      if requests != reopened || descriptor < 0 { openAgain(requests) }
      // Busy: come back soon, so that a burst finds room. Quiet: let the machine sleep.
      wait = found > 0 ? shortestWaitMilliseconds : min(wait * 2, longestWaitMilliseconds)
      sleep(milliseconds: wait)
    }
  }

  /// Takes everything that is there, at most one ring's worth of each ring in turn. Returns the number of records.
  private func drain() -> Int {
    var found = 0
    for ring in rings {
      var left = ring.capacity
      while left > 0, let record = ring.front() {
        format.append(record.pointee, names: names, to: &output)
        ring.pop()
        pendingLines += 1
        found += 1
        left -= 1
        if output.bytes.count >= flushByteCount { flush() }
      }
    }
    flush()
    return found
  }

  private func flush() {
    guard !output.bytes.isEmpty else { return }
    defer {
      output.clear()
      pendingLines = 0
    }
    guard descriptor >= 0, writeAll() else {
      failed.wrappingAdd(pendingLines, ordering: .relaxed)
      return
    }
    written.wrappingAdd(pendingLines, ordering: .relaxed)
  }

  private func writeAll() -> Bool {
    if lineIsTorn {
      // An earlier write stopped inside a line: end it, so that the next one starts clean.
      var lineFeed: UInt8 = 0x0A
      if write(descriptor, &lineFeed, 1) == 1 { lineIsTorn = false }
    }
    return output.bytes.withUnsafeBytes { bytes in
      var offset = 0
      while offset < bytes.count {
        let count = write(descriptor, bytes.baseAddress?.advanced(by: offset), bytes.count - offset)
        if count > 0 {
          offset += count
        } else if count < 0 && (errno == EINTR || errno == EAGAIN && waitForReader()) {
          continue
        } else {
          errors.wrappingAdd(1, ordering: .relaxed)
          if offset > 0 { lineIsTorn = bytes[offset - 1] != 0x0A }
          return false
        }
      }
      return true
    }
  }

  /// A full pipe is waited for as long as it takes, but for the end of the process.
  private func waitForReader() -> Bool {
    while !isUnread {
      var pipe = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
      let isLast = stopping.load(ordering: .acquiring)
      if poll(&pipe, 1, isLast ? lastWaitMilliseconds : longestWaitMilliseconds) > 0 { return true }
      isUnread = isLast
    }
    return false
  }

  private func openAgain(_ requests: UInt64) {
    let fresh = openLog(path)
    guard fresh >= 0 else {
      // Keep writing to the old file, if there is one, and try again at the next turn.
      errors.wrappingAdd(1, ordering: .relaxed)
      return
    }
    if descriptor >= 0 { close(descriptor) }
    descriptor = fresh
    lineIsTorn = false
    reopened = requests
  }

  private func sleep(milliseconds: Int32) {
    var descriptors = pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0)
    if poll(&descriptors, 1, milliseconds) > 0 { wakeUp.clear() }
  }
}

private func openLog(_ path: String) -> Int32 {
  // It may be a pipe that nobody reads: neither the start nor the end of the process may hang on that.
  open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0o640)
}

/// One write call takes about this much: large enough that the call does not count, small enough to stay in the cache.
private let flushByteCount = 64 * 1024
private let shortestWaitMilliseconds: Int32 = 5
/// A record is in the file at most this much later, also on a quiet node.
private let longestWaitMilliseconds: Int32 = 200
/// How long a reader of a full pipe has at the end.
private let lastWaitMilliseconds: Int32 = 1_000
