// The text of an endpoint file: what Linkerd 1's fs namer reads, and the way this project writes addresses elsewhere.
//
//     file     = *( line LF )
//     line     = [ endpoint ] [ "#" comment ]
//     endpoint = address [ "*" weight ] [ "@" zone ]
//     address  = ip 1*BLANK port  /  ip ":" port  /  "[" ipv6 "]" ":" port  /  "unix:" path
//
// Host names are not looked up here: a file that is read must not wait for a name server.

import Base
import Policy

/// What one file says. A bad line costs itself only.
struct EndpointFile: Equatable {
  /// Each address once, in the order of `Endpoint.precedes`; at most as many as were asked for.
  var endpoints: [Endpoint] = []
  /// Lines that are no endpoint, lines over the limit, and lines that were not read because there were too many of these.
  var badLineCount = 0
  /// The first few of them: number, reason.
  var problems: [Problem] = []

  struct Problem: Equatable {
    let line: Int
    let reason: String
  }

  /// It has lines that were meant as something, and none that can be used.
  var isUseless: Bool { endpoints.isEmpty && badLineCount > 0 }

  /// - Parameter limit: the most endpoints that are taken.
  init(_ bytes: some Collection<UInt8>, limit: Int) {
    var seen: [SocketAddress: Int] = [:]
    var number = 0
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      let text = line.prefix { $0 != UInt8(ascii: "#") }
      guard text.contains(where: { !Self.isBlank($0) }) else { continue }
      guard badLineCount < Self.badLineLimit else {
        badLineCount += 1
        continue
      }
      do throws(TextError) {
        guard text.count <= Self.longestLine else { throw TextError("a line has at most \(Self.longestLine) bytes") }
        let endpoint = if let plain = Self.plainEndpoint(text) { plain } else { try Self.endpoint(text) }
        if let first = seen[endpoint.address] {
          throw TextError("\(endpoint.address) is there twice; it is first written in line \(first)")
        }
        guard endpoints.count < limit else { throw TextError("there are more than \(limit) endpoints") }
        seen[endpoint.address] = number
        endpoints.append(endpoint)
      } catch {
        badLineCount += 1
        if problems.count < Self.problemLimit { problems.append(Problem(line: number, reason: error.reason)) }
        if badLineCount == Self.badLineLimit {
          let reason = "\(badLineCount) lines are no endpoints: the lines from here on are not read"
          problems[Self.problemLimit - 1] = Problem(line: number + 1, reason: reason)
        }
      }
    }
    endpoints.sort(by: Endpoint.precedes)
  }

  /// What most lines are, `10.1.0.5 9001` or `10.1.0.5:9001`: read at a tenth of the cost of the general way, whose ten thousand
  /// lines take longer than everything that follows. Nil for anything else, right or wrong.
  private static func plainEndpoint(_ line: some Collection<UInt8>) -> Endpoint? {
    var index = line.startIndex
    func skipBlanks() { while index < line.endIndex, isBlank(line[index]) { line.formIndex(after: &index) } }
    /// As it is usually written: no more digits than needed.
    func number(_ most: UInt32) -> UInt32? {
      let start = index
      var value: UInt32 = 0
      while index < line.endIndex, case let digit = line[index] &- 0x30, digit <= 9, value <= most {
        if value == 0, index != start { return nil }
        value = value * 10 + UInt32(digit)
        line.formIndex(after: &index)
      }
      return index != start && value <= most ? value : nil
    }
    skipBlanks()
    var address: UInt32 = 0
    for place in 0..<4 {
      if place > 0 {
        guard index < line.endIndex, line[index] == UInt8(ascii: ".") else { return nil }
        line.formIndex(after: &index)
      }
      guard let octet = number(255) else { return nil }
      address = address << 8 | octet
    }
    guard index < line.endIndex else { return nil }
    if line[index] == UInt8(ascii: ":") {
      line.formIndex(after: &index)
    } else {
      guard isBlank(line[index]) else { return nil }
      skipBlanks()
    }
    guard let port = number(65_535), port > 0 else { return nil }
    skipBlanks()
    guard index == line.endIndex else { return nil }
    return try? Endpoint(.v4(IPv4Address(value: address), port: UInt16(truncatingIfNeeded: port)))
  }

  private static func endpoint(_ line: some Collection<UInt8>) throws(TextError) -> Endpoint {
    let isPath = line.drop(while: isBlank).starts(with: "unix:".utf8)
    // Where the address ends; a path may hold anything.
    let end = isPath ? line.endIndex : line.firstIndex { $0 == UInt8(ascii: "*") || $0 == UInt8(ascii: "@") }
    let words = line[..<(end ?? line.endIndex)].split(whereSeparator: isBlank).map {
      String(decoding: $0, as: UTF8.self)
    }
    var text: String
    switch words.count {
    case _ where isPath: text = words.joined(separator: " ")
    case 1: text = words[0]
    case 2: text = try join(host: words[0], port: words[1])
    default: throw TextError("write one endpoint a line: an address, its port, and perhaps '* weight' and '@ zone'")
    }
    let tail = line[(end ?? line.endIndex)...].filter { $0 != UInt8(ascii: "\r") }
    text += String(decoding: tail, as: UTF8.self)
    do throws(TextError) {
      return try Endpoint(parsing: text)
    } catch {
      throw explained(error, words)
    }
  }

  private static func join(host: String, port: String) throws(TextError) -> String {
    if host.utf8.first == UInt8(ascii: "[") { return "\(host):\(port)" }
    return IPv6Address(host) != nil ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  /// The reason for the line as it is written, and a hint for who wrote a host name.
  private static func explained(_ error: TextError, _ words: [String]) -> TextError {
    let written = words.joined(separator: " ")
    let shown = String(written.unicodeScalars.prefix(80).map { $0.isASCII && $0.value >= 0x20 ? Character($0) : "?" })
    let host = words.count == 2 ? words[0] : String(written.prefix { $0 != ":" })
    let isName = host.utf8.contains { $0 >= 0x61 && $0 <= 0x7A } && DNSName.isHostName(host) && host != "unix"
    return isName
      ? TextError("'\(shown)': endpoint files hold IP addresses; a dns discovery looks host names up")
      : TextError("'\(shown)': \(error.reason)")
  }

  private static func isBlank(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") || byte == UInt8(ascii: "\r")
  }

  /// A path of a Unix socket, a weight, and room.
  private static let longestLine = 512
  static let problemLimit = 8
  /// Past as many bad lines it is no endpoint file: a line that is bad takes ten times as long as a good one, and nothing else
  /// is done meanwhile.
  static let badLineLimit = 10_000
}
