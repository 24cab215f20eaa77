// The system calls of a file source: a directory that is open, what stands in it, and what a file holds. Nothing here waits:
// a file is opened only once it is known to be a regular one.

import Base
import Glibc

/// An open directory. Its files are reached through its descriptor, so that they are those of one directory even while
/// another takes its place. Closed with its last reference.
final class EndpointDirectory {
  enum Entry {
    case file(FileStamp, linkCount: Int)
    case missing
    /// A directory, a socket, a pipe.
    case other
    case failed(errno: Int32)
  }

  enum ReadFailure: Error {
    case missing
    case tooLarge
    case failed(errno: Int32)
  }

  private let descriptor: Int32
  private let stamp: FileStamp

  /// - Throws: errno.
  init(_ path: String) throws(SystemError) {
    descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw SystemError(code: errno) }
    var status = stat()
    fstat(descriptor, &status)
    stamp = FileStamp(status)
  }

  deinit { close(descriptor) }

  /// Is it the one that stands there now?
  func isStill(at path: String) -> Bool {
    FileStamp(path)?.isSameFile(stamp) == true
  }

  /// The names in it for which `isWanted`, at most `limit` in no order.
  ///
  /// - Throws: errno.
  func names(limit: Int, where isWanted: (String) -> Bool) throws(SystemError) -> [String] {
    // A descriptor of its own: its place in the listing is not shared.
    let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard copy >= 0 else { throw SystemError(code: errno) }
    guard let stream = fdopendir(copy) else {
      let failure = errno
      close(copy)
      throw SystemError(code: failure)
    }
    defer { closedir(stream) }
    var names: [String] = []
    errno = 0
    while names.count < limit, let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if isWanted(name) { names.append(name) }
      errno = 0
    }
    if errno != 0 { throw SystemError(code: errno) }
    return names
  }

  /// What a name stands for now, symbolic links followed.
  func entry(_ name: String) -> Entry {
    var status = stat()
    guard fstatat(descriptor, name, &status, 0) == 0 else {
      return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? .missing : .failed(errno: errno)
    }
    guard status.st_mode & S_IFMT == S_IFREG else { return .other }
    return .file(FileStamp(status), linkCount: Int(status.st_nlink))
  }

  func isSymbolicLink(_ name: String) -> Bool {
    var status = stat()
    return fstatat(descriptor, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && status.st_mode & S_IFMT == S_IFLNK
  }

  /// All a file holds, and which one it was.
  func read(_ name: String, limit: Int) throws(ReadFailure) -> (bytes: [UInt8], stamp: FileStamp) {
    let file = openat(descriptor, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)
    guard file >= 0 else { throw errno == ENOENT ? .missing : .failed(errno: errno) }
    defer { close(file) }
    var status = stat()
    // What was a file when it was looked at may be a pipe now.
    guard fstat(file, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { throw .missing }
    guard status.st_size <= limit else { throw .tooLarge }
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size) + 1)
    var count = 0
    while count <= limit {
      if count == bytes.count { bytes.append(contentsOf: repeatElement(0, count: min(count, limit + 1 - count))) }
      let result = bytes.withUnsafeMutableBytes { buffer in
        Glibc.read(file, buffer.baseAddress.map { $0 + count }, buffer.count - count)
      }
      if result == 0 { break }
      if result < 0 {
        if errno == EINTR { continue }
        throw .failed(errno: errno)
      }
      count += result
    }
    guard count <= limit else { throw .tooLarge }
    bytes.removeLast(bytes.count - count)
    return (bytes, FileStamp(status))
  }
}
