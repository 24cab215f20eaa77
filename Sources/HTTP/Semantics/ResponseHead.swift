// The head of a response: what was said, and what follows from it for the body and the connection.

/// What a response parser must know of the request it answers. RFC 9112 6.3.
public struct ResponseContext: Sendable {
  public var method: Method
  /// Whether the request was passed on with its Upgrade: only then may 101 come.
  public var wantsUpgrade: Bool

  @inlinable public init(method: Method, wantsUpgrade: Bool = false) {
    self.method = method
    self.wantsUpgrade = wantsUpgrade
  }
}

/// A response head, reused for one response after another. Owns its field table and nothing else; belongs to one
/// thread. Ranges are valid as long as the bytes that were parsed stay where they are.
public struct ResponseHead: ~Copyable {
  public var fields: FieldTable

  public internal(set) var status: Status = 200
  public internal(set) var version: Version = .http11
  public internal(set) var framing: BodyFraming = .none
  /// Content-Length's value, whether or not it frames a body: HEAD and 304 carry it as information.
  public internal(set) var contentLength: UInt64?
  /// Whether the upstream connection may be used again after this response.
  public internal(set) var keepAlive = false
  /// 101: what follows is the other protocol's, both ways.
  public internal(set) var isSwitch = false
  /// 2xx to CONNECT: what follows is a tunnel, both ways.
  public internal(set) var isTunnel = false
  /// The reason phrase; empty when there is none.
  public internal(set) var reasonRange = ByteRange.empty

  /// Where the first field line starts.
  public internal(set) var fieldsStart = 0
  /// All bytes of the head, its empty line included: the body starts here.
  public internal(set) var headLength = 0

  /// A head with room for `maximumFields` fields.
  public init(maximumFields: Int = 128) { fields = FieldTable(capacity: maximumFields) }

  /// Another response to the same request follows.
  @inlinable public var isInterim: Bool { status.isInterim }

  /// The framing towards a client of `version`: as it came, save that HTTP/1.0 knows no chunks, and that a body
  /// which runs to the upstream's close is given chunks where the client knows them, so that its connection can stay
  /// and a cut is noticed. With `untilClose` the client's connection must be closed after the body.
  @inlinable public func framing(towards version: Version) -> BodyFraming {
    switch (framing, version) {
    case (.chunked, .http10): .untilClose
    case (.untilClose, .http11): .chunked
    default: framing
    }
  }
}
