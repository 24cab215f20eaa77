// How a client says that it speaks HTTP/2 without having asked (prior knowledge, RFC 9113 section 3.4): 24 bytes that no HTTP/1
// server takes for a request. They are looked for in front of a connection's first request.

import Base
import Configuration
import EventLoop
import Glibc
import HTTP

extension Shard {
  /// Looks whether a connection begins with the preface. Returns how many bytes were taken; nil where it is HTTP/1.
  func takePreface(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) -> Int? {
    guard let start = bytes.baseAddress, bytes[0] == UInt8(ascii: "P") || connection.pointee.codec.assembly != 0,
      listenerPolicies[Int(connection.pointee.origin)].kind != .http1
    else { return nil }
    let seen = Int(connection.pointee.codec.assembledCount)
    guard seen < prefaceSize else { return nil }
    let gathered = assembled(connection)
    if let first = gathered.baseAddress, memcmp(first, prefaceText.utf8Start, seen) != 0 { return nil }
    let count = min(bytes.count, prefaceSize - seen)
    guard memcmp(start, prefaceText.utf8Start + seen, count) == 0 else {
      // HTTP/1 after all: what was set aside has not been scanned yet.
      _ = connection.pointee.codec.scanner.feed(gathered)
      return nil
    }
    if seen + count < prefaceSize {
      if seen == 0 {
        connectionTimers.schedule(connection.pointee.index, deadline: deadline(after: limits.headerTimeoutNanoseconds))
      }
      return appendToAssembly(connection, bytes, limit: prefaceSize) ? bytes.count : nil
    }
    guard beginHTTP2(connection) else { return bytes.count }
    if seen > 0 { _ = http2State(connection).pointee.session.receive(gathered) }
    releaseAssembly(connection)
    connection.pointee.flags.insert(.detected)
    // The preface is the session's as well; the frames behind it come with the same bytes.
    return 0
  }

  private var prefaceText: StaticString { "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" }
  private var prefaceSize: Int { 24 }
}
