// Every reason for which a message is refused, in one place: its stable identifier for counters and logs, its
// one-line explanation for people, and the status a client gets. What is sent and what is closed is the proxy's.

/// Why bytes were not accepted as HTTP/1. RFC 9112; the departures are all towards refusing more.
public enum Refusal: UInt8, CaseIterable, Sendable {
  // The start line.
  case badMethod
  case badTarget
  case badVersion
  case unsupportedVersion
  case badStatusLine
  case unexpectedSwitch
  // Line structure.
  case bareCarriageReturn
  case bareLineFeed
  case nulByte
  case controlByte
  case emptyFieldName
  case whitespaceInFieldName
  case badFieldName
  case missingColon
  case lineFolding
  // Host.
  case missingHost
  case duplicateHost
  case badHost
  // Framing.
  case lengthAndTransferEncoding
  case duplicateContentLength
  case badContentLength
  case contentLengthOverflow
  case transferEncodingInHTTP10
  case emptyTransferEncoding
  case unknownTransferCoding
  case chunkedNotLast
  case chunkedTwice
  // Chunks.
  case badChunkSize
  case chunkSizeOverflow
  case badChunkExtension
  case chunkExtensionTooLong
  case badChunkEnd
  // Limits.
  case requestLineTooLong
  case headTooLong
  case tooManyFields
  case tooManyConnectionOptions
  case trailersTooLong

  /// A short stable word for counters, logs and tests.
  public var identifier: StaticString { description.0 }

  /// One line that says what was wrong.
  public var message: StaticString { description.1 }

  /// The status for the client that sent the request. For a response from an upstream it is always 502.
  public var status: UInt16 {
    switch self {
    case .unsupportedVersion: 505
    case .requestLineTooLong: 414
    case .headTooLong, .tooManyFields, .tooManyConnectionOptions, .trailersTooLong: 431
    default: 400
    }
  }

  private var description: (StaticString, StaticString) {
    switch self {
    case .badMethod: ("bad-method", "the request does not start with a method token and one space")
    case .badTarget: ("bad-target", "the request target is malformed or does not suit the method")
    case .badVersion: ("bad-version", "the request line does not end with HTTP/1.1 or HTTP/1.0")
    case .unsupportedVersion: ("unsupported-version", "only HTTP/1.0 and HTTP/1.1 are spoken here")
    case .badStatusLine: ("bad-status-line", "the response does not start with a well-formed status line")
    case .unexpectedSwitch: ("unexpected-switch", "101 came for a request that asked for no upgrade")
    case .bareCarriageReturn: ("bare-cr", "a CR is not followed by LF")
    case .bareLineFeed: ("bare-lf", "a line ends with LF alone")
    case .nulByte: ("nul-byte", "the head contains a NUL byte")
    case .controlByte: ("control-byte", "a field value contains a control byte")
    case .emptyFieldName: ("empty-field-name", "a field line has no name")
    case .whitespaceInFieldName: ("space-in-field-name", "there is whitespace in a field name or before its colon")
    case .badFieldName: ("bad-field-name", "a field name contains a byte that is not allowed there")
    case .missingColon: ("missing-colon", "a field line has no colon")
    case .lineFolding: ("line-folding", "a field line starts with whitespace (obsolete line folding)")
    case .missingHost: ("missing-host", "an HTTP/1.1 request has no Host field")
    case .duplicateHost: ("duplicate-host", "there is more than one Host field")
    case .badHost: ("bad-host", "the Host field is not a host with an optional port")
    case .lengthAndTransferEncoding:
      ("length-and-transfer-encoding", "both Content-Length and Transfer-Encoding are present")
    case .duplicateContentLength: ("duplicate-content-length", "there is more than one Content-Length field")
    case .badContentLength: ("bad-content-length", "Content-Length is not a plain decimal number")
    case .contentLengthOverflow: ("content-length-overflow", "Content-Length is too large a number")
    case .transferEncodingInHTTP10:
      ("transfer-encoding-in-http10", "Transfer-Encoding is not allowed in an HTTP/1.0 message")
    case .emptyTransferEncoding: ("empty-transfer-encoding", "Transfer-Encoding is empty or has an empty member")
    case .unknownTransferCoding: ("unknown-transfer-coding", "the only transfer coding spoken here is chunked")
    case .chunkedNotLast: ("chunked-not-last", "a transfer coding follows chunked")
    case .chunkedTwice: ("chunked-twice", "chunked is named more than once")
    case .badChunkSize: ("bad-chunk-size", "a chunk does not start with a hexadecimal size")
    case .chunkSizeOverflow: ("chunk-size-overflow", "a chunk size is too large a number")
    case .badChunkExtension: ("bad-chunk-extension", "a chunk extension is malformed or contains a control byte")
    case .chunkExtensionTooLong: ("chunk-extension-too-long", "chunk extensions are longer than allowed")
    case .badChunkEnd: ("bad-chunk-end", "a chunk's data is not followed by CRLF")
    case .requestLineTooLong: ("request-line-too-long", "the request line is longer than limits.requestLineBytes")
    case .headTooLong: ("head-too-long", "the head is longer than limits.headerBytes")
    case .tooManyFields: ("too-many-fields", "the head has more fields than limits.headers")
    case .tooManyConnectionOptions: ("too-many-connection-options", "Connection names too many options")
    case .trailersTooLong: ("trailers-too-long", "the trailer section is longer than limits.headerBytes")
    }
  }
}
