// Measures this process's memory for the shards, which refuse new work when it comes near to what may be had. Lives on the
// control thread: shards read no files.

import Base
import EventLoop
import Glibc
import Proxy

/// Twice a second; the limit itself every ten seconds.
final class MemoryWatch: @unchecked Sendable {
  private let node: Node
  private let loop: ControlLoop
  private var available: UInt64?
  private var round = 0

  init(_ node: Node, _ loop: ControlLoop) {
    self.node = node
    self.loop = loop
    look()
  }

  private func look() {
    let budget = MemoryBudget(read: Self.text)
    if round % 20 == 0 { available = budget.available }
    round &+= 1
    node.noteMemory(resident: Self.residentBytes(), available: available)
    loop.schedule(at: MonotonicInstant.now().advanced(byNanoseconds: 500_000_000)) { [weak self] in self?.look() }
  }

  /// This process's resident memory.
  static func residentBytes() -> UInt64 {
    MemoryBudget(read: text).resident(pageByteCount: UInt64(max(sysconf(Int32(_SC_PAGESIZE)), 1)))
  }

  /// The first 8 KiB of a small file of the kernel's.
  private static func text(_ path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: 8192)
    let count = fread(&bytes, 1, bytes.count, file)
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }
}
