// Clients that ask again and again on kept connections, as an application does while its proxy is restarted: a connection that
// is closed between two requests is made anew, and anything worse is counted.

import Glibc

/// What became of the requests.
public struct LoadOutcome: Sendable, CustomStringConvertible {
  public var answered = 0
  /// Answers that were not 200.
  public var otherStatus = 0
  public var connects = 0
  /// Connections that could not be made: the first is told.
  public var refused = 0
  /// Connections that ended before they had answered anything.
  public var brokenAtOnce = 0
  /// Connections that had answered and were closed as the next request went out.
  public var closedBetween = 0
  public var longestSeconds = 0.0
  public var firstFailure: String?

  public init() {}

  public var description: String {
    "\(answered) answered, \(otherStatus) not with 200, \(connects) connections, \(refused) refused, "
      + "\(brokenAtOnce) broken at once, \(closedBetween) closed between requests, the longest request took "
      + "\((longestSeconds * 1000).rounded()) ms" + (firstFailure.map { "; first: \($0)" } ?? "")
  }
}

/// Clients at work, each on a thread of its own.
public final class KeepAliveLoad: Sendable {
  private struct State {
    var outcome = LoadOutcome()
    var started = 0
    var running: Int
  }

  private let state: Monitor<State>

  /// - Parameter start: makes a client's thread, which tells whether it is where it should be.
  public init(
    _ address: LoopbackAddress, clients: Int, requests: Int,
    start: (@escaping @Sendable (_ joined: Bool) -> Void) -> BackgroundThread
  ) {
    let state = Monitor(State(running: clients))
    self.state = state
    for _ in 0..<clients {
      _ = start { joined in
        if joined { Self.work(address, requests, state) }
        state.with { $0.running -= 1 }
      }
    }
  }

  public var answered: Int { state.with { $0.outcome.answered } }

  /// Waits until `count` requests were answered; false when they were not.
  public func wait(forAnswers count: Int, seconds: Double = 60) -> Bool {
    state.wait(seconds: seconds) { $0.outcome.answered >= count || $0.running == 0 }
  }

  /// Waits for the end; nil when it has not come.
  public func finish(seconds: Double = 120) -> LoadOutcome? {
    state.wait(seconds: seconds) { $0.running == 0 } ? state.with { $0.outcome } : nil
  }

  private static func work(_ address: LoopbackAddress, _ requests: Int, _ state: Monitor<State>) {
    var client: RawClient?
    var answeredHere = 0
    while true {
      let goesOn = state.with { state -> Bool in
        state.started += 1
        return state.started <= requests
      }
      guard goesOn else { break }
      var isAnswered = false
      let began = monotonicSeconds()
      for _ in 0..<20 where !isAnswered {
        do {
          if client == nil {
            state.with { $0.outcome.connects += 1 }
            answeredHere = 0
            client = try RawClient(address, timeoutSeconds: 30)
          }
        } catch {
          state.with {
            $0.outcome.refused += 1
            $0.outcome.firstFailure = $0.outcome.firstFailure ?? "\(error)"
          }
          continue
        }
        do {
          guard let open = client else { continue }
          let response = try open.get()
          isAnswered = true
          answeredHere += 1
          let took = monotonicSeconds() - began
          state.with {
            $0.outcome.answered += 1
            if response.status != 200 { $0.outcome.otherStatus += 1 }
            $0.outcome.longestSeconds = max($0.outcome.longestSeconds, took)
          }
          if response["connection"]?.lowercased() == "close" { throw HarnessError("told to close") }
        } catch {
          client?.close()
          client = nil
          if isAnswered { continue }
          state.with {
            if answeredHere == 0 {
              $0.outcome.brokenAtOnce += 1
              $0.outcome.firstFailure = $0.outcome.firstFailure ?? "\(error)"
            } else {
              $0.outcome.closedBetween += 1
            }
          }
        }
      }
    }
    client?.close()
  }
}
