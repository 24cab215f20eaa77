// How much memory this process may have: the least limit of its control groups, else the host's memory. Read on the control
// thread, a few times a minute; limits may change while a process runs.

import Base
import Configuration
import Telemetry

/// Where the limits stand, read through a function so that tests can say what stands there.
public struct MemoryBudget {
  private let read: (String) -> String?

  /// - Parameter read: the text of a file; nil when there is none.
  public init(read: @escaping (String) -> String?) { self.read = read }

  /// In bytes; nil when nothing says it.
  public var available: UInt64? {
    let groups = groupPaths.flatMap { path in
      ["memory.max", "memory.high"].compactMap { read("/sys/fs/cgroup\(path)/\($0)") }.compactMap(Self.bytes)
    }
    return (groups + [hostMemory].compactMap { $0 }).min()
  }

  /// This process's resident memory.
  /// - Parameter pageByteCount: the kernel's.
  public func resident(pageByteCount: UInt64) -> UInt64 {
    let pages = read("/proc/self/statm")?.split(separator: " ").dropFirst().first.flatMap { UInt64($0) } ?? 0
    return pages.multipliedReportingOverflow(by: pageByteCount).overflow ? 0 : pages * pageByteCount
  }

  /// The process's group and those above it, as paths below the mount point; that of all is empty.
  private var groupPaths: [String] {
    let line = read("/proc/self/cgroup")?.split(separator: "\n").first { $0.hasPrefix("0::/") }
    guard let line else { return [] }
    let names = line.dropFirst("0::/".count).split(separator: "/")
    // Nothing nests deeper.
    return (0...min(names.count, 64)).map { depth in names.prefix(depth).reduce("") { "\($0)/\($1)" } }
  }

  /// `max` is no limit.
  private static func bytes(_ text: String) -> UInt64? {
    text.split(whereSeparator: \.isWhitespace).first.flatMap { UInt64($0) }
  }

  private var hostMemory: UInt64? {
    let line = read("/proc/meminfo")?.split(separator: "\n").first { $0.hasPrefix("MemTotal:") }
    guard let kibibytes = line?.split(separator: " ").dropFirst().first.flatMap({ UInt64($0) }) else { return nil }
    let (bytes, overflow) = kibibytes.multipliedReportingOverflow(by: 1024)
    return overflow ? nil : bytes
  }
}

extension Configuration.MemoryMark {
  /// Resident memory against the mark: 1 at it; 0 where there is none.
  func pressure(resident: UInt64, available: UInt64?) -> Double {
    switch self {
    case .none: 0
    case .size(let size): Double(resident) / Double(max(size.bytes, 1))
    case .percent(let percent):
      available.map { Double(resident) / max(Double($0) * Double(percent) / 100, 1) } ?? 0
    }
  }
}

extension Node {
  /// Tells the shards how much memory is taken. The control thread.
  /// - Parameter available: what may be taken; nil when nobody knows.
  public func noteMemory(resident: UInt64, available: UInt64?) {
    shared.setMemoryPressure(configuration.limits.overload.memory.pressure(resident: resident, available: available))
  }

  /// What a shard refuses new requests for; nil when it does not.
  public func overload(shard: Int) -> String? {
    switch gauge(metrics.overloadState.family, ["\(shard)"]) {
    case 1: "loop lag"
    case 2: "memory"
    default: nil
    }
  }
}
