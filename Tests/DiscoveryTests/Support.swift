import Base
import Discovery
import EventLoop
import Policy
import TestSupport
import Testing

/// A bound name as it is written.
func bound(_ text: String) throws -> BoundName { try #require(BoundName(try Path(parsing: text))) }

/// Remembers everything it is told.
final class Listener: DiscoveryDelegate {
  private(set) var news: [[BoundName: Change]] = []

  func discoveryChanged(_ source: any DiscoverySource, _ changes: [BoundName: Change]) { news.append(changes) }

  /// The last thing that was told of a name.
  func last(_ name: BoundName) -> Change? { news.last { $0[name] != nil }?[name] }

  /// All that was told of a name, in its order.
  func all(_ name: BoundName) -> [Change] { news.compactMap { $0[name] } }

  func forget() { news = [] }
}

extension ControlLoop {
  /// Turns until the condition holds; false when it does not in ten seconds.
  func turn(seconds: Double = 10, until condition: () throws -> Bool) rethrows -> Bool {
    try eventually(seconds: seconds) {
      turn(maximumWaitMilliseconds: 1)
      return try condition()
    }
  }
}
