// Collects what changes in one turn of the loop and tells it at once, outside of any call to the source: a thousand files that
// are renamed together are one piece of news.

import Base
import EventLoop
import Policy

/// The news of one source that its delegate has not heard yet. For sources of any kind; lives on the loop's thread.
final class ChangeQueue {
  private let loop: ControlLoop
  /// Called on the loop with what came together.
  var deliver: ([BoundName: Change]) -> Void = { _ in }
  private var waiting: [BoundName: Change] = [:]
  private var timer: UInt64?

  init(_ loop: ControlLoop) { self.loop = loop }

  /// Something has happened to a name. The last news counts, but who has not heard that a name appeared hears that.
  func add(_ name: BoundName, _ change: Change) {
    if waiting[name] == .appeared, change == .endpoints { return }
    waiting[name] = change
    guard timer == nil else { return }
    timer = loop.schedule(at: .now()) { [weak self] in self?.flush() }
  }

  /// Forgets what has not been told.
  func stop() {
    timer.map(loop.cancel)
    timer = nil
    waiting = [:]
  }

  private func flush() {
    timer = nil
    let news = waiting
    waiting = [:]
    deliver(news)
  }
}
