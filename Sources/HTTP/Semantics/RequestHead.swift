// The head of a request: what was said, as ranges into the head's bytes, and what follows from it. Protocol-neutral:
// the HTTP/1 parser fills it from a receive buffer, another codec may fill it from an arena of its own.

/// The four forms of a request target. RFC 9112 3.2.
public enum TargetForm: UInt8, Sendable {
  /// `/path?query`
  case origin
  /// `http://host/path?query`
  case absolute
  /// `host:port`, only with CONNECT
  case authority
  /// `*`, only with OPTIONS
  case asterisk
}

/// A request head, reused for one request after another. Owns its field table and nothing else; belongs to one
/// thread. Ranges are valid as long as the bytes that were parsed stay where they are.
public struct RequestHead: ~Copyable {
  public var fields: FieldTable

  public internal(set) var method: Method = .other
  public internal(set) var form: TargetForm = .origin
  public internal(set) var version: Version = .http11
  public internal(set) var framing: BodyFraming = .none
  /// Whether the connection stays usable after this exchange, as far as the client is concerned.
  public internal(set) var keepAlive = false
  /// An Upgrade field and the connection option for it, in HTTP/1.1, offering something else than `h2c`.
  public internal(set) var wantsUpgrade = false
  /// `Expect: 100-continue` in HTTP/1.1.
  public internal(set) var expectsContinue = false
  public internal(set) var hasTraceparent = false
  /// `TE: trailers` in HTTP/1.1: the client wants trailers.
  public internal(set) var acceptsTrailers = false
  /// Whether the Host line is passed on as it is; if not, the serializer writes one from `authority`.
  public internal(set) var hostIsForwarded = false

  public internal(set) var methodRange = ByteRange.empty
  public internal(set) var targetRange = ByteRange.empty
  /// The path; empty for an absolute-form without one and for authority-form, `*` for asterisk-form.
  public internal(set) var pathRange = ByteRange.empty
  /// What follows the first `?` of the target.
  public internal(set) var queryRange = ByteRange.empty
  /// Path, `?` and query as they were written: the target in origin-form, save for a missing `/`.
  public internal(set) var pathAndQueryRange = ByteRange.empty
  /// `host[:port]`: the target's own where it has one, else Host's value; empty in HTTP/1.0 without either.
  public internal(set) var authorityRange = ByteRange.empty
  /// The authority's host, an IPv6 address without brackets.
  public internal(set) var hostRange = ByteRange.empty
  /// The authority's port; 0 when it names none.
  public internal(set) var port: UInt16 = 0

  /// The target that goes out instead of the one that came; nil where it stays.
  public internal(set) var forwardedTarget: ByteRange?

  /// Where the request line starts: 0, or 2 after an empty line.
  public internal(set) var lineStart = 0
  /// Where the first field line starts.
  public internal(set) var fieldsStart = 0
  /// All bytes of the head, its empty line included: the body starts here.
  public internal(set) var headLength = 0

  /// A head with room for `maximumFields` fields.
  public init(maximumFields: Int = 128) { fields = FieldTable(capacity: maximumFields) }

  /// Has a part of the head's bytes sent on as path and query. A slash is put before it where it does not begin with one.
  public mutating func forwardTarget(_ range: ByteRange) { forwardedTarget = range }

  /// How many members of Via name `pseudonym`. `bytes` are the bytes of the head.
  public func countVia(pseudonym: UnsafeRawBufferPointer, in bytes: UnsafeRawBufferPointer) -> Int {
    fields.countVia(pseudonym: pseudonym, in: bytes)
  }
}
