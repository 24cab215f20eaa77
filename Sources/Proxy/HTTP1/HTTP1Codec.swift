// Where HTTP/1 stands on a connection: what is being read from it, and how what is sent on it is framed. The parsing itself
// is the HTTP module's; here are the states between two receives.
//
//   reading:  head ──► body ──► (trailers) ──► complete ──► head …
//
// A head that arrives in one piece is parsed where it lies. One that does not is gathered in an assembly buffer, which only
// such a connection has.

import Base
import EventLoop
import Glibc
import HTTP

/// What of a message is read next.
enum MessagePhase: UInt8 {
  case head
  case body
  case trailers
  /// All of it has been read; the exchange goes on.
  case complete
}

struct CodecFlags: OptionSet {
  var rawValue: UInt8

  /// The connection may serve another message after this one.
  static let keepAlive = CodecFlags(rawValue: 1 << 0)
  /// The client speaks HTTP/1.0.
  static let version10 = CodecFlags(rawValue: 1 << 1)
  /// The request's method is HEAD.
  static let headRequest = CodecFlags(rawValue: 1 << 2)
  /// Bytes came after the end of a response: the connection cannot be trusted.
  static let sawExtra = CodecFlags(rawValue: 1 << 3)
  /// The request is a gRPC call.
  static let grpc = CodecFlags(rawValue: 1 << 4)
  /// An extended CONNECT for a protocol that nobody here knows.
  static let otherProtocol = CodecFlags(rawValue: 1 << 5)
  /// A plain CONNECT.
  static let connect = CodecFlags(rawValue: 1 << 6)
  /// The request that this is a copy of came in HTTP/2.
  static let cameInHTTP2 = CodecFlags(rawValue: 1 << 7)
}

struct HTTP1Codec {
  var phase: MessagePhase = .head
  var flags: CodecFlags = []
  /// Framing of the body being read.
  var framing: BodyFraming = .none
  /// Framing of the body being sent.
  var sends: BodyFraming = .none
  /// What is left of a body of known length.
  var remaining: UInt64 = 0
  /// Bytes a lingering connection may still send.
  var lingerBudget: UInt32 = 0
  var chunks = ChunkedDecoder()
  var scanner = HeadScanner()
  /// The address of the assembly chunk, or 0, and how many bytes are in it.
  var assembly: UInt = 0
  var assembledCount: UInt32 = 0

  /// Ready for the next message.
  mutating func reset() {
    phase = .head
    flags = []
  }
}

/// What came of gathering a head or a trailer section.
enum Assembly {
  /// It is whole: so many of the new bytes belong to it, and here it is. Valid until `releaseAssembly`.
  case whole(used: Int, UnsafeRawBufferPointer)
  /// All new bytes were taken; more must come.
  case incomplete
  case refused(Refusal)
}

extension Shard {
  /// Adds bytes to a connection's assembly, up to the end of the head or trailer section that is gathered there.
  func assemble(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, limit: Int) -> Assembly {
    switch connection.pointee.codec.scanner.feed(bytes) {
    case .incomplete:
      guard appendToAssembly(connection, bytes, limit: limit) else { return .refused(.headTooLong) }
      return .incomplete
    case .complete(let end):
      let used = UnsafeRawBufferPointer(rebasing: bytes.prefix(end))
      guard appendToAssembly(connection, used, limit: limit) else { return .refused(.headTooLong) }
      return .whole(used: end, assembled(connection))
    case .refused(let refusal):
      return .refused(refusal)
    }
  }

  func assembled(_ connection: ConnectionPointer) -> UnsafeRawBufferPointer {
    let chunk = Chunk(address: connection.pointee.codec.assembly)
    return UnsafeRawBufferPointer(
      start: chunk.map { UnsafeRawPointer($0.bytes) }, count: Int(connection.pointee.codec.assembledCount))
  }

  func appendToAssembly(_ connection: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, limit: Int) -> Bool {
    let count = Int(connection.pointee.codec.assembledCount)
    let total = count + bytes.count
    guard total <= limit, let source = bytes.baseAddress else { return total <= limit }
    var chunk: Chunk
    if let present = Chunk(address: connection.pointee.codec.assembly) {
      chunk = present
    } else {
      chunk = segments.chunks.allocate(bytes.count)
      connection.pointee.codec.assembly = chunk.address
    }
    if total > chunk.capacity {
      let larger = segments.chunks.allocate(min(max(total, chunk.capacity * 2), limit))
      memcpy(larger.bytes, chunk.bytes, count)
      segments.chunks.release(chunk)
      connection.pointee.codec.assembly = larger.address
      chunk = larger
    }
    memcpy(chunk.bytes + count, source, bytes.count)
    connection.pointee.codec.assembledCount = UInt32(truncatingIfNeeded: total)
    return true
  }

  func releaseAssembly(_ connection: ConnectionPointer) {
    connection.pointee.codec.scanner = HeadScanner()
    guard let chunk = Chunk(address: connection.pointee.codec.assembly) else { return }
    segments.chunks.release(chunk)
    connection.pointee.codec.assembly = 0
    connection.pointee.codec.assembledCount = 0
  }

  /// Queues body bytes in the framing given. Chunks are written anew: ours are as long as the pieces we got.
  ///
  /// - Returns: false when no segment is left.
  func appendBody(
    _ queue: inout SegmentQueue, _ framing: BodyFraming, _ bytes: UnsafeMutableRawPointer, _ count: Int,
    _ owner: BufferOwner
  ) -> Bool {
    switch framing {
    case .none: return true
    case .length, .untilClose: return appendPiece(&queue, bytes, count, owner)
    case .chunked:
      return withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { line in
        guard let length = HTTP1Serializer.writeChunkHeader(count, into: line), let start = line.baseAddress
        else { return false }
        return segments.appendCopy(&queue, start, length) && appendPiece(&queue, bytes, count, owner)
          && appendText(&queue, "\r\n")
      }
    }
  }

  private func appendPiece(
    _ queue: inout SegmentQueue, _ bytes: UnsafeMutableRawPointer, _ count: Int, _ owner: BufferOwner
  ) -> Bool {
    if count <= copiedByteCount || areBuffersScarce { return segments.appendCopy(&queue, bytes, count) }
    segments.retain(owner)
    return segments.append(&queue, bytes, count, owner: owner)
  }

  func appendText(_ queue: inout SegmentQueue, _ text: StaticString) -> Bool {
    segments.appendCopy(&queue, text.utf8Start, text.utf8CodeUnitCount)
  }

  /// The last chunk and a trailer section, without the fields that may not stand there. Otherwise why that cannot be.
  func appendLastChunk(_ queue: inout SegmentQueue, _ trailers: UnsafeRawBufferPointer?) -> Refusal? {
    guard let trailers else { return appendText(&queue, "0\r\n\r\n") ? nil : .trailersTooLong }
    var consumed = 0
    switch HTTP1Parser.parseTrailers(
      trailers, into: &trailerFields.pointee, limits: limits.head, consumed: &consumed)
    {
    case .complete: break
    case .refused(let refusal): return refusal
    case .incomplete: return .trailersTooLong
    }
    let chunk = segments.chunks.allocate(trailers.count + 8)
    let written = HTTP1Serializer.writeTrailers(
      trailerFields.pointee, from: trailers,
      into: UnsafeMutableRawBufferPointer(start: chunk.bytes, count: chunk.capacity))
    guard let written else {
      segments.chunks.release(chunk)
      return .trailersTooLong
    }
    let queued = segments.append(&queue, chunk.bytes, written, owner: BufferOwner(chunk: chunk))
    return queued ? nil : .trailersTooLong
  }

  /// Pieces up to this many bytes are copied rather than lent: a vector more costs more than the copy.
  private var copiedByteCount: Int { 1024 }

  /// So many receive buffers are lent that everything is copied from now on: a piece of a few bytes keeps a whole buffer
  /// from the kernel, and clients that read slowly must not take the means of reading from the others.
  var areBuffersScarce: Bool { segments.receiveBuffers.inUse > ReceiveBufferPool.scarceCount }
}
