// For heads that come in pieces: says where the head ends, looking at each byte once, so that a peer which dribbles
// bytes costs the proxy no more than one that sends them at once. The collected head is then parsed as a whole.

/// Looks for the empty line that ends a head or a trailer section. A copyable value of eight bytes.
public struct HeadScanner: Sendable {
  /// What is being looked for.
  public enum Section: Sendable {
    /// A head: an empty line before its first line does not end it.
    case head
    /// A trailer section: may be empty.
    case trailers
  }

  /// What came of the bytes fed last.
  public enum Outcome: Equatable, Sendable {
    /// The section ends after this many bytes of the slice fed last.
    case complete(Int)
    case incomplete
    /// It will never be valid. The parser may know a more precise reason.
    case refused(Refusal)
  }

  /// Bytes seen so far.
  public private(set) var count: UInt32 = 0
  private var state: State

  private enum State: UInt8 {
    /// Before the first line of a head.
    case start
    /// After a CR there.
    case startReturn
    /// At the start of a line.
    case lineStart
    /// After a CR there: LF ends the section.
    case lastReturn
    case inLine
    /// After a CR in a line.
    case lineReturn
  }

  public init(_ section: Section = .head) {
    state = section == .head ? .start : .lineStart
  }

  /// Looks at the next bytes of the section. After `.complete` or `.refused` the scanner is spent.
  /// How long a section may become is the caller's limit: see `count`.
  public mutating func feed(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    guard let view = ByteView(bytes, limit: bytes.count) else { return .incomplete }
    count &+= UInt32(truncatingIfNeeded: view.count)
    var index = 0
    while index < view.count {
      let byte = view[index]
      switch state {
      case .startReturn, .lastReturn, .lineReturn:
        guard byte == lineFeed else { return .refused(.bareCarriageReturn) }
        index &+= 1
        if state == .lastReturn { return .complete(index) }
        state = .lineStart
      case .start, .lineStart, .inLine:
        if byte == carriageReturn {
          state = state == .inLine ? .lineReturn : state == .start ? .startReturn : .lastReturn
          index &+= 1
        } else if byte == lineFeed {
          return .refused(.bareLineFeed)
        } else if byte == 0 {
          return .refused(.nulByte)
        } else {
          state = .inLine
          index = view.firstControl(from: index &+ 1)
        }
      }
    }
    return .incomplete
  }
}
