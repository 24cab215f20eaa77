// One request to the daemon over its Unix socket, and the answer. Blocking, with time limits: this is a command's side.
// Enough HTTP/1.1 for a server that is ours: an answer with Content-Length, one a connection.

import Base
import Glibc

/// An answer of the daemon.
public struct AdminAnswer: Sendable {
  public var status: Int
  public var body: [UInt8]

  /// The body as text, without the last line feed.
  public var text: String {
    let text = String(decoding: body, as: UTF8.self)
    return text.hasSuffix("\n") ? String(text.dropLast()) : text
  }
}

/// Why the daemon cannot be asked, or what it refused: one line each, with what to do.
public enum AdminClientError: Error, CustomStringConvertible, Equatable {
  case notRunning(socket: String)
  case notAllowed(socket: String)
  case silent(socket: String, seconds: Int)
  case failed(socket: String, reason: String)
  case badAnswer(socket: String, reason: String)
  /// The daemon's own words.
  case refused(status: Int, reason: String)

  public var description: String {
    switch self {
    case .notRunning(let socket):
      "no fairleadd answers on \(socket); start it with: systemctl start fairlead, "
        + "or fairleadd --config /etc/fairlead/fairlead.yaml (--socket names another socket)"
    case .notAllowed(let socket):
      "you may not connect to \(socket); be root or a member of its group (ls -l \(socket) shows which)"
    case .silent(let socket, let seconds):
      "fairleadd did not answer on \(socket) within \(seconds) s; it may be stuck (systemctl status fairlead)"
    case .failed(let socket, let reason): "cannot talk to fairleadd on \(socket): \(reason)"
    case .badAnswer(let socket, let reason):
      "what answers on \(socket) does not speak fairleadd's language: \(reason); is it another program's socket?"
    case .refused(_, let reason): reason
    }
  }
}

/// Asks one daemon. A plain value; every call makes a connection of its own.
public struct AdminConnection: Sendable {
  public let socket: String
  /// How long connecting, sending and every wait for more of the answer may take.
  public var timeoutSeconds: Int = 5

  public init(socket: String) { self.socket = socket }

  /// Reads. Throws `refused` for answers other than 2xx.
  public func get(_ target: String, accept: String? = nil) throws(AdminClientError) -> AdminAnswer {
    try successful(request("GET", target, accept: accept))
  }

  /// Changes. Throws `refused` for answers other than 2xx.
  public func post(_ target: String) throws(AdminClientError) -> AdminAnswer {
    try successful(request("POST", target, accept: nil))
  }

  private func successful(_ answer: AdminAnswer) throws(AdminClientError) -> AdminAnswer {
    if (200...299).contains(answer.status) { return answer }
    throw .refused(status: answer.status, reason: answer.text.isEmpty ? "status \(answer.status)" : answer.text)
  }

  private func request(_ method: String, _ target: String, accept: String?) throws(AdminClientError) -> AdminAnswer {
    let descriptor = try connected()
    defer { close(descriptor) }
    var head = "\(method) \(target) HTTP/1.1\r\nhost: fairlead\r\nconnection: close\r\n"
    if let accept { head += "accept: \(accept)\r\n" }
    if method == "POST" { head += "content-length: 0\r\n" }
    head += "\r\n"
    // A server that turns us away may close before it has read all this; its answer is what counts.
    let isSent = sendAll(descriptor, Array(head.utf8))
    return try parse(receiveAll(descriptor, isSent))
  }

  // MARK: Steps

  private func connected() throws(AdminClientError) -> Int32 {
    guard socket.utf8.count <= SocketAddress.longestPath, !socket.isEmpty else {
      throw .failed(socket: socket, reason: "the path of a socket has 1 to \(SocketAddress.longestPath) bytes")
    }
    let descriptor = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard descriptor >= 0 else { throw .failed(socket: socket, reason: words(errno)) }
    var limit = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    guard SocketAddress.unix(path: socket).withSockaddr({ connect(descriptor, $0, $1) }) == 0 else {
      let code = errno
      close(descriptor)
      switch code {
      case ENOENT, ECONNREFUSED, ENOTDIR: throw .notRunning(socket: socket)
      case EACCES, EPERM: throw .notAllowed(socket: socket)
      case EAGAIN, EINPROGRESS, ETIMEDOUT: throw .silent(socket: socket, seconds: timeoutSeconds)
      default: throw .failed(socket: socket, reason: words(code))
      }
    }
    return descriptor
  }

  private func sendAll(_ descriptor: Int32, _ bytes: [UInt8]) -> Bool {
    var sent = 0
    while sent < bytes.count {
      let count = bytes.withUnsafeBytes {
        send(descriptor, $0.baseAddress?.advanced(by: sent), $0.count - sent, Int32(MSG_NOSIGNAL))
      }
      if count < 0 && errno == EINTR { continue }
      if count <= 0 { return false }
      sent += count
    }
    return true
  }

  private func receiveAll(_ descriptor: Int32, _ isSent: Bool) throws(AdminClientError) -> [UInt8] {
    var received: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = recv(descriptor, &chunk, chunk.count, 0)
      if count == 0 { return received }
      if count < 0 {
        if errno == EINTR { continue }
        if errno == EAGAIN { throw .silent(socket: socket, seconds: timeoutSeconds) }
        // Turned away with something of ours unread: what came before that is the answer.
        if errno == ECONNRESET && !received.isEmpty { return received }
        throw .failed(socket: socket, reason: isSent ? words(errno) : "it closed the connection")
      }
      received.append(contentsOf: chunk[..<count])
      guard received.count <= maximumAnswerBytes else {
        throw .badAnswer(socket: socket, reason: "an answer of more than \(maximumAnswerBytes >> 20) MiB")
      }
    }
  }

  private func parse(_ bytes: [UInt8]) throws(AdminClientError) -> AdminAnswer {
    if bytes.isEmpty { throw .failed(socket: socket, reason: "it closed the connection without an answer") }
    var lines: [String] = []
    var rest = bytes[...]
    while let end = rest.firstIndex(of: 0x0A) {
      let line = String(decoding: rest[..<end], as: UTF8.self).filter { $0 != "\r" && $0 != "\r\n" }
      rest = rest[(end + 1)...]
      if line.isEmpty { break }
      lines.append(line)
    }
    let parts = (lines.first ?? "").split(separator: " ", maxSplits: 2)
    guard parts.count >= 2, parts[0].hasPrefix("HTTP/1."), let status = Int(parts[1]) else {
      throw .badAnswer(socket: socket, reason: "the answer does not start with HTTP/1.1")
    }
    let length = lines.dropFirst().compactMap { line -> Int? in
      let sides = line.split(separator: ":", maxSplits: 1)
      guard sides.count == 2, sides[0].lowercased() == "content-length" else { return nil }
      return Int(sides[1].filter { $0 != " " })
    }.first
    if let length, rest.count < length {
      throw .failed(socket: socket, reason: "the answer broke off; the daemon may have ended just now")
    }
    return AdminAnswer(status: status, body: Array(rest.prefix(length ?? rest.count)))
  }

  private func words(_ code: Int32) -> String { String(cString: strerror(code)) }
}

/// Far above what a node has to say; below what would hurt.
private let maximumAnswerBytes = 256 << 20
