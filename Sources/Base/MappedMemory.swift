// Address space reserved from the kernel in one piece, committed page by page as it is touched.
// The containers that must never move their elements (Slab, TimerWheel) lie on it, so that a capacity of
// a hundred thousand costs address space and no memory until it is used.

import Glibc

/// The kernel refused a mapping. `errnoValue` is `mmap`'s; EOVERFLOW when the size itself is not representable.
public struct MappingError: Error, CustomStringConvertible {
  /// Bytes asked for.
  public let byteCount: Int
  /// The errno value of the refusal.
  public let errnoValue: Int32

  public init(byteCount: Int, errnoValue: Int32) {
    self.byteCount = byteCount
    self.errnoValue = errnoValue
  }

  public var description: String {
    "cannot reserve \(byteCount) bytes of address space (errno \(errnoValue)); lower the configured limits"
  }
}

/// A trivial handle to one anonymous private mapping, all zero at first. Whoever made it calls `unmap()` once.
@frozen public struct MappedMemory {
  public let base: UnsafeMutableRawPointer
  public let byteCount: Int

  /// Reserves `byteCount` bytes (at least one) that start on a page. Nothing is committed before it is touched.
  public init(byteCount: Int) throws(MappingError) {
    let length = max(byteCount, 1)
    guard
      let address = mmap(
        nil, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
      address != MAP_FAILED
    else { throw MappingError(byteCount: length, errnoValue: errno) }
    base = address
    self.byteCount = length
  }

  /// Gives the whole mapping back. Every pointer into it dies here.
  public func unmap() { munmap(base, byteCount) }

  /// `count` elements of `stride` bytes, rounded up to whole pages; an error where that overflows.
  static func pageRounded(count: Int, stride: Int) throws(MappingError) -> Int {
    let (bytes, overflow) = count.multipliedReportingOverflow(by: stride)
    guard !overflow, bytes <= Int.max - pageByteCount else {
      throw MappingError(byteCount: Int.max, errnoValue: EOVERFLOW)
    }
    return (bytes + pageByteCount - 1) / pageByteCount * pageByteCount
  }

  /// The smallest page of every machine we run on; only used to keep the parts of a mapping apart.
  static let pageByteCount = 4096
}
