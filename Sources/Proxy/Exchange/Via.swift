// The `via` line of what is passed on: that it has been here, and in which version of HTTP it came (RFC 9110 section 7.6.3).

import Base
import HTTP

/// The line for each version, made once for a node's name; empty where none is sent. As plain memory, which costs no reference
/// count to read. Whoever makes it deallocates it.
struct ViaLines {
  let http10: UnsafeRawBufferPointer
  let http11: UnsafeRawBufferPointer
  let http2: UnsafeRawBufferPointer

  /// - Parameter name: the node's; nil where no `via` is sent.
  init(_ name: [UInt8]?) {
    func line(_ version: String) -> UnsafeRawBufferPointer {
      .copy(name.map { Array("via: \(version) ".utf8) + $0 + Array("\r\n".utf8) } ?? [])
    }
    http10 = line("1.0")
    http11 = line("1.1")
    http2 = line("2")
  }

  func deallocate() {
    http10.deallocate()
    http11.deallocate()
    http2.deallocate()
  }

  /// No line is longer.
  var longest: Int { http11.count }
}

extension Shard {
  /// For what came from a client, and for what we answer it ourselves.
  func viaLine(of downstream: ConnectionPointer) -> UnsafeRawBufferPointer {
    if downstream.pointee.wire == .http2 { return viaLines.http2 }
    return downstream.pointee.codec.flags.contains(.version10) ? viaLines.http10 : viaLines.http11
  }

  /// For the response in `responseHead` on its way to a client.
  func viaLine(ofResponseTo downstream: ConnectionPointer) -> UnsafeRawBufferPointer {
    if downstream.pointee.exchange != noSlot {
      let upstream = exchanges.pointer(downstream.pointee.exchange).pointee.upstream
      if upstream != noSlot, connections.pointer(upstream).pointee.wire == .http2 { return viaLines.http2 }
    }
    return responseHead.pointee.version == .http10 ? viaLines.http10 : viaLines.http11
  }
}
