// Names that lead to more than one service: their trees, numbered by the control thread and walked on every shard for each
// request. Like answers, they hold until names are forgotten, and then all of them go at once.

import Base
import Policy

/// A tree's number on this node, until names are forgotten.
typealias TreeNumber = UInt32

/// A tree as all shards have it. Its memory goes with the last of them.
final class SharedTree: @unchecked Sendable {
  let tree: ServiceTree

  init(_ tree: ServiceTree) { self.tree = tree }

  deinit { tree.destroy() }
}

/// The node's trees. The control thread's own.
struct NameTrees {
  private var numbers: [BoundTree: TreeNumber] = [:]
  private let send: (ShardMessage) -> Void

  /// - Parameter send: passes a message to every shard.
  init(send: @escaping (ShardMessage) -> Void) { self.send = send }

  /// The number of a tree, of which every shard has heard once this returns; nil when there are too many.
  mutating func number(of tree: BoundTree, services: ServiceDirectory) -> TreeNumber? {
    if let known = numbers[tree] { return known }
    guard numbers.count < Self.capacity else { return nil }
    let number = TreeNumber(numbers.count)
    numbers[tree] = number
    send(.tree(number, SharedTree(ServiceTree(tree) { services.number(of: $0.description) ?? ServiceTree.noService })))
    return number
  }

  /// Shards are told by `ShardMessage.forgetNames`.
  mutating func forget() { numbers = [:] }

  /// Different trees at once. Clients choose names, and captures can make a tree of each.
  static let capacity = 65_536
}

/// The trees on one shard, by number. Only the shard's thread.
final class ShardTrees {
  private var trees: [ServiceTree?] = []
  /// Who holds their memory. Requests do not touch them: their reference counts are all shards' own.
  private var owners: [SharedTree] = []

  /// Numbers come in order, but for those that a full letter-box has lost.
  func add(_ number: TreeNumber, _ shared: SharedTree) {
    guard number < NameTrees.capacity else { return }
    while trees.count <= Int(number) { trees.append(nil) }
    trees[Int(number)] = shared.tree
    owners.append(shared)
  }

  func forget() {
    trees = []
    owners = []
  }

  /// Where one request goes. Allocates nothing.
  func pick(_ number: TreeNumber, _ random: inout RandomSource, isEmpty: (ServiceNumber) -> Bool) -> ServiceTree.Pick? {
    guard Int(number) < trees.count, let tree = trees[Int(number)] else { return nil }
    return tree.pick(&random, isEmpty: isEmpty)
  }
}

extension Shard {
  /// A resolution whose tree, if it is one, has been walked for one request.
  func settled(_ resolution: Resolution) -> Resolution {
    guard case .tree(let number) = resolution else { return resolution }
    switch trees.pick(number, &state.pointee.random, isEmpty: { !services.hasEndpoint($0, now: state.pointee.now) }) {
    case .service(let service): return .service(service)
    // A service that has no endpoint says so itself.
    case .empty(let service): return service == ServiceTree.noService ? .failed(.noEndpoint) : .service(service)
    case .failure: return .failed(.nameRefused)
    case nil: return .failed(.unknownName)
    }
  }
}
