// HTTP/2 towards clients: a stream's request into an exchange, and the exchange's response out.

import Base
import EventLoop
import Glibc
import HTTP
import Policy

extension Shard {
  // MARK: Requests in

  /// A request head is whole.
  func requestHeadArrived(
    _ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>, _ text: inout HTTP2HeadText, _ chunk: Chunk,
    endsStream: Bool
  ) {
    if endsStream { stream.pointee.flags.insert(.peerFinished) }
    stream.pointee.codec.flags = .keepAlive
    stream.pointee.codec.phase = endsStream ? .complete : .body
    let count: Int
    switch finishRequest(&text, endsStream: endsStream) {
    case .complete(let length): count = length
    case .malformed:
      malformed(stream, h2)
      return
    case .tooLong:
      lose(h2, HTTP2Conduct.longHead)
      refuseRequest(stream, .headTooLong)
      return
    }
    let bytes = UnsafeRawBufferPointer(start: chunk.bytes, count: count)
    switch HTTP1Parser.parseRequest(bytes, into: &requestHead.pointee, limits: limits.head) {
    case .complete: break
    case .refused(let refusal):
      refuseRequest(stream, refusal)
      return
    case .incomplete:
      malformed(stream, h2)
      return
    }
    if requestHead.pointee.method == .head { stream.pointee.codec.flags.insert(.headRequest) }
    if requestHead.pointee.isGRPC(bytes) { stream.pointee.codec.flags.insert(.grpc) }
    stream.pointee.codec.framing = requestHead.pointee.framing
    stream.pointee.requestCount = 1
    if text.connect == .other { stream.pointee.codec.flags.insert(.otherProtocol) }
    // What follows the request for a WebSocket or a tunnel is no body of it: it waits for the switch.
    let isSwitch = text.connect == .webSocket || text.connect == .tunnel
    if isSwitch { stream.pointee.codec.phase = .complete }
    begin(stream, bytes, isComplete: endsStream || isSwitch)
  }

  /// Completes a request's text, a WebSocket's with a key of our own: over HTTP/1 that proves that its answer is meant for it.
  private func finishRequest(_ text: inout HTTP2HeadText, endsStream: Bool) -> HTTP2HeadText.Outcome {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { key in
      // 16 random bytes in base 64: 22 digits, of which the last stands for two bits, and "==" (RFC 6455 section 4.1).
      let digits: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
      var random = state.pointee.random.next()
      for position in 0..<22 {
        if position % 10 == 0 { random = state.pointee.random.next() }
        let mask: UInt64 = position == 21 ? 0x30 : 0x3F
        key[position] = digits.utf8Start[Int(random & mask)]
        random >>= 6
      }
      key[22] = UInt8(ascii: "=")
      key[23] = UInt8(ascii: "=")
      return text.finish(endsStream: endsStream, webSocketKey: UnsafeRawBufferPointer(key))
    }
  }

  /// The client has ended its side of a stream.
  func downstreamStreamFinished(_ stream: ConnectionPointer) {
    guard stream.pointee.exchange != noSlot, stream.pointee.codec.phase != .complete else { return }
    let exchange = exchanges.pointer(stream.pointee.exchange)
    if exchange.pointee.phase == .naming {
      // The end follows the head, not the other way round.
      stream.pointee.flags.insert(.inputHeld)
      return
    }
    stream.pointee.codec.phase = .complete
    let trailers = assembled(stream)
    if case .chunked = stream.pointee.codec.framing {
      sendRequestEnd(exchange, trailers: trailers.isEmpty ? nil : trailers)
    }
    releaseAssembly(stream)
    if stream.pointee.exchange != noSlot { requestEnded(exchanges.pointer(stream.pointee.exchange)) }
  }

  // MARK: Responses out

  /// A final response head, in `responseHead` over `bytes`, whose rule changes nothing in it.
  func sendStreamResponseHead(_ stream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    let hasBody = responseHead.pointee.framing.hasBody
    stream.pointee.codec.sends = .untilClose
    http2.fields.pointee.set(
      response: responseHead.pointee, bytes, hasBody: hasBody,
      isHead: stream.pointee.codec.flags.contains(.headRequest))
    addVia(stream)
    submitResponse(stream, hasBody: hasBody)
  }

  /// The head that opens a tunnel.
  func sendStreamSuccess(_ stream: ConnectionPointer) {
    stream.pointee.codec.sends = .untilClose
    http2.fields.pointee.removeAll()
    http2.fields.pointee.add(status: 200)
    submitResponse(stream, hasBody: true)
  }

  /// A 1xx head, in `responseHead` over `bytes`.
  func sendStreamInterimHead(_ stream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    // What a switch of protocols is to HTTP/1, a success is to CONNECT (RFC 8441 section 5).
    if responseHead.pointee.isSwitch {
      sendStreamSwitch(stream, bytes)
      return
    }
    guard stream.pointee.streamNumber != 0 else { return }
    http2.fields.pointee.set(response: responseHead.pointee, bytes, hasBody: false, isHead: false)
    let parent = parent(stream)
    _ = http2State(parent).pointee.session.submitInterim(stream.pointee.streamNumber, http2.fields.pointee)
    markDirty(parent)
  }

  /// The head that opens a WebSocket, from what the endpoint said: in `responseHead` over `bytes`.
  func sendStreamSwitch(_ stream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    stream.pointee.codec.sends = .untilClose
    http2.fields.pointee.removeAll()
    http2.fields.pointee.add(status: 200)
    for index in 0..<responseHead.pointee.fields.count {
      let field = responseHead.pointee.fields[index]
      let name = field.name.slice(of: bytes)
      if field.isForwarded, !isHandshakeAnswer(name) { http2.fields.pointee.add(name, field.value.slice(of: bytes)) }
    }
    addVia(stream)
    submitResponse(stream, hasBody: true)
  }

  /// What answers a key: between us and whoever sent that.
  func isHandshakeAnswer(_ name: UnsafeRawBufferPointer) -> Bool {
    let answer: StaticString = "sec-websocket-accept"
    return equalIgnoringCase(
      name, UnsafeRawBufferPointer(start: answer.utf8Start, count: answer.utf8CodeUnitCount))
  }

  /// An HTTP/1 response of our own stands at the end of a stream's output, head and body: the head becomes fields.
  func submitWrittenResponse(_ stream: ConnectionPointer) {
    let written = segments.segment(stream.pointee.output.head)
    let bytes = UnsafeRawBufferPointer(start: written.pointee.bytes, count: Int(written.pointee.count))
    let isHead = stream.pointee.codec.flags.contains(.headRequest)
    let context = ResponseContext(method: isHead ? .head : .get)
    guard
      case .complete = HTTP1Parser.parseResponse(
        bytes, into: &http2.responseHead.pointee, context: context, limits: writtenLimits)
    else {
      close(stream, abort: true)
      return
    }
    let hasBody = http2.responseHead.pointee.framing.hasBody
    http2.fields.pointee.set(response: http2.responseHead.pointee, bytes, hasBody: hasBody, isHead: isHead)
    stream.pointee.codec.sends = .untilClose
    submitResponse(stream, hasBody: hasBody)
    if stream.pointee.flags.isDisjoint(with: .closing) {
      segments.consume(&stream.pointee.output, http2.responseHead.pointee.headLength)
    }
  }

  /// Ours may be longer than a peer's by what we add.
  private var writtenLimits: HTTP1Limits {
    HTTP1Limits(headerBytes: limits.head.headerBytes * 2 + 65_536, headers: limits.head.headers + 16)
  }

  private func addVia(_ stream: ConnectionPointer) {
    let line = viaLine(ofResponseTo: stream)
    guard line.count > viaNameSize + 2 else { return }
    http2.fields.pointee.add("via", UnsafeRawBufferPointer(rebasing: line[viaNameSize..<(line.count - 2)]))
  }

  /// `via: `
  private var viaNameSize: Int { 5 }

  private func submitResponse(_ stream: ConnectionPointer, hasBody: Bool) {
    guard stream.pointee.streamNumber != 0 else { return }
    let parent = parent(stream)
    let h2 = http2State(parent)
    guard h2.pointee.session.submitResponse(stream.pointee.streamNumber, http2.fields.pointee, hasBody: hasBody) else {
      close(stream, abort: true)
      return
    }
    if !hasBody {
      stream.pointee.flags.insert(.finished)
      answeredEarly(stream, h2)
    }
    markDirty(parent)
  }

  /// The response is over; a trailer section goes out behind what is left of its body.
  func endStreamResponse(_ stream: ConnectionPointer, trailers: UnsafeRawBufferPointer?) {
    if stream.pointee.flags.contains(.finishAfterFlush) { return }
    if let trailers, !trailers.isEmpty {
      releaseAssembly(stream)
      _ = appendToAssembly(stream, trailers, limit: trailers.count)
    }
    stream.pointee.flags.insert(.finishAfterFlush)
    markDirty(stream)
  }

  /// The exchange of a stream is over. The stream goes when all of its response has gone out.
  func streamExchangeEnded(_ stream: ConnectionPointer) {
    if stream.pointee.flags.contains(.closing) { return }
    segments.releaseAll(&stream.pointee.input)
    stream.pointee.flags.subtract([.inputHeld, .readPaused])
    // The time its client has to take the rest begins.
    stream.pointee.activeAt = state.pointee.now
    credit(stream)
    endStreamResponse(stream, trailers: nil)
    if stream.pointee.streamNumber == 0 { close(stream) }
  }
}

extension RequestHead {
  /// `content-type: application/grpc`, or one of its kinds.
  borrowing func isGRPC(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard let index = fields.firstIndex(of: .contentType) else { return false }
    let value = fields[index].value.slice(of: bytes)
    let prefix: StaticString = "application/grpc"
    guard let start = value.baseAddress, value.count >= prefix.utf8CodeUnitCount,
      memcmp(start, prefix.utf8Start, prefix.utf8CodeUnitCount) == 0
    else { return false }
    return value.count == prefix.utf8CodeUnitCount || [0x2B, 0x3B, 0x20].contains(value[prefix.utf8CodeUnitCount])
  }
}
