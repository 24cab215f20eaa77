// The hash ring (Karger and others, 1997): each endpoint stands at many places of a circle, a key belongs to the next place
// that follows it. When an endpoint goes, only its own keys move; when one comes, it takes keys and no other moves.
//
// For that the number of an endpoint's places must not depend on the others: it is 256 for each unit of weight, and halved for
// all alike only when the ring would outgrow its limit. With 256 places shares are within about 6 % (one standard deviation).
// Places stand in buckets by their leading bits, about one in each, so that a look-up is one step and not a binary search.

import Base

struct HashRing: @unchecked Sendable {
  private struct Place {
    let hash: UInt64
    /// Index of the member.
    let member: UInt32
  }

  private let places: UnsafeMutablePointer<Place>
  /// Where each bucket begins; one more than there are buckets.
  private let starts: UnsafeMutablePointer<UInt32>
  private let bucketBits: UInt64
  let placeCount: Int

  /// Nil without members. Time and memory are linear in the places: at most `limit` of them, or one for each member.
  init?(_ members: [HashMember], limit: Int) {
    if members.isEmpty || members.count > Int(Int32.max) { return nil }
    let counts = HashRing.counts(members, limit: limit)
    placeCount = counts.reduce(0, +)
    var bits: UInt64 = 1
    while (1 << bits) < placeCount { bits += 1 }
    bucketBits = bits
    places = .allocate(capacity: placeCount)
    starts = .allocate(capacity: (1 << Int(bits)) + 1)
    fill(members, counts)
  }

  func destroy() {
    places.deallocate()
    starts.deallocate()
  }

  /// The slot for a key; -1 when none of the next `maximumSteps` places leads to one that fits.
  func pick(_ candidates: Candidates, _ key: HashKey) -> Int {
    let hash = StableHash.mix(key.rawValue)
    var place = firstPlace(from: hash)
    var last = UInt32.max
    for _ in 0..<HashRing.maximumSteps {
      let member = places[place].member
      if member != last, Int(member) < candidates.count {
        let slot = candidates.slot(Int(member))
        if candidates.fits(slot) { return slot }
      }
      last = member
      place = place &+ 1 == placeCount ? 0 : place &+ 1
    }
    return -1
  }

  /// The first place at or after a hash, around the circle.
  private func firstPlace(from hash: UInt64) -> Int {
    var place = Int(starts[bucket(hash)])
    while place < placeCount, places[place].hash < hash { place &+= 1 }
    return place == placeCount ? 0 : place
  }

  @inline(__always) private func bucket(_ hash: UInt64) -> Int {
    Int(truncatingIfNeeded: hash >> (64 &- bucketBits))
  }

  /// How many places each member has.
  private static func counts(_ members: [HashMember], limit: Int) -> [Int] {
    let total = members.reduce(0) { $0 + $1.weight }
    var perWeight = placesPerWeight
    while perWeight > 0x1p-20, perWeight * total > Double(max(limit, 1)) { perWeight /= 2 }
    return members.map { max(1, Int(min($0.weight * perWeight, 0x1p30).rounded())) }
  }

  /// Sorts by counting buckets, and within a bucket by insertion: hashes are spread evenly, so buckets are small.
  private func fill(_ members: [HashMember], _ counts: [Int]) {
    let bucketCount = 1 << Int(bucketBits)
    starts.initialize(repeating: 0, count: bucketCount + 1)
    for (member, count) in zip(members, counts) {
      for replica in 0..<count { starts[bucket(HashRing.hash(member, replica)) + 1] &+= 1 }
    }
    for bucket in 0..<bucketCount { starts[bucket + 1] &+= starts[bucket] }
    let next = UnsafeMutablePointer<UInt32>.allocate(capacity: bucketCount)
    defer { next.deallocate() }
    next.initialize(from: starts, count: bucketCount)
    for (index, count) in counts.enumerated() {
      for replica in 0..<count {
        let place = Place(
          hash: HashRing.hash(members[index], replica), member: UInt32(truncatingIfNeeded: index))
        let bucket = bucket(place.hash)
        var at = Int(next[bucket])
        while at > Int(starts[bucket]), places[at - 1].hash > place.hash {
          (places + at).initialize(to: places[at - 1])
          at -= 1
        }
        (places + at).initialize(to: place)
        next[bucket] &+= 1
      }
    }
  }

  @inline(__always) private static func hash(_ member: HashMember, _ replica: Int) -> UInt64 {
    StableHash.mix(member.identity ^ StableHash.mix(UInt64(truncatingIfNeeded: replica)))
  }

  private static let placesPerWeight = 256.0
  /// Places looked at for one key. With half of the endpoints out, the chance that none of these fits is 2^-64 or so.
  private static let maximumSteps = 64
}
