// What has to outlive a command: which tables were there before the first apply, and an apply that waits for its
// confirmation. In a directory that only root may write (what it holds is run by root), one part a network namespace.

import Base
import Glibc

/// The files of one network namespace.
struct StateFiles: Sendable {
  enum Name: String {
    /// The kernel's tables before the first apply.
    case before
    /// A `PendingConfirmation`.
    case pending
    /// What became of the last apply that nobody confirmed.
    case rolledBack = "rolled-back"
    case lock
  }

  let directory: String

  /// - Parameter base: the directory of all namespaces; made when it is not there.
  init(base: String) {
    // net:[4026531840]
    var target = [UInt8](repeating: 0, count: 64)
    let count = target.withUnsafeMutableBytes { space in
      space.baseAddress.map { readlink("/proc/self/ns/net", $0, space.count) } ?? 0
    }
    let number = target.prefix(max(count, 0)).filter { (0x30...0x39).contains($0) }
    directory = "\(base)/net-\(String(decoding: number, as: UTF8.self))"
  }

  func read(_ name: Name) -> String? {
    let file = open(path(name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 64 * 1024)
    while true {
      let count = Glibc.read(file, &block, block.count)
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      if count < 0 { return nil }
      bytes += block[..<count]
    }
  }

  /// Whole or not at all: written beside and renamed.
  func write(_ name: Name, _ text: String) throws(CaptureError) {
    try make()
    let path = path(name)
    let file = open(path + ".new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw .stateFile(path: path, reason: words(errno)) }
    var bytes = Array(text.utf8)[...]
    while !bytes.isEmpty {
      let count = bytes.withUnsafeBytes { Glibc.write(file, $0.baseAddress, $0.count) }
      if count <= 0 {
        let reason = words(errno)
        close(file)
        throw .stateFile(path: path, reason: reason)
      }
      bytes = bytes.dropFirst(count)
    }
    close(file)
    guard rename(path + ".new", path) == 0 else { throw .stateFile(path: path, reason: words(errno)) }
  }

  func remove(_ name: Name) { unlink(path(name)) }

  /// Forgets everything; the directories go when nothing else is in them.
  func removeAll() {
    for name in [Name.before, .pending, .rolledBack] { remove(name) }
  }

  /// One command at a time changes this namespace's capture.
  func withLock<Result>(_ body: () throws(CaptureError) -> Result) throws(CaptureError) -> Result {
    try make()
    let file = open(path(.lock), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
    guard file >= 0 else { throw .stateFile(path: path(.lock), reason: words(errno)) }
    defer { close(file) }
    while flock(file, LOCK_EX) != 0 {
      if errno != EINTR { throw .stateFile(path: path(.lock), reason: words(errno)) }
    }
    return try body()
  }

  private func path(_ name: Name) -> String { "\(directory)/\(name.rawValue)" }

  private func make() throws(CaptureError) {
    let base = directory.lastIndex(of: "/").map { String(directory[..<$0]) } ?? directory
    for path in [base, directory] {
      if mkdir(path, 0o700) != 0, errno != EEXIST { throw .stateFile(path: path, reason: words(errno)) }
      var facts = stat()
      guard lstat(path, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR else {
        throw .stateFile(path: path, reason: "it is not a directory")
      }
      guard facts.st_uid == geteuid(), facts.st_mode & 0o022 == 0 else {
        throw .stateFile(path: path, reason: "others could change it; it must belong to root alone")
      }
    }
  }
}

/// An apply that is taken back unless somebody says that it is well.
struct PendingConfirmation: Sendable {
  /// On the monotonic clock.
  let deadline: MonotonicInstant
  /// What is to be there again.
  let before: Survey

  init(deadline: MonotonicInstant, before: Survey) {
    self.deadline = deadline
    self.before = before
  }

  /// The time begins now.
  init(within limit: Duration, before: Survey) {
    self.init(deadline: MonotonicInstant.now().advanced(byNanoseconds: limit.wholeNanoseconds), before: before)
  }

  init?(parsing text: String) {
    guard let end = text.firstIndex(of: "\n"), let nanoseconds = UInt64(text[..<end]) else { return nil }
    deadline = MonotonicInstant(nanoseconds: nanoseconds)
    before = Survey(parsing: String(text[end...]))
  }

  var text: String { "\(deadline.nanoseconds)\n\(before.text)" }

  /// Rounded up.
  var secondsLeft: Int {
    Int(min(deadline.nanoseconds(since: .now()), 86_400_000_000_000) + 999_999_999) / 1_000_000_000
  }
}
