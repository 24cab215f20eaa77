// Which file a name stands for and what it holds, as far as the kernel tells without reading it.

// The C library's `timespec` counts as a part of whichever module the compiler meets first.
import CAres
import Glibc

/// Tells a file, and what it held, from any other.
struct FileStamp: Equatable {
  private let device: UInt
  private let inode: UInt
  private let size: Int
  private let changed: Int
  private let changedNanoseconds: Int
  private let modifiedNanoseconds: Int
  /// By the time of day, in seconds.
  let modified: Int

  init(_ status: stat) {
    device = UInt(status.st_dev)
    inode = UInt(status.st_ino)
    size = Int(status.st_size)
    modified = status.st_mtim.tv_sec
    modifiedNanoseconds = status.st_mtim.tv_nsec
    changed = status.st_ctim.tv_sec
    changedNanoseconds = status.st_ctim.tv_nsec
  }

  /// Nil where there is nothing.
  init?(_ path: String) {
    var status = stat()
    guard stat(path, &status) == 0 else { return nil }
    self.init(status)
  }

  /// Whether both are one file, whatever it held.
  func isSameFile(_ other: FileStamp) -> Bool { device == other.device && inode == other.inode }
}
