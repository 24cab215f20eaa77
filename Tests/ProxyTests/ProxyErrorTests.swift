// The proxy's own failures, and the answers made of them.

import Base
import HTTP
import Policy
import Testing

@testable import Proxy

/// What an error promises to those who read logs and answers; a change here breaks them.
struct ErrorPromise: Sendable, CustomTestStringConvertible {
  let error: ProxyError
  let code: UInt16
  let status: UInt16
  var testDescription: String { "FL\(code)" }

  init(_ error: ProxyError, _ code: UInt16, _ status: UInt16) {
    (self.error, self.code, self.status) = (error, code, status)
  }
}

private let promises: [ErrorPromise] = [
  .init(.refused(.badMethod), 1001, 400), .init(.refused(.badTarget), 1002, 400),
  .init(.refused(.badVersion), 1003, 400), .init(.refused(.unsupportedVersion), 1004, 505),
  .init(.refused(.missingHost), 1016, 400), .init(.refused(.lengthAndTransferEncoding), 1019, 400),
  .init(.refused(.requestLineTooLong), 1033, 414), .init(.refused(.headTooLong), 1034, 431),
  .init(.refused(.tooManyFields), 1035, 431),
  .init(.headerTimeout, 1101, 408), .init(.bodyTimeout, 1102, 408), .init(.clientGone, 1103, 499),
  .init(.methodNotSupported, 1104, 405), .init(.http2Broken, 1105, 400), .init(.http2Flood, 1106, 400),
  .init(.connectRefused, 1107, 403), .init(.connectBody, 1108, 400),
  .init(.noHost, 2001, 400), .init(.badName, 2002, 400),
  .init(.unknownName, 2003, 404), .init(.delegationFailed, 2004, 502), .init(.nameTimeout, 2005, 504),
  .init(.discoveryFailed, 2009, 503), .init(.tooManyNames, 2006, 503), .init(.nameRefused, 2007, 503),
  .init(.badDelegation(column: 0), 2008, 400),
  .init(.endpointUnreachable, 2101, 502),
  .init(.connectTimeout, 2102, 504), .init(.endpointClosed, 2103, 502), .init(.endpointGarbage(nil), 2104, 502),
  .init(.responseTruncated, 2105, 502), .init(.requestTimeout, 2106, 504),
  .init(.attemptTimeout, 2107, 504), .init(.deadlineExceeded, 2108, 504), .init(.endpointsOut, 2109, 503),
  .init(.noEndpoint, 2201, 503),
  .init(.tooManyConnections, 2202, 503), .init(.tooManyRequests, 2203, 503), .init(.noDescriptor, 2204, 503),
  .init(.nodeFull, 2205, 503), .init(.tooManyDestinations, 2206, 503), .init(.rateLimited(nil), 2207, 429),
  .init(.connectionRateLimited, 2208, 429), .init(.overloaded, 2209, 503), .init(.loop, 2301, 508),
  .init(.notTLS, 1201, 400), .init(.badClientHello, 1202, 400), .init(.clientHelloTooLong, 1203, 400),
  .init(.clientHelloTruncated, 1204, 400), .init(.noServerName, 1205, 400),
  .init(.proxyHeaderMissing, 1211, 400), .init(.proxyHeaderRefused, 1212, 400), .init(.badProxyHeader, 1213, 400),
  .init(.proxyHeaderTruncated, 1214, 400),
  .init(.straightConnection, 2302, 421), .init(.selfLoop, 2303, 508),
  .init(.aborted(503), 2401, 503), .init(.patternsTooSlow, 2402, 400),
]

@Suite("ProxyError")
struct ProxyErrorTests {
  @Test("codes and statuses are what they were", arguments: promises)
  func stable(_ promise: ErrorPromise) {
    #expect(promise.error.code == promise.code)
    #expect(promise.error.status == promise.status)
  }

  @Test("no two errors have the same code, and all codes have four digits")
  func uniqueCodes() {
    let codes = ProxyError.all.map(\.code)
    #expect(Set(codes).count == codes.count)
    #expect(codes.allSatisfy { $0 >= 1000 && $0 <= 9999 })
    let refusals = Refusal.allCases.map { ProxyError.refused($0).code }
    #expect(refusals.allSatisfy { $0 < 1100 }, "refusals stay below the client's other errors")
  }

  @Test("every error has a place of its own in tables, and the places are dense")
  func densePositions() {
    for (position, error) in ProxyError.all.enumerated() { #expect(error.position == position, "\(error)") }
    // The table of promises names every error that is not a refusal: one that is in neither list cannot hide.
    let named = promises.map(\.error).filter { if case .refused = $0 { false } else { true } }
    #expect(named.count == ProxyError.all.count - Refusal.allCases.count)
    for error in named { #expect(ProxyError.all.contains(error)) }
  }

  @Test("every error says what happened and what to run next, each in one line of plain text", arguments: promises)
  func oneLine(_ promise: ErrorPromise) {
    for text in [promise.error.message, promise.error.nextCommand] {
      #expect(!text.description.isEmpty)
      #expect(text.description.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
    }
    #expect(promise.error.nextCommand.description.hasPrefix("fairlead "))
  }

  @Test("refusals, too, are one line of plain text", arguments: Refusal.allCases)
  func refusalLine(_ refusal: Refusal) {
    let text = ProxyError.refused(refusal).message.description
    #expect(!text.isEmpty)
    #expect(text.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7F })
    #expect(ProxyError.refused(refusal).endsConnection)
  }
}

@Suite("LocalResponse")
struct LocalResponseTests {
  /// A node's name has at most 255 bytes, a service's as many.
  static let longestVia = Array("via: 1.1 \(String(repeating: "n", count: 255))\r\n".utf8)
  static let longestService = String(repeating: "s", count: 255)

  @Test("a gRPC call that breaks off ends with trailers that parse, or with none")
  func brokenCall() {
    for capacity in [LocalResponse.sizeLimit, 40] {
      let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
      defer { buffer.deallocate() }
      let written = LocalResponse.writeGRPCTrailers(
        .responseTruncated, status: .unavailable, service: "web", into: buffer)
      guard let written else {
        #expect(capacity == 40)
        continue
      }
      let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<written])
      var fields = FieldTable(capacity: 8)
      var consumed = 0
      guard case .complete = HTTP1Parser.parseTrailers(bytes, into: &fields, limits: HTTP1Limits(), consumed: &consumed)
      else {
        Issue.record("the trailers do not parse")
        continue
      }
      let values = (0..<fields.count).map { String(decoding: fields[$0].value.slice(of: bytes), as: UTF8.self) }
      #expect(values.first == "14" && values.last == "FL2105" && consumed == written)
      #expect(values.contains { $0.contains("web: the endpoint's response broke off (FL2105)") })
    }
  }

  private func write(
    _ error: ProxyError, service: String?, closes: Bool, withBody: Bool, via: [UInt8] = [],
    retryAfter: UInt32? = nil, capacity: Int = LocalResponse.sizeLimit
  ) -> [UInt8]? {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
    defer { buffer.deallocate() }
    return via.withUnsafeBytes { via in
      LocalResponse.write(
        error, service: service, closes: closes, withBody: withBody, via: via, retryAfter: retryAfter, into: buffer
      ).map { Array(buffer[..<$0]) }
    }
  }

  /// What a parser makes of an answer.
  private struct Parsed {
    var status: UInt16 = 0
    var headLength = 0
    var framing = BodyFraming.none
    var keepAlive = false
    var fields: [String: String] = [:]
  }

  private func parse(_ bytes: [UInt8], method: Method) -> Parsed? {
    bytes.withUnsafeBytes { buffer in
      var head = ResponseHead()
      let outcome = HTTP1Parser.parseResponse(
        buffer, into: &head, context: ResponseContext(method: method), limits: HTTP1Limits())
      guard outcome == .complete else { return nil }
      var parsed = Parsed(
        status: head.status.code, headLength: head.headLength, framing: head.framing, keepAlive: head.keepAlive)
      let text = String(decoding: buffer[..<head.headLength], as: UTF8.self)
      for line in text.split(separator: "\r\n").dropFirst() {
        guard let colon = line.range(of: ": ") else { return nil }
        parsed.fields[String(line[..<colon.lowerBound])] = String(line[colon.upperBound...])
      }
      return parsed
    }
  }

  @Test("every error fits with the longest names, and is a response a strict parser takes", arguments: [true, false])
  func fits(closes: Bool) throws {
    for error in ProxyError.all + Refusal.allCases.map({ .endpointGarbage($0) }) {
      for (service, via) in [(Self.longestService, Self.longestVia), (nil, [])] as [(String?, [UInt8])] {
        let bytes = try #require(write(error, service: service, closes: closes, withBody: true, via: via), "\(error)")
        #expect(bytes.count <= LocalResponse.sizeLimit)
        let parsed = try #require(parse(bytes, method: .get), "\(error)")
        #expect(parsed.status == error.status)
        #expect(parsed.keepAlive == !closes)
        let body = bytes[parsed.headLength...]
        #expect(parsed.framing == .length(UInt64(body.count)), "\(error)")
        #expect(parsed.fields["content-length"] == "\(body.count)")
        #expect(parsed.fields["fairlead-code"] == "FL\(error.code)")
        let explanation = try #require(parsed.fields["l5d-err"])
        #expect(String(decoding: body, as: UTF8.self) == explanation + "\n")
        #expect(explanation.contains(error.message.description))
        #expect(explanation.contains("FL\(error.code)"))
        #expect(explanation.hasSuffix("; next: \(error.nextCommand)"))
        #expect((parsed.fields["via"] == nil) == via.isEmpty)
      }
    }
  }

  @Test("the answer to HEAD has the same head and no body")
  func headRequest() throws {
    for error in ProxyError.all {
      let full = try #require(write(error, service: "web", closes: false, withBody: true, via: Self.longestVia))
      let head = try #require(write(error, service: "web", closes: false, withBody: false, via: Self.longestVia))
      let parsed = try #require(parse(head, method: .head))
      #expect(parsed.headLength == head.count)
      #expect(parsed.framing == .none)
      #expect(Array(full[..<head.count]) == head)
      #expect(full.count > head.count)
    }
  }

  @Test("the service is named where it is known")
  func namesTheService() throws {
    let bytes = try #require(write(.noEndpoint, service: "web", closes: false, withBody: true))
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.contains("\r\nl5d-err: web: the service has no endpoint (FL2201); next: fairlead endpoints\r\n"))
    #expect(text.hasSuffix("\r\n\r\nweb: the service has no endpoint (FL2201); next: fairlead endpoints\n"))
  }

  @Test("what is wrong with an endpoint's answer is said, and counted in one place")
  func namesTheRefusal() throws {
    let error = ProxyError.endpointGarbage(.headTooLong)
    #expect(error.code == 2104 && error.position == ProxyError.endpointGarbage(nil).position)
    let bytes = try #require(write(error, service: "web", closes: false, withBody: true))
    let words = "the endpoint's answer is refused: the head is longer than limits.headerBytes (FL2104)"
    #expect(parse(bytes, method: .get)?.fields["l5d-err"] == "web: \(words); next: fairlead endpoints")
  }

  @Test("405 says what is allowed, an overload when to come again")
  func extraFields() throws {
    let refused = try #require(write(.methodNotSupported, service: nil, closes: false, withBody: true))
    #expect(parse(refused, method: .connect)?.fields["allow"]?.contains("GET") == true)
    for error in [ProxyError.tooManyConnections, .tooManyRequests, .nodeFull, .rateLimited(.route), .overloaded] {
      let full = try #require(write(error, service: nil, closes: false, withBody: true, retryAfter: 4_294_967_295))
      #expect(parse(full, method: .get)?.fields["retry-after"] == "4294967295")
    }
  }

  @Test("an answer that does not fit is none at all, at any size that is too small")
  func doesNotFit() throws {
    let whole = try #require(write(.unknownName, service: "web", closes: true, withBody: true, via: Self.longestVia))
    for capacity in 0..<whole.count {
      #expect(
        write(.unknownName, service: "web", closes: true, withBody: true, via: Self.longestVia, capacity: capacity)
          == nil)
    }
    let again = write(
      .unknownName, service: "web", closes: true, withBody: true, via: Self.longestVia, capacity: whole.count)
    #expect(again == whole)
  }

  @Test("the answer to a connection that is one too many fits the kilobyte it is given")
  func nodeFullFits() {
    #expect(write(.nodeFull, service: nil, closes: true, withBody: true, capacity: 1024) != nil)
  }
}

extension Substring {
  /// Where `text` first occurs.
  fileprivate func range(of text: String) -> Range<Index>? {
    var start = startIndex
    while start < endIndex {
      if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
      start = index(after: start)
    }
    return nil
  }
}
