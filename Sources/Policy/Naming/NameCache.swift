// The short way from a request's host to its service: what identification and delegation found, kept per shard.
// Clients choose the hosts, so its memory is fixed, its hash is seeded, and names nobody knows can never push
// out names that somebody does.

import Base

/// A trivial handle to a cache of 1024 hosts (80 KiB), two to a set: copies are the same cache, the owner calls
/// `destroy()` once. One per shard; not thread-safe. Hosts match whatever their case; a cache of other names, which may
/// differ in nothing else, can be made to tell cases apart.
///
/// An entry is bound to the generation it was found in: publishing a new snapshot with a new generation number
/// forgets everything at once, without touching the memory.
///
///     entry, 80 bytes:  key (8 words, lower case) | hash (56 bits), byte count (8) | value (32) | generation (32)
///
/// A host of 8 bytes or more is kept as its whole words and then the 8 bytes that end it (which may overlap
/// them); a shorter one as one word. With the byte count that tells any two hosts apart.
@frozen public struct NameCache {
  /// What is known of a host.
  @frozen public enum Answer: Equatable, Sendable {
    /// The number of its service.
    case service(UInt32)
    /// The number of its tree, of several services.
    case tree(UInt32)
    /// Nobody knows it.
    case negative
    /// Not in the cache: identify and bind it, then `insert`.
    case unknown
  }

  @usableFromInline struct Entry {
    @usableFromInline var key: Key
    @usableFromInline var tag: UInt64
    @usableFromInline var value: UInt32
    @usableFromInline var generation: UInt32
  }

  @usableFromInline typealias Key = InlineArray<8, UInt64>

  @usableFromInline let entries: UnsafeMutablePointer<Entry>
  @usableFromInline let seed: UInt64
  @usableFromInline let multiplier: UInt64
  /// The bits that make letters lower case, in each byte; none where cases are told apart.
  @usableFromInline let fold: UInt64

  /// An empty cache, hashing with two numbers from `random`: seed it from the kernel, so that no client can aim.
  public init(random: inout RandomSource, foldsCase: Bool = true) {
    fold = foldsCase ? 0x2020_2020_2020_2020 : 0
    entries = .allocate(capacity: Self.entryCount)
    entries.initialize(
      repeating: Entry(key: Key(repeating: 0), tag: 0, value: 0, generation: 0), count: Self.entryCount)
    seed = random.next()
    multiplier = random.next() | 1
  }

  /// Gives the memory back.
  public func destroy() { entries.deallocate() }

  /// What was inserted for this host in this generation. Allocates nothing; about 10 ns.
  @inlinable public func lookup(_ host: UnsafeRawBufferPointer, generation: UInt32) -> Answer {
    guard let base = host.baseAddress, UInt(bitPattern: host.count &- 1) < Self.maximumHostByteCount else {
      return .unknown
    }
    let tag = hash(base, host.count)
    let set = entries + Self.set(of: tag)
    if set[0].tag == tag, set[0].generation == generation, matches(set, base, host.count) {
      return Self.answer(set[0].value)
    }
    if set[1].tag == tag, set[1].generation == generation, matches(set + 1, base, host.count) {
      return Self.answer(set[1].value)
    }
    return .unknown
  }

  /// Keeps an answer; `.unknown` and hosts over 64 bytes are not kept. A negative takes no place of a service.
  public func insert(_ host: UnsafeRawBufferPointer, generation: UInt32, answer: Answer) {
    guard let base = host.baseAddress, UInt(bitPattern: host.count &- 1) < Self.maximumHostByteCount else { return }
    let value: UInt32
    switch answer {
    case .unknown: return
    case .negative: value = Self.negativeValue
    case .service(let number):
      guard number < Self.treeBit else { return }
      value = number
    case .tree(let number):
      guard number < Self.treeBit &- 1 else { return }
      value = number | Self.treeBit
    }
    let tag = hash(base, host.count)
    let set = entries + Self.set(of: tag)
    guard let way = victim(in: set, base, host.count, tag: tag, generation: generation, value: value) else { return }
    set[way].key = Key(repeating: 0)
    let words = (host.count &+ 7) >> 3
    for index in 0..<words { set[way].key[index] = word(base, host.count, index) }
    set[way].tag = tag
    set[way].value = value
    set[way].generation = generation
  }

  /// The way to overwrite: the host's own, else an empty or outdated one, else a negative one, else, for a
  /// service, the one a hash bit says. nil where a negative would cost a service its place.
  private func victim(
    in set: UnsafeMutablePointer<Entry>, _ base: UnsafeRawPointer, _ count: Int, tag: UInt64, generation: UInt32,
    value: UInt32
  ) -> Int? {
    for way in 0..<2 where set[way].tag == tag && matches(set + way, base, count) { return way }
    for way in 0..<2 where set[way].tag == 0 || set[way].generation != generation { return way }
    let preferred = Int(truncatingIfNeeded: (tag >> 40) & 1)
    for way in [preferred, 1 - preferred] where set[way].value == Self.negativeValue { return way }
    return value == Self.negativeValue ? nil : preferred
  }

  // MARK: Hashing

  /// Folds each word with a 64 × 64 → 128 bit multiplication; start and multiplier are secret. The low byte of
  /// the outcome is the byte count, which is never zero: a zero tag marks an empty entry.
  @inlinable func hash(_ base: UnsafeRawPointer, _ count: Int) -> UInt64 {
    var state = seed
    var index = 0
    repeat {
      let product = (state ^ word(base, count, index)).multipliedFullWidth(by: multiplier)
      state = product.high ^ product.low
      index &+= 1
    } while index &* 8 < count
    let last = (state ^ UInt64(truncatingIfNeeded: count)).multipliedFullWidth(by: multiplier)
    return (last.high ^ last.low) & ~0xFF | UInt64(truncatingIfNeeded: count)
  }

  @inlinable func matches(
    _ entry: UnsafeMutablePointer<Entry>, _ base: UnsafeRawPointer, _ count: Int
  ) -> Bool {
    let key = UnsafeRawPointer(entry)
    var index = 0
    repeat {
      // The key opens the entry; `index` stays below 8 because the byte count was checked.
      if key.load(fromByteOffset: index &* 8, as: UInt64.self) != word(base, count, index) { return false }
      index &+= 1
    } while index &* 8 < count
    return true
  }

  /// Word `index` of the host in lower case, as keys hold it. Never reads outside `count` bytes.
  @inlinable func word(_ base: UnsafeRawPointer, _ count: Int, _ index: Int) -> UInt64 {
    if count >= 8 {
      return folded(base.loadUnaligned(fromByteOffset: min(index &* 8, count &- 8), as: UInt64.self))
    }
    if count >= 4 {
      let low = UInt64(base.loadUnaligned(as: UInt32.self))
      let high = UInt64(base.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self))
      return folded(low | high << 32)
    }
    // One to three bytes: first, middle and last are all of them.
    let first = UInt64(base.load(as: UInt8.self))
    let middle = UInt64(base.load(fromByteOffset: count >> 1, as: UInt8.self))
    let last = UInt64(base.load(fromByteOffset: count &- 1, as: UInt8.self))
    return folded(first | middle << 8 | last << 16)
  }

  /// Eight ASCII letters at once: a byte in `A ... Z` gets bit 5, every other stays.
  @inlinable static func lowercased(_ word: UInt64) -> UInt64 {
    let heptets = word & 0x7F7F_7F7F_7F7F_7F7F
    let fromA = heptets &+ 0x3F3F_3F3F_3F3F_3F3F
    let aboveZ = heptets &+ 0x2525_2525_2525_2525
    let upper = (fromA ^ aboveZ) & ~word & 0x8080_8080_8080_8080
    return word | upper >> 2
  }

  /// Lower case, unless this cache tells cases apart.
  @inlinable func folded(_ word: UInt64) -> UInt64 { word | (Self.lowercased(word) & fold) }

  @inlinable static func answer(_ value: UInt32) -> Answer {
    if value < treeBit { return .service(value) }
    return value == negativeValue ? .negative : .tree(value ^ treeBit)
  }

  /// The first entry of the set a tag belongs to.
  @inlinable static func set(of tag: UInt64) -> Int { Int(truncatingIfNeeded: tag >> 55) &* 2 }

  @usableFromInline static var entryCount: Int { @inlinable get { 1024 } }
  /// Set in the value of a tree.
  @usableFromInline static var treeBit: UInt32 { @inlinable get { 0x8000_0000 } }
  /// No service and no tree has this value.
  @usableFromInline static var negativeValue: UInt32 { @inlinable get { .max } }
  /// Longer hosts are not cached; every one is identified anew.
  @usableFromInline static var maximumHostByteCount: UInt { @inlinable get { 64 } }
}
