// Whether there is more than can be done, and how much of what is new is to be refused for it. Judged by two pressures, each the
// measure against its mark: the loop's lag, and resident memory.
//
//   normal ── over a mark for 0.3 seconds, and normal for a second ──► shedding
//   normal ◄── under four fifths of both marks, nothing refused any more, and shedding for two seconds ── shedding
//
// Between the two marks nothing changes, so a measure that sways around one does not make the state sway. While shedding, the
// part that is refused follows the lag slowly (up in a second or two, down in ten), and memory at once: it grows from nothing at
// the mark to all but a twentieth a quarter above it. Some is always let through: what is refused tells nothing about what
// could be done.

public import Base

/// The judgement of one shard. One thread; a plain value.
@frozen public struct OverloadController: Sendable {
  @frozen public enum State: UInt8, Sendable, Equatable { case normal, shedding }

  /// What is too much of. When both are, memory: it cannot be waited out.
  @frozen public enum Reason: UInt8, Sendable, Equatable { case loopLag, memory }

  public private(set) var state = State.normal
  /// Which mark was passed last.
  public private(set) var reason = Reason.loopLag
  /// The part of new work to refuse, 0 … 0.95; 0 while normal.
  public private(set) var severity = 0.0
  private var lagSeverity = 0.0
  private var since: MonotonicInstant
  private var updated: MonotonicInstant
  /// How long a pressure has been over its mark without a break.
  private var overNanoseconds: UInt64 = 0

  public init(now: MonotonicInstant) {
    updated = now
    // It may shed from the start.
    since = MonotonicInstant(nanoseconds: 0)
  }

  /// Takes new measures in, a few times a second. What is no number, or has no mark, presses nothing: pass 0.
  /// - Returns: whether the state has changed.
  @discardableResult
  public mutating func update(lagPressure: Double, memoryPressure: Double, now: MonotonicInstant) -> Bool {
    let lag = lagPressure.isFinite ? max(lagPressure, 0) : 0
    let memory = memoryPressure.isFinite ? max(memoryPressure, 0) : 0
    let elapsed = min(now.nanoseconds(since: updated), Self.longestStep)
    updated = now
    let pressure = max(lag, memory)
    if pressure >= 1 {
      overNanoseconds = min(overNanoseconds &+ elapsed, Self.longestStep)
      reason = memory >= 1 ? .memory : .loopLag
    } else {
      overNanoseconds = 0
    }
    let before = state
    switch state {
    case .normal:
      if overNanoseconds >= Self.confirmation, now.nanoseconds(since: since) >= Self.shortestNormal {
        enter(.shedding, now)
        lagSeverity = lag >= 1 ? Self.firstSeverity : 0
      }
    case .shedding:
      follow(lag, seconds: Double(elapsed) / 1e9)
      let isOver = pressure < Self.lowMark && lagSeverity == 0
      if isOver, now.nanoseconds(since: since) >= Self.shortestShedding { enter(.normal, now) }
    }
    severity = state == .normal ? 0 : min(max(lagSeverity, Self.severity(ofMemory: memory)), Self.mostSeverity)
    return state != before
  }

  private mutating func enter(_ next: State, _ now: MonotonicInstant) {
    state = next
    since = now
    lagSeverity = 0
  }

  /// Half of all within a second at the mark, sooner the further above; back in ten seconds.
  private mutating func follow(_ lag: Double, seconds: Double) {
    if lag >= 1 {
      lagSeverity = min(lagSeverity + 0.5 * min(lag, 4) * seconds, Self.mostSeverity)
    } else if lag < Self.lowMark {
      lagSeverity = max(lagSeverity - 0.1 * seconds, 0)
    }
  }

  private static func severity(ofMemory pressure: Double) -> Double { max((pressure - 1) * 4, 0) }

  private static var lowMark: Double { 0.8 }
  private static var firstSeverity: Double { 0.1 }
  private static var mostSeverity: Double { 0.95 }
  private static var confirmation: UInt64 { 300_000_000 }
  private static var shortestNormal: UInt64 { 1_000_000_000 }
  private static var shortestShedding: UInt64 { 2_000_000_000 }
  /// A shard that slept longer than this has not been under pressure meanwhile.
  private static var longestStep: UInt64 { 1_000_000_000 }
}
