// A server of a service, as a configuration, a file or a name server tells of it.

public import Base

/// A server of a service.
public struct Endpoint: Hashable, Sendable {
  /// One that can be connected to: neither 0.0.0.0 nor port 0.
  public let address: SocketAddress
  /// Its share of the load, against the other endpoints' weights; within `Endpoint.weights`.
  public let weight: Double

  public static let weights = 0.001...1000.0

  private init(address: SocketAddress, weight: Double) {
    self.address = address
    self.weight = weight
  }

  /// - Throws: when nobody can connect to the address.
  public init(_ address: SocketAddress) throws(TextError) {
    if address.port == 0 { throw TextError("port 0 is no port to connect to") }
    if address.isUnspecified { throw TextError("it is no address to connect to; write the host's own") }
    self.init(address: address, weight: 1)
  }

  /// Reads `127.0.0.1:9001` or, with a weight, `127.0.0.1:9001 * 2.0`.
  public init(parsing text: String) throws(TextError) {
    let parts = text.split(separator: "*", maxSplits: 1, omittingEmptySubsequences: false)
    let address = try SocketAddress(parsing: Self.trimmed(parts.first ?? ""))
    let unweighted = try Endpoint(address)
    guard parts.count == 2 else {
      self = unweighted
      return
    }
    self.init(address: address, weight: try Self.weight(Self.trimmed(parts[1])))
  }

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
  /// As a configuration writes it: `127.0.0.1:9001`, or `127.0.0.1:9001 * 2.0` where the weight is not 1.
  public var description: String { weight == 1 ? address.description : "\(address) * \(weight)" }
}
