// One client of the admin server: bytes in, requests out; answers in, bytes out. Never blocks.
//
//   reading ── request complete ──> answering ── answer there ──> writing ── all sent ──> reading (keep-alive)
//      │                                                             └─ last answer ────> lingering ──> over
//      └─ refused, timed out ───────────────────────────────────────────┘
//
// While an answer is being made or sent, nothing more is read: a client that does not take its answers is not listened to.

import Base
import Glibc

/// A client's connection. The control thread's.
final class AdminConnection {
  private enum State {
    case reading, answering, writing
    /// All is said; the peer's end is awaited for a moment, so that closing does not cut off what it has not read yet.
    case lingering
    case over
  }

  let descriptor: Int32
  /// Nil on TCP.
  let credentials: PeerCredentials?
  /// When patience with the present state ends.
  var deadline = MonotonicInstant(nanoseconds: .max)
  /// The reply that is awaited; 0 when none is.
  private(set) var ticket: UInt64 = 0
  private let limits: AdminLimits
  private var state = State.reading
  private var input: [UInt8] = []
  private var output: [UInt8] = []
  private var sent = 0
  private var peerHasEnded = false
  private var isHead = false
  private var keepsAlive = true
  private var afterwards: (@Sendable () -> Void)?

  init(descriptor: Int32, credentials: PeerCredentials?, limits: AdminLimits) {
    self.descriptor = descriptor
    self.credentials = credentials
    self.limits = limits
  }

  var isOver: Bool { if case .over = state { true } else { false } }

  /// What of its answer the client has still to take.
  var unreadByteCount: Int { output.count - sent }

  /// What to poll for.
  var interest: Int16 {
    switch state {
    case .reading, .lingering: Int16(POLLIN)
    case .writing: Int16(POLLOUT)
    case .answering, .over: 0
    }
  }

  /// Takes poll's events.
  func handle(_ events: Int16) {
    switch state {
    case .reading: read()
    case .writing: write()
    case .lingering: discard()
    case .answering: if events & Int16(POLLERR | POLLHUP) != 0 { state = .over }
    case .over: break
    }
  }

  /// The next complete request, if it is time for one.
  func nextRequest() -> AdminRequest? {
    guard case .reading = state else { return nil }
    switch AdminRequest.parse(input, limits: requestLimits) {
    case .incomplete:
      if peerHasEnded { state = .over }
      return nil
    case .refused(let status, let reason):
      refuse(.text(status, reason))
      return nil
    case .request(let request, let byteCount):
      input.removeFirst(byteCount)
      isHead = request.method == "HEAD"
      keepsAlive = request.keepsAlive
      return request
    }
  }

  /// Waits for the answer to the request just taken; `ticket` is its number, never used before.
  func expectReply(ticket: UInt64) {
    state = .answering
    self.ticket = ticket
    deadline = .now().advanced(byNanoseconds: limits.replyTimeoutNanoseconds)
  }

  /// Starts sending an answer.
  func respond(_ response: AdminResponse) {
    guard case .answering = state else { return }
    ticket = 0
    output = Self.render(response, isHead: isHead, keepsAlive: keepsAlive)
    sent = 0
    afterwards = response.afterwards
    state = .writing
    renewDeadline()
    write()
  }

  /// The deadline has passed.
  func expire() {
    switch state {
    case .reading:
      if input.isEmpty { state = .over } else { refuse(.text(408, "the request did not arrive in time")) }
    case .answering: respond(.text(503, "the shards did not answer in time; the daemon may be stuck"))
    case .writing, .lingering, .over: state = .over
    }
  }

  /// Closes the descriptor. Nothing may be called afterwards.
  func close() {
    state = .over
    Glibc.close(descriptor)
    finish()
  }

  // MARK: Steps

  private func refuse(_ response: AdminResponse) {
    (state, isHead, keepsAlive) = (.answering, false, false)
    respond(response)
  }

  private func read() {
    let room = requestLimits.headBytes + requestLimits.bodyBytes + 4 - input.count
    let isFirst = input.isEmpty
    // One read a turn: a client that pushes does not keep the others waiting.
    let count = withUnsafeTemporaryAllocation(byteCount: readBytes, alignment: 1) { buffer in
      let count = recv(descriptor, buffer.baseAddress, min(buffer.count, max(1, room)), 0)
      if count > 0 { input.append(contentsOf: buffer[..<count]) }
      return count
    }
    if count == 0 {
      peerHasEnded = true
    } else if count < 0 {
      if errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR { state = .over }
    } else if isFirst {
      // From its first byte on, a request has its time; more bytes do not give it more.
      renewDeadline()
    }
  }

  private func write() {
    guard case .writing = state else { return }
    while sent < output.count {
      let count = output.withUnsafeBytes {
        send(descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count > 0 {
        sent += count
        renewDeadline()
      } else if count < 0 && errno == EINTR {
        continue
      } else if count < 0 && (errno == EAGAIN || errno == EWOULDBLOCK) {
        return
      } else {
        state = .over
        return
      }
    }
    output = []
    sent = 0
    finish()
    if keepsAlive && !peerHasEnded {
      state = .reading
    } else if keepsAlive && !input.isEmpty {
      // The peer has sent several requests and closed its side: the rest is answered still.
      state = .reading
    } else {
      shutdown(descriptor, Int32(SHUT_WR))
      state = peerHasEnded ? .over : .lingering
      deadline = .now().advanced(byNanoseconds: min(limits.timeoutNanoseconds, lingerNanoseconds))
    }
  }

  private func discard() {
    let count = withUnsafeTemporaryAllocation(byteCount: readBytes, alignment: 1) { buffer in
      recv(descriptor, buffer.baseAddress, buffer.count, 0)
    }
    if count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR) { state = .over }
  }

  private func finish() {
    let action = afterwards
    afterwards = nil
    action?()
  }

  private func renewDeadline() { deadline = .now().advanced(byNanoseconds: limits.timeoutNanoseconds) }

  private var requestLimits: AdminRequestLimits {
    AdminRequestLimits(headBytes: limits.headBytes, bodyBytes: limits.bodyBytes)
  }

  /// An answer as bytes.
  static func render(_ response: AdminResponse, isHead: Bool, keepsAlive: Bool) -> [UInt8] {
    var head = "HTTP/1.1 \(response.status) \(reasonPhrase(response.status))\r\n"
    head += "content-type: \(response.contentType)\r\ncontent-length: \(response.body.count)\r\n"
    if let allow = response.allow { head += "allow: \(allow)\r\n" }
    // Answers are the present moment's; and a browser must not guess their type.
    head += "cache-control: no-store\r\nx-content-type-options: nosniff\r\n"
    head += keepsAlive ? "\r\n" : "connection: close\r\n\r\n"
    return Array(head.utf8) + (isHead ? [] : response.body)
  }

  private static func reasonPhrase(_ status: Int) -> String {
    switch status {
    case 200: "OK"
    case 202: "Accepted"
    case 400: "Bad Request"
    case 403: "Forbidden"
    case 404: "Not Found"
    case 405: "Method Not Allowed"
    case 408: "Request Timeout"
    case 409: "Conflict"
    case 411: "Length Required"
    case 413: "Content Too Large"
    case 417: "Expectation Failed"
    case 422: "Unprocessable Content"
    case 431: "Request Header Fields Too Large"
    case 503: "Service Unavailable"
    case 505: "HTTP Version Not Supported"
    default: "Unknown"
    }
  }
}

private let readBytes = 16 * 1024
private let lingerNanoseconds: UInt64 = 1_000_000_000
