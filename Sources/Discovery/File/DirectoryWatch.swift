// inotify on one directory, and on the one it stands in, so that it is noticed when the directory itself comes and goes.
// It tells names and leaves the looking to others.

import EventLoop
import Glibc

/// What has happened in a watched directory. Lives on the loop's thread.
final class DirectoryWatch {
  enum Event {
    /// A file has come, been closed after writing, or gone: what it is now can be read.
    case settled(name: String)
    /// A file has begun to be. Who created it may still be writing.
    case created(name: String)
    /// Somebody writes to it, and will settle it by closing it.
    case writing(name: String)
    /// Its owner or its rights have changed.
    case attributes(name: String)
    /// The kernel has lost events, or the directory is another one: nothing is known.
    case everything
  }

  private let loop: ControlLoop
  private let handler: (Event) -> Void
  private let descriptor: Int32
  private let name: String
  private var directory: Int32 = -1
  private var parent: Int32 = -1
  private var buffer = [UInt8](repeating: 0, count: 64 * 1024)

  /// Nil where the kernel has no inotify instances left (errno says why).
  init?(name: String, _ loop: ControlLoop, _ handler: @escaping (Event) -> Void) {
    descriptor = inotify_init1(Int32(IN_CLOEXEC) | Int32(IN_NONBLOCK))
    guard descriptor >= 0 else { return nil }
    self.loop = loop
    self.name = name
    self.handler = handler
    loop.watch(descriptor, events: Int16(POLLIN)) { [weak self] _ in self?.read() }
  }

  /// Watches the directory at `path` from now on, and no other. Returns 0, or an errno value: ENOSPC where the user has no
  /// watches left.
  func watch(directory path: String) -> Int32 {
    if directory >= 0 { inotify_rm_watch(descriptor, directory) }
    directory = inotify_add_watch(descriptor, path, Self.directoryEvents)
    return directory < 0 ? errno : 0
  }

  /// Watches where the directory stands, as far as that is possible.
  func watch(parent path: String) {
    let watch = inotify_add_watch(descriptor, path, Self.parentEvents)
    if parent >= 0, parent != watch, parent != directory { inotify_rm_watch(descriptor, parent) }
    parent = watch
  }

  /// Tells what has happened up to now.
  func drain() { read() }

  func stop() {
    loop.unwatch(descriptor)
    close(descriptor)
  }

  private func read() {
    // Bounded: who writes files without an end must not hold the loop.
    for _ in 0..<16 {
      let count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { return }
      handleEvents(count)
    }
  }

  /// `struct inotify_event`: watch, mask, cookie and the name's length, four bytes each; then the name, filled up with NULs.
  private func handleEvents(_ count: Int) {
    var place = 0
    while place + 16 <= count {
      let (watch, mask, length) = buffer.withUnsafeBytes { bytes in
        (
          bytes.loadUnaligned(fromByteOffset: place, as: Int32.self),
          bytes.loadUnaligned(fromByteOffset: place + 4, as: UInt32.self),
          Int(bytes.loadUnaligned(fromByteOffset: place + 12, as: UInt32.self))
        )
      }
      let start = place + 16
      guard length <= count - start else { return }
      let name = String(decoding: buffer[start..<(start + length)].prefix { $0 != 0 }, as: UTF8.self)
      place = start + length
      handle(watch, mask, name)
    }
  }

  private func handle(_ watch: Int32, _ mask: UInt32, _ name: String) {
    func has(_ bits: Int32) -> Bool { mask & UInt32(bitPattern: bits) != 0 }
    if has(IN_Q_OVERFLOW) {
      handler(.everything)
    } else if watch == parent, watch != directory {
      if name == self.name { handler(.everything) }
    } else if watch == directory {
      if name.isEmpty {
        handler(.everything)
      } else if has(IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE) {
        handler(.settled(name: name))
      } else if has(IN_MODIFY) {
        handler(.writing(name: name))
      } else if has(IN_CREATE) {
        handler(.created(name: name))
      } else if has(IN_ATTRIB) {
        handler(.attributes(name: name))
      }
    }
  }

  private static let directoryEvents = UInt32(
    bitPattern: IN_CLOSE_WRITE | IN_MODIFY | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ATTRIB
      | IN_DELETE_SELF
      | IN_MOVE_SELF
      | IN_ONLYDIR)
  private static let parentEvents = UInt32(bitPattern: IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ONLYDIR)
}
