// How often each thread of a child allocated, counted by a small library that is preloaded into it.

import Glibc

/// The preloaded counter of one child. Build it, start the child with `environment`, then read `count`.
public struct AllocationCounter: Sendable {
  private let library: String
  private let counts: String

  /// Compiles the library from its C source into `directory`; nil when no C compiler is installed.
  public init?(source: String, directory: TemporaryDirectory) throws {
    guard let compiler = findTool("clang") ?? findTool("cc") else { return nil }
    library = directory.path("count-allocations.so")
    counts = directory.path("allocation-counts")
    let result = try Child.run([compiler, "-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o", library, source])
    guard result.status == .exited(0) else { throw HarnessError("\(source): \(result.error)") }
  }

  public var environment: [String: String] { ["LD_PRELOAD": library, "ALLOCATION_COUNTS": counts] }

  /// Allocations so far, by thread name.
  public var byThread: [String: Int] {
    guard let stream = fopen(counts, "re") else { return [:] }
    defer { fclose(stream) }
    var bytes = [UInt8](repeating: 0, count: 64 * 32)
    let read = fread(&bytes, 1, bytes.count, stream)
    var result: [String: Int] = [:]
    for start in stride(from: 0, to: read - 31, by: 32) where bytes[start] != 0 {
      let name = String(decoding: bytes[start..<start + 16].prefix { $0 != 0 }, as: UTF8.self)
      result[name] = bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: start + 16, as: UInt64.self)) }
    }
    return result
  }
}
