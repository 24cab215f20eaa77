// Names as small numbers: a shard writes the number of a listener or service into an access record, the log's writer turns
// it back. Numbers are never reused, so a record that waited through a change of configuration still says the right name.

import Synchronization

/// An append-only table of names. Any thread; looking up locks, so keep the number.
public final class NameTable: Sendable {
  private let state = Mutex(State())

  public init() {}

  /// The number of a name, the same for the same name. Names past the limit share the number of "other".
  public func number(of name: String) -> UInt32 {
    state.withLock { state in
      if let number = state.numbers[name] { return number }
      guard state.names.count < maximumNames else { return overflowNumber }
      let number = UInt32(state.names.count)
      state.names.append(name)
      state.numbers[name] = number
      return number
    }
  }

  /// The name of a number; empty for 0 and for numbers never given out.
  public func name(of number: UInt32) -> String {
    state.withLock { $0.names.indices.contains(Int(number)) ? $0.names[Int(number)] : "" }
  }

  private struct State {
    var names = ["", overflowLabel]
    var numbers: [String: UInt32] = ["": 0]
  }
}

private let overflowNumber: UInt32 = 1
/// Names come from configuration and discovery; a node with more of them than this has other worries.
private let maximumNames = 100_000
