// A server that does what a test tells it to, right or wrong, and remembers every byte it was sent.
//
// One thread for each connection runs the test's script: plain blocking code, top to bottom. What a script throws ends its
// connection and is kept for the test to look at.

import Glibc

/// A scripted TCP server on a free port of the loopback.
public final class ScriptedUpstream: Sendable {
  public let address: LoopbackAddress
  private let listener: Int32
  private let state = Monitor(State())
  private let acceptor: BackgroundThread

  struct State {
    var connections: [UpstreamConnection] = []
    var running = 0
    var stopped = false
    var failures: [String] = []
  }

  /// Starts listening; `body` runs once for each connection, on a thread of its own.
  public convenience init(_ body: @escaping @Sendable (UpstreamConnection) throws -> Void) throws {
    try self.init(Script(body))
  }

  /// Starts listening with a ready-made script. A small receive buffer and small segments make a server that is slow to
  /// take what it is sent.
  public init(_ script: Script, receiveBufferBytes: Int32? = nil, segmentBytes: Int32? = nil) throws {
    let (listener, address) = try listenTCP(receiveBufferBytes: receiveBufferBytes, segmentBytes: segmentBytes)
    self.listener = listener
    self.address = address
    let state = state
    acceptor = BackgroundThread {
      while let descriptor = acceptTCP(listener) {
        let connection = state.with { state -> UpstreamConnection? in
          guard !state.stopped else { return nil }
          let connection = UpstreamConnection(descriptor: descriptor, index: state.connections.count)
          state.connections.append(connection)
          state.running += 1
          return connection
        }
        guard let connection else {
          Glibc.close(descriptor)
          continue
        }
        _ = BackgroundThread {
          do { try script.body(connection) } catch {
            state.with { $0.failures.append("upstream connection \(connection.index): \(error)") }
          }
          connection.stream.close()
          state.with { $0.running -= 1 }
        }
      }
    }
  }

  deinit { stop() }

  /// Stops accepting and ends every connection; returns when all scripts have ended.
  public func stop() {
    let connections = state.with { state -> [UpstreamConnection]? in
      if state.stopped { return nil }
      state.stopped = true
      return state.connections
    }
    guard let connections else { return }
    shutdown(listener, Int32(SHUT_RDWR))
    acceptor.join()
    Glibc.close(listener)
    for connection in connections where connection.stream.descriptor >= 0 {
      shutdown(connection.stream.descriptor, Int32(SHUT_RDWR))
    }
    state.wait(seconds: 15) { $0.running == 0 }
  }

  // MARK: What was seen

  /// Connections that were accepted so far, open or not.
  public var connections: [UpstreamConnection] { state.with { $0.connections } }
  /// All requests that were read so far, connection by connection.
  public var requests: [Message] { connections.flatMap(\.requests) }
  /// All bytes that were received, over all connections.
  public var receivedByteCount: Int { connections.reduce(0) { $0 + $1.received.count } }
  /// What scripts threw.
  public var failures: [String] { state.with { $0.failures } }

  /// Waits until `condition` holds for the connections seen; false when it did not in time.
  @discardableResult
  public func wait(seconds: Double = 10, until condition: ([UpstreamConnection]) -> Bool) -> Bool {
    eventually(seconds: seconds) { condition(connections) }
  }
}

/// What an upstream does with one connection.
public struct Script: Sendable {
  let body: @Sendable (UpstreamConnection) throws -> Void

  public init(_ body: @escaping @Sendable (UpstreamConnection) throws -> Void) { self.body = body }

  /// Answers every request with 200, its method and target as the body, and the connection's number in a field.
  public static let answering = Script { connection in
    while let request = try connection.readRequest() {
      try connection.respond(to: request, body: "\(request.method) \(request.target)")
    }
  }

  /// Answers every request with a body of its own.
  public static func answering(with body: String, fields: String = "") -> Script {
    Script { connection in
      while let request = try connection.readRequest() {
        try connection.respond(to: request, fields: fields, body: body)
      }
    }
  }

  /// Reads one request, sends these bytes, and holds the connection until the peer ends it.
  public static func sending(_ bytes: String) -> Script {
    Script { connection in
      guard try connection.readRequest() != nil else { return }
      try connection.send(bytes)
      connection.waitForEnd()
    }
  }

  /// Reads one request, sends these bytes, and closes.
  public static func sendingAndClosing(_ bytes: String) -> Script {
    Script { connection in
      guard try connection.readRequest() != nil else { return }
      try connection.send(bytes)
    }
  }

  /// Reads requests and answers none.
  public static let silent = Script { connection in
    while try connection.readRequest() != nil {}
  }
}

/// One connection of a `ScriptedUpstream`.
public final class UpstreamConnection: @unchecked Sendable {
  public let stream: ByteStream
  /// Which connection of its server this is, from 0.
  public let index: Int
  private let record = Monitor(Record())

  struct Record {
    var bytes: [UInt8] = []
    var requests: [Message] = []
    var byteCount = 0
  }

  /// Past this many bytes only their count is kept.
  private static let recordedBytesMaximum = 1 << 20

  init(descriptor: Int32, index: Int) {
    self.index = index
    stream = ByteStream(descriptor: descriptor, timeoutSeconds: 60)
    let record = record
    stream.onReceive = { bytes in
      record.with {
        $0.byteCount += bytes.count
        if $0.bytes.count < UpstreamConnection.recordedBytesMaximum { $0.bytes += bytes }
      }
    }
  }

  /// The first MiB of what was received.
  public var received: [UInt8] { record.with { $0.bytes } }
  public var receivedText: String { String(decoding: received, as: UTF8.self) }
  public var requests: [Message] { record.with { $0.requests } }

  /// The next request with its body, or nil when the peer has ended the connection.
  public func readRequest() throws -> Message? {
    let request = try stream.readRequest()
    if let request { record.with { $0.requests.append(request) } }
    return request
  }

  /// The next request's head only; its body is left for the script to read.
  public func readHead() throws -> Message? {
    let request = try stream.readHead()
    if let request { record.with { $0.requests.append(request) } }
    return request
  }

  public func send(_ text: String) throws { try stream.send(text) }
  public func send(_ bytes: some Collection<UInt8>) throws { try stream.send(bytes) }

  /// A complete response with `Content-Length` (and no body for HEAD).
  public func respond(to request: Message, status: String = "200 OK", fields: String = "", body: String) throws {
    let head =
      "HTTP/1.1 \(status)\r\ncontent-length: \(body.utf8.count)\r\nx-upstream-connection: \(index)\r\n\(fields)\r\n"
    try send(request.method == "HEAD" ? head : head + body)
  }

  /// Reads and drops whatever comes until the peer ends the connection.
  public func waitForEnd() {
    do {
      while try stream.fill() == nil { _ = try stream.take(stream.buffered.count) }
    } catch {
      return  // A broken connection has ended, too.
    }
  }

  public func reset() { stream.reset() }
  public func close() { stream.close() }
}
