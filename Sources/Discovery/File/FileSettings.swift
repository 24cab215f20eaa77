// What a file source has to be told.

/// What a file source is made of.
public struct FileSettings: Sendable {
  public let prefix: String
  /// A full path.
  public let directory: String
  /// The most files, endpoints of one file, and bytes of one file.
  public var serviceLimit = 10_000
  public var endpointLimit = 10_000
  public var byteLimit = 1 << 20

  public init(prefix: String, directory: String) {
    self.prefix = prefix
    // `/srv/` and `/srv` are one place, and the last segment is looked for in the one above.
    let trimmed = directory.utf8.reversed().drop { $0 == UInt8(ascii: "/") }
    self.directory = trimmed.isEmpty ? "/" : String(decoding: trimmed.reversed(), as: UTF8.self)
  }
}
