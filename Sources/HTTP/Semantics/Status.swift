// Status codes: what a number means when the proxy has to say it itself, and which class it counts in.

/// A three-digit status code, 100 to 999. RFC 9110 section 15.
public struct Status: Equatable, Hashable, Sendable, ExpressibleByIntegerLiteral {
  public var code: UInt16

  @inlinable public init(_ code: UInt16) { self.code = code }
  @inlinable public init(integerLiteral code: UInt16) { self.code = code }

  /// The first digit: 1 to 5, and 5 for codes of 600 and above (RFC 9110 15: treat them as 5xx).
  @inlinable public var category: UInt8 {
    switch code {
    case ..<200: 1
    case ..<300: 2
    case ..<400: 3
    case ..<500: 4
    default: 5
    }
  }

  /// 1xx: another response to the same request follows (101 excepted: it ends HTTP on the connection).
  @inlinable public var isInterim: Bool { code < 200 && code != 101 }

  /// 1xx, 204 and 304 end with their head, whatever their fields say (RFC 9112 6.3).
  @inlinable public var isAlwaysBodiless: Bool { code < 200 || code == 204 || code == 304 }

  /// The reason phrase of the registry; empty for a code that is not in it.
  public var reason: StaticString {
    switch code {
    case 100: "Continue"
    case 101: "Switching Protocols"
    case 103: "Early Hints"
    case 200: "OK"
    case 201: "Created"
    case 202: "Accepted"
    case 204: "No Content"
    case 206: "Partial Content"
    case 301: "Moved Permanently"
    case 302: "Found"
    case 303: "See Other"
    case 304: "Not Modified"
    case 307: "Temporary Redirect"
    case 308: "Permanent Redirect"
    case 400: "Bad Request"
    case 401: "Unauthorized"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 411: "Length Required"
    case 413: "Content Too Large"
    case 414: "URI Too Long"
    case 417: "Expectation Failed"
    case 421: "Misdirected Request"
    case 425: "Too Early"
    case 426: "Upgrade Required"
    case 429: "Too Many Requests"
    case 431: "Request Header Fields Too Large"
    case 500: "Internal Server Error"
    case 501: "Not Implemented"
    case 502: "Bad Gateway"
    case 503: "Service Unavailable"
    case 504: "Gateway Timeout"
    case 505: "HTTP Version Not Supported"
    case 508: "Loop Detected"
    default: ""
    }
  }
}
