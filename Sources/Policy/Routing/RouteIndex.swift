// From a host and a path to the few rules that may match, without looking at the others: ten thousand rules cost little more
// than ten. Every rule stands in lists that are reached by hashing; a list holds its rules in the order written, and of the
// first ones that match in each list the smallest number wins, which is the first in the order written.
//
//     host   ─ hash ─► bucket            one for the host itself, one for each `*.` end of it that is written, one for any host
//     bucket ─ path, cut at each slash, hashed as it grows ─► list of rules with that path, list of rules with that prefix
//
// A rule with a pattern stands under the whole segments that its text begins with, `^/api/v[0-9]+` under `/api/`, or under no
// path where it begins with none. Such rules are tried one after another.

import HTTP

/// Read-only once made; shared by all shards. A trivial value over memory of its `CompiledMemory`.
struct RouteIndex {
  /// Numbers of rules, ascending: from `start` up to `end` in `numbers`.
  struct List: BitwiseCopyable {
    var start: UInt32 = 0
    var end: UInt32 = 0
  }

  struct PathEntry: BitwiseCopyable {
    var exact = List()
    var prefix = List()
  }

  struct Bucket: BitwiseCopyable {
    /// Rules of any path, or of one that cannot be looked up.
    var anyPath = List()
    /// The smallest rule in it.
    var first: UInt32 = .max
    /// One bit for each length of a key, modulo 64: most cuts of a path need no look at the table.
    var keyLengths: UInt64 = 0
    var longestKey: UInt32 = 0
  }

  let seed: UInt64
  let hosts: KeyTable?
  /// The longest end of a wildcard, and one bit for each length as above.
  let longestWildcard: Int
  let wildcardLengths: UInt64
  let paths: KeyTable?
  let pathEntries: UnsafeBufferPointer<PathEntry>
  /// The first is that of any host.
  let buckets: UnsafeBufferPointer<Bucket>
  let numbers: UnsafeBufferPointer<UInt32>
}

// MARK: Building

extension RouteIndex {
  /// What is collected for one path of one bucket.
  private struct Collected {
    var exact: [UInt32] = []
    var prefix: [UInt32] = []
  }

  /// - Parameter streams: the rules for TLS connections, by the server's name, or those for requests, by their host.
  init(_ matches: [RouteMatch], streams: Bool = false, seed: UInt64, in memory: CompiledMemory) {
    var bucketOfHost: [String: Int] = [:]
    var anyPath: [[UInt32]] = [[]]
    var byPath: [[String: Collected]] = [[:]]
    var buckets = [Bucket()]
    for (number, match) in matches.enumerated() where match.isForStreams == streams {
      let number = UInt32(truncatingIfNeeded: number)
      let hosts = streams ? match.serverNames : match.hosts
      var places: [Int] = hosts.isEmpty ? [0] : []
      for host in hosts {
        let place = bucketOfHost[host.text, default: buckets.count]
        if place == buckets.count {
          bucketOfHost[host.text] = place
          buckets.append(Bucket())
          anyPath.append([])
          byPath.append([:])
        }
        if !places.contains(place) { places.append(place) }
      }
      for place in places {
        buckets[place].first = min(buckets[place].first, number)
        switch Self.key(of: match.path) {
        case .none: anyPath[place].append(number)
        case .some((let key, true)): byPath[place][key, default: Collected()].exact.append(number)
        case .some((let key, false)): byPath[place][key, default: Collected()].prefix.append(number)
        }
      }
    }
    var builder = Builder(seed: seed)
    for place in buckets.indices {
      buckets[place].anyPath = builder.list(anyPath[place])
      for (key, collected) in byPath[place] {
        let count = key.utf8.count
        buckets[place].keyLengths |= 1 << UInt64(count & 63)
        buckets[place].longestKey = max(buckets[place].longestKey, UInt32(truncatingIfNeeded: count))
        builder.insert(
          memory.copy(key), bucket: UInt32(truncatingIfNeeded: place),
          PathEntry(exact: builder.list(collected.exact), prefix: builder.list(collected.prefix)))
      }
    }
    var hosts = KeyTable.Builder()
    for (host, place) in bucketOfHost {
      let key = memory.copy(host)
      hosts.insert(KeyHash.of(key, seed: seed), key, value: UInt32(truncatingIfNeeded: place))
    }
    let wildcards = bucketOfHost.keys.filter { $0.hasPrefix(".") }.map(\.utf8.count)
    self.seed = seed
    self.hosts = hosts.build(in: memory)
    longestWildcard = wildcards.max() ?? 0
    wildcardLengths = wildcards.reduce(0) { $0 | 1 << UInt64($1 & 63) }
    paths = builder.paths.build(in: memory)
    pathEntries = memory.copy(builder.entries)
    self.buckets = memory.copy(buckets)
    numbers = memory.copy(builder.numbers)
  }

  private struct Builder {
    let seed: UInt64
    var paths = KeyTable.Builder()
    var entries: [PathEntry] = []
    var numbers: [UInt32] = []

    init(seed: UInt64) { self.seed = seed }

    mutating func list(_ rules: [UInt32]) -> List {
      let start = UInt32(truncatingIfNeeded: numbers.count)
      numbers += rules
      return List(start: start, end: UInt32(truncatingIfNeeded: numbers.count))
    }

    /// Hashes the key piece by piece as `search` does.
    mutating func insert(_ key: UnsafeRawBufferPointer, bucket: UInt32, _ entry: PathEntry) {
      var hash = KeyHash(seed: seed)
      hash.add(bucket)
      var position = 0
      while position < key.count, let base = key.baseAddress {
        var end = position + 1
        if key[position] != UInt8(ascii: "/") {
          while end < key.count, key[end] != UInt8(ascii: "/") { end += 1 }
        }
        hash.add(base + position, end - position)
        position = end
      }
      paths.insert(hash.state, key, value: UInt32(truncatingIfNeeded: entries.count))
      entries.append(entry)
    }
  }

  /// Under which path a rule stands, and whether the whole path must be that; nil for any path.
  private static func key(of path: RouteMatch.PathMatch?) -> (String, isExact: Bool)? {
    switch path {
    case nil: nil
    case .exact(let text): text.hasPrefix("/") ? (text, true) : nil
    case .prefix(let text): (text, false)
    case .regex(let pattern): literalSegments(of: pattern.text).map { ($0, false) }
    }
  }

  /// The whole segments that everything a pattern matches begins with; nil for none, and wherever that is not certain.
  static func literalSegments(of pattern: String) -> String? {
    var bytes = Array(pattern.utf8)
    guard !bytes.contains(UInt8(ascii: "|")) else { return nil }
    if bytes.first == UInt8(ascii: "^") { bytes.removeFirst() }
    var literal = Array(bytes.prefix { RoutePath.isPathByte($0) && !Self.isSpecial($0) })
    if literal.count < bytes.count, [0x3F, 0x2A, 0x2B, 0x7B].contains(bytes[literal.count]) { _ = literal.popLast() }
    guard literal.first == UInt8(ascii: "/"), let slash = literal.lastIndex(of: UInt8(ascii: "/")) else { return nil }
    return String(decoding: literal[...slash], as: UTF8.self)
  }

  private static func isSpecial(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "\\"), UInt8(ascii: "^"), UInt8(ascii: "$"), UInt8(ascii: "."), UInt8(ascii: "["),
      UInt8(ascii: "]"), UInt8(ascii: "("), UInt8(ascii: ")"), UInt8(ascii: "?"), UInt8(ascii: "*"),
      UInt8(ascii: "+"), UInt8(ascii: "{"), UInt8(ascii: "}"):
      true
    default: false
    }
  }
}
