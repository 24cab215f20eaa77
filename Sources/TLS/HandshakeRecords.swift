// How the first handshake message of a connection lies in its records. A client may cut it anywhere and put a record header
// in between wherever it cuts, so that a name can stand half in one record and half in the next.
//
//     record      type(1) = 22   version(2) = 3.x   length(2) = 1…2^14   fragment     RFC 8446 section 5.1
//     fragments   msg_type(1)    length(3)          body …                            RFC 8446 section 4

/// Where the first handshake message is in what has been received.
enum HandshakeRecords {
  enum Outcome: Equatable {
    /// All of it has come: so many bytes with its header, and whether only one record's header stands in front of them.
    case whole(count: Int, isInOneRecord: Bool)
    /// Nothing more can be told before so many bytes have come.
    case incomplete(atLeast: Int)
    case refused(ClientHelloError)
  }

  /// Looks at the headers only.
  static func scan(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    if let first = bytes.first, first & 0x80 != 0 { return scanSSL2(bytes) }
    var recordStart = 0
    var message = MessageProgress()
    while true {
      if let flaw = flaw(inHeaderAt: recordStart, of: bytes) { return .refused(flaw) }
      let start = recordStart + headerByteCount
      guard bytes.count >= start else { return incomplete(atLeast: start + message.missing) }
      let length = Int(bytes[recordStart + 3]) << 8 | Int(bytes[recordStart + 4])
      let present = min(length, bytes.count - start)
      if let flaw = message.add(UnsafeRawBufferPointer(rebasing: bytes[start..<(start + present)])) {
        return .refused(flaw)
      }
      if message.missing == 0 { return .whole(count: message.count, isInOneRecord: recordStart == 0) }
      if present < length {
        let inRecord = length - present
        let behind = message.missing > inRecord ? headerByteCount : 0
        return incomplete(atLeast: bytes.count + message.missing + behind)
      }
      recordStart = start + length
    }
  }

  /// Copies a message that `scan` has found, without the headers of its records. False when it does not fit.
  static func join(_ bytes: UnsafeRawBufferPointer, count: Int, into target: UnsafeMutableRawBufferPointer) -> Bool {
    guard count <= target.count else { return false }
    var recordStart = 0
    var copied = 0
    while copied < count {
      let start = recordStart + headerByteCount
      guard bytes.count >= start else { return false }
      let length = Int(bytes[recordStart + 3]) << 8 | Int(bytes[recordStart + 4])
      let piece = min(length, count - copied)
      guard bytes.count >= start + piece else { return false }
      UnsafeMutableRawBufferPointer(rebasing: target[copied..<(copied + piece)])
        .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start..<(start + piece)]))
      copied += piece
      recordStart = start + length
    }
    return true
  }

  private static func incomplete(atLeast count: Int) -> Outcome {
    count > ClientHello.maximumByteCount ? .refused(.tooLong) : .incomplete(atLeast: count)
  }

  /// What is wrong with a record's header, as far as that has come.
  private static func flaw(inHeaderAt start: Int, of bytes: UnsafeRawBufferPointer) -> ClientHelloError? {
    let (isFirst, count) = (start == 0, bytes.count - start)
    if count >= 1, bytes[start] != handshake { return isFirst ? .notTLS : .badRecordType }
    if count >= 2, bytes[start + 1] != 3 { return isFirst ? .notTLS : .badRecordVersion }
    // 3.0 is SSL 3, 3.4 the most that a record says, whatever the client speaks.
    if count >= 3, bytes[start + 2] > 4 { return .badRecordVersion }
    guard count >= headerByteCount else { return nil }
    let length = Int(bytes[start + 3]) << 8 | Int(bytes[start + 4])
    if length == 0 { return .emptyRecord }
    return length > longestFragment ? .recordTooLong : nil
  }

  /// A two-byte length with its highest bit set, then the type of a CLIENT-HELLO (RFC 6101 appendix E).
  private static func scanSSL2(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    guard bytes.count >= 3 else { return .incomplete(atLeast: 3) }
    return .refused(bytes[2] == 1 ? .sslv2 : .notTLS)
  }

  private static let handshake: UInt8 = 22
  private static let headerByteCount = 5
  private static let longestFragment = 1 << 14
}

/// How much of the message has come.
private struct MessageProgress {
  private var headerCount = 0
  private var length = 0
  private var bodyCount = 0

  /// Of the whole message, once its header is there.
  var count: Int { ClientHello.headerByteCount + length }
  /// At least so many bytes are still to come.
  var missing: Int {
    headerCount < ClientHello.headerByteCount
      ? ClientHello.headerByteCount - headerCount : max(length - bodyCount, 0)
  }

  /// Takes a fragment, of which only what belongs to the message's header is looked at.
  mutating func add(_ fragment: UnsafeRawBufferPointer) -> ClientHelloError? {
    var position = 0
    while headerCount < ClientHello.headerByteCount, position < fragment.count {
      let byte = fragment[position]
      if headerCount > 0 {
        length = length << 8 | Int(byte)
      } else if byte != ClientHello.messageType {
        return .notClientHello
      }
      headerCount += 1
      position += 1
    }
    bodyCount += fragment.count - position
    return count > ClientHello.maximumMessageByteCount ? .tooLong : nil
  }
}
