// The control thread's event loop: descriptors, timers and calls from other threads, one after the other, with poll(2).
// It carries signals, the admin sockets and whatever else steers the node: a few dozen descriptors and no hurry, so simple
// beats fast. The shards have loops of their own (`Ring`) and never wait for this one.

public import Base
import Glibc
import Synchronization

/// An event loop for one thread. `post` and `stop` may be called from any thread; everything else on the loop's own, or
/// before it runs.
public final class ControlLoop: @unchecked Sendable {
  private struct Watch {
    var events: Int16
    let handler: (_ events: Int16) -> Void
    /// Tells a descriptor's new watch from the old one of the same number.
    let serial: UInt64
  }

  private struct Timer {
    let deadline: MonotonicInstant
    let serial: UInt64
    let action: () -> Void
  }

  private var watches: [Int32: Watch] = [:]
  private var timers: [Timer] = []
  private var nextSerial: UInt64 = 1
  private let posted = Mutex<[@Sendable () -> Void]>([])
  /// What was posted and is run now. The two change places, so that a thread that posts seldom has to make room.
  private var taken: [@Sendable () -> Void] = []
  private static let room = 64
  private let stopping = Atomic<Bool>(false)
  private let wakeUp: WakeUp

  /// - Throws: the errno of socketpair: the kernel has no descriptors left.
  public init() throws(SystemError) {
    taken.reserveCapacity(Self.room)
    posted.withLock { $0.reserveCapacity(Self.room) }
    wakeUp = try WakeUp()
  }

  // MARK: Any thread

  /// Runs `action` on the loop's thread, after what was posted before it.
  public func post(_ action: @escaping @Sendable () -> Void) {
    posted.withLock { $0.append(action) }
    wakeUp.signal()
  }

  /// Makes `run` return after the turn it is in.
  public func stop() {
    stopping.store(true, ordering: .releasing)
    wakeUp.signal()
  }

  // MARK: The loop's thread

  /// Calls `handler` with poll's events whenever `descriptor` has one of `events` (POLLIN, POLLOUT), an error or a hang-up.
  /// The descriptor stays the caller's, to be unwatched before it is closed.
  public func watch(_ descriptor: Int32, events: Int16, _ handler: @escaping (_ events: Int16) -> Void) {
    watches[descriptor] = Watch(events: events, handler: handler, serial: takeSerial())
  }

  /// Changes what a watched descriptor is watched for. With 0 only errors and hang-ups are told.
  public func setEvents(_ descriptor: Int32, _ events: Int16) { watches[descriptor]?.events = events }

  /// Forgets a descriptor; its handler is not called any more, not even for what this turn has found already.
  public func unwatch(_ descriptor: Int32) { watches[descriptor] = nil }

  /// Calls `action` once, at `deadline` or a little later.
  ///
  /// - Returns: what `cancel` takes.
  @discardableResult
  public func schedule(at deadline: MonotonicInstant, _ action: @escaping () -> Void) -> UInt64 {
    let timer = Timer(deadline: deadline, serial: takeSerial(), action: action)
    let place = timers.firstIndex { $0.deadline > deadline } ?? timers.endIndex
    timers.insert(timer, at: place)
    return timer.serial
  }

  /// Takes a timer back; one that has fired is none any more.
  public func cancel(_ timer: UInt64) { timers.removeAll { $0.serial == timer } }

  /// Turns until `stop` is called.
  public func run() {
    while !stopping.load(ordering: .acquiring) { turn(maximumWaitMilliseconds: -1) }
  }

  /// One turn: waits for events, at most this long (-1: as long as it takes), and handles what there is.
  public func turn(maximumWaitMilliseconds: Int32) {
    let order = watches.map { (descriptor: $0.key, serial: $0.value.serial, events: $0.value.events) }
    var descriptors = [pollfd(fd: wakeUp.descriptor, events: Int16(POLLIN), revents: 0)]
    descriptors += order.map { pollfd(fd: $0.descriptor, events: $0.events, revents: 0) }
    let ready = poll(&descriptors, nfds_t(descriptors.count), waitMilliseconds(maximumWaitMilliseconds))
    if ready > 0 {
      if descriptors[0].revents != 0 { wakeUp.clear() }
      for (index, watched) in order.enumerated() where descriptors[index + 1].revents != 0 {
        // An earlier handler of this turn may have closed this descriptor, and another may carry its number now.
        guard let watch = watches[watched.descriptor], watch.serial == watched.serial else { continue }
        watch.handler(descriptors[index + 1].revents)
      }
    }
    fireTimers()
    runPosted()
  }

  private func waitMilliseconds(_ maximum: Int32) -> Int32 {
    guard let next = timers.first else { return maximum }
    // Rounded up: waking early would only turn the loop once more.
    let left = (next.deadline.nanoseconds(since: .now()) &+ 999_999) / 1_000_000
    let wait = Int32(min(left, 3_600_000))
    return maximum < 0 ? wait : min(wait, maximum)
  }

  private func fireTimers() {
    let now = MonotonicInstant.now()
    // Only those that are due now: a timer set by an action waits for the next turn.
    let due = timers.prefix { $0.deadline <= now }.map(\.serial)
    for serial in due {
      guard let index = timers.firstIndex(where: { $0.serial == serial }) else { continue }
      timers.remove(at: index).action()
    }
  }

  private func runPosted() {
    posted.withLock { swap(&$0, &taken) }
    for action in taken { action() }
    taken.removeAll(keepingCapacity: true)
  }

  private func takeSerial() -> UInt64 {
    defer { nextSerial &+= 1 }
    return nextSerial
  }
}
