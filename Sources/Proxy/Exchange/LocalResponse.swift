// The proxy's own answers: the one place that turns a `ProxyError` into a response.

import Base
import HTTP
import Policy

/// Writes proxy-made responses. Pure.
enum LocalResponse {
  /// Bytes that every answer fits in, with a via line and a service name of ordinary length.
  static let sizeLimit = 1536

  /// Writes head and body. Nil when it does not fit.
  ///
  /// - Parameters:
  ///   - service: the name of the service, where one was found.
  ///   - withBody: false for the answer to a HEAD request, which has the same head.
  ///   - via: a whole `via` line, or nothing.
  ///   - retryAfter: seconds after which to come again; nil where that says nothing.
  static func write(
    _ error: ProxyError, service: String?, closes: Bool, withBody: Bool, via: UnsafeRawBufferPointer,
    retryAfter: UInt32? = nil,
    into buffer: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(buffer)
    let name = service.map { String($0.prefix(64)) } ?? ""
    let explanation = Explanation(error: error, service: name)
    writer.append("HTTP/1.1 ")
    writer.append(decimal: UInt64(error.status))
    writer.append(" ")
    writer.append(Status(error.status).reason)
    writer.append("\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ")
    writer.append(decimal: UInt64(explanation.byteCount + 1))
    writer.append("\r\nl5d-err: ")
    explanation.write(&writer)
    writer.append("\r\nfairlead-code: FL")
    writer.append(decimal: UInt64(error.code))
    if let retryAfter {
      writer.append("\r\nretry-after: ")
      writer.append(decimal: UInt64(retryAfter))
    }
    if error.status == 405 { writer.append("\r\nallow: GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH") }
    writer.append("\r\n")
    writer.append(via)
    if closes { writer.append("connection: close\r\n") }
    writer.append("\r\n")
    if withBody {
      explanation.write(&writer)
      writer.append("\n")
    }
    return writer.count
  }

  /// Writes what a gRPC call gets instead: a response that ends with its head, the status in it ("Trailers-Only"). Nil when
  /// it does not fit.
  static func writeGRPC(
    _ error: ProxyError, service: String?, via: UnsafeRawBufferPointer, retryAfter: UInt32? = nil,
    into buffer: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(buffer)
    let explanation = Explanation(error: error, service: service.map { String($0.prefix(64)) } ?? "")
    writer.append("HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\ngrpc-status: ")
    writer.append(decimal: UInt64(error.grpcStatus.code))
    writer.append("\r\ngrpc-message: ")
    explanation.write(&writer)
    writer.append("\r\nl5d-err: ")
    explanation.write(&writer)
    writer.append("\r\nfairlead-code: FL")
    writer.append(decimal: UInt64(error.code))
    if let retryAfter {
      writer.append("\r\nretry-after: ")
      writer.append(decimal: UInt64(retryAfter))
    }
    writer.append("\r\n")
    writer.append(via)
    writer.append("\r\n")
    return writer.count
  }

  /// Writes the trailer section of a gRPC call that breaks off when its response has begun. Nil when it does not fit.
  static func writeGRPCTrailers(
    _ error: ProxyError, status: GRPCStatus, service: String?, into buffer: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(buffer)
    let explanation = Explanation(error: error, service: service.map { String($0.prefix(64)) } ?? "")
    writer.append("grpc-status: ")
    writer.append(decimal: UInt64(status.code))
    writer.append("\r\ngrpc-message: ")
    explanation.write(&writer)
    writer.append("\r\nfairlead-code: FL")
    writer.append(decimal: UInt64(error.code))
    writer.append("\r\n\r\n")
    return writer.count
  }

  /// `no service has this name (FL2003); next: fairlead names NAME`
  private struct Explanation {
    let error: ProxyError
    let service: String

    var byteCount: Int {
      var count = error.message.utf8CodeUnitCount + error.nextCommand.utf8CodeUnitCount
      count += " (FL".utf8.count + 4 + "); next: ".utf8.count
      if !service.isEmpty { count += service.utf8.count + 2 }
      if let detail = error.detail { count += 2 + detail.utf8CodeUnitCount }
      if error.column > 0 { count += " at column ".utf8.count + String(error.column).utf8.count }
      return count
    }

    func write(_ writer: inout HTTP1Writer) {
      if !service.isEmpty {
        Array(service.utf8).withUnsafeBytes { writer.append($0) }
        writer.append(": ")
      }
      writer.append(error.message)
      if let detail = error.detail {
        writer.append(": ")
        writer.append(detail)
      }
      if error.column > 0 {
        writer.append(" at column ")
        writer.append(decimal: UInt64(error.column))
      }
      writer.append(" (FL")
      writer.append(decimal: UInt64(error.code))
      writer.append("); next: ")
      writer.append(error.nextCommand)
    }
  }
}
