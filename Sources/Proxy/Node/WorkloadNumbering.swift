// Which number a workload has: a connection keeps it for as long as it is open, whatever is configured meanwhile. So a number
// stays its workload's over all reloads; one that is taken out of the configuration keeps it until its last connection has
// ended, and a while longer.
//
//   configured ──taken out──▶ gone ──no connections, a while later──▶ free ──▶ another's
//        ▲                      │
//        └──────comes back──────┘

import Base
import Capture
import Policy

/// The numbers of all workloads of a process. The control thread's.
struct WorkloadNumbering {
  /// By number, `other` first; empty where the number is free.
  private(set) var names = [WorkloadTable.other]
  /// By number; the rates go on where they were.
  private(set) var cells = [WorkloadRateCells()]
  private var numbers: [String: WorkloadNumber] = [WorkloadTable.other: 0]
  /// Workloads taken out of the configuration, and when.
  private var gone: [WorkloadNumber: MonotonicInstant] = [:]
  private var free: [WorkloadNumber] = []

  /// Whether numbers wait to come free.
  var isUnsettled: Bool { !gone.isEmpty }

  /// These workloads are configured from now on, and no others.
  /// - Returns: their numbers; 0, `other`'s, where there is none left.
  mutating func configure(_ configured: [String], now: MonotonicInstant) -> [WorkloadNumber] {
    let wanted = Set(configured)
    for (name, number) in numbers where number != 0 && !wanted.contains(name) && gone[number] == nil {
      gone[number] = now
    }
    return configured.map { name in
      if let known = numbers[name] {
        gone[known] = nil
        return known
      }
      guard let number = free.popLast() ?? next() else { return 0 }
      names[Int(number)] = name
      cells[Int(number)] = WorkloadRateCells()
      numbers[name] = number
      return number
    }
  }

  private mutating func next() -> WorkloadNumber? {
    guard names.count < Self.capacity else { return nil }
    names.append("")
    cells.append(WorkloadRateCells())
    return WorkloadNumber(names.count - 1)
  }

  /// Frees the numbers of workloads that are gone for long enough and have no connections.
  /// - Returns: the names of those workloads.
  mutating func settle(now: MonotonicInstant, isIdle: (String) -> Bool) -> [String] {
    var settled: [String] = []
    for (number, since) in gone where now.nanoseconds(since: since) >= Self.restNanoseconds {
      let name = names[Int(number)]
      guard isIdle(name) else { continue }
      gone[number] = nil
      numbers[name] = nil
      names[Int(number)] = ""
      free.append(number)
      settled.append(name)
    }
    return settled
  }

  /// Far more than can be configured at once.
  static let capacity = 4_096
  /// By then every shard has long taken over what was published, and copies of requests have ended.
  static let restNanoseconds: UInt64 = 300_000_000_000
}

/// The node's cells of one workload's rates.
final class WorkloadRateCells: @unchecked Sendable {
  let requests: UnsafeMutablePointer<RateCell>
  let connections: UnsafeMutablePointer<RateCell>

  init() {
    requests = .allocate(capacity: 2)
    connections = requests + 1
    requests.initialize(to: RateCell())
    connections.initialize(to: RateCell())
  }

  deinit { requests.deallocate() }
}
