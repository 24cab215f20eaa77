// What is remembered of one exchange for the access log: a fixed-size value that a shard fills in place and another thread
// formats later. No pointers, no references; names are indices into a `NameTable`, texts from the wire are cut.

/// One exchange. 320 bytes, plain: lives in an `AccessRing` slot.
public struct AccessRecord: BitwiseCopyable, Sendable {
  /// When the request's first byte arrived, nanoseconds since 1970 (CLOCK_REALTIME).
  public var wallTimeNanoseconds: UInt64
  /// From the request's first byte to the end of the response.
  public var durationNanoseconds: UInt64
  /// From the request's first byte to the response's first byte; 0 when there was none.
  public var firstByteNanoseconds: UInt64
  /// Body bytes from and to the client.
  public var bytesIn: UInt64
  public var bytesOut: UInt64
  /// The trace it belongs to; zero when there is none.
  public var traceHigh: UInt64
  public var traceLow: UInt64
  /// Indices into the writer's `NameTable`; 0 is "none".
  public var listener: UInt32
  public var service: UInt32
  /// Who asked, and who answered.
  public var peer: RecordedAddress
  /// Whose the client is; an index into the writer's `NameTable`, 0 is "none". Stands where the peer leaves room.
  public var workload: UInt32
  public var endpoint: RecordedAddress
  /// 0 when no response was sent.
  public var status: UInt16
  /// The rule it went by; an index into the writer's `NameTable`, 0 is "none".
  public var route: UInt32
  /// `FL` number of the proxy's own error; 0 when there was none.
  public var errorCode: UInt16
  /// Lengths of the inline texts.
  public var hostLength: UInt8
  public var pathLength: UInt8
  public var methodLength: UInt8
  /// Retries in the lower six bits, in the others what came of a hedge.
  private var attemptBits: UInt8
  /// How long the path was before it was cut, at most 65535.
  public var originalPathLength: UInt16
  /// The major and minor HTTP version, as 11, 10 or 20; 0 for what is not HTTP.
  public var httpVersion: UInt8
  /// The inline texts; bytes past the lengths are meaningless.
  public var method: InlineArray<11, UInt8>
  public var host: InlineArray<64, UInt8>
  public var path: InlineArray<124, UInt8>

  /// Attempts after the first that failures had made necessary; 63 for more.
  public var retryCount: UInt8 {
    get { attemptBits & 0x3F }
    set { attemptBits = attemptBits & 0xC0 | min(newValue, 0x3F) }
  }

  /// What came of a second attempt that was sent while the first was under way.
  public enum Hedge: UInt8, Sendable {
    case none
    /// The first attempt answered.
    case lost
    /// The second answered.
    case won
  }

  public var hedge: Hedge {
    get { Hedge(rawValue: attemptBits >> 6) ?? .none }
    set { attemptBits = attemptBits & 0x3F | newValue.rawValue << 6 }
  }

  /// An empty record. A shard does not need it: it clears a slot with `reset()`.
  public init() {
    (wallTimeNanoseconds, durationNanoseconds, firstByteNanoseconds, bytesIn, bytesOut) = (0, 0, 0, 0, 0)
    (traceHigh, traceLow, listener, service, workload, route) = (0, 0, 0, 0, 0, 0)
    (peer, endpoint) = (RecordedAddress(), RecordedAddress())
    (status, errorCode, hostLength, pathLength, methodLength, attemptBits) = (0, 0, 0, 0, 0, 0)
    (originalPathLength, httpVersion) = (0, 0)
    method = InlineArray(repeating: 0)
    host = InlineArray(repeating: 0)
    path = InlineArray(repeating: 0)
  }

  /// Makes a used slot empty without touching the inline texts.
  public mutating func reset() {
    (wallTimeNanoseconds, durationNanoseconds, firstByteNanoseconds, bytesIn, bytesOut) = (0, 0, 0, 0, 0)
    (traceHigh, traceLow, listener, service, workload, route) = (0, 0, 0, 0, 0, 0)
    (peer, endpoint) = (RecordedAddress(), RecordedAddress())
    (status, errorCode, hostLength, pathLength, methodLength, attemptBits) = (0, 0, 0, 0, 0, 0)
    (originalPathLength, httpVersion) = (0, 0)
  }

  /// Keeps the first 11 bytes.
  @inlinable public mutating func setMethod(_ bytes: UnsafeRawBufferPointer) {
    methodLength = copyText(bytes, into: &method)
  }

  /// Keeps the first 64 bytes.
  @inlinable public mutating func setHost(_ bytes: UnsafeRawBufferPointer) {
    hostLength = copyText(bytes, into: &host)
  }

  /// Keeps the first 124 bytes, and remembers how many there were.
  @inlinable public mutating func setPath(_ bytes: UnsafeRawBufferPointer) {
    pathLength = copyText(bytes, into: &path)
    originalPathLength = UInt16(clamping: bytes.count)
  }
}

/// An IP address and port, IPv4 as ::ffff:a.b.c.d in network order; port 0 with zero bytes is "none".
public struct RecordedAddress: BitwiseCopyable, Equatable, Sendable {
  public var high: UInt64
  public var low: UInt64
  public var port: UInt16

  /// No address.
  @inlinable public init() { (high, low, port) = (0, 0, 0) }

  /// From the sixteen bytes of an IPv6 address in network order; fewer give no address.
  @inlinable public init(bytes: UnsafeRawBufferPointer, port: UInt16) {
    self.init()
    guard bytes.count >= 16 else { return }
    high = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 0, as: UInt64.self))
    low = UInt64(bigEndian: bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    self.port = port
  }

  /// From an IPv4 address in host order.
  @inlinable public init(v4 address: UInt32, port: UInt16) {
    (high, low, self.port) = (0, 0xFFFF_0000_0000 | UInt64(address), port)
  }

  /// Whether there is an address at all.
  @inlinable public var isNone: Bool { high == 0 && low == 0 && port == 0 }
}

/// Copies as much of a text as fits and says how much that was.
@inlinable
func copyText<let capacity: Int>(_ bytes: UnsafeRawBufferPointer, into text: inout InlineArray<capacity, UInt8>)
  -> UInt8
{
  let count = min(bytes.count, capacity)
  guard count > 0 else { return 0 }
  withUnsafeMutableBytes(of: &text) { $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[..<count])) }
  return UInt8(truncatingIfNeeded: count)
}
