// A bound tree as the data plane walks it for every request: plain memory, service numbers for names. Most names lead to one
// service and need none of this.

import Base

/// A trivial handle to an immutable tree: any number of threads may pick. Whoever built it calls `destroy()` once nobody
/// does any more.
@frozen public struct ServiceTree: @unchecked Sendable {
  /// Where a request goes.
  @frozen public enum Pick: Equatable, Sendable {
    case service(UInt32)
    /// All that could be gone to is empty; the service that was looked at last, `noService` when there was none.
    case empty(UInt32)
    /// The table says that it fails.
    case failure
  }

  @usableFromInline let nodes: UnsafeMutablePointer<Node>
  public let nodeCount: Int

  /// 20 bytes, five numbers.
  @usableFromInline struct Node {
    @usableFromInline var first: UInt32
    @usableFromInline var count: UInt32
    @usableFromInline var parent: UInt32
    @usableFromInline var shareEnd: UInt32
    @usableFromInline var kind: BoundTree.Kind
  }

  /// - Parameter number: the number of a service.
  public init<E: Error>(_ tree: BoundTree, number: (BoundName) throws(E) -> UInt32) throws(E) {
    var numbers: [UInt32] = []
    for leaf in tree.leaves { numbers.append(try number(leaf)) }
    nodeCount = tree.nodes.count
    nodes = .allocate(capacity: max(nodeCount, 1))
    for (index, node) in tree.nodes.enumerated() {
      let first = node.kind == .service ? numbers[Int(node.first)] : node.first
      (nodes + index).initialize(
        to: Node(first: first, count: node.count, parent: node.parent, shareEnd: node.shareEnd, kind: node.kind))
    }
  }

  /// Frees the tree.
  public func destroy() { nodes.deallocate() }

  /// Where one request goes. Allocates nothing; looks at each node once at the most.
  /// - Parameter isEmpty: whether a service has no endpoint that would take a request.
  @inlinable public func pick(_ random: inout RandomSource, isEmpty: (UInt32) -> Bool) -> Pick {
    var node = 0
    var lastEmpty = Self.noService
    while true {
      switch nodes[node].kind {
      case .service:
        let service = nodes[node].first
        if !isEmpty(service) { return .service(service) }
        lastEmpty = service
      case .empty: break
      case .failure: return .failure
      case .fallback:
        node = Int(nodes[node].first)
        continue
      case .union:
        node = draw(node, &random)
        continue
      }
      guard let next = afterEmpty(node) else { return .empty(lastEmpty) }
      node = next
    }
  }

  /// A child of a union, by its share.
  @inlinable func draw(_ union: Int, _ random: inout RandomSource) -> Int {
    let bits = UInt32(truncatingIfNeeded: random.next() >> 32)
    var child = Int(nodes[union].first)
    let last = child &+ Int(nodes[union].count) &- 1
    while child < last, bits >= nodes[child].shareEnd { child &+= 1 }
    return child
  }

  /// What takes an empty node's place: the next in the nearest fallback that has one.
  @inlinable func afterEmpty(_ node: Int) -> Int? {
    var node = node
    while node != 0 {
      let parent = Int(nodes[node].parent)
      let end = Int(nodes[parent].first) &+ Int(nodes[parent].count)
      if nodes[parent].kind == .fallback, node &+ 1 < end { return node &+ 1 }
      node = parent
    }
    return nil
  }

  @inlinable public static var noService: UInt32 { .max }
}
