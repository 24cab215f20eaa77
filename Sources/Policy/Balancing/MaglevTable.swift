// Maglev's table (Eisenbud and others, 2016): each endpoint goes through the table in an order of its own and takes the next free
// entry whenever its turn comes. Every endpoint gets its share of the entries to within one, and when one goes, most entries of
// the others stay.
//
// Turns are spread by weight: an endpoint with q of the n entries has its turns at 1/2q, 3/2q, 5/2q, …, all endpoints' turns in
// one order. With equal weights that is the paper's round of all. An endpoint whose share is under half an entry has none.

import Base

struct MaglevTable: @unchecked Sendable {
  /// By entry, index of the member.
  private let entries: UnsafeMutablePointer<UInt32>
  private let size: Int

  /// Nil without members. Time is about `size · log size`, whatever the number of members; memory four bytes an entry.
  /// `size` is raised to the next prime.
  init?(_ members: [HashMember], size: Int) {
    if members.isEmpty || members.count > Int(Int32.max) { return nil }
    self.size = MaglevTable.prime(atLeast: size)
    entries = .allocate(capacity: self.size)
    fill(members)
  }

  func destroy() { entries.deallocate() }

  /// The slot for a key; -1 when none of its choices fits.
  func pick(_ candidates: Candidates, _ key: HashKey) -> Int {
    var hash = StableHash.mix(key.rawValue)
    for _ in 0..<MaglevTable.maximumChoices {
      let entry = hash.multipliedFullWidth(by: UInt64(size)).high
      let member = Int(entries[Int(truncatingIfNeeded: entry)])
      if member < candidates.count {
        let slot = candidates.slot(member)
        if candidates.fits(slot) { return slot }
      }
      hash = StableHash.mix(hash)
    }
    return -1
  }

  /// The smallest prime that is not below `bound`; entries are visited by steps of any size, which needs a prime.
  static func prime(atLeast bound: Int) -> Int {
    var number = max(bound, 3) | 1
    while !isPrime(number) { number += 2 }
    return number
  }

  private static func isPrime(_ number: Int) -> Bool {
    var divisor = 3
    while divisor * divisor <= number {
      if number % divisor == 0 { return false }
      divisor += 2
    }
    return true
  }

  private func fill(_ members: [HashMember]) {
    let empty = UInt32.max
    entries.initialize(repeating: empty, count: size)
    // The order of members must not matter where two turns fall together.
    let order = members.indices.sorted { members[$0].identity < members[$1].identity }
    let turns = turns(members, order)
    var next = members.map { StableHash.mix($0.identity) % UInt64(size) }
    let steps = members.map { StableHash.mix(~$0.identity) % UInt64(size - 1) + 1 }
    for member in turns {
      let index = Int(member)
      var entry = next[index]
      while entries[Int(entry)] != empty { entry = (entry + steps[index]) % UInt64(size) }
      entries[Int(entry)] = member
      next[index] = (entry + steps[index]) % UInt64(size)
    }
  }

  /// Whose turn it is, `size` times.
  private func turns(_ members: [HashMember], _ order: [Int]) -> [UInt32] {
    let total = members.reduce(0) { $0 + $1.weight }
    let scale = total > 0 ? Double(size) / total : 0
    var quotas = [Int](repeating: 0, count: members.count)
    var sum = 0.0
    var given = 0
    for index in order {
      // Rounded sums: the quotas add up to the table's size.
      sum += members[index].weight * scale
      let upTo = min(Int(min(sum.rounded(), Double(size))), size)
      quotas[index] = upTo - given
      given = upTo
    }
    if let last = order.last { quotas[last] += size - given }

    // A counting sort by the turns' times, in as many steps as there are entries.
    var starts = [Int](repeating: 0, count: size + 1)
    for index in order {
      for turn in 0..<quotas[index] { starts[time(turn, quotas[index]) + 1] += 1 }
    }
    for step in 0..<size { starts[step + 1] += starts[step] }
    var turns = [UInt32](repeating: 0, count: size)
    for index in order {
      for turn in 0..<quotas[index] {
        let step = time(turn, quotas[index])
        turns[starts[step]] = UInt32(truncatingIfNeeded: index)
        starts[step] += 1
      }
    }
    return turns
  }

  /// When the turn of one of `quota` comes, in steps of the table's size.
  private func time(_ turn: Int, _ quota: Int) -> Int {
    min((2 * turn + 1) * size / (2 * quota), size - 1)
  }

  /// Choices of one key. With half of the endpoints out, the chance that none fits is 2^-64.
  private static let maximumChoices = 64
}
