// Notices when the configuration's files change: inotify on their directory and on `conf.d` beside them. What changed is not
// looked at; once nothing has happened for a moment, so that an editor or a deployment has written all of its files, the
// configuration is read again as for any other reload.

import Base
import EventLoop
import Glibc

/// Tells of changes to one configuration. The control thread's own.
final class ConfigurationWatch {
  private let file: String
  private let directory: String
  private let fragments: String
  private let loop: ControlLoop
  private let changed: () -> Void
  private let descriptor: Int32
  private var fileWatch: Int32 = -1
  private var fragmentsWatch: Int32 = -1
  /// Where the file is a link: the directory and the name of what it leads to.
  private var targetWatch: Int32 = -1
  private var target = ""
  private var timer: UInt64?
  private var buffer = [UInt8](repeating: 0, count: 16 * 1024)

  /// Nil where the kernel gives no more inotify instances or watches (errno says why).
  init?(path: String, loop: ControlLoop, changed: @escaping () -> Void) {
    let parts = path.split(separator: "/", omittingEmptySubsequences: false)
    file = String(parts.last ?? "")
    let base = parts.dropLast().joined(separator: "/")
    directory = parts.count == 1 ? "." : base.isEmpty ? "/" : base
    fragments = Daemon.fragments(beside: path)
    self.loop = loop
    self.changed = changed
    descriptor = inotify_init1(Int32(IN_CLOEXEC) | Int32(IN_NONBLOCK))
    guard descriptor >= 0 else { return nil }
    fileWatch = inotify_add_watch(descriptor, directory, Self.events)
    guard fileWatch >= 0 else {
      let code = errno
      close(descriptor)
      errno = code
      return nil
    }
    watchFragments()
    watchTarget()
    loop.watch(descriptor, events: Int16(POLLIN)) { [weak self] _ in self?.read() }
  }

  deinit {
    loop.unwatch(descriptor)
    close(descriptor)
  }

  /// There need be none, and there may be another one than before.
  private func watchFragments() { fragmentsWatch = inotify_add_watch(descriptor, fragments, Self.events) }

  /// A link may lead to another file than before.
  private func watchTarget() {
    let before = targetWatch
    targetWatch = -1
    defer {
      if before >= 0, ![targetWatch, fileWatch, fragmentsWatch].contains(before) {
        inotify_rm_watch(descriptor, before)
      }
    }
    guard let resolved = realpath("\(directory)/\(file)", nil) else { return }
    defer { free(resolved) }
    let path = String(cString: resolved)
    guard let slash = path.lastIndex(of: "/") else { return }
    target = String(path[path.index(after: slash)...])
    targetWatch = inotify_add_watch(descriptor, slash == path.startIndex ? "/" : String(path[..<slash]), Self.events)
  }

  private func read() {
    var isOurs = false
    // Bounded: who writes files without an end must not hold the loop.
    for _ in 0..<16 {
      let count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      guard count > 0 else { break }
      isOurs = look(count) || isOurs
    }
    if isOurs { settle() }
  }

  /// `struct inotify_event`: watch, mask, cookie and the name's length, four bytes each; then the name, filled up with NULs.
  private func look(_ count: Int) -> Bool {
    var isOurs = false
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
      guard length <= count - start else { return true }
      let name = String(decoding: buffer[start..<(start + length)].prefix { $0 != 0 }, as: UTF8.self)
      place = start + length
      isOurs = concerns(watch, mask, name) || isOurs
    }
    return isOurs
  }

  private func concerns(_ watch: Int32, _ mask: UInt32, _ name: String) -> Bool {
    func has(_ bits: Int32) -> Bool { mask & UInt32(bitPattern: bits) != 0 }
    if has(IN_Q_OVERFLOW) { return true }
    // Also where it is one of the others: the name decides.
    if watch == targetWatch, name == target { return true }
    if watch == fragmentsWatch {
      // What has only begun to be will be closed, too.
      return !has(IN_CREATE) && name.hasSuffix(".yaml") && !name.hasPrefix(".")
    }
    guard watch == fileWatch else { return false }
    if name == "conf.d" {
      watchFragments()
      return true
    }
    // Links are created whole; a deployment may also exchange a hidden directory that the files are links into.
    return name == file || name.hasPrefix("..") && has(IN_MOVED_TO)
  }

  /// Waits until nothing happens any more.
  private func settle() {
    watchTarget()
    if let timer { loop.cancel(timer) }
    timer = loop.schedule(at: .now().advanced(byNanoseconds: Self.quietNanoseconds)) { [weak self] in
      guard let self else { return }
      timer = nil
      changed()
    }
  }

  private static let quietNanoseconds: UInt64 = 200_000_000
  private static let events = UInt32(
    bitPattern: IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CREATE | IN_ONLYDIR)
}
