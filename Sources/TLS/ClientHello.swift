// The first message of a TLS client, read and not answered: whom it wants to speak to, and what it would speak there. That
// is all the proxy needs to carry TLS to the right place without taking part in it.
//
// Only structure is checked, to the last byte: versions, ciphers and extensions that nobody here has heard of (RFC 8701
// GREASE among them) are the server's business. A hello that is encrypted inside another (ECH) shows its outer name.

/// A ClientHello.
///
///     message      msg_type(1) = 1, length(3)                        RFC 8446 section 4
///     body         legacy_version(2) = 3.x                           RFC 8446 section 4.1.2
///                  random(32)
///                  legacy_session_id<0…32>
///                  cipher_suites<2…2^16-2>, two bytes each
///                  legacy_compression_methods<1…255>
///                  extensions<0…2^16-1>, which a client before TLS 1.2 may leave out
///     extension    type(2), data<0…2^16-1>                           RFC 8446 section 4.2
///       0          server_name_list<1…2^16-1>:                       RFC 6066 section 3
///                    name_type(1) = 0, HostName<1…2^16-1>
///       16         protocol_name_list<2…2^16-1>:                     RFC 7301 section 3.1
///                    ProtocolName<1…255>
///
/// Where we depart from it: a host name may end in a dot, which is left out; names of other types than a host's are passed
/// over. Both are what servers do.
public struct ClientHello {
  /// What came of looking at the first bytes of a connection.
  public enum Outcome {
    case complete(ClientHello)
    /// There is nothing to be told before so many bytes have come.
    case incomplete(atLeast: Int)
    case refused(ClientHelloError)
  }

  /// The message with its header, and without those of its records. It is the caller's memory: of the bytes, or of `joined`.
  public let message: UnsafeRawBufferPointer
  /// Where the host's name is in the message, as the client writes it; nil where it names none.
  public private(set) var serverNameRange: Range<Int>?
  /// Where the list of protocols is, each behind one byte with its length; empty where the client names none.
  public private(set) var protocolsRange = 0..<0

  /// The host's name, which DNS could have; nil where the client names none.
  public var serverName: UnsafeRawBufferPointer? {
    serverNameRange.map { UnsafeRawBufferPointer(rebasing: message[$0]) }
  }

  /// The protocols (ALPN), each behind one byte with its length; every length is right.
  public var protocols: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: message[protocolsRange]) }

  /// Whether the client would speak a protocol, such as `h2`.
  public func offers(_ name: UnsafeRawBufferPointer) -> Bool {
    Self.list(protocols, contains: name)
  }

  /// Looks for a ClientHello in the first bytes of a connection, with all that has come. Allocates nothing.
  /// - Parameter joined: `maximumMessageByteCount` bytes, for a message that lies in several records.
  public static func parse(_ bytes: UnsafeRawBufferPointer, joined: UnsafeMutableRawBufferPointer) -> Outcome {
    switch HandshakeRecords.scan(bytes) {
    case .incomplete(let count): return .incomplete(atLeast: count)
    case .refused(let error): return .refused(error)
    case .whole(let count, let isInOneRecord):
      let message: UnsafeRawBufferPointer
      if isInOneRecord {
        message = UnsafeRawBufferPointer(rebasing: bytes[recordHeaderByteCount..<(recordHeaderByteCount + count)])
      } else if HandshakeRecords.join(bytes, count: count, into: joined) {
        message = UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(joined)[..<count])
      } else {
        return .refused(.tooLong)
      }
      do throws(ClientHelloError) {
        return .complete(try ClientHello(message))
      } catch {
        return .refused(error)
      }
    }
  }

  /// Whether a list of length-prefixed names has this one. What is short ends the list.
  public static func list(_ list: UnsafeRawBufferPointer, contains name: UnsafeRawBufferPointer) -> Bool {
    var reader = ByteReader(list)
    while let range = reader.vector8() {
      if range.count == name.count, list[range].elementsEqual(name) { return true }
    }
    return false
  }

  // MARK: The message

  private init(_ message: UnsafeRawBufferPointer) throws(ClientHelloError) {
    self.message = message
    var reader = ByteReader(message)
    guard reader.take(Self.headerByteCount) != nil, let version = reader.number16() else { throw .shortMessage }
    guard version >> 8 == 3 else { throw .badVersion }
    guard reader.take(32) != nil else { throw .shortMessage }
    guard let session = reader.vector8(), session.count <= 32 else { throw .badSessionIDLength }
    guard let suites = reader.vector16(), suites.count >= 2, suites.count & 1 == 0 else {
      throw .badCipherSuitesLength
    }
    guard let methods = reader.vector8(), !methods.isEmpty else { throw .badCompressionMethodsLength }
    if reader.isAtEnd { return }
    guard let extensions = reader.vector16(), reader.isAtEnd else { throw .badExtensionsLength }
    try readExtensions(reader.reader(of: extensions))
  }

  private mutating func readExtensions(_ extensions: ByteReader) throws(ClientHelloError) {
    var reader = extensions
    var (sawName, sawProtocols) = (false, false)
    while !reader.isAtEnd {
      guard let type = reader.number16(), let data = reader.vector16() else { throw .badExtensionLength }
      switch type {
      case 0:
        if sawName { throw .duplicateExtension }
        sawName = true
        try readNames(reader.reader(of: data))
      case 16:
        if sawProtocols { throw .duplicateExtension }
        sawProtocols = true
        try readProtocols(reader.reader(of: data))
      default: break
      }
    }
  }

  private mutating func readNames(_ data: ByteReader) throws(ClientHelloError) {
    var reader = data
    guard let list = reader.vector16(), !list.isEmpty, reader.isAtEnd else { throw .badNameListLength }
    var names = reader.reader(of: list)
    while !names.isAtEnd {
      guard let type = names.byte(), let name = names.vector16(), !name.isEmpty else { throw .badNameLength }
      guard type == 0 else { continue }
      if serverNameRange != nil { throw .duplicateName }
      serverNameRange = try Self.hostName(message, name)
    }
  }

  private mutating func readProtocols(_ data: ByteReader) throws(ClientHelloError) {
    var reader = data
    guard let list = reader.vector16(), list.count >= 2, reader.isAtEnd else { throw .badProtocolListLength }
    var names = reader.reader(of: list)
    while !names.isAtEnd {
      guard let name = names.vector8(), !name.isEmpty else { throw .badProtocolLength }
    }
    protocolsRange = list
  }

  /// Letters, digits, `-` and `_` in labels of up to 63 bytes, 253 in all (RFC 1035 section 2.3.4; the underscore is what
  /// service names have).
  private static func hostName(
    _ message: UnsafeRawBufferPointer, _ range: Range<Int>
  ) throws(ClientHelloError) -> Range<Int> {
    var end = range.upperBound
    if message[end - 1] == UInt8(ascii: ".") { end -= 1 }
    guard end > range.lowerBound, end - range.lowerBound <= 253 else { throw .badName }
    var labelByteCount = 0
    for byte in message[range.lowerBound..<end] {
      switch byte {
      case UInt8(ascii: "."):
        guard labelByteCount > 0 else { throw .badName }
        labelByteCount = 0
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"):
        labelByteCount += 1
        guard labelByteCount <= 63 else { throw .badName }
      default: throw .badName
      }
    }
    guard labelByteCount > 0 else { throw .badName }
    return range.lowerBound..<end
  }

  /// The longest message that is looked at, with its header. Real ones have a few hundred bytes, with keys of post-quantum
  /// groups 2 KiB.
  public static let maximumMessageByteCount = 16 << 10
  /// The most bytes that are gathered for one: a message that is cut into many records has a header for each of them.
  public static let maximumByteCount = 32 << 10

  static let messageType: UInt8 = 1
  static let headerByteCount = 4
  private static let recordHeaderByteCount = 5
}
