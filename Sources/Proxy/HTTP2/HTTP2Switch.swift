// WebSocket towards endpoints over HTTP/2 (RFC 8441): a request that asks for it, in either version, becomes an extended CONNECT
// on a stream, where the endpoint's SETTINGS say that it takes one. They come with its first frames, so the first such request to an
// endpoint waits for them; what they say is remembered. An endpoint that does not take it is asked over HTTP/1.
//
//   GET, upgrade: websocket, sec-websocket-key      →      CONNECT, :protocol websocket
//   101, upgrade: websocket, sec-websocket-accept   ←      200
//
// The answer to the key, which only HTTP/1 has, is ours: it says that its request was read, and so it was.

import Base
import Configuration
import HTTP

/// Whether an endpoint takes extended CONNECT, as far as this shard knows.
enum ExtendedConnect: UInt8 {
  case unknown
  case taken
  case refused
}

extension Shard {
  /// Whether a request that asks for WebSocket, towards a service that is spoken to in HTTP/2, gets a stream of this endpoint.
  func takesSwitch(_ exchange: ExchangePointer, _ service: UnsafeMutablePointer<ShardService>, _ endpoint: UInt32)
    -> Bool
  {
    guard exchange.pointee.flags.contains(.webSocket) else { return false }
    switch service.pointee.endpoints[Int(endpoint)].extendedConnect {
    case .taken: return true
    case .refused: return false
    // Where it is not said that endpoints speak HTTP/2, they may speak WebSocket over HTTP/1 only.
    case .unknown: return service.pointee.policy.protocol == .http2
    }
  }

  /// Whether a stream's request can go out now. Otherwise it waits for SETTINGS, or goes elsewhere.
  func canSwitch(_ exchange: ExchangePointer, _ stream: ConnectionPointer, _ h2: UnsafeMutablePointer<HTTP2State>)
    -> Bool
  {
    guard h2.pointee.hasSettings else { return false }
    if h2.pointee.session.peerTakesExtendedConnect { return true }
    goWithoutStream(exchange, stream)
    return false
  }

  /// The answer that an HTTP/1 client's key wants stays with the stream until that is due.
  func keepAnswer(_ stream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    guard let key = http2.requestHead.pointee.webSocketKey(in: bytes) else { return }
    withUnsafeTemporaryAllocation(byteCount: WebSocketHandshake.answerByteCount, alignment: 8) { answer in
      guard WebSocketHandshake.writeAnswer(to: key, into: answer) else { return }
      releaseAssembly(stream)
      _ = appendToAssembly(stream, UnsafeRawBufferPointer(answer), limit: answer.count)
    }
  }

  /// An endpoint's SETTINGS have come: requests that waited for what they say go on.
  func settingsArrived(_ connection: ConnectionPointer) {
    let h2 = http2State(connection)
    h2.pointee.hasNewSettings = false
    let service = services.service(connection.pointee.origin)
    service.pointee.endpoints[Int(connection.pointee.endpoint)].extendedConnect =
      h2.pointee.session.peerTakesExtendedConnect ? .taken : .refused
    var link = h2.pointee.firstStream
    while link != noSlot {
      let stream = connections.pointer(link)
      link = stream.pointee.next
      guard stream.pointee.streamNumber == 0, stream.pointee.wire == .http2, stream.pointee.exchange != noSlot else {
        continue
      }
      let exchange = exchanges.pointer(stream.pointee.exchange)
      if exchange.pointee.flags.contains(.webSocket), exchange.pointee.phase == .waiting {
        startStream(exchange, stream)
      }
    }
    // It may allow more streams than before.
    retryPending(service)
  }

  /// The endpoint does not take the request on a stream: it is asked once more, over HTTP/1. Nothing was sent.
  private func goWithoutStream(_ exchange: ExchangePointer, _ stream: ConnectionPointer) {
    endLoad(exchange)
    exchange.pointee.upstream = noSlot
    stream.pointee.exchange = noSlot
    exchange.pointee.attempts -= exchange.pointee.attempts > 0 ? 1 : 0
    exchange.pointee.phase = .backingOff
    state.pointee.repeated.append(exchange.pointee.index, exchanges.generation(exchange.pointee.index))
    close(stream)
  }

  // MARK: The answer

  /// The endpoint has said yes; its head is `responseHead`, over `bytes`.
  func switched(_ exchange: ExchangePointer, _ stream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer) {
    exchange.pointee.status = 101
    exchange.pointee.firstByteAt = state.pointee.now
    observeAttempt(exchange, status: 101)
    let downstream = connections.pointer(exchange.pointee.downstream)
    if downstream.pointee.wire == .http2 {
      sendStreamSwitch(downstream, bytes)
    } else {
      writeSwitch(downstream, bytes, answer: assembled(stream))
    }
    releaseAssembly(stream)
    if stream.pointee.exchange != noSlot { becomeTunnel(exchange) }
  }

  /// What an HTTP/1 client that asked for WebSocket is told.
  private func writeSwitch(
    _ downstream: ConnectionPointer, _ bytes: UnsafeRawBufferPointer, answer: UnsafeRawBufferPointer
  ) {
    let via = viaLine(ofResponseTo: downstream)
    let room = HTTP1Serializer.responseBound(responseHead.pointee, extra: via)
    guard let target = reserve(downstream, room) else {
      close(downstream, abort: true)
      return
    }
    var writer = HTTP1Writer(UnsafeMutableRawBufferPointer(start: target, count: room))
    writer.append("HTTP/1.1 101 Switching Protocols\r\n")
    for index in 0..<responseHead.pointee.fields.count {
      let field = responseHead.pointee.fields[index]
      let name = field.name.slice(of: bytes)
      guard field.isForwarded, !isHandshakeAnswer(name) else { continue }
      writer.append(name)
      writer.append(": ")
      writer.append(field.value.slice(of: bytes))
      writer.append("\r\n")
    }
    writer.append("connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ")
    writer.append(answer)
    writer.append("\r\n")
    writer.append(via)
    writer.append("\r\n")
    guard let count = writer.count else {
      close(downstream, abort: true)
      return
    }
    commit(downstream, count)
  }
}
