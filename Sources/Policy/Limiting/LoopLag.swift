// How late a shard is: what an event that comes at any moment has to wait until it is looked at, and what a request then
// waits for its turn. Measured in windows of a tenth of a second, so that one long turn on a busy host, which delays few,
// weighs little, and a row of them, which delays everybody, weighs what it is.

public import Base

/// The lag of one shard. One thread; a plain value.
@frozen public struct LoopLag: Sendable {
  /// Over the last half a second or so. Turns of d nanoseconds without a pause between them make it d.
  public private(set) var nanoseconds: UInt64 = 0
  private var windowStart: MonotonicInstant
  /// Of the window's turns: their squares summed up. A turn delays what comes in it, and the longer it is, the more comes.
  private var squares = 0.0
  private var waits = 0.0
  private var waitCount = 0.0

  public init(now: MonotonicInstant) { windowStart = now }

  /// A request has waited for its turn.
  public mutating func waited(nanoseconds: UInt64) {
    waits += Double(nanoseconds)
    waitCount += 1
  }

  /// A turn is over.
  /// - Returns: true when a window is over with it, and `nanoseconds` is new.
  public mutating func turned(nanoseconds turn: UInt64, now: MonotonicInstant) -> Bool {
    squares += Double(turn) * Double(turn)
    let elapsed = now.nanoseconds(since: windowStart)
    if elapsed < Self.windowNanoseconds { return false }
    let lag = squares / Double(elapsed) + (waitCount > 0 ? waits / waitCount : 0)
    // A window that rest has made long says all there is to say.
    let newness = min(Double(elapsed) / (4 * Double(Self.windowNanoseconds)), 1)
    let smoothed = Double(nanoseconds) * (1 - newness) + lag * newness
    nanoseconds = smoothed < 1e18 ? UInt64(smoothed) : 1_000_000_000_000_000_000
    (windowStart, squares, waits, waitCount) = (now, 0, 0, 0)
    return true
  }

  @usableFromInline static var windowNanoseconds: UInt64 { 100_000_000 }
}
