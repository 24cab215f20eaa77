// A small number for each of many large ones: the workloads of cgroups and of users.

/// An immutable map that shards read without locks, allocations or reference counts of its own.
public struct NumberTable: Sendable, Equatable {
  /// Open addressing: a power of two of places, at most half of them taken. A key stands there plus one, 0 is a free place.
  private let keys: [UInt64]
  private let values: [UInt16]
  private let mask: Int

  /// - Parameter entries: the greatest key of all has no place, and is left out.
  public init(_ entries: [UInt64: UInt16] = [:]) {
    var capacity = 2
    while capacity < 2 * entries.count { capacity *= 2 }
    mask = capacity - 1
    var keys = [UInt64](repeating: 0, count: capacity)
    var values = [UInt16](repeating: 0, count: capacity)
    // In order, so that equal maps are equal tables.
    for (key, value) in entries.sorted(by: { $0.key < $1.key }) where key != .max {
      var place = Self.place(key &+ 1, mask)
      while keys[place] != 0 { place = (place + 1) & mask }
      keys[place] = key &+ 1
      values[place] = value
    }
    self.keys = keys
    self.values = values
  }

  /// Nil when the key has no entry.
  public func value(of key: UInt64) -> UInt16? {
    let stored = key &+ 1
    if stored == 0 { return nil }
    var place = Self.place(stored, mask)
    while keys[place] != 0 {
      if keys[place] == stored { return values[place] }
      place = (place + 1) & mask
    }
    return nil
  }

  /// Neighbouring numbers come to places far apart (Knuth's multiplicative hashing).
  private static func place(_ stored: UInt64, _ mask: Int) -> Int {
    Int(truncatingIfNeeded: (stored &* 0x9E37_79B9_7F4A_7C15) >> 32) & mask
  }
}
