// HTTP/1 messages as the tests read them off a socket: the raw head, the fields in order, the body, and how it ended.

import Glibc

/// A request or a response with its body.
public struct Message: Sendable, CustomStringConvertible {
  /// How the end of the body was known.
  public enum Framing: Sendable, Equatable { case none, length(Int), chunked, close }

  /// The head as it came, with its empty line.
  public var rawHead: [UInt8]
  public var startLine: String
  public var fields: [(name: String, value: String)]
  public var framing: Framing = .none
  public var body: [UInt8] = []
  public var trailers: [(name: String, value: String)] = []
  /// The sizes of the chunks as they came, when chunked.
  public var chunkSizes: [Int] = []
  /// Nil when the message was complete; else how it was cut.
  public var truncated: Ending?

  init(rawHead: [UInt8]) {
    self.rawHead = rawHead
    var lines = String(decoding: rawHead, as: UTF8.self).split(separator: "\r\n", omittingEmptySubsequences: false)
    startLine = lines.isEmpty ? "" : String(lines.removeFirst())
    fields = Message.parseFields(lines)
  }

  /// The value of the first field of that name.
  public subscript(name: String) -> String? { values(name).first }

  public func values(_ name: String) -> [String] {
    fields.filter { $0.name.lowercased() == name.lowercased() }.map(\.value)
  }

  public var description: String { "\(startLine) + \(body.count) bytes\(truncated.map { ", cut: \($0)" } ?? "")" }
  public var text: String { String(decoding: body, as: UTF8.self) }
  public var head: String { String(decoding: rawHead, as: UTF8.self) }

  /// The status code; 0 when the start line is not a status line.
  public var status: Int {
    startLine.hasPrefix("HTTP/1.") ? Int(startLine.split(separator: " ").dropFirst().first ?? "") ?? 0 : 0
  }
  public var method: String { String(startLine.prefix { $0 != " " }) }
  public var target: String { startLine.split(separator: " ").dropFirst().first.map(String.init) ?? "" }

  static func parseFields(_ lines: some Sequence<Substring>) -> [(name: String, value: String)] {
    lines.compactMap { line in
      guard let colon = line.firstIndex(of: ":") else { return nil }
      let value = line[line.index(after: colon)...]
      let start = value.firstIndex { $0 != " " && $0 != "\t" } ?? value.endIndex
      let end = value.lastIndex { $0 != " " && $0 != "\t" }.map { value.index(after: $0) } ?? start
      return (String(line[..<colon]), start < end ? String(value[start..<end]) : "")
    }
  }
}

extension ByteStream {
  /// Reads a head up to its empty line. Nil when the peer ended the stream before the first byte.
  public func readHead() throws -> Message? {
    let (bytes, ending) = try take(through: "\r\n\r\n")
    if let bytes { return Message(rawHead: bytes) }
    if buffered.isEmpty, ending == .endOfStream || ending == .reset { return nil }
    throw HarnessError(
      "no complete head (\(ending.map { "\($0)" } ?? "-")); \(buffered.count) bytes: "
        + String(decoding: buffered.prefix(200), as: UTF8.self))
  }

  /// Reads the request that comes next with its body; nil at the end of the stream.
  public func readRequest() throws -> Message? {
    guard var message = try readHead() else { return nil }
    try readBody(of: &message, closeDelimited: false)
    return message
  }

  /// Reads the final response to a request with `method`, skipping interim ones unless `interim` takes them.
  public func readResponse(to method: String = "GET", interim: ((Message) -> Void)? = nil) throws -> Message {
    while true {
      guard var message = try readHead() else { throw HarnessError("the connection ended before a response") }
      if (100..<200).contains(message.status), message.status != 101 {
        interim?(message)
        continue
      }
      let bodiless = method == "HEAD" || [101, 204, 304].contains(message.status)
      if !bodiless { try readBody(of: &message, closeDelimited: true) }
      return message
    }
  }

  /// Reads the body that the head announces.
  public func readBody(of message: inout Message, closeDelimited: Bool) throws {
    if let coding = message["transfer-encoding"], coding.lowercased().hasSuffix("chunked") {
      message.framing = .chunked
      try readChunks(of: &message)
    } else if let length = message["content-length"].flatMap({ Int($0) }) {
      message.framing = .length(length)
      (message.body, message.truncated) = try take(length)
    } else if closeDelimited {
      message.framing = .close
      let (bytes, ending) = try takeToEnd()
      message.body = bytes
      message.truncated = ending == .endOfStream ? nil : ending
    }
  }

  private func readChunks(of message: inout Message) throws {
    while true {
      let (line, ending) = try take(through: "\r\n")
      guard let line else {
        message.truncated = ending
        return
      }
      let digits = String(decoding: line, as: UTF8.self).prefix { $0.isHexDigit }
      guard let size = Int(digits, radix: 16) else {
        throw HarnessError("not a chunk size: \(String(decoding: line, as: UTF8.self))")
      }
      message.chunkSizes.append(size)
      if size == 0 { break }
      let (bytes, cut) = try take(size + 2)
      message.body += bytes.prefix(size)
      if let cut {
        message.truncated = cut
        return
      }
    }
    while true {
      let (line, ending) = try take(through: "\r\n")
      guard let line else {
        message.truncated = ending
        return
      }
      if line.count == 2 { return }
      message.trailers += Message.parseFields([Substring(decoding: line.dropLast(2), as: UTF8.self)])
    }
  }
}
