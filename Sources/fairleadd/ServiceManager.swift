// The service manager's side of the daemon: systemd's notification protocol (sd_notify(3)), its watchdog, and its store of
// file descriptors, in which the listening sockets wait while one daemon ends and the next begins.
//
// A notification is one datagram of VARIABLE=value lines to the Unix socket that $NOTIFY_SOCKET names. Without that variable
// everything here does nothing.

import Base
import CFairlead
import Glibc
import Proxy

/// The service manager that started this process, if one did. Used on the control thread only.
final class ServiceManager: ListenerKeeper {
  private let path: String?
  private let descriptor: Int32
  private var passed: [PassedSocket]
  private var keptNames: Set<String> = []
  private let storeCapacity: Int
  /// How often the watchdog wants to hear of us; nil where there is none.
  private let watchdogNanoseconds: UInt64?
  private var fedAt: MonotonicInstant?

  /// Reads the environment. Before any descriptor is opened: those that are passed are known by their numbers.
  init() {
    path = Self.variable("NOTIFY_SOCKET")
    passed = Self.passedSockets()
    descriptor = path == nil ? -1 : fl_notify_socket()
    // systemd says from version 254 on how many descriptors it stores; the unit says so for older ones.
    storeCapacity = path == nil ? 0 : Self.number("FDSTORE") ?? 0
    if let period = Self.number("WATCHDOG_USEC"), period > 0,
      Self.number("WATCHDOG_PID").map({ $0 == getpid() }) ?? true
    {
      watchdogNanoseconds = UInt64(period) &* 1000
    } else {
      watchdogNanoseconds = nil
    }
  }

  // MARK: States

  /// The listeners accept and the shards turn.
  func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }

  /// A reload begins; `ready` ends it.
  func reloading(_ status: String) {
    send("RELOADING=1\nMONOTONIC_USEC=\(MonotonicInstant.now().nanoseconds / 1000)\nSTATUS=\(status)")
  }

  /// The end begins, and may take this long: our own limit counts, not that of the unit.
  func stopping(_ status: String, withinNanoseconds limit: UInt64) {
    send("STOPPING=1\nEXTEND_TIMEOUT_USEC=\(limit / 1000)\nSTATUS=\(status)")
  }

  /// Every shard has turned: tells the watchdog, four times as often as it wants to hear it.
  func allShardsTurned() {
    guard let watchdogNanoseconds else { return }
    let now = MonotonicInstant.now()
    if let fedAt, now.nanoseconds(since: fedAt) < watchdogNanoseconds / 4 { return }
    if send("WATCHDOG=1") { fedAt = now }
  }

  // MARK: ListenerKeeper

  func takePassed() -> [PassedSocket] {
    defer { passed = [] }
    return passed
  }

  func keep(_ descriptor: Int32, as name: String) -> Bool {
    guard keptNames.contains(name) || keptNames.count < storeCapacity else { return false }
    guard send("FDSTORE=1\nFDNAME=\(name)", passing: descriptor) else { return false }
    keptNames.insert(name)
    return true
  }

  func forget(_ name: String) {
    keptNames.remove(name)
    send("FDSTOREREMOVE=1\nFDNAME=\(name)")
  }

  /// Whether a daemon that comes next finds sockets of ours.
  var keepsSockets: Bool { !keptNames.isEmpty }

  /// Lets every kept socket go: no daemon comes after this one.
  func forgetAll() {
    for name in keptNames.sorted() { forget(name) }
  }

  // MARK: The protocol

  @discardableResult
  private func send(_ text: String, passing passed: Int32 = -1) -> Bool {
    guard let path, descriptor >= 0 else { return false }
    return fl_notify(descriptor, path, text, text.utf8.count, passed) == 0
  }

  /// The descriptors from 3 on that $LISTEN_FDS counts and $LISTEN_FDNAMES names, when they are meant for this process.
  private static func passedSockets() -> [PassedSocket] {
    guard let count = number("LISTEN_FDS"), (1...65_536).contains(count), number("LISTEN_PID") == Int(getpid()) else {
      return []
    }
    let names = (variable("LISTEN_FDNAMES") ?? "").split(separator: ":", omittingEmptySubsequences: false)
    return (0..<count).compactMap { place in
      let descriptor = Int32(3 + place)
      guard fl_take_passed_fd(descriptor) == 0 else { return nil }
      return PassedSocket(name: place < names.count ? String(names[place]) : "unknown", descriptor: descriptor)
    }
  }

  private static func variable(_ name: String) -> String? {
    guard let text = getenv(name) else { return nil }
    return text.pointee == 0 ? nil : String(cString: text)
  }

  private static func number(_ name: String) -> Int? { variable(name).flatMap { Int($0) } }
}
