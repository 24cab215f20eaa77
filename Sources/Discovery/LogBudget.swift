// Lines for the daemon's log, as many as somebody may want to read: a source that goes wrong a thousand times a second must not
// fill a disk.

import Base

/// Passes lines on, a bounded number of them in a while.
struct LogBudget {
  private let write: (String) -> Void
  private var began: MonotonicInstant
  private var count = 0

  init(_ write: @escaping (String) -> Void, now: MonotonicInstant = .now()) {
    self.write = write
    began = now
  }

  mutating func say(_ line: String, now: MonotonicInstant = .now()) {
    if now.nanoseconds(since: began) >= Self.period {
      if count > Self.limit { write("discovery: \(count - Self.limit) lines like those were left out") }
      began = now
      count = 0
    }
    count += 1
    if count <= Self.limit { write(line) }
  }

  static let limit = 40
  static let period: UInt64 = 60_000_000_000
}
