// What an answer means for the question that was put: aliases followed, lies left out.

import Base

/// What a name server has said to one question.
package enum DNSAnswer: Equatable {
  /// Records of the type that was asked for; at least one, and for how long they hold.
  case records([DNSRecord.Content], ttlSeconds: UInt32, additionals: [DNSRecord], ignored: Int)
  /// The name is there, and has no such records that could be used.
  case noData(ttlSeconds: UInt32?, ignored: Int)
  /// There is no such name.
  case nameError(ttlSeconds: UInt32?)
  /// Nothing can be said.
  case failed(String)

  /// - Parameters:
  ///   - name: what was asked for, in lower case, without a final dot.
  package init(_ message: DNSMessage, to name: String, _ type: DNSType) {
    switch message.responseCode {
    case DNSMessage.noError: self = Self.follow(message, name, type)
    case DNSMessage.nameError: self = .nameError(ttlSeconds: message.negativeTTLSeconds)
    case let code: self = .failed("the name server answers with \(Self.text(code))")
    }
  }

  private static func follow(_ message: DNSMessage, _ name: String, _ type: DNSType) -> DNSAnswer {
    var aliases: [String: DNSRecord] = [:]
    for record in message.answers {
      if case .alias = record.content, aliases[record.name] == nil { aliases[record.name] = record }
    }
    var name = name
    var ttl = UInt32.max
    var seen: Set<String> = [name]
    while let record = aliases[name], case .alias(let target) = record.content {
      guard seen.insert(target).inserted, seen.count <= maximumAliases else {
        return .failed("its aliases go round in circles, or are too many")
      }
      ttl = min(ttl, record.ttlSeconds)
      name = target
    }
    var contents: [DNSRecord.Content] = []
    var ignored = message.ignoredCount
    for record in message.answers {
      if case .alias = record.content { continue }
      guard record.name == name, isUsable(record.content, as: type) else {
        ignored += 1
        continue
      }
      contents.append(record.content)
      ttl = min(ttl, record.ttlSeconds)
    }
    if contents.isEmpty { return .noData(ttlSeconds: message.negativeTTLSeconds, ignored: ignored) }
    return .records(contents, ttlSeconds: ttl, additionals: message.additionals, ignored: ignored)
  }

  /// Whether a record is of the type, and says something that can be connected to.
  static func isUsable(_ content: DNSRecord.Content, as type: DNSType) -> Bool {
    switch (content, type) {
    case (.v4(let address), .a): isUsable(address)
    case (.v6(let address), .aaaa):
      address.mappedIPv4.map(isUsable) ?? (address != .unspecified && address.high >> 56 != 0xFF)
    // The root as target says that the service is not there on purpose (RFC 2782); it is looked at later.
    case (.service(_, _, let port, let target), .srv): port != 0 || target.isEmpty
    default: false
    }
  }

  /// Neither 0.0.0.0/8, which is "this host", nor multicast, reserved or broadcast.
  private static func isUsable(_ address: IPv4Address) -> Bool { address.value >> 24 != 0 && address.value >> 28 < 14 }

  private static func text(_ code: UInt8) -> String {
    switch code {
    case 1: "FORMERR"
    case 2: "SERVFAIL"
    case 4: "NOTIMP"
    case 5: "REFUSED"
    default: "code \(code)"
    }
  }

  private static let maximumAliases = 16
}
