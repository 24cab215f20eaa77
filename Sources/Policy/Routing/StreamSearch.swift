// The rule of a TLS connection that is carried as it is: by the name of its server and the protocols its client would speak.
// The same index as for requests, over the rules that are for such connections; nothing is allocated.

import Base

/// What is known of a TLS connection. For the length of one call.
public struct RoutedStream {
  /// Without the final dot of an absolute name; empty where the client names none.
  let serverName: UnsafeRawBufferPointer
  /// Each behind one byte with its length.
  let protocols: UnsafeRawBufferPointer
  let workload: UInt16

  /// - Parameter protocols: as a ClientHello has them, each behind one byte with its length.
  public init(serverName: UnsafeRawBufferPointer?, protocols: UnsafeRawBufferPointer, workload: UInt16) {
    self.serverName = serverName ?? UnsafeRawBufferPointer(start: nil, count: 0)
    self.protocols = protocols
    self.workload = workload
  }

  /// Whether the client would speak it. What is short ends the list.
  fileprivate func offers(_ name: UnsafeRawBufferPointer) -> Bool {
    var start = 0
    while start < protocols.count {
      let end = start &+ 1 &+ Int(protocols[start])
      guard end <= protocols.count else { return false }
      if equalBytes(UnsafeRawBufferPointer(rebasing: protocols[(start &+ 1)..<end]), name) { return true }
      start = end
    }
    return false
  }
}

extension RouteTable {
  /// The first rule for TLS connections that matches, in the order written.
  public func lookup(_ stream: RoutedStream) -> RouteNumber? {
    guard let streamIndex else { return nil }
    var search = StreamSearch(index: streamIndex, conditions: conditions, stream: stream)
    search.run()
    return search.best == .max ? nil : search.best
  }
}

private struct StreamSearch {
  let index: RouteIndex
  let conditions: UnsafeBufferPointer<RouteConditions>
  let stream: RoutedStream
  /// The smallest number that matches so far; `.max` for none.
  var best = RouteNumber.max

  /// The bucket of the name, those of each end of it that begins with a dot, and that of any.
  mutating func run() {
    scan(bucket: 0)
    let name = stream.serverName
    guard let hosts = index.hosts, let base = name.baseAddress, name.count <= HostPattern.maximumByteCount else {
      return
    }
    var start = 0
    while start < name.count {
      let length = name.count &- start
      // All of it, and then what follows each label.
      if start == 0 || name[start] == UInt8(ascii: ".") {
        let hash = KeyHash.of(lowercasing: base + start, length, seed: index.seed)
        if let bucket = hosts.value(ignoringCase: hash, base + start, length) { scan(bucket: bucket) }
      }
      start &+= 1
    }
  }

  private mutating func scan(bucket number: UInt32) {
    let list = index.buckets[Int(number)].anyPath
    var place = list.start
    while place < list.end {
      let number = index.numbers[Int(place)]
      if number >= best { return }
      if holds(conditions[Int(number)]) {
        best = number
        return
      }
      place &+= 1
    }
  }

  private func holds(_ condition: RouteConditions) -> Bool {
    guard condition.workloadHolds(stream.workload) else { return false }
    if condition.protocols.isEmpty { return true }
    for name in condition.protocols where stream.offers(name) { return true }
    return false
  }
}
