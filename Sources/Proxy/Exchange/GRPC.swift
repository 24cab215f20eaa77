// What is particular about a gRPC call: how long its caller waits, and that its response says only at its end how it went. An
// attempt is judged when that is known; until then only how long the head took is.

import Base
import HTTP
import Policy

extension Shard {
  /// The caller's own timeout. Anybody may say how long they wait: it only ever shortens.
  func takeGRPCTimeout(_ exchange: ExchangePointer, _ bytes: UnsafeRawBufferPointer) {
    guard let index = requestHead.pointee.fields.firstIndex(named: name("grpc-timeout"), in: bytes),
      let nanoseconds = GRPCTimeout.parse(requestHead.pointee.fields[index].value.slice(of: bytes))
    else { return }
    exchange.pointee.callersDeadline = deadline(after: min(nanoseconds, 1 << 62))
  }

  /// The endpoint is told what is left of it, in `http2.fields`: some has passed here, and with attempts before this one.
  func tellGRPCTimeout(_ exchange: ExchangePointer) {
    let deadline = exchange.pointee.callersDeadline
    guard deadline.nanoseconds != .max else { return }
    let left = deadline.nanoseconds(since: min(deadline, state.pointee.now))
    let count = GRPCTimeout.write(left, into: http2.timeoutText)
    http2.fields.pointee.replace("grpc-timeout", with: UnsafeRawBufferPointer(rebasing: http2.timeoutText[..<count]))
  }

  /// The attempt has got a final response head, in `responseHead` over `bytes`: what it tells about the endpoint.
  func observeResponse(_ exchange: ExchangePointer, _ upstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    let status = responseHead.pointee.status.code
    guard exchange.pointee.flags.contains(.grpc) else {
      observeAttempt(exchange, status: status)
      return
    }
    exchange.pointee.grpcStatus = grpcStatusOfHead(bytes)
    if let known = exchange.pointee.grpcStatus {
      observeAttempt(exchange, status: known.httpStatus)
    } else {
      exchange.pointee.flags.insert(.unjudged)
    }
  }

  /// The status in `responseHead`, over `bytes`: that of a call that ends with its head, or what HTTP's own says where it is no
  /// success. Nil while it is to come.
  func grpcStatusOfHead(_ bytes: UnsafeRawBufferPointer) -> GRPCStatus? {
    if let index = responseHead.pointee.fields.firstIndex(named: name("grpc-status"), in: bytes) {
      return GRPCStatus(parsing: responseHead.pointee.fields[index].value.slice(of: bytes))
    }
    let status = responseHead.pointee.status.code
    return status == 200 ? nil : GRPCStatus(httpStatus: status)
  }

  /// The response has ended; `trailers` is its trailer section, if it has one.
  func takeGRPCStatus(_ exchange: ExchangePointer, trailers: UnsafeRawBufferPointer) {
    guard exchange.pointee.flags.contains(.grpc), exchange.pointee.grpcStatus == nil else { return }
    var status = GRPCStatus.unknown
    var consumed = 0
    if !trailers.isEmpty,
      case .complete = HTTP1Parser.parseTrailers(
        trailers, into: &trailerFields.pointee, limits: limits.head, consumed: &consumed),
      let index = trailerFields.pointee.firstIndex(named: name("grpc-status"), in: trailers)
    {
      status = GRPCStatus(parsing: trailerFields.pointee[index].value.slice(of: trailers))
    }
    exchange.pointee.grpcStatus = status
    judgeEnd(exchange, failed: status.httpStatus >= 500)
  }

  /// The end of a response tells what its head had left open.
  func judgeEnd(_ exchange: ExchangePointer, failed: Bool) {
    guard exchange.pointee.flags.contains(.unjudged) else { return }
    exchange.pointee.flags.remove(.unjudged)
    observeAttempt(exchange, status: failed ? 503 : 200)
  }

  /// A call's response has broken off, or stands still for too long. It ends with a status all the same, behind the messages
  /// that have come: of a reset a client would make INTERNAL, its own mistake. False where the response has no such end.
  func endBrokenCall(_ exchange: ExchangePointer, _ error: ProxyError) -> Bool {
    let downstream = connections.pointer(exchange.pointee.downstream)
    guard exchange.pointee.flags.contains(.grpc), exchange.pointee.phase == .responding,
      exchange.pointee.grpcStatus == nil, !exchange.pointee.route.flags.contains(.isMirror),
      downstream.pointee.wire == .http2, downstream.pointee.streamNumber != 0,
      downstream.pointee.flags.isDisjoint(with: [.closing, .finishAfterFlush, .finished])
    else { return false }
    exchange.pointee.errorCode = error.code
    statistics.countError(error)
    exchange.pointee.grpcStatus = .unavailable
    judgeEnd(exchange, failed: true)
    let requestComplete = exchange.pointee.flags.contains(.requestComplete)
    let service = exchange.pointee.service
    finish(exchange)
    withUnsafeTemporaryAllocation(byteCount: LocalResponse.sizeLimit, alignment: 8) { room in
      let count = LocalResponse.writeGRPCTrailers(
        error, status: .unavailable, service: serviceName(service), into: room)
      endStreamResponse(downstream, trailers: UnsafeRawBufferPointer(rebasing: room[..<(count ?? 0)]))
    }
    downstreamStreamEnded(downstream, requestComplete: requestComplete)
    return true
  }

  private func name(_ text: StaticString) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  }
}
