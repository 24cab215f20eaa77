// Puts a name together in memory that somebody else owns, without allocating: for names that every request has.

/// Writes up to the end of its memory and no further; what does not fit shows in `isFull`.
struct NameWriter {
  private let memory: UnsafeMutableRawBufferPointer
  private(set) var count = 0
  private(set) var isFull = false

  init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }

  mutating func append(_ byte: UInt8) {
    guard count < memory.count else {
      isFull = true
      return
    }
    memory[count] = byte
    count &+= 1
  }

  mutating func append(lowercased byte: UInt8) { append(byte &- 0x41 < 26 ? byte | 0x20 : byte) }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes { append(byte) }
  }

  mutating func append(decimal number: UInt32) {
    var divisor: UInt32 = 1
    while number / divisor >= 10 { divisor *= 10 }
    while divisor > 0 {
      append(0x30 + UInt8(truncatingIfNeeded: number / divisor % 10))
      divisor /= 10
    }
  }

  mutating func append(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { append(text.utf8Start[index]) }
  }
}
