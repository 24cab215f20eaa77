// The chunked transfer coding (RFC 9112 section 7.1), taken apart where it lies: data is named as ranges of the bytes
// that came, at any split, and nothing is kept but a few counters.
//
//     size    hex digit → size            ";" → extension        SP/HTAB → gap        CR → sizeEnd
//     gap     SP/HTAB → gap               ";" → extension
//     extension  HTAB, SP to 0xFF save DEL → extension           CR → sizeEnd
//     sizeEnd LF → data, or after size 0 → trailers
//     data    size bytes → dataReturn;  dataReturn CR → dataEnd;  dataEnd LF → firstDigit
//     trailers  CR → lastReturn, any other byte → .trailers;  lastReturn LF → .end
//
// Refused where RFC 9112 is silent or lenient: a size above Int64.max or of more than 16 digits, whitespace before the
// CRLF, extensions of more than 256 bytes, or of more than 16 KiB in all that the data's own size does not outweigh.

/// An incremental decoder for one chunked body. A copyable value of 24 bytes; belongs to whoever reads the body.
public struct ChunkedDecoder: Sendable {
  /// What the next bytes are.
  public enum Event: Equatable, Sendable {
    /// These bytes of the slice are body. Ask again from the range's end.
    case data(Range<Int>)
    /// All bytes were looked at, none is body that was not named yet.
    case needMore
    /// The last chunk is through and a trailer section with at least one byte starts at this index: look for its end
    /// with `HeadScanner(.trailers)`. The decoder is done.
    case trailers(at: Int)
    /// The body is over, without trailers; the next message starts at this index. The decoder is done.
    case end(at: Int)
    case refused(Refusal)
  }

  private var remaining: UInt64 = 0
  /// Extension bytes not yet outweighed by data, see `maximumOverheadBytes`.
  private var overhead: UInt32 = 0
  private var extensionBytes: UInt16 = 0
  private var digits: UInt8 = 0
  private var state = State.firstDigit

  private enum State: UInt8 {
    case firstDigit, size, gap, inExtension, sizeEnd, data, dataReturn, dataEnd, trailers, lastReturn, done
  }

  public init() {}

  /// Whether the body is over, trailers aside.
  public var isDone: Bool { state == .done }

  /// Goes on at `offset` of `bytes`; call again with the offset the event names until it is `needMore`, then with the
  /// next slice from 0. An offset outside is taken as the end.
  public mutating func next(_ bytes: UnsafeRawBufferPointer, from offset: Int) -> Event {
    guard let view = ByteView(bytes, limit: bytes.count), offset >= 0 else { return .needMore }
    var index = offset
    while index < view.count {
      let byte = view[index]
      switch state {
      case .data: return takeData(from: index, available: view.count &- index)
      case .firstDigit, .size:
        if let refusal = takeSize(byte) { return .refused(refusal) }
      case .gap:
        if byte == UInt8(ascii: ";") {
          state = .inExtension
        } else if !isBlank(byte) {
          return .refused(.badChunkSize)
        }
        if let refusal = countExtension() { return .refused(refusal) }
      case .inExtension:
        if byte == carriageReturn {
          state = .sizeEnd
        } else if byte < 0x20 && byte != 0x09 || byte == 0x7F {
          return .refused(.badChunkExtension)
        } else if let refusal = countExtension() {
          return .refused(refusal)
        }
      case .sizeEnd:
        guard byte == lineFeed else { return .refused(.bareCarriageReturn) }
        endOfSizeLine()
      case .dataReturn:
        guard byte == carriageReturn else { return .refused(.badChunkEnd) }
        state = .dataEnd
      case .dataEnd:
        guard byte == lineFeed else { return .refused(.badChunkEnd) }
        state = .firstDigit
      case .trailers:
        guard byte == carriageReturn else {
          state = .done
          return .trailers(at: index)
        }
        state = .lastReturn
      case .lastReturn:
        guard byte == lineFeed else { return .refused(.bareCarriageReturn) }
        state = .done
        return .end(at: index &+ 1)
      case .done: return .end(at: index)
      }
      index &+= 1
    }
    return .needMore
  }

  private mutating func takeData(from index: Int, available: Int) -> Event {
    // `available` is positive here, so both conversions are exact.
    let count = Int(truncatingIfNeeded: min(remaining, UInt64(truncatingIfNeeded: available)))
    remaining &-= UInt64(truncatingIfNeeded: count)
    if remaining == 0 { state = .dataReturn }
    return .data(index..<(index &+ count))
  }

  /// The first byte of a size line, or one that follows a digit.
  private mutating func takeSize(_ byte: UInt8) -> Refusal? {
    let digit = hexDigit(byte)
    if digit < 16 {
      digits &+= 1
      guard digits <= ChunkedDecoder.maximumDigits, remaining <= UInt64(Int64.max) >> 4 else {
        return .chunkSizeOverflow
      }
      remaining = remaining << 4 | UInt64(digit)
      state = .size
      return nil
    }
    guard state == .size else { return .badChunkSize }
    switch byte {
    case carriageReturn: state = .sizeEnd
    case UInt8(ascii: ";"): state = .inExtension
    case 0x20, 0x09: state = .gap
    case lineFeed: return .bareLineFeed
    default: return .badChunkSize
    }
    return byte == carriageReturn ? nil : countExtension()
  }

  private mutating func countExtension() -> Refusal? {
    extensionBytes &+= 1
    overhead &+= 1
    let isTooLong =
      extensionBytes > ChunkedDecoder.maximumExtensionBytes || overhead > ChunkedDecoder.maximumOverheadBytes
    return isTooLong ? .chunkExtensionTooLong : nil
  }

  private mutating func endOfSizeLine() {
    state = remaining == 0 ? .trailers : .data
    overhead &-= UInt32(truncatingIfNeeded: min(UInt64(overhead), remaining))
    digits = 0
    extensionBytes = 0
  }

  /// As many as the largest size that fits 64 bits; leading zeros count.
  private static let maximumDigits: UInt8 = 16
  /// Of one chunk, from the first byte after its size.
  private static let maximumExtensionBytes: UInt16 = 256
  /// Every byte of data pays for one of extension; what is unpaid may not exceed this. A long body with a short
  /// extension on each chunk passes, one made of extensions does not.
  private static let maximumOverheadBytes: UInt32 = 16 << 10
}
