// The words a shard writes while it serves requests: counters, gauges, histograms.
// A cell belongs to one shard, and only that shard's thread writes it, so an update is an ordinary load, add and store
// (relaxed atomics without a lock prefix). Readers merge the shards' cells with relaxed loads. What the words mean, who
// names them and who keeps their memory alive is the registry's business.

import Synchronization

/// One word of a cell's memory.
public typealias CellWord = UnsafeMutablePointer<Atomic<UInt64>>

/// A number that only grows. Written by one shard; about one nanosecond an update; never allocates.
///
/// Valid as long as the registry that gave it out lives, also after its series was retired.
public struct CounterCell: @unchecked Sendable {
  @usableFromInline let word: CellWord

  @inlinable init(word: CellWord) { self.word = word }

  /// Adds one. The owning shard's thread only.
  @inlinable public func increment() { add(1) }

  /// Adds `amount`, wrapping at 2^64. The owning shard's thread only.
  @inlinable public func add(_ amount: UInt64) {
    word.pointee.store(word.pointee.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }

  /// What this shard has counted. Any thread.
  @inlinable public var value: UInt64 { word.pointee.load(ordering: .relaxed) }
}

/// A number that goes up and down. Written by one shard; the shards' values are summed (or the largest taken) on reading.
public struct GaugeCell: @unchecked Sendable {
  @usableFromInline let word: CellWord

  @inlinable init(word: CellWord) { self.word = word }

  /// Adds `amount`, which may be negative. The owning shard's thread only.
  @inlinable public func add(_ amount: Int64) {
    word.pointee.store(
      word.pointee.load(ordering: .relaxed) &+ UInt64(bitPattern: amount), ordering: .relaxed)
  }

  /// Replaces the value. The owning shard's thread only.
  @inlinable public func set(_ value: Int64) {
    word.pointee.store(UInt64(bitPattern: value), ordering: .relaxed)
  }

  /// This shard's value. Any thread.
  @inlinable public var value: Int64 { Int64(bitPattern: word.pointee.load(ordering: .relaxed)) }
}

/// A distribution of durations in nanoseconds. Written by one shard: two words an observation.
public struct HistogramCell: @unchecked Sendable {
  // Word 0 is the sum; the buckets follow in the order of HistogramLayout.
  @usableFromInline let words: CellWord

  @inlinable init(words: CellWord) { self.words = words }

  /// Records one duration. The owning shard's thread only.
  @inlinable public func record(nanoseconds: UInt64) {
    words.pointee.store(words.pointee.load(ordering: .relaxed) &+ nanoseconds, ordering: .relaxed)
    let bucket = words + (1 &+ HistogramLayout.bucket(of: nanoseconds))
    bucket.pointee.store(bucket.pointee.load(ordering: .relaxed) &+ 1, ordering: .relaxed)
  }

  /// Adds what this cell holds to `snapshot`. Any thread.
  public func merge(into snapshot: inout HistogramSnapshot) {
    snapshot.sumNanoseconds &+= words.pointee.load(ordering: .relaxed)
    for bucket in 0..<HistogramLayout.bucketCount {
      let count = (words + 1 + bucket).pointee.load(ordering: .relaxed)
      if count != 0 { snapshot.counts[bucket] &+= count }
    }
  }

  /// How many words a cell takes.
  static let wordCount = 1 + HistogramLayout.bucketCount
}
