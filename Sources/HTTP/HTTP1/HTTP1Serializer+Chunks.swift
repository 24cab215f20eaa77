// Framing of a body that goes out in chunks: the lines around its data. RFC 9112 section 7.1.

extension HTTP1Serializer {
  /// The longest chunk header: sixteen digits and CRLF.
  public static var maximumChunkHeaderBytes: Int { 18 }

  /// Writes `size CRLF`, to be followed by `size` bytes of data and CRLF. `size` must not be 0: that would end the
  /// body, see `writeLastChunk`.
  ///
  /// - Returns: The number of bytes written; nil when they do not fit.
  public static func writeChunkHeader(_ size: Int, into output: UnsafeMutableRawBufferPointer) -> Int? {
    precondition(size > 0, "an empty chunk would end the body")
    var writer = HTTP1Writer(output)
    writer.append(hexadecimal: UInt64(size))
    writer.append("\r\n")
    return writer.count
  }

  /// Writes the last chunk and an empty trailer section: five bytes.
  public static func writeLastChunk(into output: UnsafeMutableRawBufferPointer) -> Int? {
    var writer = HTTP1Writer(output)
    writer.append("0\r\n\r\n")
    return writer.count
  }

  /// Writes the last chunk and the trailer section parsed by `HTTP1Parser.parseTrailers`, without the fields that may
  /// not be trailers. Never more than the section's own bytes and three.
  ///
  /// - Returns: The number of bytes written; nil when they do not fit.
  public static func writeTrailers(
    _ trailers: borrowing FieldTable, from bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    var writer = HTTP1Writer(output)
    writer.append("0\r\n")
    for index in 0..<trailers.count where trailers[index].isForwarded {
      writer.append(bytes, from: Int(trailers[index].lineStart), to: Int(trailers[index].lineEnd))
    }
    writer.append("\r\n")
    return writer.count
  }
}
