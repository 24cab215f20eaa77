// One request to the admin server, read from the bytes of a connection. The head is the proxy's own strict parser's work;
// what an admin client needs beyond it stands here: decoded path and query, and a body with Content-Length of at most 64 KiB.
// Whatever is out of line is refused with a status and one sentence, and the connection ends.

import HTTP

/// A request, read completely.
struct AdminRequest: Equatable {
  var method: String
  /// Decoded; starts with a slash.
  var path: String
  /// Decoded pairs; of equal names the last one counts.
  var query: [String: String]
  var accept: String?
  var keepsAlive: Bool
  var body: [UInt8]
}

/// What the bytes received so far amount to.
enum AdminParse: Equatable {
  case incomplete
  /// A request, and how many bytes it took.
  case request(AdminRequest, byteCount: Int)
  case refused(status: Int, reason: String)
}

/// The largest request.
struct AdminRequestLimits {
  var headBytes = 8 * 1024
  var bodyBytes = 64 * 1024
}

extension AdminRequest {
  /// Reads the first request of `bytes`.
  static func parse(_ bytes: [UInt8], limits: AdminRequestLimits) -> AdminParse {
    bytes.withUnsafeBytes { bytes in
      var head = RequestHead(maximumFields: maximumFields)
      let headLimits = HTTP1Limits(
        headerBytes: limits.headBytes, headers: maximumFields, requestLineBytes: limits.headBytes)
      switch HTTP1Parser.parseRequest(bytes, into: &head, limits: headLimits) {
      case .incomplete: return .incomplete
      case .refused(.headTooLong), .refused(.requestLineTooLong):
        return .refused(status: 431, reason: "the request head is longer than \(limits.headBytes) bytes")
      case .refused(.tooManyFields):
        return .refused(status: 431, reason: "the request head has more than \(maximumFields) fields")
      case .refused(let refusal):
        return .refused(status: Int(refusal.status), reason: String(describing: refusal.message))
      case .complete: return complete(head, bytes, limits)
      }
    }
  }

  private static func complete(
    _ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer, _ limits: AdminRequestLimits
  ) -> AdminParse {
    if head.expectsContinue { return .refused(status: 417, reason: "bodies are small here: send them at once") }
    let bodyLength: Int
    switch head.framing {
    case .none, .untilClose: bodyLength = 0
    case .chunked: return .refused(status: 411, reason: "send the body with Content-Length")
    case .length(let length):
      guard length <= UInt64(limits.bodyBytes) else {
        return .refused(status: 413, reason: "the body is longer than \(limits.bodyBytes) bytes")
      }
      bodyLength = Int(length)
    }
    // Asked before anything is decoded: a body may come byte by byte, and with each of them this begins anew.
    guard bytes.count - head.headLength >= bodyLength else { return .incomplete }
    guard let path = percentDecoded(head.pathRange.slice(of: bytes)) else {
      return .refused(status: 400, reason: "the path is not well encoded")
    }
    guard let query = decodedQuery(head.queryRange.slice(of: bytes)) else {
      return .refused(status: 400, reason: "the query is not well encoded")
    }
    let end = head.headLength + bodyLength
    let request = AdminRequest(
      method: String(decoding: head.methodRange.slice(of: bytes), as: UTF8.self), path: path.isEmpty ? "/" : path,
      query: query, accept: accept(head, bytes), keepsAlive: head.keepAlive,
      body: Array(bytes[head.headLength..<end]))
    return .request(request, byteCount: end)
  }

  /// All Accept lines as the one list they mean.
  private static func accept(_ head: borrowing RequestHead, _ bytes: UnsafeRawBufferPointer) -> String? {
    var values: [String] = []
    var from = 0
    while let index = head.fields.firstIndex(of: .accept, from: from) {
      values.append(String(decoding: head.fields[index].value.slice(of: bytes), as: UTF8.self))
      from = index + 1
    }
    return values.isEmpty ? nil : values.joined(separator: ",")
  }
}

/// Nil when a name or a value is not well encoded.
private func decodedQuery(_ bytes: UnsafeRawBufferPointer) -> [String: String]? {
  var query: [String: String] = [:]
  for pair in bytes.split(separator: UInt8(ascii: "&")) {
    let equals = pair.firstIndex(of: UInt8(ascii: "=")) ?? pair.endIndex
    guard let name = percentDecoded(pair[..<equals]), let value = percentDecoded(pair[equals...].dropFirst()) else {
      return nil
    }
    query[name] = value
  }
  return query
}

/// Nil when an escape is incomplete or not hexadecimal, or the result is not UTF-8 or holds a NUL.
private func percentDecoded(_ text: some Sequence<UInt8>) -> String? {
  var decoded: [UInt8] = []
  var bytes = text.makeIterator()
  while let byte = bytes.next() {
    guard byte == UInt8(ascii: "%") else {
      decoded.append(byte)
      continue
    }
    guard let high = bytes.next().flatMap(hexadecimalValue), let low = bytes.next().flatMap(hexadecimalValue) else {
      return nil
    }
    decoded.append(high << 4 | low)
  }
  return decoded.contains(0) ? nil : String(validating: decoded, as: UTF8.self)
}

private func hexadecimalValue(_ byte: UInt8) -> UInt8? {
  switch byte {
  case 0x30...0x39: byte - 0x30
  case 0x41...0x46: byte - 0x41 + 10
  case 0x61...0x66: byte - 0x61 + 10
  default: nil
  }
}

/// More than any client sends; the bytes of the head are bounded besides.
private let maximumFields = 64
