// A client that sends exactly the bytes a test gives it.

import Glibc

/// A blocking TCP client with a bound on every wait. Closed when it is let go.
public final class RawClient: @unchecked Sendable {
  public let stream: ByteStream
  /// Where it is connected to.
  public let address: LoopbackAddress

  /// - Parameters:
  ///   - receiveBufferBytes: a small value makes a client that soon closes its window.
  ///   - segmentBytes: the largest TCP segment; small ones make that window still narrower.
  ///   - source: the address it connects from.
  public init(
    _ address: LoopbackAddress, timeoutSeconds: Double = 10, receiveBufferBytes: Int32? = nil,
    segmentBytes: Int32? = nil, source: String? = nil
  ) throws {
    self.address = address
    stream = ByteStream(
      descriptor: try connectTCP(
        address, receiveBufferBytes: receiveBufferBytes, segmentBytes: segmentBytes, source: source),
      timeoutSeconds: timeoutSeconds)
  }

  public func send(_ text: String) throws { try stream.send(text) }
  public func send(_ bytes: some Collection<UInt8>) throws { try stream.send(bytes) }

  /// Sends without minding that the peer may have closed already.
  public func sendRegardless(_ bytes: some Collection<UInt8>) {
    _ = try? stream.sendUnlessStalled(Array(bytes), stallSeconds: 2)
  }

  public func readResponse(to method: String = "GET") throws -> Message { try stream.readResponse(to: method) }

  /// The final response, and the interim ones that came before.
  public func readAllResponses(to method: String = "GET") throws -> (interim: [Message], final: Message) {
    var interim: [Message] = []
    let final = try stream.readResponse(to: method) { interim.append($0) }
    return (interim, final)
  }

  /// Sends a request and reads its response.
  public func request(_ text: String) throws -> Message {
    try send(text)
    return try readResponse(to: String(text.prefix { $0 != " " }))
  }

  /// Sends a GET without a body for `path`.
  public func get(_ path: String = "/", host: String = "web") throws -> Message {
    try request("GET \(path) HTTP/1.1\r\nhost: \(host)\r\n\r\n")
  }

  /// Reads what is left; how the connection ended.
  public func readToEnd(seconds: Double? = nil) throws -> (bytes: [UInt8], ending: Ending) {
    try stream.takeToEnd(seconds: seconds)
  }

  public func shutdownWrite() { stream.shutdownWrite() }
  public func reset() { stream.reset() }
  public func close() { stream.close() }
}
