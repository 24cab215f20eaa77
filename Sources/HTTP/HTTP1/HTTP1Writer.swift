// Filling a raw send buffer: bounded appends that never trap. Once something did not fit, nothing more is written and
// the result is nil, so the serializers are written as straight lines and checked once.

/// Appends bytes to a buffer that the caller owns.
public struct HTTP1Writer {
  private let base: UnsafeMutableRawPointer?
  private let capacity: Int
  private var position = 0
  private var isOverrun = false

  /// Writes from the start of `output` on; never past its end.
  @inline(__always) public init(_ output: UnsafeMutableRawBufferPointer) {
    base = output.baseAddress
    capacity = output.baseAddress == nil ? 0 : output.count
  }

  /// Bytes written; nil when not everything fitted.
  public var count: Int? { isOverrun ? nil : position }

  @inline(__always) public mutating func append(_ bytes: UnsafeRawBufferPointer) {
    append(bytes.baseAddress, bytes.count)
  }

  @inline(__always) public mutating func append(_ text: StaticString) {
    append(UnsafeRawPointer(text.utf8Start), text.utf8CodeUnitCount)
  }

  @inline(__always) public mutating func append(_ byte: UInt8) {
    guard let base, !isOverrun, position < capacity else {
      isOverrun = true
      return
    }
    base.storeBytes(of: byte, toByteOffset: position, as: UInt8.self)
    position &+= 1
  }

  /// A decimal number without sign or leading zeros.
  public mutating func append(decimal number: UInt64) { append(digits: number, radix: 10) }

  /// A lower-case hexadecimal number without prefix or leading zeros.
  public mutating func append(hexadecimal number: UInt64) { append(digits: number, radix: 16) }

  /// The bytes of `source` from `start` up to `end`; nothing if that is not a part of it.
  @inline(__always) mutating func append(_ source: UnsafeRawBufferPointer, from start: Int, to end: Int) {
    guard let sourceBase = source.baseAddress, start >= 0, start <= end, end <= source.count else { return }
    append(sourceBase + start, end &- start)
  }

  @inline(__always) private mutating func append(_ source: UnsafeRawPointer?, _ count: Int) {
    guard let source, count > 0 else { return }
    guard let base, !isOverrun, count <= capacity &- position else {
      isOverrun = true
      return
    }
    (base + position).copyMemory(from: source, byteCount: count)
    position &+= count
  }

  @inline(__always) private mutating func append(digits number: UInt64, radix: UInt64) {
    var count = 1
    var rest = number / radix
    while rest != 0 {
      count &+= 1
      rest /= radix
    }
    guard let base, !isOverrun, count <= capacity &- position else {
      isOverrun = true
      return
    }
    position &+= count
    var end = position
    rest = number
    // `count` digits, just checked to fit: `end` stops where this number began.
    repeat {
      let digit = UInt8(truncatingIfNeeded: rest % radix)
      end &-= 1
      base.storeBytes(of: digit < 10 ? digit &+ 0x30 : digit &+ 0x57, toByteOffset: end, as: UInt8.self)
      rest /= radix
    } while rest != 0
  }
}
