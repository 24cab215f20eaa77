// A way to wake a thread that waits in poll(2): a pair of sockets, since Swift sees neither eventfd nor pipe2.

import Glibc

/// Wakes one waiting thread. `signal` may be called from any thread; the rest is the waiting thread's.
package final class WakeUp: Sendable {
  /// Readable after a signal.
  package let descriptor: Int32
  private let other: Int32

  /// - Throws: the errno of socketpair.
  package init() throws(SystemError) {
    var pair: [Int32] = [-1, -1]
    let type = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
    guard socketpair(AF_UNIX, type, 0, &pair) == 0 else { throw SystemError(code: errno) }
    (descriptor, other) = (pair[0], pair[1])
  }

  deinit {
    close(descriptor)
    close(other)
  }

  /// Wakes the thread; one system call, never blocks. With the buffer full it has been woken often enough.
  package func signal() {
    var byte: UInt8 = 1
    _ = send(other, &byte, 1, Int32(MSG_NOSIGNAL))
  }

  /// Takes back all signals so far.
  package func clear() {
    withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { bytes in
      while read(descriptor, bytes.baseAddress, bytes.count) == bytes.count {}
    }
  }
}

/// A system call's errno.
public struct SystemError: Error {
  package let code: Int32
  package init(code: Int32) { self.code = code }
  /// The C library's words for it.
  package var reason: String { String(cString: strerror(code)) }
}
