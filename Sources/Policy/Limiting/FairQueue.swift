// Who is next when there is not room for all: start-time fair queueing (Goyal, Vin and Cheng, 1996). Members wait in flows, one a
// workload; within a flow first come is first served, between flows each gets its share by weight. So what a member waits does
// not depend on how many of another flow wait: one that floods makes its own queue long and nobody else's.
//
//   flow 0 (weight 1)  tag 40:  ■ ■ ■ ■ ■ ■ …       the lowest tag is served next; being served moves a flow's tag on by
//   flow 1 (weight 2)  tag 30:  ■                   1/weight. A flow that comes (back) starts at the virtual time, the tag
//   flow 2 (weight 1)   ─ idle, tag 12              served last: rest is no credit, and no debt is forgotten.
//
// Nothing here allocates after set-up: members are numbers of a slab, their links stand in one table for all queues of a
// shard. Adding and taking cost O(log flows), taking back any member the same at most.

public import Base

/// Number of a flow within its queue.
public typealias FlowNumber = UInt16

/// The links of everything that may wait, by slot; a member stands in one queue at a time. One thread.
public struct FairLinks {
  struct Link {
    var next: UInt32
    var previous: UInt32
    var flow: FlowNumber
  }

  let links: UnsafeMutablePointer<Link>
  private let memory: MappedMemory

  /// Reserves address space for members `0 ..< capacity`, and commits none of it.
  public init(capacity: UInt32) throws(MappingError) {
    let (bytes, overflow) = Int(max(capacity, 1)).multipliedReportingOverflow(by: MemoryLayout<Link>.stride)
    memory = try MappedMemory(byteCount: overflow ? Int.max : bytes)
    links = memory.base.assumingMemoryBound(to: Link.self)
  }

  public func destroy() { memory.unmap() }
}

/// What being served once costs each flow: the less, the greater its weight. Immutable; any thread.
public final class FairWeights: Sendable {
  let steps: [UInt64]

  /// By flow number. What is not within `Weight.allowed` is moved there.
  public init(_ weights: [Double]) {
    steps = weights.map { weight in
      let sound = weight.isFinite ? min(max(weight, Weight.allowed.lowerBound), Weight.allowed.upperBound) : 1
      return UInt64(Self.unit / sound)
    }
  }

  public var count: Int { steps.count }

  /// The cost at weight 1. With the least weight it is 2^40: tags go round after 16 million of those, and are compared so
  /// that they may.
  private static let unit = Double(1 << 40) * Weight.allowed.lowerBound
}

/// A share against others.
public enum Weight {
  public static let allowed = 0.001...1000.0
}

/// A handle to one queue: copy it freely, all copies are the same. The owner (one thread) calls `destroy()` once.
public struct FairQueue {
  private struct Flow {
    var head = FairQueue.none
    var tail = FairQueue.none
    var count: UInt32 = 0
    /// Its place in the heap while it has members.
    var position: UInt16 = 0
    /// When, in virtual time, its next member may be served.
    var tag: UInt64 = 0
  }

  private struct State {
    /// The tag of what was served last.
    var virtualTime: UInt64 = 0
    var count: UInt32 = 0
    /// Flows with members.
    var activeCount: UInt16 = 0
    /// Of flows with members, in thousandths.
    var activeWeight: UInt64 = 0
  }

  /// No member.
  public static let none = UInt32.max

  private let links: UnsafeMutablePointer<FairLinks.Link>
  private let steps: UnsafeMutablePointer<UInt64>
  private let flows: UnsafeMutablePointer<Flow>
  /// The active flows, a binary heap: the lowest tag is first.
  private let heap: UnsafeMutablePointer<FlowNumber>
  private let state: UnsafeMutablePointer<State>
  private let flowCount: Int

  /// An empty queue of `weights.count` flows, at most 65,535. The only allocation.
  /// - Parameter virtualTime: where it begins; tags go round, so it does not matter.
  public init(_ weights: FairWeights, links: FairLinks, virtualTime: UInt64 = 0) {
    self.init(weights, links.links, virtualTime)
  }

  private init(_ weights: FairWeights, _ links: UnsafeMutablePointer<FairLinks.Link>, _ virtualTime: UInt64) {
    flowCount = min(max(weights.count, 1), Int(FlowNumber.max))
    self.links = links
    steps = .allocate(capacity: flowCount)
    steps.initialize(repeating: 1 << 30, count: flowCount)
    for (number, step) in weights.steps.prefix(flowCount).enumerated() { steps[number] = step }
    flows = .allocate(capacity: flowCount)
    flows.initialize(repeating: Flow(), count: flowCount)
    heap = .allocate(capacity: flowCount)
    state = .allocate(capacity: 1)
    state.initialize(to: State(virtualTime: virtualTime))
  }

  /// The same queue with other weights, or more flows; who waits stays where it is, and so do debts. This one is destroyed.
  /// - Parameter weights: of at least as many flows.
  public func reweighted(_ weights: FairWeights) -> FairQueue {
    precondition(weights.count >= flowCount, "flows of a queue do not go away")
    let next = FairQueue(weights, links, state.pointee.virtualTime)
    next.flows.update(from: flows, count: flowCount)
    next.heap.update(from: heap, count: Int(state.pointee.activeCount))
    next.state.pointee = state.pointee
    next.reorder()
    destroy()
    return next
  }

  public func destroy() {
    steps.deallocate()
    flows.deallocate()
    heap.deallocate()
    state.deallocate()
  }

  public var isEmpty: Bool { state.pointee.count == 0 }
  public var count: Int { Int(state.pointee.count) }
  /// Flows with members.
  public var activeFlowCount: Int { Int(state.pointee.activeCount) }
  /// Their weights together, in thousandths: what this queue may claim against others of its kind.
  public var activeWeight: UInt64 { state.pointee.activeWeight }
  public func count(of flow: FlowNumber) -> Int { Int(flows[index(flow)].count) }
}

// MARK: In and out

extension FairQueue {
  /// Puts a member at the end of its flow. It stands in no queue; a flow there is not counts as the first.
  public func add(_ member: UInt32, flow: FlowNumber) {
    let number = index(flow)
    let flow = flows + number
    let previous = flow.pointee.tail
    links[Int(member)] = FairLinks.Link(next: Self.none, previous: previous, flow: FlowNumber(number))
    if previous == Self.none {
      flow.pointee.head = member
      activate(number)
    } else {
      links[Int(previous)].next = member
    }
    flow.pointee.tail = member
    flow.pointee.count &+= 1
    state.pointee.count &+= 1
  }

  /// Whose turn it is; `none` when nobody waits.
  public var first: UInt32 { state.pointee.activeCount == 0 ? Self.none : flows[Int(heap[0])].head }

  /// Takes the member whose turn it is, and charges its flow.
  public func takeFirst() -> UInt32? {
    guard state.pointee.activeCount > 0 else { return nil }
    let number = Int(heap[0])
    let member = flows[number].head
    state.pointee.virtualTime = flows[number].tag
    flows[number].tag &+= steps[number]
    unlink(member, number)
    if flows[number].head != Self.none { siftDown(0) }
    return member
  }

  /// Puts a member that was taken first back to where it was: it could not be served after all, and its flow is not charged.
  public func putBack(_ member: UInt32, flow: FlowNumber) {
    let number = index(flow)
    let flow = flows + number
    let next = flow.pointee.head
    links[Int(member)] = FairLinks.Link(next: next, previous: Self.none, flow: FlowNumber(number))
    flow.pointee.head = member
    flow.pointee.count &+= 1
    state.pointee.count &+= 1
    if next == Self.none {
      flow.pointee.tail = member
      activate(number, uncharging: true)
    } else {
      links[Int(next)].previous = member
      flow.pointee.tag &-= steps[number]
      siftUp(Int(flow.pointee.position), overEquals: true)
    }
  }

  /// Takes back a member wherever it stands. It stands in this queue; nobody is charged.
  public func remove(_ member: UInt32) { unlink(member, Int(links[Int(member)].flow)) }

  /// Who goes when there is no room for one more of `flow`: the newest of the flow that is most over its share, counting the
  /// new one; `none` when that is the new one itself.
  public func newestOverShare(adding flow: FlowNumber) -> UInt32 {
    let arriving = index(flow)
    var worst = arriving
    var most = excess(arriving, adding: 1)
    for position in 0..<Int(state.pointee.activeCount) {
      let number = Int(heap[position])
      guard number != arriving, case let excess = excess(number, adding: 0), excess > most else { continue }
      (worst, most) = (number, excess)
    }
    return worst == arriving ? Self.none : flows[worst].tail
  }

  /// The newest of the flow that is most over its share; `none` when nobody waits.
  public var newestOverShare: UInt32 {
    var worst = Self.none
    var most = -1.0
    for position in 0..<Int(state.pointee.activeCount) {
      let number = Int(heap[position])
      let excess = excess(number, adding: 0)
      if excess > most { (worst, most) = (flows[number].tail, excess) }
    }
    return worst
  }

  /// How much of its share a flow takes: its members by its weight.
  private func excess(_ number: Int, adding more: UInt32) -> Double {
    Double(flows[number].count &+ more) * Double(steps[number])
  }

  private func unlink(_ member: UInt32, _ number: Int) {
    let flow = flows + number
    let link = links[Int(member)]
    if link.previous == Self.none { flow.pointee.head = link.next } else { links[Int(link.previous)].next = link.next }
    if link.next == Self.none {
      flow.pointee.tail = link.previous
    } else {
      links[Int(link.next)].previous = link.previous
    }
    flow.pointee.count &-= 1
    state.pointee.count &-= 1
    if flow.pointee.head == Self.none { deactivate(number) }
  }

  private func index(_ flow: FlowNumber) -> Int { Int(flow) < flowCount ? Int(flow) : 0 }
}

// MARK: The heap

extension FairQueue {
  /// A flow gets its first member. Its tag stands unless virtual time has passed it: then it starts from now. It can be ahead
  /// by what it was charged last and no more; what seems further ahead is from before the tags went round.
  private func activate(_ number: Int, uncharging: Bool = false) {
    let now = state.pointee.virtualTime
    if flows[number].tag &- now > steps[number] {
      flows[number].tag = now
    } else if uncharging {
      flows[number].tag &-= steps[number]
    }
    let position = Int(state.pointee.activeCount)
    state.pointee.activeCount &+= 1
    state.pointee.activeWeight &+= weight(number)
    place(FlowNumber(number), position)
    siftUp(position, overEquals: uncharging)
  }

  private func deactivate(_ number: Int) {
    let position = Int(flows[number].position)
    state.pointee.activeCount &-= 1
    state.pointee.activeWeight &-= weight(number)
    let last = Int(state.pointee.activeCount)
    if position == last { return }
    place(heap[last], position)
    siftUp(position)
    siftDown(position)
  }

  /// The weights are others than those the heap was built with.
  private func reorder() {
    let count = Int(state.pointee.activeCount)
    state.pointee.activeWeight = (0..<count).reduce(0) { $0 &+ weight(Int(heap[$1])) }
    for position in (0..<count / 2).reversed() { siftDown(position) }
  }

  private func weight(_ number: Int) -> UInt64 { (1 << 40) / max(steps[number], 1) }

  private func place(_ flow: FlowNumber, _ position: Int) {
    heap[position] = flow
    flows[Int(flow)].position = UInt16(position)
  }

  /// By tag, going round; of equal ones the heavier flow.
  private func precedes(_ a: FlowNumber, _ b: FlowNumber) -> Bool {
    let distance = Int64(bitPattern: flows[Int(a)].tag &- flows[Int(b)].tag)
    return distance < 0 || (distance == 0 && steps[Int(a)] < steps[Int(b)])
  }

  private func siftUp(_ start: Int, overEquals: Bool = false) {
    var position = start
    while position > 0 {
      let parent = (position - 1) / 2
      let passes =
        overEquals ? !precedes(heap[parent], heap[position]) : precedes(heap[position], heap[parent])
      guard passes else { return }
      swap(position, parent)
      position = parent
    }
  }

  private func siftDown(_ start: Int) {
    let count = Int(state.pointee.activeCount)
    var position = start
    while true {
      var lowest = position
      for child in [2 * position + 1, 2 * position + 2] where child < count && precedes(heap[child], heap[lowest]) {
        lowest = child
      }
      if lowest == position { return }
      swap(position, lowest)
      position = lowest
    }
  }

  private func swap(_ a: Int, _ b: Int) {
    let other = heap[a]
    place(heap[b], a)
    place(other, b)
  }
}
