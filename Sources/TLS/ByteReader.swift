// Reads big-endian numbers and length-prefixed vectors (RFC 8446 section 3.4) from bytes that a peer wrote. Nothing is read
// that is not there: what is short is nil, and the caller says which error that is.

/// A place in bytes that move on as they are read.
struct ByteReader {
  private let bytes: UnsafeRawBufferPointer
  /// What comes next, and where what may be read ends; offsets into all of the bytes.
  private(set) var position: Int
  private let end: Int

  init(_ bytes: UnsafeRawBufferPointer) {
    self.bytes = bytes
    position = 0
    end = bytes.count
  }

  private init(_ bytes: UnsafeRawBufferPointer, _ range: Range<Int>) {
    self.bytes = bytes
    position = range.lowerBound
    end = range.upperBound
  }

  var isAtEnd: Bool { position == end }
  private var left: Int { end - position }

  mutating func byte() -> UInt8? {
    guard left >= 1 else { return nil }
    defer { position += 1 }
    return bytes[position]
  }

  mutating func number16() -> Int? {
    guard left >= 2 else { return nil }
    defer { position += 2 }
    return Int(bytes[position]) << 8 | Int(bytes[position + 1])
  }

  mutating func number24() -> Int? {
    guard left >= 3, let high = byte(), let low = number16() else { return nil }
    return Int(high) << 16 | low
  }

  /// The next `count` bytes, as their range.
  mutating func take(_ count: Int) -> Range<Int>? {
    guard count >= 0, left >= count else { return nil }
    defer { position += count }
    return position..<(position + count)
  }

  /// A vector whose length is told in one byte.
  mutating func vector8() -> Range<Int>? {
    guard let count = byte() else { return nil }
    return take(Int(count))
  }

  /// A vector whose length is told in two bytes.
  mutating func vector16() -> Range<Int>? {
    guard let count = number16() else { return nil }
    return take(count)
  }

  /// A reader of a range that this one gave.
  func reader(of range: Range<Int>) -> ByteReader { ByteReader(bytes, range) }
}
