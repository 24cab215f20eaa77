// A value behind a lock, and waiting for it to become what a test expects.
//
// Tests wait for conditions, never for a time to pass: `wait` returns as soon as another thread has changed the value,
// and gives up after a bound so that a broken daemon fails a test instead of hanging it.

import Glibc

/// A value that several threads share: read and changed under a lock, waited for with a bound.
public final class Monitor<Value>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let changed: UnsafeMutablePointer<pthread_cond_t>
  private var value: Value

  public init(_ value: sending Value) {
    mutex = .allocate(capacity: 1)
    changed = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    changed.initialize(to: pthread_cond_t())
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(changed, nil)
    self.value = value
  }

  deinit {
    pthread_cond_destroy(changed)
    pthread_mutex_destroy(mutex)
    changed.deallocate()
    mutex.deallocate()
  }

  /// Reads or changes the value, and wakes everybody who waits.
  @discardableResult
  public func with<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
    pthread_mutex_lock(mutex)
    defer {
      pthread_cond_broadcast(changed)
      pthread_mutex_unlock(mutex)
    }
    return try body(&value)
  }

  /// Waits until `condition` holds; false when it did not within `seconds`.
  @discardableResult
  public func wait(seconds: Double = 10, until condition: (Value) -> Bool) -> Bool {
    var deadline = timespec()
    clock_gettime(CLOCK_REALTIME, &deadline)
    let nanoseconds = deadline.tv_nsec + Int((seconds - seconds.rounded(.down)) * 1e9)
    deadline.tv_sec += Int(seconds) + nanoseconds / 1_000_000_000
    deadline.tv_nsec = nanoseconds % 1_000_000_000
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while !condition(value) {
      if pthread_cond_timedwait(changed, mutex, &deadline) == ETIMEDOUT { return condition(value) }
    }
    return true
  }
}

/// Something that happens once: one thread opens it, others wait for that.
public final class Gate: Sendable {
  private let state = Monitor(false)

  public init() {}

  public func open() { state.with { $0 = true } }

  /// Waits for `open`; false when it did not come within `seconds`.
  @discardableResult
  public func wait(seconds: Double = 10) -> Bool { state.wait(seconds: seconds) { $0 } }

  public var isOpen: Bool { state.with { $0 } }
}

/// A thread of its own for work that blocks; its end can be waited for.
public final class BackgroundThread: Sendable {
  private let ended = Gate()

  public init(_ work: @escaping @Sendable () -> Void) {
    let ended = ended
    let start = Start {
      work()
      ended.open()
    }
    var thread: pthread_t = 0
    let context = Unmanaged.passRetained(start).toOpaque()
    let failed = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<Start>.fromOpaque(context).takeRetainedValue().work()
        return nil
      }, context)
    precondition(failed == 0, "no thread could be started")
    pthread_detach(thread)
  }

  /// Waits for the work's end; false when it still runs after `seconds`.
  @discardableResult
  public func join(seconds: Double = 30) -> Bool { ended.wait(seconds: seconds) }

  private final class Start: Sendable {
    let work: @Sendable () -> Void
    init(_ work: @escaping @Sendable () -> Void) { self.work = work }
  }
}

/// Seconds of the monotonic clock.
public func monotonicSeconds() -> Double {
  var now = timespec()
  clock_gettime(CLOCK_MONOTONIC, &now)
  return Double(now.tv_sec) + Double(now.tv_nsec) / 1e9
}

/// Asks again and again until `condition` holds; false when it did not within `seconds`. For what another process does,
/// where nothing can wake us.
@discardableResult
public func eventually(seconds: Double = 10, _ condition: () throws -> Bool) rethrows -> Bool {
  let deadline = monotonicSeconds() + seconds
  while true {
    if try condition() { return true }
    if monotonicSeconds() > deadline { return false }
    usleep(5_000)
  }
}
