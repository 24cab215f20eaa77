// What a peer may make a head grow to.

/// Bounds on one head; those of `limits` in the configuration.
public struct HTTP1Limits: Sendable {
  /// All bytes of a head with its start line and the empty line, and of a trailer section.
  public var headerBytes: Int
  /// Field lines in a head. A head's table may hold fewer; the lower bound counts.
  public var headers: Int
  /// Bytes of a request line without its CRLF.
  public var requestLineBytes: Int

  public init(headerBytes: Int = 32 << 10, headers: Int = 128, requestLineBytes: Int = 8 << 10) {
    // Ranges hold 32 bits; a gibibyte of head is beyond any use.
    self.headerBytes = min(max(headerBytes, 0), 1 << 30)
    self.headers = headers
    self.requestLineBytes = min(max(requestLineBytes, 0), 1 << 30)
  }
}

/// What came of looking at the bytes of a head.
public enum HeadOutcome: Equatable, Sendable {
  /// The head is filled in; its `headLength` says how many bytes it took.
  case complete
  /// So far all is well; more bytes are needed. The head's content is meaningless.
  case incomplete
  /// It will never be a valid head. The head's content is meaningless.
  case refused(Refusal)
}

/// Why parsing stopped before the end of a head.
enum HeadStop: Error {
  case incomplete
  case refused(Refusal)

  var outcome: HeadOutcome {
    switch self {
    case .incomplete: .incomplete
    case .refused(let refusal): .refused(refusal)
    }
  }
}
