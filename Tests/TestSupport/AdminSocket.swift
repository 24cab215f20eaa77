// Talking to the daemon's admin API, and reading Prometheus text.

import Foundation

/// The admin socket of a daemon. Every call makes a connection of its own.
public struct AdminSocket: Sendable {
  public let path: String
  public init(path: String) { self.path = path }

  /// A connection to send anything on.
  public func open() throws -> ByteStream { ByteStream(descriptor: try connectUnix(path)) }

  public func get(_ target: String, fields: String = "") throws -> Message { try send("GET", target, fields: fields) }
  public func post(_ target: String) throws -> Message { try send("POST", target) }

  public func send(_ method: String, _ target: String, fields: String = "", body: String = "") throws -> Message {
    let stream = try open()
    defer { stream.close() }
    let length = method == "GET" && body.isEmpty ? "" : "Content-Length: \(body.utf8.count)\r\n"
    try stream.send(
      "\(method) \(target) HTTP/1.1\r\nHost: fairlead\r\nConnection: close\r\n\(fields)\(length)\r\n\(body)")
    return try stream.readResponse(to: method)
  }

  /// The parsed body of a GET.
  public func json(_ target: String) throws -> JSONValue {
    let response = try get(target)
    guard response.status == 200 else { throw HarnessError("GET \(target): \(response.startLine) \(response.text)") }
    return try JSONValue(parsing: response.body)
  }

  public func metrics() throws -> Metrics { Metrics(try get("/metrics").text) }

  /// The value of one series; nil when there is none.
  public func value(_ series: String) throws -> Double? {
    let text = String(decoding: try get("/metrics").body, as: UTF8.self)
    return text.split(separator: "\n").first { $0.hasPrefix(series + " ") }.flatMap {
      Double($0.dropFirst(series.utf8.count + 1))
    }
  }
}

/// A JSON value that a test walks through without casts.
public enum JSONValue: Sendable, Equatable {
  case null, boolean(Bool), number(Double), string(String), array([JSONValue]), object([String: JSONValue])

  public init(parsing bytes: [UInt8]) throws {
    do {
      self.init(try JSONSerialization.jsonObject(with: Data(bytes), options: [.fragmentsAllowed]))
    } catch {
      throw HarnessError("not JSON (\(error)): \(String(decoding: bytes.prefix(500), as: UTF8.self))")
    }
  }

  private init(_ value: Any) {
    switch value {
    case let number as NSNumber:
      self = CFGetTypeIDIsBoolean(number) ? .boolean(number.boolValue) : .number(number.doubleValue)
    case let text as String: self = .string(text)
    case let values as [Any]: self = .array(values.map { JSONValue($0) })
    case let members as [String: Any]: self = .object(members.mapValues { JSONValue($0) })
    default: self = .null
    }
  }

  public subscript(key: String) -> JSONValue {
    if case .object(let members) = self { members[key] ?? .null } else { .null }
  }
  public var elements: [JSONValue] { if case .array(let values) = self { values } else { [] } }
  public var members: [String: JSONValue] { if case .object(let members) = self { members } else { [:] } }
  public var text: String? { if case .string(let text) = self { text } else { nil } }
  public var number: Double? { if case .number(let number) = self { number } else { nil } }
  public var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }
}

private func CFGetTypeIDIsBoolean(_ number: NSNumber) -> Bool { String(cString: number.objCType) == "c" }

/// Samples of a Prometheus text exposition.
public struct Metrics: Sendable {
  public struct Sample: Sendable {
    public var name: String
    public var labels: [String: String]
    public var value: Double
  }

  public let text: String
  public let samples: [Sample]

  public init(_ text: String) {
    self.text = text
    samples = text.split(separator: "\n").compactMap { line in
      guard !line.hasPrefix("#"), let space = line.lastIndex(of: " ") else { return nil }
      guard let value = Double(line[line.index(after: space)...]) else { return nil }
      let series = line[..<space]
      guard let brace = series.firstIndex(of: "{") else {
        return Sample(name: String(series), labels: [:], value: value)
      }
      var labels: [String: String] = [:]
      for part in series[series.index(after: brace)...].dropLast().split(separator: "\",") {
        let pieces = part.split(separator: "=", maxSplits: 1)
        guard pieces.count == 2 else { continue }
        labels[String(pieces[0])] = pieces[1].trimmingCharacters(in: CharacterSet(charactersIn: "\""))
      }
      return Sample(name: String(series[..<brace]), labels: labels, value: value)
    }
  }

  /// The sum of all samples of that name whose labels contain `labels`.
  public func sum(_ name: String, _ labels: [String: String] = [:]) -> Double {
    matching(name, labels).reduce(0) { $0 + $1.value }
  }

  public func matching(_ name: String, _ labels: [String: String] = [:]) -> [Sample] {
    samples.filter { sample in sample.name == name && labels.allSatisfy { sample.labels[$0.key] == $0.value } }
  }

  /// `fairlead_errors_total` by its label `code`, only those that are not 0.
  public var errorsByCode: [String: Double] {
    matching("fairlead_errors_total").reduce(into: [:]) { result, sample in
      if sample.value != 0 { result[sample.labels["code"] ?? "?", default: 0] += sample.value }
    }
  }
}
