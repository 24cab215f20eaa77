// Bounded reading of a head's bytes, eight at a time. This is the one place of the parsers that touches memory
// through a pointer: each load is checked in the function that does it, and what lies past the end reads as NUL, which
// no part of a head may contain, so every scan stops there without asking.

/// Bytes to be parsed. A view for the length of one call; it owns nothing.
struct ByteView {
  let base: UnsafeRawPointer
  let count: Int

  /// The first `limit` bytes of `bytes`. Nil when there are none.
  @inline(__always) init?(_ bytes: UnsafeRawBufferPointer, limit: Int) {
    guard let base = bytes.baseAddress, bytes.count > 0, limit > 0 else { return nil }
    self.base = base
    count = min(bytes.count, limit)
  }

  /// The view's first `limit` bytes.
  @inline(__always) func prefix(_ limit: Int) -> ByteView { ByteView(base: base, count: min(count, limit)) }

  @inline(__always) private init(base: UnsafeRawPointer, count: Int) {
    self.base = base
    self.count = count
  }

  /// The byte at `index`, NUL outside the view.
  @inline(__always) subscript(index: Int) -> UInt8 {
    guard UInt(bitPattern: index) < UInt(bitPattern: count) else { return 0 }
    return base.load(fromByteOffset: index, as: UInt8.self)
  }

  /// The eight bytes from `index` (not negative) on, the first in the lowest bits; NUL past the end.
  @inline(__always) func word(at index: Int) -> UInt64 {
    guard index <= count &- 8 else { return partialWord(at: index) }
    return UInt64(littleEndian: base.loadUnaligned(fromByteOffset: index, as: UInt64.self))
  }

  @inline(never) private func partialWord(at index: Int) -> UInt64 {
    var word: UInt64 = 0
    for offset in 0..<8 { word |= UInt64(self[index &+ offset]) << UInt64(8 &* offset) }
    return word
  }

  /// The first index from `start` on whose byte is a control byte (below 0x20, or DEL), or the end.
  ///
  /// A byte below 0x20 borrows into its top bit when 0x20 is taken from it, DEL becomes zero by the exclusive or and
  /// borrows when one is taken; bytes from 0x80 on (obs-text) are masked out. Borrows only travel upwards, so the
  /// lowest mark is exact.
  @inline(__always) func firstControl(from start: Int) -> Int {
    var index = start
    while true {
      let word = word(at: index)
      let marks = ((word &- every(0x20)) | ((word ^ every(0x7F)) &- every(1))) & ~word & every(0x80)
      if marks != 0 { return index &+ (marks.trailingZeroBitCount >> 3) }
      index &+= 8
    }
  }

  /// The first index from `start` on whose byte is not a plain byte of a request target: anything but 0x21 to 0x7E,
  /// and `?` and `#`. The lowest mark is exact as above.
  @inline(__always) func firstTargetStop(from start: Int) -> Int {
    var index = start
    while true {
      let word = word(at: index)
      let outside = (word &- every(0x21)) | word | (word &+ every(1))
      let marks = (outside | ((word ^ every(0x3F)) &- every(1)) | ((word ^ every(0x23)) &- every(1))) & every(0x80)
      if marks != 0 { return index &+ (marks.trailingZeroBitCount >> 3) }
      index &+= 8
    }
  }

  /// The first index from `start` on whose byte is a colon, a NUL, or the end.
  @inline(__always) func firstColon(from start: Int) -> Int {
    var index = start
    while true {
      let word = word(at: index)
      let colon = word ^ every(0x3A)
      let marks = (((colon &- every(1)) & ~colon) | ((word &- every(1)) & ~word)) & every(0x80)
      if marks != 0 { return index &+ (marks.trailingZeroBitCount >> 3) }
      index &+= 8
    }
  }

  /// The first index from `start` up to `end` whose byte is not a token character (RFC 9110 5.6.2); `end` if none.
  @inline(__always) func firstNonToken(from start: Int, to end: Int) -> Int {
    var index = start
    while index < end, isToken(self[index]) { index &+= 1 }
    return index
  }

  /// Whether the bytes of `range` are `lower` (lower case) when the case of letters is ignored.
  func matches(_ range: ByteRange, _ lower: StaticString) -> Bool {
    guard range.count == lower.utf8CodeUnitCount else { return false }
    // Bounded by the string's own length, just compared.
    for index in 0..<range.count where lowercased(self[range.start &+ index]) != lower.utf8Start[index] {
      return false
    }
    return true
  }

  /// Whether two ranges hold the same bytes when the case of letters is ignored.
  func equal(_ a: ByteRange, _ b: ByteRange) -> Bool {
    guard a.count == b.count else { return false }
    for index in 0..<a.count
    where lowercased(self[a.start &+ index]) != lowercased(self[b.start &+ index]) { return false }
    return true
  }

  /// `range` without the spaces and tabs at its two ends.
  @inline(__always) func trimmed(_ start: Int, _ end: Int) -> ByteRange {
    var first = start
    var last = end
    while first < last, isBlank(self[first]) { first &+= 1 }
    while first < last, isBlank(self[last &- 1]) { last &-= 1 }
    return ByteRange(first, last)
  }
}

/// `byte` in each of a word's eight bytes.
@inline(__always) func every(_ byte: UInt64) -> UInt64 { byte &* 0x0101_0101_0101_0101 }

@inline(__always) func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 }

/// A token character: letters, digits and !#$%&'*+-.^_`|~. The set is two 64-bit constants, so no table is loaded.
@inline(__always) func isToken(_ byte: UInt8) -> Bool {
  let low: UInt64 = 0x03FF_6CFA_0000_0000
  let high: UInt64 = 0x57FF_FFFF_C7FF_FFFE
  let set = byte < 64 ? low : high
  return byte < 128 && (set >> UInt64(byte & 63)) & 1 != 0
}

let carriageReturn: UInt8 = 0x0D
let lineFeed: UInt8 = 0x0A
