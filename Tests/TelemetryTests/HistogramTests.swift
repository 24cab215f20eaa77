// The histogram's layout and its quantiles, against sorted lists of the observations themselves.

import Base
import Testing

@testable import Telemetry

@Suite struct HistogramTests {
  @Test("buckets are contiguous, and each bound falls into its own bucket")
  func layout() {
    var lower: UInt64 = 0
    for bucket in 0..<HistogramLayout.bucketCount - 1 {
      let upper = HistogramLayout.upperBound(of: bucket)
      #expect(upper > lower)
      #expect(HistogramLayout.lowerBound(of: bucket) == lower)
      #expect(HistogramLayout.bucket(of: upper) == bucket)
      #expect(HistogramLayout.bucket(of: upper + 1) == bucket + 1)
      if bucket > 0 { #expect((upper - lower) * 8 <= lower) }
      lower = upper
    }
    #expect(lower > 100_000_000_000)
    #expect(HistogramLayout.bucket(of: .max) == HistogramLayout.bucketCount - 1)
    #expect(HistogramLayout.bucket(of: 0) == 0)
  }

  @Test("exported bounds are powers of two of nanoseconds, ascending, about twenty")
  func exported() {
    let bounds = HistogramLayout.exportedBuckets.map { HistogramLayout.upperBound(of: $0) }
    #expect(bounds == (15...35).map { UInt64(1) << UInt64($0) })
  }

  @Test("quantiles are within 6.25 % of the exact ones", arguments: [UInt64(1), 2, 3])
  func quantiles(seed: UInt64) throws {
    print("seed \(seed)")
    var random = RandomSource(seed: seed)
    let registry = Registry(shardCount: 2)
    let family = registry.histogram("h_seconds", help: "")
    let cells = [family.cell(shard: 0), family.cell(shard: 1)]
    // Log-uniform from 2 us to 60 s, so that every octave is hit.
    let values = (0..<20_000).map { _ in
      let octave = 11 + UInt64(random.next(below: 24))
      return (UInt64(1) << octave) + random.next() % (UInt64(1) << octave)
    }
    for (index, value) in values.enumerated() { cells[index % 2].record(nanoseconds: value) }
    guard case .histogram(let snapshot) = family.family.value(labels: []) else {
      Issue.record("no histogram")
      return
    }
    #expect(snapshot.count == 20_000)
    #expect(snapshot.sumNanoseconds == values.reduce(0, +))
    let sorted = values.sorted()
    for fraction in [0.0, 0.001, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0] {
      let rank = max(1, Int((fraction * 20_000).rounded(.up)))
      let exact = Double(sorted[rank - 1])
      let estimate = Double(try #require(snapshot.quantileNanoseconds(fraction)))
      #expect(abs(estimate - exact) <= exact * 0.0625 + 1, "\(fraction): \(estimate) for \(exact)")
    }
  }

  @Test("an empty histogram has no quantile, no mean and no maximum")
  func empty() {
    let snapshot = HistogramSnapshot()
    #expect(snapshot.quantileNanoseconds(0.5) == nil)
    #expect(snapshot.meanNanoseconds == nil)
    #expect(snapshot.maximumNanoseconds == nil)
    #expect(snapshot.sparse.isEmpty)
  }

  @Test("a strange fraction is clamped", arguments: [-1.0, 2.0, .nan, .infinity, -.infinity])
  func clamped(fraction: Double) {
    var snapshot = HistogramSnapshot()
    snapshot.counts[10] = 3
    #expect(snapshot.quantileNanoseconds(fraction) != nil)
  }

  @Test("the sparse form carries everything")
  func sparse() {
    var snapshot = HistogramSnapshot()
    snapshot.sumNanoseconds = 99
    for bucket in [0, 1, 50, HistogramLayout.bucketCount - 1] { snapshot.counts[bucket] = UInt64(bucket + 1) }
    #expect(HistogramSnapshot(sumNanoseconds: 99, sparse: snapshot.sparse) == snapshot)
  }

  @Test("a difference holds what came since, and starts anew after a restart")
  func differences() {
    var earlier = HistogramSnapshot()
    earlier.counts[5] = 10
    earlier.sumNanoseconds = 100
    var later = earlier
    later.counts[5] = 14
    later.counts[6] = 1
    later.sumNanoseconds = 170
    let difference = later.since(earlier)
    #expect(difference.counts[5] == 4 && difference.counts[6] == 1 && difference.sumNanoseconds == 70)
    #expect(earlier.since(later).counts[5] == 10)
  }

  @Test("merging adds counts and sums")
  func merging() {
    var a = HistogramSnapshot()
    a.counts[3] = 1
    a.sumNanoseconds = 5
    var b = a
    b.merge(a)
    #expect(b.counts[3] == 2 && b.sumNanoseconds == 10 && b.count == 2)
  }
}
