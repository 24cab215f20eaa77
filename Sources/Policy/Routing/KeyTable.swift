// A hash table from byte strings to numbers that is built once and only read: hosts to buckets, paths to lists of rules. Of
// what clients send nothing is kept, so it cannot grow; its hash is seeded all the same.
//
//     entry, 32 bytes:  hash | key's address | key's byte count, scope | value

import Glibc

/// Built by `KeyTable.Builder`; its memory belongs to the `CompiledMemory` given there. A trivial value.
struct KeyTable {
  struct Entry {
    var hash: UInt64
    var key: UnsafeRawPointer?
    var count: UInt32
    var value: UInt32
  }

  private let entries: UnsafePointer<Entry>
  private let mask: Int

  /// The value of a key; nil when it has none. `hash` is that of the key, made with `KeyHash`, scope included.
  @inline(__always) func value(_ hash: UInt64, _ key: UnsafeRawPointer, _ count: Int) -> UInt32? {
    var slot = Int(truncatingIfNeeded: hash >> 32) & mask
    while true {
      // At most half of the entries are taken, so an empty one ends the search.
      let entry = entries[slot]
      guard let stored = entry.key else { return nil }
      if entry.hash == hash, Int(entry.count) == count, memcmp(stored, key, count) == 0 { return entry.value }
      slot = (slot &+ 1) & mask
    }
  }

  /// The same for a key that is stored in lower case, `key` in any; so is the hash.
  @inline(__always) func value(ignoringCase hash: UInt64, _ key: UnsafeRawPointer, _ count: Int) -> UInt32? {
    var slot = Int(truncatingIfNeeded: hash >> 32) & mask
    while true {
      let entry = entries[slot]
      guard let stored = entry.key else { return nil }
      if entry.hash == hash, Int(entry.count) == count, KeyHash.isLowercased(stored, of: key, count) {
        return entry.value
      }
      slot = (slot &+ 1) & mask
    }
  }

  /// Collects keys. The same key under two hashes is two keys: that is what scopes are made of.
  struct Builder {
    private var keys: [(hash: UInt64, key: UnsafeRawBufferPointer, value: UInt32)] = []

    /// `key`, not empty, stays where it is as long as the table.
    mutating func insert(_ hash: UInt64, _ key: UnsafeRawBufferPointer, value: UInt32) {
      keys.append((hash, key, value))
    }

    func build(in memory: CompiledMemory) -> KeyTable? {
      guard !keys.isEmpty else { return nil }
      var capacity = 4
      while capacity < keys.count * 2 { capacity *= 2 }
      var entries = [Entry](repeating: Entry(hash: 0, key: nil, count: 0, value: 0), count: capacity)
      for (hash, key, value) in keys {
        var slot = Int(truncatingIfNeeded: hash >> 32) & (capacity - 1)
        while entries[slot].key != nil { slot = (slot + 1) & (capacity - 1) }
        entries[slot] = Entry(
          hash: hash, key: key.baseAddress, count: UInt32(truncatingIfNeeded: key.count), value: value)
      }
      guard let base = memory.copy(entries).baseAddress else { return nil }
      return KeyTable(entries: base, mask: capacity - 1)
    }
  }
}

extension KeyTable.Entry: BitwiseCopyable {}

/// Hashes byte strings piece by piece, eight bytes a step: the hash of `/a/b` goes on from that of `/a`.
struct KeyHash {
  private(set) var state: UInt64

  init(seed: UInt64) { state = seed }

  @inline(__always) private mutating func fold(_ word: UInt64) {
    let product = (state ^ word).multipliedFullWidth(by: 0x9E37_79B9_7F4A_7C15)
    state = product.high ^ product.low
  }

  /// Adds a number of its own, such as a scope.
  @inline(__always) mutating func add(_ number: UInt32) { fold(UInt64(number) | 1 << 40) }

  /// Adds a piece of `count` bytes, at least one.
  @inline(__always) mutating func add(_ bytes: UnsafeRawPointer, _ count: Int) {
    var offset = 0
    while offset &+ 8 <= count {
      fold(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      offset &+= 8
    }
    if offset < count { fold(Self.tail(bytes + offset, count &- offset)) }
    fold(UInt64(truncatingIfNeeded: count) | 1 << 41)
  }

  /// Adds a piece as if its letters were in lower case.
  @inline(__always) mutating func add(lowercasing bytes: UnsafeRawPointer, _ count: Int) {
    var offset = 0
    while offset &+ 8 <= count {
      fold(NameCache.lowercased(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)))
      offset &+= 8
    }
    if offset < count { fold(NameCache.lowercased(Self.tail(bytes + offset, count &- offset))) }
    fold(UInt64(truncatingIfNeeded: count) | 1 << 41)
  }

  /// Whether `lower` is `bytes` in lower case; both have `count` bytes.
  @inline(__always) static func isLowercased(_ lower: UnsafeRawPointer, of bytes: UnsafeRawPointer, _ count: Int)
    -> Bool
  {
    var offset = 0
    while offset &+ 8 <= count {
      let word = NameCache.lowercased(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      if lower.loadUnaligned(fromByteOffset: offset, as: UInt64.self) != word { return false }
      offset &+= 8
    }
    guard offset < count else { return true }
    return tail(lower + offset, count &- offset) == NameCache.lowercased(tail(bytes + offset, count &- offset))
  }

  /// One to seven bytes, never more read.
  @inline(__always) private static func tail(_ bytes: UnsafeRawPointer, _ count: Int) -> UInt64 {
    if count >= 4 {
      let low = UInt64(bytes.loadUnaligned(as: UInt32.self))
      return low | UInt64(bytes.loadUnaligned(fromByteOffset: count &- 4, as: UInt32.self)) << 32
    }
    let first = UInt64(bytes.load(as: UInt8.self))
    let middle = UInt64(bytes.load(fromByteOffset: count >> 1, as: UInt8.self))
    return first | middle << 8 | UInt64(bytes.load(fromByteOffset: count &- 1, as: UInt8.self)) << 16
  }

  /// The hash of a whole key, as if in lower case.
  @inline(__always) static func of(lowercasing key: UnsafeRawPointer, _ count: Int, seed: UInt64) -> UInt64 {
    var hash = KeyHash(seed: seed)
    hash.add(lowercasing: key, count)
    return hash.state
  }

  /// The hash of a whole key.
  static func of(_ key: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
    var hash = KeyHash(seed: seed)
    if let base = key.baseAddress { hash.add(base, key.count) }
    return hash.state
  }
}

/// Whether two byte strings of the same length are equal.
@inline(__always) func equalBytes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  guard a.count == b.count, let first = a.baseAddress, let second = b.baseAddress else { return a.count == b.count }
  return memcmp(first, second, a.count) == 0
}
