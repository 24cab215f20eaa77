// One connected socket as the tests see it: blocking, with a deadline on every step, and a buffer to read messages from.
//
// It is the common ground of `RawClient` and `UpstreamConnection`. It knows the framing of HTTP/1 messages just well
// enough to find where one ends; it is deliberately not the parser under test.

import Glibc

/// What went wrong in the harness or at the peer, in words for a test's output.
public struct HarnessError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}

/// How reading from a peer came to an end.
public enum Ending: Sendable, Equatable {
  /// The peer sent FIN.
  case endOfStream
  /// The peer sent RST.
  case reset
  /// Nothing came within the stream's bound.
  case timedOut
}

/// A blocking socket with deadlines and a read buffer. Not for two threads at a time, save that one may send while another reads.
public final class ByteStream: @unchecked Sendable {
  public private(set) var descriptor: Int32
  /// The bound on every single wait.
  public var timeoutSeconds: Double
  /// All bytes that were ever received, when recording is on.
  public var onReceive: (@Sendable (ArraySlice<UInt8>) -> Void)?

  private var buffer: [UInt8] = []
  private var consumed = 0

  public init(descriptor: Int32, timeoutSeconds: Double = 10) {
    self.descriptor = descriptor
    self.timeoutSeconds = timeoutSeconds
    var enabled: Int32 = 1
    setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &enabled, socklen_t(MemoryLayout<Int32>.size))
  }

  deinit { close() }

  /// Bytes that were received and not yet taken.
  public var buffered: ArraySlice<UInt8> { buffer[consumed...] }

  // MARK: Sending

  public func send(_ text: String) throws { try send(Array(text.utf8)) }

  public func send(_ bytes: some Collection<UInt8>) throws {
    let sent = try sendUnlessStalled(Array(bytes))
    if sent < bytes.count { throw HarnessError("the peer took \(sent) of \(bytes.count) bytes, then stalled") }
  }

  /// Sends as much as the peer takes before it stalls for `timeoutSeconds`; the count of bytes that went out.
  public func sendUnlessStalled(_ bytes: [UInt8], stallSeconds: Double? = nil) throws -> Int {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        Glibc.send(
          descriptor, $0.baseAddress.map { $0 + sent }, bytes.count - sent, Int32(MSG_NOSIGNAL) | dontWait)
      }
      if count > 0 {
        sent += count
      } else if errno == EAGAIN || errno == EINTR {
        if !ready(POLLOUT, seconds: stallSeconds ?? timeoutSeconds) { return sent }
      } else {
        throw HarnessError("send: \(lastError())")
      }
    }
    return sent
  }

  // MARK: Receiving

  /// Waits for more bytes and appends them to the buffer; nil when there are, else why not.
  @discardableResult
  public func fill(seconds: Double? = nil) throws -> Ending? {
    if consumed == buffer.count {
      buffer.removeAll(keepingCapacity: true)
      consumed = 0
    }
    while true {
      guard ready(POLLIN, seconds: seconds ?? timeoutSeconds) else { return .timedOut }
      let before = buffer.count
      let capacity = 64 * 1024
      var count = 0
      let chunk = [UInt8](unsafeUninitializedCapacity: capacity) { space, initialized in
        count = recv(descriptor, space.baseAddress, capacity, dontWait)
        initialized = max(count, 0)
      }
      if count > 0 {
        buffer.append(contentsOf: chunk)
        onReceive?(buffer[before...])
        return nil
      }
      if count == 0 { return .endOfStream }
      switch errno {
      case EAGAIN, EINTR: continue
      case ECONNRESET, EPIPE: return .reset
      default: throw HarnessError("recv: \(lastError())")
      }
    }
  }

  /// Takes `count` bytes, or fewer when the peer ends before.
  public func take(_ count: Int) throws -> (bytes: [UInt8], ending: Ending?) {
    var ending: Ending?
    while buffer.count - consumed < count, ending == nil { ending = try fill() }
    let end = min(consumed + count, buffer.count)
    let bytes = Array(buffer[consumed..<end])
    consumed = end
    return (bytes, bytes.count == count ? nil : ending)
  }

  /// Takes bytes up to and including `delimiter`; nil bytes when the peer ends before.
  public func take(through delimiter: String) throws -> (bytes: [UInt8]?, ending: Ending?) {
    let delimiter = Array(delimiter.utf8)
    var searched = consumed
    while true {
      if let end = find(delimiter, from: searched) {
        let bytes = Array(buffer[consumed..<end])
        consumed = end
        return (bytes, nil)
      }
      let offset = max(0, buffer.count - consumed - delimiter.count + 1)
      if let ending = try fill() { return (nil, ending) }
      searched = consumed + offset
    }
  }

  /// Takes everything until the peer ends or stays silent for the bound.
  public func takeToEnd(seconds: Double? = nil) throws -> (bytes: [UInt8], ending: Ending) {
    while true {
      if let ending = try fill(seconds: seconds) {
        let bytes = Array(buffer[consumed...])
        consumed = buffer.count
        return (bytes, ending)
      }
    }
  }

  /// Drops up to `count` bytes without keeping them, giving each run to `inspect`; how many came.
  public func drain(_ count: Int, inspect: (UnsafeRawBufferPointer) -> Void = { _ in }) throws -> Int {
    var dropped = min(count, buffer.count - consumed)
    buffer[consumed..<consumed + dropped].withUnsafeBytes(inspect)
    consumed += dropped
    let space = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 * 1024, alignment: 16)
    defer { space.deallocate() }
    while dropped < count {
      guard ready(POLLIN, seconds: timeoutSeconds) else { break }
      let received = recv(descriptor, space.baseAddress, min(space.count, count - dropped), dontWait)
      if received > 0 {
        inspect(UnsafeRawBufferPointer(rebasing: space[..<received]))
        dropped += received
      } else if received == 0 || (errno != EAGAIN && errno != EINTR) {
        break
      }
    }
    return dropped
  }

  // MARK: Ending

  /// Sends FIN; reading goes on.
  public func shutdownWrite() { Glibc.shutdown(descriptor, Int32(SHUT_WR)) }

  public func close() {
    guard descriptor >= 0 else { return }
    Glibc.close(descriptor)
    descriptor = -1
  }

  /// Closes with RST instead of FIN.
  public func reset() {
    var immediately = linger(l_onoff: 1, l_linger: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &immediately, socklen_t(MemoryLayout<linger>.size))
    close()
  }

  // MARK: Helpers

  private func ready(_ events: Int32, seconds: Double) -> Bool {
    let deadline = monotonicSeconds() + seconds
    while true {
      var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
      let left = max(0, deadline - monotonicSeconds())
      let count = poll(&entry, 1, Int32(left * 1000) + 1)
      if count > 0 { return true }
      if count == 0 || errno != EINTR { return false }
    }
  }

  private func find(_ delimiter: [UInt8], from start: Int) -> Int? {
    buffer.withUnsafeBytes { space -> Int? in
      guard let base = space.baseAddress, let first = delimiter.first else { return nil }
      var position = start
      while position + delimiter.count <= space.count {
        guard let found = memchr(base + position, Int32(first), space.count - delimiter.count + 1 - position) else {
          return nil
        }
        position = UnsafeRawPointer(found) - base
        if memcmp(found, delimiter, delimiter.count) == 0 { return position + delimiter.count }
        position += 1
      }
      return nil
    }
  }
}

private let dontWait = Int32(MSG_DONTWAIT)

/// The text of `errno`.
func lastError() -> String { String(cString: strerror(errno)) }
