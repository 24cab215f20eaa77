// Listening sockets that outlive the process: who keeps them while one daemon ends and the next begins, and which of those
// that come back are still wanted. While nobody accepts, connections wait in the kernel's queue; none is refused.
//
// A kept socket is called `<listener>.<number>`, one number a shard. A socket that the service manager opened itself (a
// .socket unit) is called as the listener is. Either is taken only where the bound address is the configured one, too.

import Base
import CFairlead
import Configuration
import Glibc

/// A descriptor that was open before this process began.
public struct PassedSocket: Sendable {
  public let name: String
  public let descriptor: Int32

  public init(name: String, descriptor: Int32) {
    self.name = name
    self.descriptor = descriptor
  }
}

/// Keeps listening sockets from one process to the next. Called on the control thread, before the shards run and when they
/// give their sockets up.
public protocol ListenerKeeper: AnyObject {
  /// What was passed to this process. The descriptors are the caller's from then on; a second call returns none.
  func takePassed() -> [PassedSocket]
  /// Keeps a copy of `descriptor` for the next process; one that is kept already stays. False where there is no room.
  func keep(_ descriptor: Int32, as name: String) -> Bool
  /// Lets all sockets of this name go.
  func forget(_ name: String)
}

/// What was passed, sorted: by the listener it belongs to, and what belongs to none.
struct PassedListeners {
  struct Taken {
    let name: String
    let descriptor: Int32
    let address: SocketAddress
    /// Nil for a socket that the service manager opened and keeps itself.
    let number: Int?
  }

  private var byListener: [[Taken]]
  private(set) var rejected: [PassedSocket] = []

  init(_ sockets: [PassedSocket], for listeners: [Configuration.Listener]) {
    byListener = Array(repeating: [], count: listeners.count)
    for socket in sockets {
      guard let address = ListeningSocket.boundAddress(socket.descriptor),
        let position = listeners.firstIndex(where: { Self.belongs(socket.name, address, to: $0) })
      else {
        rejected.append(socket)
        continue
      }
      let number = socket.name == listeners[position].name ? nil : Self.number(of: socket.name)
      byListener[position].append(
        Taken(name: socket.name, descriptor: socket.descriptor, address: address, number: number))
    }
  }

  var count: Int { byListener.reduce(0) { $0 + $1.count } }

  /// The sockets of one listener, by number.
  func sockets(of listener: Int) -> [Taken] {
    byListener[listener].sorted { ($0.number ?? -1) < ($1.number ?? -1) }
  }

  /// `outbound.1` for the second socket of `outbound`.
  static func name(_ listener: String, _ number: Int) -> String { "\(listener).\(number)" }

  /// The 1 of `outbound.1`; nil for a name that this program does not give.
  static func number(of name: String) -> Int? {
    guard let dot = name.lastIndex(of: ".") else { return nil }
    let digits = name[name.index(after: dot)...]
    guard (1...9).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
      return nil
    }
    return Int(digits)
  }

  private static func belongs(_ name: String, _ address: SocketAddress, to listener: Configuration.Listener) -> Bool {
    let isNamed: Bool
    if let number = number(of: name) {
      isNamed = name == listener.name || name == Self.name(listener.name, number)
    } else {
      isNamed = name == listener.name
    }
    guard isNamed else { return false }
    // Where the kernel chose the port, its choice stays.
    if listener.address.port == 0 { return address.withPort(0) == listener.address }
    guard case .unix(let path) = address else { return address == listener.address }
    // A socket whose file is gone listens where nobody can find it.
    var status = stat()
    return address == listener.address && lstat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFSOCK
  }
}

extension ListeningSocket {
  /// The address of a stream socket that listens; nil for any other descriptor.
  static func boundAddress(_ descriptor: Int32) -> SocketAddress? {
    guard fl_is_listening_stream(descriptor) != 0 else { return nil }
    var storage = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let named = withUnsafeMutablePointer(to: &storage) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
    }
    return named == 0 ? SocketAddress(storage, length: length) : nil
  }
}
