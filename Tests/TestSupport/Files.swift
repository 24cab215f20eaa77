// Files and directories of a test, and what the kernel tells about a process in /proc.

import Glibc

/// A directory of one test, removed with everything in it when it is let go.
public final class TemporaryDirectory: Sendable {
  public let path: String

  public init() throws {
    var template = Array("/tmp/fairlead-test-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { throw HarnessError("mkdtemp: \(lastError())") }
    path = template.withUnsafeBufferPointer { $0.baseAddress.map { String(cString: $0) } ?? "" }
    // Other users' processes (nginx's workers, an unprivileged daemon) may look in.
    chmod(path, 0o755)
  }

  deinit { removeRecursively(path) }

  public func path(_ name: String) -> String { path + "/" + name }

  /// Writes a file and returns its path.
  @discardableResult
  public func write(_ name: String, _ text: String) throws -> String {
    let file = path(name)
    guard let stream = fopen(file, "we") else { throw HarnessError("\(file): \(lastError())") }
    defer { fclose(stream) }
    let bytes = Array(text.utf8)
    guard fwrite(bytes, 1, bytes.count, stream) == bytes.count else { throw HarnessError("\(file): \(lastError())") }
    return file
  }
}

private func removeRecursively(_ path: String) {
  if let directory = opendir(path) {
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name != ".", name != ".." { removeRecursively(path + "/" + name) }
    }
    closedir(directory)
    rmdir(path)
  } else {
    unlink(path)
  }
}

/// Where this project's files are.
public let repositoryPath = String(
  #filePath.prefix(upTo: #filePath.ranges(of: "/Tests/").last?.lowerBound ?? #filePath.endIndex))

/// The whole text of a file; empty when it cannot be read.
public func readFile(_ path: String) -> String {
  guard let stream = fopen(path, "re") else { return "" }
  defer { fclose(stream) }
  var bytes: [UInt8] = []
  var block = [UInt8](repeating: 0, count: 64 * 1024)
  while true {
    let count = fread(&block, 1, block.count, stream)
    if count == 0 { break }
    bytes += block[..<count]
  }
  return String(decoding: bytes, as: UTF8.self)
}

/// Where an executable stands in PATH or among the system's; nil when it is not installed.
public func findTool(_ name: String) -> String? {
  let directories = (getenv("PATH").map { String(cString: $0) } ?? "").split(separator: ":").map(String.init)
  return (directories + ["/usr/sbin", "/sbin", "/usr/bin"]).map { $0 + "/" + name }.first { access($0, X_OK) == 0 }
}

/// What `/proc` says about a process.
public struct ProcessInspector: Sendable {
  public let processID: pid_t
  public init(_ processID: pid_t) { self.processID = processID }

  /// The open descriptors: number and what it is.
  public var descriptors: [String] {
    let directory = "/proc/\(processID)/fd"
    guard let listing = opendir(directory) else { return [] }
    defer { closedir(listing) }
    var result: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      guard name.first?.isNumber == true else { continue }
      var target = [UInt8](repeating: 0, count: 256)
      let count = target.withUnsafeMutableBytes { space in
        space.baseAddress.map { readlink(directory + "/" + name, $0, space.count) } ?? 0
      }
      result.append("\(name) → \(String(decoding: target.prefix(max(count, 0)), as: UTF8.self))")
    }
    return result.sorted()
  }

  /// Resident memory in bytes.
  public var residentBytes: Int {
    let line = readFile("/proc/\(processID)/status").split(separator: "\n").first { $0.hasPrefix("VmRSS:") }
    return (line?.split(whereSeparator: { $0 == " " || $0 == "\t" }).dropFirst().first).flatMap { Int($0) }
      .map { $0 * 1024 } ?? 0
  }

  /// The names of its threads.
  public var threadNames: [String] {
    let directory = "/proc/\(processID)/task"
    guard let listing = opendir(directory) else { return [] }
    defer { closedir(listing) }
    var result: [String] = []
    while let entry = readdir(listing) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      if name.first?.isNumber == true {
        result.append(readFile("\(directory)/\(name)/comm").split(separator: "\n").first.map(String.init) ?? "")
      }
    }
    return result
  }
}
