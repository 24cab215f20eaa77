// W3C Trace Context, the `traceparent` field (https://www.w3.org/TR/trace-context-1/): read, started, passed on.
//
//   00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
//   version, trace id (16 bytes), parent id (8 bytes), flags; lower-case hexadecimal
//
// Values in, bytes out, nothing allocated. Whether to sample, and `tracestate` (passed on untouched), are the caller's.

import Base

/// One hop's trace context. A plain value of 25 bytes.
public struct TraceContext: Equatable, Sendable {
  public var traceHigh: UInt64
  public var traceLow: UInt64
  /// The span that the next hop is a child of.
  public var span: UInt64
  /// Bit 0: sampled. Bit 1: the trace id is random (level 2). Other bits are not kept.
  public var flags: UInt8

  public init(traceHigh: UInt64, traceLow: UInt64, span: UInt64, flags: UInt8) {
    self.traceHigh = traceHigh
    self.traceLow = traceLow
    self.span = span
    self.flags = flags & knownFlags
  }

  /// Whether the caller asked for this trace to be recorded.
  public var isSampled: Bool { flags & 1 != 0 }

  /// The bytes of a written `traceparent`.
  public static var encodedByteCount: Int { 55 }

  /// A new trace.
  public static func started(using random: inout RandomSource, sampled: Bool) -> TraceContext {
    TraceContext(
      traceHigh: nonZero(&random), traceLow: random.next(), span: nonZero(&random), flags: sampled ? 0b11 : 0b10)
  }

  /// The same trace with a new span of our own.
  public func child(using random: inout RandomSource) -> TraceContext {
    var child = self
    child.span = nonZero(&random)
    return child
  }

  /// Reads a field value without surrounding white space. Nil where the specification says to ignore it and start a new trace:
  /// wrong length, upper case, version ff, all-zero ids. Versions above 00 may carry more after a dash; it is not kept.
  public static func parse(_ value: borrowing RawSpan) -> TraceContext? {
    guard value.byteCount >= encodedByteCount,
      let version = hexadecimal(value, 0, 2), version != 0xFF,
      value[2] == dash, value[35] == dash, value[52] == dash,
      let traceHigh = hexadecimal(value, 3, 16), let traceLow = hexadecimal(value, 19, 16),
      let span = hexadecimal(value, 36, 16), let flags = hexadecimal(value, 53, 2),
      traceHigh | traceLow != 0, span != 0
    else { return nil }
    if value.byteCount > encodedByteCount {
      guard version != 0, value[encodedByteCount] == dash else { return nil }
    }
    return TraceContext(
      traceHigh: traceHigh, traceLow: traceLow, span: span, flags: UInt8(truncatingIfNeeded: flags))
  }

  /// Writes the field value (version 00) into the caller's buffer.
  ///
  /// - Returns: the bytes written, 55, or 0 when the buffer is shorter.
  @discardableResult
  public func write(into buffer: UnsafeMutableRawBufferPointer) -> Int {
    guard buffer.count >= Self.encodedByteCount else { return 0 }
    buffer[0] = 0x30
    buffer[1] = 0x30
    buffer[2] = dash
    writeHexadecimal(traceHigh, digits: 16, buffer, 3)
    writeHexadecimal(traceLow, digits: 16, buffer, 19)
    buffer[35] = dash
    writeHexadecimal(span, digits: 16, buffer, 36)
    buffer[52] = dash
    writeHexadecimal(UInt64(flags), digits: 2, buffer, 53)
    return Self.encodedByteCount
  }
}

extension RawSpan {
  /// A byte whose index the caller has checked against the span's length.
  fileprivate subscript(_ index: Int) -> UInt8 { unsafeLoad(fromByteOffset: index, as: UInt8.self) }
}

private func nonZero(_ random: inout RandomSource) -> UInt64 {
  // Zero comes once in 2^64 draws; the identifiers must not be zero.
  let value = random.next()
  return value == 0 ? 1 : value
}

private func hexadecimal(_ value: borrowing RawSpan, _ start: Int, _ digits: Int) -> UInt64? {
  var result: UInt64 = 0
  for index in start..<(start + digits) {
    let byte = value[index]
    switch byte {
    case 0x30...0x39: result = result << 4 | UInt64(byte &- 0x30)
    case 0x61...0x66: result = result << 4 | UInt64(byte &- 0x61 &+ 10)
    default: return nil
    }
  }
  return result
}

func writeHexadecimal(_ value: UInt64, digits: Int, _ buffer: UnsafeMutableRawBufferPointer, _ start: Int) {
  var rest = value
  for index in stride(from: start + digits - 1, through: start, by: -1) {
    let digit = UInt8(truncatingIfNeeded: rest & 15)
    buffer[index] = digit < 10 ? 0x30 &+ digit : 0x57 &+ digit
    rest >>= 4
  }
}

private let dash: UInt8 = 0x2D
private let knownFlags: UInt8 = 0b11
