// The service manager's end of the notification protocol: a datagram socket that remembers what it was told.

import Glibc

/// Receives the datagrams that a daemon sends to its NOTIFY_SOCKET.
public final class NotificationSocket: Sendable {
  /// For the environment: a path, or `@name` for an abstract one.
  public let name: String
  private let descriptor: Int32
  private let directory: TemporaryDirectory
  private let received = Monitor<[String]>([])

  public init(abstract: Bool) throws {
    directory = try TemporaryDirectory()
    name = abstract ? "@" + directory.path : directory.path("notify")
    descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | 0o2_000_000, 0)
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    let bytes = Array(name.utf8)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: abstract ? [0] + bytes.dropFirst() : bytes) }
    let length = socklen_t(2 + bytes.count + (abstract ? 0 : 1))
    let bound = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, length) }
    }
    guard descriptor >= 0, bound == 0 else { throw HarnessError("\(name): \(lastError())") }
    let (source, received) = (descriptor, received)
    _ = BackgroundThread {
      var buffer = [UInt8](repeating: 0, count: 4096)
      while true {
        let count = recv(source, &buffer, buffer.count, 0)
        if count <= 0 { return }
        let text = String(decoding: buffer[..<count], as: UTF8.self)
        received.with { $0.append(text) }
      }
    }
  }

  deinit {
    shutdown(descriptor, Int32(SHUT_RDWR))
    close(descriptor)
  }

  /// All datagrams so far.
  public var messages: [String] { received.with { $0 } }

  /// Waits until what was told is what is expected; false when it does not come.
  public func wait(seconds: Double = 15, until condition: ([String]) -> Bool) -> Bool {
    received.wait(seconds: seconds, until: condition)
  }
}
