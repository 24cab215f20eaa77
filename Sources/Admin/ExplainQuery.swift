// The request that `/explain` is asked about: `?url=http://web/cart&method=GET&headers=name:%20value%0A…&workload=web&listener=in`.
// It becomes the head that a client would send, and passes the parser that clients' heads pass: what could not be sent cannot
// be explained either.

import HTTP

/// A request that nobody sends.
public struct ExplainQuery: Equatable, Sendable {
  public let method: String
  /// The value of Host, with its port where one was given.
  public let host: String
  /// Path and query.
  public let target: String
  /// The caller's workload, by its name; nil for a caller that is none's.
  public let workload: String?
  /// The listener it comes in by, by its name; nil for the first that takes HTTP.
  public let listener: String?
  /// The whole head, as it would come in: well-formed HTTP/1.1.
  public let head: [UInt8]

  /// The request on one line.
  public var description: String { "\(method) http://\(host)\(target)" }

  /// Reads the query of a request to `/explain`. Throws what is wrong with it, in one line.
  init(_ query: [String: String]) throws(ExplainError) {
    guard let url = query["url"], !url.isEmpty else {
      throw ExplainError("url is missing: /explain?url=http://web/cart")
    }
    try self.init(
      url: url, method: query["method"] ?? "GET",
      headers: (query["headers"] ?? "").split(separator: "\n").map(String.init), workload: query["workload"],
      listener: query["listener"])
  }

  /// - Parameter headers: `name: value` each; a Host among them goes before that of the URL.
  public init(
    url: String, method: String = "GET", headers: [String] = [], workload: String? = nil, listener: String? = nil
  ) throws(ExplainError) {
    var (host, target) = try Self.parts(of: url)
    var fields = ""
    guard headers.count <= Self.mostHeaders else { throw ExplainError("at most \(Self.mostHeaders) headers") }
    for header in headers {
      let sides = header.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard sides.count == 2 else { throw ExplainError("a header is 'name: value', not '\(Self.shown(header))'") }
      let value = sides[1].drop { $0 == " " }
      if sides[0].lowercased() == "host" { host = String(value) } else { fields += "\(sides[0]): \(value)\r\n" }
      if header.utf8.contains(where: { $0 < 0x20 && $0 != 0x09 || $0 == 0x7F }) {
        throw ExplainError("a header holds a control character: '\(Self.shown(header))'")
      }
    }
    guard !"\(method)\(host)\(target)".utf8.contains(where: { $0 <= 0x20 || $0 == 0x7F }) else {
      throw ExplainError("method and URL hold no spaces or control characters; write %20 for a space")
    }
    guard method.uppercased() != "CONNECT" else { throw ExplainError("CONNECT names no service") }
    let text = "\(method) \(target) HTTP/1.1\r\nhost: \(host)\r\n\(fields)\r\n"
    (self.method, self.host, self.target, self.workload, self.listener) = (method, host, target, workload, listener)
    head = Array(text.utf8)
    if let reason = Self.refusal(of: head) { throw ExplainError("no client could send this: \(reason)") }
  }

  /// Host and target of `http://host[:port]/path?query`; scheme and path may be left out.
  private static func parts(of url: String) throws(ExplainError) -> (host: String, target: String) {
    var rest = url[...]
    let scheme = rest.prefix { $0.isASCII && $0.isLetter }
    if rest[scheme.endIndex...].hasPrefix("://") {
      guard scheme.lowercased() == "http" else {
        throw ExplainError("only http:// is explained, not '\(shown(url))'")
      }
      rest = rest[scheme.endIndex...].dropFirst(3)
    }
    rest = rest.prefix { $0 != "#" }
    let host = rest.prefix { $0 != "/" && $0 != "?" }
    guard !host.isEmpty, !host.contains("@") else {
      throw ExplainError("'\(shown(url))' names no host; write http://web/cart")
    }
    let target = rest[host.endIndex...]
    return (String(host), target.first == "/" ? String(target) : "/" + target)
  }

  private static func refusal(of head: [UInt8]) -> String? {
    head.withUnsafeBytes { bytes in
      var parsed = RequestHead(maximumFields: mostHeaders + 1)
      let limits = HTTP1Limits(headerBytes: 64 * 1024, headers: mostHeaders + 1, requestLineBytes: 64 * 1024)
      return switch HTTP1Parser.parseRequest(bytes, into: &parsed, limits: limits) {
      case .complete: parsed.headLength == bytes.count ? nil : "the head ends before it should"
      case .incomplete: "the head does not end"
      case .refused(let refusal): String(describing: refusal.message)
      }
    }
  }

  private static func shown(_ text: String) -> String {
    String(
      String.UnicodeScalarView(text.unicodeScalars.prefix(80).map { $0.value < 0x20 || $0.value == 0x7F ? "?" : $0 }))
  }

  private static let mostHeaders = 100
}

/// What is wrong with a question, in one line.
public struct ExplainError: Error, Equatable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) { self.description = description }
}
