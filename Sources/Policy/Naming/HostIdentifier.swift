// From a Host field (or `:authority`) to the logical name a request is for: `Shop.Local:8080` is `/svc/shop.local`.
// The bytes are a client's: whatever cannot safely be a name is refused here, and nothing below looks again.

/// Makes logical names of hosts. A value, safe to share between threads.
public struct HostIdentifier: Sendable {
  /// What the host is appended to.
  public let prefix: Path
  /// Whether a port that the client names is part of the name: `/svc/shop.local:8080`.
  public let keepsPort: Bool

  public init(prefix: Path = HostIdentifier.defaultPrefix, keepsPort: Bool = false) {
    self.prefix = prefix
    self.keepsPort = keepsPort
  }

  /// The logical name for a host: in lower case, without the final dot of an absolute DNS name, as a rule without port.
  public func identify(_ host: UnsafeRawBufferPointer) throws(HostRefusal) -> Path {
    var bytes = [UInt8](repeating: 0, count: Self.maximumByteCount)
    // The refusal cannot be thrown through the closure.
    let result = bytes.withUnsafeMutableBytes { target in
      Result { () throws(HostRefusal) in
        var writer = NameWriter(target)
        try Self.write(host, keepsPort: keepsPort, to: &writer)
        return writer.count
      }
    }
    return Path(unchecked: prefix.segments + [String(decoding: bytes[..<(try result.get())], as: UTF8.self)])
  }

  /// The name requests have where somebody wrote this one: behind the prefix stands a host, and hosts are compared in
  /// lower case. Names that do not begin with the prefix stay as they are.
  public func normalized(_ name: Path) -> Path {
    let place = prefix.segments.count
    guard name.segments.count > place, name.hasPrefix(prefix) else { return name }
    var segments = name.segments
    segments[place] = segments[place].lowercased()
    return Path(unchecked: segments)
  }

  /// Writes the segment for a host; allocates nothing.
  ///
  /// `uri-host [ ":" port ]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2) narrowed to what DNS, IPv4 and IPv6
  /// literals need: percent-encoding, user information and sub-delimiters are refused.
  static func write(
    _ field: UnsafeRawBufferPointer, keepsPort: Bool, to writer: inout NameWriter
  ) throws(HostRefusal) {
    guard field.count <= maximumByteCount else { throw .tooLong }
    guard let first = field.first else { throw .empty }
    let isLiteral = first == UInt8(ascii: "[")
    let end = isLiteral ? try endOfLiteral(field) : field.firstIndex(of: UInt8(ascii: ":")) ?? field.count
    let port = try port(field[end...])
    var host = field[..<end]
    if !isLiteral {
      if host.last == UInt8(ascii: ".") { host = host.dropLast() }
      try checkName(host)
    }
    for byte in host { writer.append(lowercased: byte) }
    if keepsPort, let port {
      writer.append(UInt8(ascii: ":"))
      writer.append(decimal: port)
    }
  }

  /// One past the closing bracket of an IPv6 literal; the address between is checked for its alphabet only.
  private static func endOfLiteral(_ field: UnsafeRawBufferPointer) throws(HostRefusal) -> Int {
    guard let close = field.firstIndex(of: UInt8(ascii: "]")) else { throw .badLiteral }
    var colons = 0
    for byte in field[1..<close] {
      switch byte {
      case UInt8(ascii: ":"): colons += 1
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "f"),
        UInt8(ascii: "A")...UInt8(ascii: "F"), UInt8(ascii: "."):
        break
      default: throw .badLiteral
      }
    }
    guard colons >= 2, close <= 46 else { throw .badLiteral }
    return close + 1
  }

  /// Nothing, or a colon and a port number; the number may be missing (RFC 3986: `port = *DIGIT`).
  private static func port(_ rest: Slice<UnsafeRawBufferPointer>) throws(HostRefusal) -> UInt32? {
    guard let first = rest.first else { return nil }
    guard first == UInt8(ascii: ":") else { throw .badPort }
    var port: UInt32 = 0
    for byte in rest.dropFirst() {
      guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { throw .badPort }
      port = port * 10 + UInt32(byte - UInt8(ascii: "0"))
      guard port <= 65535 else { throw .badPort }
    }
    return rest.count > 1 ? port : nil
  }

  /// Dot-separated labels, none empty: that alone keeps out `..`, hidden file names and the empty host.
  static func checkName(_ host: Slice<UnsafeRawBufferPointer>) throws(HostRefusal) {
    var labelByteCount = 0
    for byte in host {
      switch byte {
      case UInt8(ascii: "."):
        guard labelByteCount > 0 else { throw .emptyLabel }
        labelByteCount = 0
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "~"),
        UInt8(ascii: "+"):
        labelByteCount += 1
      default: throw .badByte(byte)
      }
    }
    guard labelByteCount > 0 else { throw host.isEmpty ? .empty : .emptyLabel }
  }

  /// `/svc`, as in Linkerd 1.
  public static let defaultPrefix = Path(unchecked: ["svc"])
  /// The longest DNS name is 253 bytes; a colon, five digits and a final dot come on top.
  static let maximumByteCount = 260
}

/// Why a host names nothing: the client's fault, answered with 400.
public enum HostRefusal: Error, Equatable, CustomStringConvertible {
  case empty
  case tooLong
  case emptyLabel
  case badByte(UInt8)
  case badPort
  case badLiteral

  public var description: String {
    switch self {
    case .empty: "the host is empty"
    case .tooLong: "the host is longer than \(HostIdentifier.maximumByteCount) bytes"
    case .emptyLabel: "the host has an empty label"
    case .badByte(let byte): "the host has byte 0x\(String(byte, radix: 16)), which no name has"
    case .badPort: "the host's port is not a number up to 65535"
    case .badLiteral: "the host is not an IPv6 literal"
    }
  }
}
