// From when on the node has too much to do, and refuses some of what is new.

public import Base

extension Configuration {
  /// `limits.overload`.
  public struct Overload: Hashable, Sendable {
    /// How late a shard may be before it refuses; nil for any.
    public let loopLag: Duration?
    public let memory: MemoryMark

    public init(loopLag: Duration? = Overload.defaultLoopLag, memory: MemoryMark = .percent(90)) {
      self.loopLag = loopLag
      self.memory = memory
    }

    public static let defaultLoopLag: Duration = .milliseconds(100)
  }

  /// How much resident memory the process may have.
  public enum MemoryMark: Hashable, Sendable {
    case none
    case size(ByteCount)
    /// Of what the process may have at all: its control group's limit, or the host's memory. Within `MemoryMark.percents`.
    case percent(Int)

    public static let percents = 1...100

    /// As a configuration writes it.
    public var text: String {
      switch self {
      case .none: "none"
      case .size(let size): size.description
      case .percent(let percent): "\(percent)%"
      }
    }
  }
}
