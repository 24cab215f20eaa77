// A routing rule as it is written: what it matches and what becomes of a request that it matches. Plain values, checked
// when they were read; `RouteTable` compiles them. Of all rules the first that matches has the request.

public import Base

/// One rule.
public struct Route: Hashable, Sendable {
  public var match: RouteMatch
  public var action: RouteAction

  public init(match: RouteMatch = RouteMatch(), action: RouteAction = RouteAction()) {
    self.match = match
    self.action = action
  }
}

/// What a rule matches: all that is said must be true; what is empty says nothing.
///
/// Bytes are compared as they came: a path is neither decoded nor put in order, so `/%63art` is not `/cart`, and
/// `/a/../cart` begins with `/a`.
public struct RouteMatch: Hashable, Sendable {
  /// One of these.
  public var hosts: [HostPattern] = []
  public var path: PathMatch?
  /// One of these, in capitals as they are sent.
  public var methods: [String] = []
  /// All of these.
  public var headers: [HeaderMatch] = []
  /// All of these.
  public var query: [QueryMatch] = []
  /// One of these: names of workloads, and `other` for callers that are none.
  public var workloads: [String] = []
  /// One of these, as the client of a TLS connection names its server (RFC 6066); none where it names none.
  public var serverNames: [HostPattern] = []
  /// One of these is among the protocols that the client would speak (ALPN, RFC 7301).
  public var protocols: [String] = []

  public init() {}

  /// Whether it is for connections that TLS is spoken on and that are carried as they are, and for no request.
  public var isForStreams: Bool { !serverNames.isEmpty || !protocols.isEmpty }

  /// What of the path, up to its query, is compared.
  public enum PathMatch: Hashable, Sendable {
    case exact(String)
    /// Whole segments: `/cart` matches `/cart` and `/cart/x`, not `/carts`; `/cart/` needs the slash.
    case prefix(String)
    /// All of it.
    case regex(Pattern)
  }

  /// What a value is compared with.
  public enum TextMatch: Hashable, Sendable {
    /// It is there, whatever it is.
    case present
    case exact(String)
    case prefix(String)
    /// All of it.
    case regex(Pattern)
  }

  /// A field of the head; of several with this name one must match. Case matters in values only.
  public struct HeaderMatch: Hashable, Sendable {
    public var name: String
    public var value: TextMatch
    /// None may match: true also where there is no such field.
    public var isInverted: Bool

    public init(name: String, value: TextMatch, isInverted: Bool = false) {
      self.name = name
      self.value = value
      self.isInverted = isInverted
    }
  }

  /// A `name=value` of the query; of several with this name one must match. Nothing is decoded, a name without `=` has an
  /// empty value. Never `.prefix`.
  public struct QueryMatch: Hashable, Sendable {
    public var name: String
    public var value: TextMatch

    public init(name: String, value: TextMatch) {
      self.name = name
      self.value = value
    }
  }
}

/// A host, or `*.` and the end of one: `*.shop.local` is any name that has more labels in front, not `shop.local` itself.
/// Compared without regard to case, without the port and without the final dot of an absolute name.
public struct HostPattern: Hashable, Sendable, CustomStringConvertible {
  /// In lower case, an IPv6 address without its brackets; of a wildcard what follows the `*`, with its dot.
  public let text: String
  public let isWildcard: Bool

  /// Reads `shop.local`, `*.shop.local`, `10.0.0.1` or `[::1]`.
  public init(parsing text: String) throws(TextError) {
    let lower = text.lowercased()
    if lower.hasPrefix("["), lower.hasSuffix("]") {
      let address = String(lower.dropFirst().dropLast())
      guard IPv6Address(address) != nil else { throw TextError("there is no IPv6 address in brackets") }
      self.text = address
      isWildcard = false
      return
    }
    isWildcard = lower.hasPrefix("*.")
    var name = isWildcard ? lower.dropFirst(2) : lower[...]
    if name.hasSuffix(".") { name = name.dropLast() }
    guard !name.isEmpty else { throw TextError("it is empty") }
    guard name.utf8.count <= Self.maximumByteCount else {
      throw TextError("a host has at most \(Self.maximumByteCount) characters")
    }
    if name.contains("*") { throw TextError("'*' stands only at the front, for whole labels, such as *.shop.local") }
    if name.contains(":") { throw TextError("write it without a port, and an IPv6 address in brackets") }
    for label in name.split(separator: ".", omittingEmptySubsequences: false) {
      guard !label.isEmpty else { throw TextError("it has an empty label") }
      guard label.utf8.allSatisfy(Self.isLabelByte) else {
        throw TextError("a host has letters, digits and any of -_~+ between its dots")
      }
    }
    self.text = isWildcard ? ".\(name)" : String(name)
  }

  public var description: String {
    if isWildcard { return "*\(text)" }
    return text.contains(":") ? "[\(text)]" : text
  }

  /// As `HostIdentifier` has it.
  private static func isLabelByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
      UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "+"):
      true
    default: false
    }
  }

  /// The longest DNS name.
  static let maximumByteCount = 253
}
