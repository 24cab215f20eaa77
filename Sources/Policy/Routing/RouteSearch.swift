// One lookup: the buckets of a host, in each the lists of a path, in each list the first rule of which all else holds. Rules
// behind the best one so far are not looked at. Straight code over trivial values: nothing is allocated or counted.

import Base
import HTTP

/// A lookup on its way. For the length of one call.
struct RouteSearch {
  let index: RouteIndex
  let conditions: UnsafeBufferPointer<RouteConditions>
  var request: RoutedRequest
  /// The smallest number that matches so far; `.max` for none.
  private(set) var best = RouteNumber.max

  init(_ index: RouteIndex, _ conditions: UnsafeBufferPointer<RouteConditions>, _ request: RoutedRequest) {
    self.index = index
    self.conditions = conditions
    self.request = request
  }

  mutating func run(_ head: borrowing RequestHead) {
    if let hosts = index.hosts { search(hosts, head) }
    search(bucket: 0, head)
  }

  /// The bucket of the host, and those of each end of it that begins with a dot.
  private mutating func search(_ hosts: KeyTable, _ head: borrowing RequestHead) {
    let host = head.hostRange.slice(of: request.bytes)
    guard let base = host.baseAddress, host.count > 0 else { return }
    // Without the final dot of an absolute name; what is longer than a name can be stands in no rule.
    let count = host[host.count &- 1] == UInt8(ascii: ".") ? host.count &- 1 : host.count
    guard count > 0, count <= HostPattern.maximumByteCount else { return }
    let hash = KeyHash.of(lowercasing: base, count, seed: index.seed)
    // What begins with a dot is no host: it would be found as the end of a wildcard.
    if host[0] != UInt8(ascii: "."), let bucket = hosts.value(ignoringCase: hash, base, count) {
      search(bucket: bucket, head)
    }
    guard index.longestWildcard > 0 else { return }
    // A label stands before the dot: the first byte is never that of a wildcard.
    var start = max(1, count &- index.longestWildcard)
    while start < count {
      let length = count &- start
      if host[start] == UInt8(ascii: "."), index.wildcardLengths & (1 << UInt64(length & 63)) != 0 {
        let hash = KeyHash.of(lowercasing: base + start, length, seed: index.seed)
        if let bucket = hosts.value(ignoringCase: hash, base + start, length) { search(bucket: bucket, head) }
      }
      start &+= 1
    }
  }

  /// Cuts the path before and behind each slash, and at its end.
  private mutating func search(bucket number: UInt32, _ head: borrowing RequestHead) {
    let bucket = index.buckets[Int(number)]
    guard bucket.first < best else { return }
    scan(bucket.anyPath, head)
    let path = request.path
    guard bucket.longestKey > 0, let base = path.baseAddress, path.count > 0, path[0] == UInt8(ascii: "/") else {
      return
    }
    var hash = KeyHash(seed: index.seed)
    hash.add(number)
    var position = 0
    while position < path.count, position <= Int(bucket.longestKey) {
      // Here is a slash.
      hash.add(base + position, 1)
      position &+= 1
      probe(bucket, hash, base, position, head)
      var end = position
      while end < path.count, path[end] != UInt8(ascii: "/") { end &+= 1 }
      guard end > position else { continue }
      guard end <= Int(bucket.longestKey) else { return }
      hash.add(base + position, end &- position)
      position = end
      probe(bucket, hash, base, position, head)
    }
  }

  /// The rules whose path is, or begins with, the first `count` bytes of the request's.
  @inline(__always) private mutating func probe(
    _ bucket: RouteIndex.Bucket, _ hash: KeyHash, _ base: UnsafeRawPointer, _ count: Int, _ head: borrowing RequestHead
  ) {
    guard bucket.keyLengths & (1 << UInt64(count & 63)) != 0, let paths = index.paths,
      let value = paths.value(hash.state, base, count)
    else { return }
    let entry = index.pathEntries[Int(value)]
    scan(entry.prefix, head)
    if count == request.path.count { scan(entry.exact, head) }
  }

  private mutating func scan(_ list: RouteIndex.List, _ head: borrowing RequestHead) {
    var place = list.start
    while place < list.end {
      let number = index.numbers[Int(place)]
      if number >= best { return }
      let condition = conditions[Int(number)]
      if request.isExhausted { return }
      if condition.isPlain || condition.hold(head, &request) {
        best = number
        return
      }
      place &+= 1
    }
  }
}
