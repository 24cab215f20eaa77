// Reads files whole, and says in one line what is wrong with one that cannot be read, and what to do.

import Glibc

enum ConfigurationFile {
  /// The bytes of a file, at most one more than a configuration may have (the reader refuses those).
  static func read(_ path: String) throws(Diagnostic) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw problem(path, errno) }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 64 << 10)
    while bytes.count <= YAMLReader.longestFile {
      let count = chunk.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        throw problem(path, errno)
      }
      if count == 0 { break }
      bytes.append(contentsOf: chunk[..<count])
    }
    return bytes
  }

  /// The `*.yaml` files of a directory in the order of their names' bytes; hidden ones are left out.
  static func fragments(in directory: String) throws(Diagnostic) -> [String] {
    guard let stream = opendir(directory) else {
      if errno == ENOENT { return [] }
      throw problem(directory, errno)
    }
    defer { closedir(stream) }
    var names: [[UInt8]] = []
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { Array($0.prefix { $0 != 0 }) }
      guard name.first != 0x2E, name.count > 5, name.suffix(5).elementsEqual(".yaml".utf8) else { continue }
      names.append(name)
      guard names.count <= mostFragments else {
        throw Diagnostic(file: directory, "the directory has more than \(mostFragments) *.yaml files")
      }
    }
    names.sort { $0.lexicographicallyPrecedes($1) }
    let base = directory.utf8.last == 0x2F ? directory : directory + "/"
    return names.map { base + String(decoding: $0, as: UTF8.self) }
  }

  private static func problem(_ path: String, _ code: Int32) -> Diagnostic {
    switch code {
    case ENOENT:
      return Diagnostic(
        file: path,
        "no such file; write one, or run without: fairleadd --listen 127.0.0.1:4140 --to 127.0.0.1:9001")
    case EACCES, EPERM:
      return Diagnostic(file: path, "permission denied for user \(geteuid()); make it readable (ls -l \(path))")
    case EISDIR:
      return Diagnostic(file: path, "this is a directory; name a file")
    case ENOTDIR:
      return Diagnostic(file: path, "this is not a directory, or is under something that is none")
    default:
      return Diagnostic(file: path, "cannot be read: \(String(cString: strerror(code)))")
    }
  }

  private static let mostFragments = 1_000
}
