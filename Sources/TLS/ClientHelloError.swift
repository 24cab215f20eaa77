// Why bytes are not the ClientHello of a TLS connection. Nobody is answered with one of these: the proxy carries TLS and
// does not speak it, so the connection is refused, or carried without its name.

/// Why bytes were not accepted as a ClientHello.
public enum ClientHelloError: Error, CaseIterable, Sendable {
  // What it is instead.
  /// The first bytes are no TLS handshake record.
  case notTLS
  /// The hello of SSL 2, or of a client that would still speak it (RFC 6176 forbids both).
  case sslv2
  /// A handshake message, but not a ClientHello.
  case notClientHello
  // Records, RFC 8446 section 5.1.
  case badRecordType
  case badRecordVersion
  case emptyRecord
  case recordTooLong
  // The message, RFC 8446 section 4.1.2.
  case tooLong
  case badVersion
  case shortMessage
  case badSessionIDLength
  case badCipherSuitesLength
  case badCompressionMethodsLength
  case badExtensionsLength
  case badExtensionLength
  case duplicateExtension
  // `server_name`, RFC 6066 section 3.
  case badNameListLength
  case badNameLength
  case duplicateName
  /// The host is no name that DNS could have.
  case badName
  // `application_layer_protocol_negotiation`, RFC 7301 section 3.1.
  case badProtocolListLength
  case badProtocolLength

  /// Whether it is a matter of size only.
  public var isTooLong: Bool { self == .tooLong || self == .recordTooLong }
  /// Whether something else is spoken than TLS.
  public var isForeign: Bool { self == .notTLS || self == .sslv2 }
}
