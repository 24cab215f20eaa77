// A server of a service, as a configuration, a file or a name server tells of it.

public import Base

/// A server of a service.
public struct Endpoint: Hashable, Sendable {
  /// One that can be connected to: neither 0.0.0.0 nor port 0.
  public let address: SocketAddress
  /// Its share of the load, against the other endpoints' weights; within `Endpoint.weights`.
  public let weight: Double
  /// Where it stands, for those who prefer what is near; nil where nobody says.
  public let zone: String?

  public static let weights = 0.001...1000.0

  private init(address: SocketAddress, weight: Double, zone: String?) {
    self.address = address
    self.weight = weight
    self.zone = zone
  }

  /// - Throws: when nobody can connect to the address, or the weight or the zone is none.
  public init(_ address: SocketAddress, weight: Double = 1, zone: String? = nil) throws(TextError) {
    if address.port == 0 { throw TextError("port 0 is no port to connect to") }
    if address.isUnspecified { throw TextError("it is no address to connect to; write the host's own") }
    guard Endpoint.weights.contains(weight) else {
      throw TextError("the weight must be between 0.001 and 1000, not \(weight)")
    }
    if let zone, let problem = Endpoint.problem(withZone: zone) { throw TextError(problem) }
    self.init(address: address, weight: weight, zone: zone)
  }

  /// Reads `127.0.0.1:9001` or, with a weight, `127.0.0.1:9001 * 2.0`, or, with a zone, `127.0.0.1:9001 * 2.0 @ zone-a`.
  public init(parsing text: String) throws(TextError) {
    let (rest, zone) = Self.cut(text[...], at: Self.zoneMark(text))
    let (address, weight) = Self.cut(rest, at: rest.firstIndex(of: "*"))
    let parsed = try SocketAddress(parsing: Self.trimmed(address))
    try self.init(parsed, weight: try weight.map(Self.weight) ?? 1, zone: zone.map { String($0) })
  }

  /// Why a text is no zone's name; nil when it is one.
  public static func problem(withZone text: String) -> String? {
    let isName = text.utf8.allSatisfy { byte in
      switch byte {
      case 0x30...0x39, 0x41...0x5A, 0x61...0x7A, 0x2D, 0x2E, 0x5F: true
      default: false
      }
    }
    if isName, !text.isEmpty, text.utf8.count <= 63 { return nil }
    return "a zone's name has at most 63 letters, digits and any of -._, not '\(text)'"
  }

  /// Where a zone's `@` stands. In the path of a socket one may stand too: there it wants a blank before it.
  private static func zoneMark(_ text: String) -> String.Index? {
    guard let place = text.lastIndex(of: "@") else { return nil }
    guard text.hasPrefix("unix:"), place > text.startIndex else { return place }
    let before = text[text.index(before: place)]
    return before == " " || before == "\t" ? place : nil
  }

  /// What stands before and after a place, without the blanks around it.
  private static func cut(_ text: Substring, at place: Substring.Index?) -> (Substring, Substring?) {
    guard let place else { return (trimmed(text), nil) }
    return (trimmed(text[..<place]), trimmed(text[text.index(after: place)...]))
  }

  /// What hash tables know it by: the same on every node, whatever its weight and zone.
  public var identity: UInt64 { StableHash.identity(of: address) }

  private static func weight(_ text: Substring) throws(TextError) -> Double {
    let isDecimal = text.utf8.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2E }
    guard isDecimal, text.utf8.count <= 20, text.first != ".", text.last != ".", let weight = Double(text) else {
      throw TextError("the weight after '*' must be a number such as 2 or 0.5, not '\(text)'")
    }
    guard weights.contains(weight) else {
      throw TextError("the weight must be between 0.001 and 1000, not \(text)")
    }
    return weight
  }

  private static func trimmed(_ text: Substring) -> Substring {
    let isBlank = { (character: Character) in character == " " || character == "\t" }
    guard let first = text.firstIndex(where: { !isBlank($0) }), let last = text.lastIndex(where: { !isBlank($0) })
    else { return "" }
    return text[first...last]
  }
}

extension Endpoint: CustomStringConvertible {
  /// As a configuration writes it: `127.0.0.1:9001`, `127.0.0.1:9001 * 2.0` where the weight is not 1, then ` @ ` and the zone
  /// where it has one.
  public var description: String {
    let weighted = weight == 1 ? address.description : "\(address) * \(weight)"
    return zone.map { "\(weighted) @ \($0)" } ?? weighted
  }
}
