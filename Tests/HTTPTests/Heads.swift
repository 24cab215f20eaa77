// What the tests of this module share: bytes in memory of exactly their size, heads as plain comparable values, and
// the parsers called on strings.

import HTTP

/// Everything a request head says, as strings: what two parses of the same head must agree on.
struct RequestSnapshot: Equatable {
  var method: Method
  var methodText: String
  var target: String
  var path: String
  var query: String
  var authority: String
  var host: String
  var port: UInt16
  var form: TargetForm
  var version: Version
  var framing: BodyFraming
  var keepAlive: Bool
  var wantsUpgrade: Bool
  var expectsContinue: Bool
  var hasTraceparent: Bool
  var acceptsTrailers: Bool
  var headLength: Int
  var fields: [FieldSnapshot]
}

struct ResponseSnapshot: Equatable {
  var status: UInt16
  var reason: String
  var version: Version
  var framing: BodyFraming
  var contentLength: UInt64?
  var keepAlive: Bool
  var isInterim: Bool
  var isSwitch: Bool
  var isTunnel: Bool
  var headLength: Int
  var fields: [FieldSnapshot]
}

struct FieldSnapshot: Equatable {
  var name: String
  var value: String
  var kind: FieldName
  var isForwarded: Bool

  var line: String { "\(name): \(value)" }
}

/// Calls `body` with a copy of `bytes` that ends where its memory ends.
func withCopy<Result>(_ bytes: some Collection<UInt8>, _ body: (UnsafeRawBufferPointer) throws -> Result) rethrows
  -> Result
{
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyBytes(from: bytes)
  return try body(UnsafeRawBufferPointer(copy))
}

/// Calls `body` with an output buffer and gives what it wrote; nil when it says that it did not fit.
func written(capacity: Int, _ body: (UnsafeMutableRawBufferPointer) -> Int?) -> String? {
  let output = UnsafeMutableRawBufferPointer.allocate(byteCount: capacity, alignment: 1)
  defer { output.deallocate() }
  guard let count = body(output) else { return nil }
  return String(decoding: output[..<count], as: UTF8.self)
}

func text(_ range: ByteRange, _ bytes: UnsafeRawBufferPointer) -> String {
  String(decoding: range.slice(of: bytes), as: UTF8.self)
}

func snapshots(_ table: borrowing FieldTable, _ bytes: UnsafeRawBufferPointer) -> [FieldSnapshot] {
  var result: [FieldSnapshot] = []
  for index in 0..<table.count {
    let field = table[index]
    result.append(
      FieldSnapshot(
        name: text(field.name, bytes), value: text(field.value, bytes), kind: field.kind,
        isForwarded: field.isForwarded))
  }
  return result
}

func snapshot(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer) -> RequestSnapshot {
  RequestSnapshot(
    method: head.method, methodText: text(head.methodRange, bytes), target: text(head.targetRange, bytes),
    path: text(head.pathRange, bytes), query: text(head.queryRange, bytes),
    authority: text(head.authorityRange, bytes), host: text(head.hostRange, bytes), port: head.port, form: head.form,
    version: head.version, framing: head.framing, keepAlive: head.keepAlive, wantsUpgrade: head.wantsUpgrade,
    expectsContinue: head.expectsContinue, hasTraceparent: head.hasTraceparent,
    acceptsTrailers: head.acceptsTrailers, headLength: head.headLength, fields: snapshots(head.fields, bytes))
}

func snapshot(_ head: borrowing ResponseHead, _ bytes: UnsafeRawBufferPointer) -> ResponseSnapshot {
  ResponseSnapshot(
    status: head.status.code, reason: text(head.reasonRange, bytes), version: head.version, framing: head.framing,
    contentLength: head.contentLength, keepAlive: head.keepAlive, isInterim: head.isInterim, isSwitch: head.isSwitch,
    isTunnel: head.isTunnel, headLength: head.headLength, fields: snapshots(head.fields, bytes))
}

func parseRequest(
  _ bytes: some Collection<UInt8>, limits: HTTP1Limits = HTTP1Limits(), maximumFields: Int = 128
) -> (outcome: HeadOutcome, head: RequestSnapshot?) {
  withCopy(bytes) { copy in
    var head = RequestHead(maximumFields: maximumFields)
    let outcome = HTTP1Parser.parseRequest(copy, into: &head, limits: limits)
    return (outcome, outcome == .complete ? snapshot(head, copy) : nil)
  }
}

func parseRequest(_ string: String) -> (outcome: HeadOutcome, head: RequestSnapshot?) {
  parseRequest(Array(string.utf8))
}

func parseResponse(
  _ bytes: some Collection<UInt8>, method: Method = .get, wantsUpgrade: Bool = false,
  limits: HTTP1Limits = HTTP1Limits()
) -> (outcome: HeadOutcome, head: ResponseSnapshot?) {
  withCopy(bytes) { copy in
    var head = ResponseHead()
    let context = ResponseContext(method: method, wantsUpgrade: wantsUpgrade)
    let outcome = HTTP1Parser.parseResponse(copy, into: &head, context: context, limits: limits)
    return (outcome, outcome == .complete ? snapshot(head, copy) : nil)
  }
}

func parseResponse(
  _ string: String, method: Method = .get, wantsUpgrade: Bool = false
) -> (outcome: HeadOutcome, head: ResponseSnapshot?) {
  parseResponse(Array(string.utf8), method: method, wantsUpgrade: wantsUpgrade)
}

/// Parses `string` as a request and serializes it; nil when either fails.
func forwardRequest(
  _ string: String, connection: ConnectionOption = .none, extra: String = "", capacity: Int? = nil
) -> String? {
  withCopy(Array(string.utf8)) { bytes in
    withCopy(Array(extra.utf8)) { extra in
      var head = RequestHead()
      guard HTTP1Parser.parseRequest(bytes, into: &head, limits: HTTP1Limits()) == .complete else { return nil }
      let bound = HTTP1Serializer.requestBound(head, extra: extra)
      return written(capacity: capacity ?? bound) { output in
        HTTP1Serializer.writeRequest(head, from: bytes, connection: connection, extra: extra, into: output)
      }
    }
  }
}

/// Parses `string` as a response and serializes it towards a client of `version`; nil when either fails.
func forwardResponse(
  _ string: String, method: Method = .get, wantsUpgrade: Bool = false, towards version: Version = .http11,
  connection: ConnectionOption = .none, extra: String = "", capacity: Int? = nil
) -> String? {
  withCopy(Array(string.utf8)) { bytes in
    withCopy(Array(extra.utf8)) { extra in
      var head = ResponseHead()
      let context = ResponseContext(method: method, wantsUpgrade: wantsUpgrade)
      guard
        HTTP1Parser.parseResponse(bytes, into: &head, context: context, limits: HTTP1Limits()) == .complete
      else { return nil }
      let framing = head.framing(towards: version)
      let bound = HTTP1Serializer.responseBound(head, extra: extra)
      return written(capacity: capacity ?? bound) { output in
        HTTP1Serializer.writeResponse(
          head, from: bytes, framing: framing, connection: connection, extra: extra, into: output)
      }
    }
  }
}
