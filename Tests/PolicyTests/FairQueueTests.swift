// The weighted fair queue: shares by weight, waits that do not depend on others' backlogs, and members that leave anywhere.
// The reference is the same queue written down simply, with arrays.

import Base
import Policy
import Testing

/// A queue with its links, freed together.
private final class TestQueue {
  let links: FairLinks
  private(set) var queue: FairQueue

  init(_ weights: [Double], capacity: UInt32 = 10_000, virtualTime: UInt64 = 0) throws {
    links = try FairLinks(capacity: capacity)
    queue = FairQueue(FairWeights(weights), links: links, virtualTime: virtualTime)
  }

  func reweight(_ weights: [Double]) { queue = queue.reweighted(FairWeights(weights)) }

  deinit {
    queue.destroy()
    links.destroy()
  }
}

@Suite struct FairQueueTests {
  @Test("within a flow first come is first served")
  func order() throws {
    let test = try TestQueue([1])
    #expect(test.queue.isEmpty && test.queue.takeFirst() == nil && test.queue.first == FairQueue.none)
    for member in 0..<100 { test.queue.add(UInt32(member), flow: 0) }
    #expect(test.queue.count == 100 && test.queue.count(of: 0) == 100 && test.queue.activeFlowCount == 1)
    for member in 0..<100 {
      #expect(test.queue.first == UInt32(member))
      #expect(test.queue.takeFirst() == UInt32(member))
    }
    #expect(test.queue.isEmpty && test.queue.activeFlowCount == 0)
  }

  @Test("with other weights and more flows who waits stays where it is, and is served by the new weights")
  func reweighting() throws {
    let test = try TestQueue([1, 1])
    for member in 0..<1_000 { test.queue.add(UInt32(member), flow: FlowNumber(member % 2)) }
    for _ in 0..<100 { _ = test.queue.takeFirst() }
    test.reweight([1, 4, 5])
    #expect(test.queue.count == 900 && test.queue.activeWeight == 5_000 && test.queue.activeFlowCount == 2)
    for member in 1_000..<1_500 { test.queue.add(UInt32(member), flow: 2) }
    #expect(test.queue.activeWeight == 10_000)
    var served: [[UInt32]] = [[], [], []]
    for _ in 0..<500 {
      let member = try #require(test.queue.takeFirst())
      served[member < 1_000 ? Int(member % 2) : 2].append(member)
    }
    #expect(served.map(\.count).elementsEqual([50, 200, 250]) { abs($0 - $1) <= 2 }, "\(served.map(\.count))")
    for flow in served { #expect(flow == flow.sorted()) }
    // Anybody can still leave, and the rest is served to the end.
    test.queue.remove(1_499)
    var left = 0
    while test.queue.takeFirst() != nil { left += 1 }
    #expect(left == 899 && test.queue.isEmpty && test.queue.activeWeight == 0)
  }

  @Test(
    "while all wait, each is served by its weight",
    arguments: [[1, 1], [1, 2, 3], [0.001, 1000], [0.001, 0.002], [1, 1, 1, 97], [5]] as [[Double]])
  func shares(weights: [Double]) throws {
    let test = try TestQueue(weights)
    var next: UInt32 = 0
    for flow in weights.indices {
      for _ in 0..<2 {
        test.queue.add(next, flow: FlowNumber(flow))
        next += 1
      }
    }
    var served = [Int](repeating: 0, count: weights.count)
    let rounds = 100_000
    for _ in 0..<rounds {
      guard let member = test.queue.takeFirst() else { break }
      // Members 2f and 2f + 1 are flow f's, and come back at once.
      served[Int(member) / 2] += 1
      test.queue.add(member, flow: FlowNumber(member / 2))
    }
    let total = weights.reduce(0, +)
    for flow in weights.indices {
      let expected = Double(rounds) * weights[flow] / total
      #expect(abs(Double(served[flow]) - expected) <= 2, "flow \(flow): \(served), \(weights)")
    }
  }

  @Test("what a polite flow waits does not depend on how many of another wait", arguments: [1, 10, 1_000, 9_000])
  func politeness(backlog: Int) throws {
    let test = try TestQueue([1, 1])
    for member in 0..<backlog { test.queue.add(UInt32(member), flow: 1) }
    let polite: UInt32 = 9_500
    for _ in 0..<500 {
      test.queue.add(polite, flow: 0)
      var before = 0
      // The flood never gets shorter: who was served comes back.
      while let member = test.queue.takeFirst(), member != polite {
        before += 1
        test.queue.add(member, flow: 1)
      }
      #expect(before <= 1)
    }
  }

  @Test("a flow that asks again and again gets its weight's share and no more, resting or not")
  func closedLoop() throws {
    // Flow 0 has one member at a time, which comes back when it was served; flow 1 always waits.
    let test = try TestQueue([1, 9])
    for member in 1..<1_000 { test.queue.add(UInt32(member), flow: 1) }
    test.queue.add(0, flow: 0)
    var mine = 0
    for _ in 0..<10_000 {
      guard let member = test.queue.takeFirst() else { break }
      if member == 0 { mine += 1 }
      test.queue.add(member, flow: member == 0 ? 0 : 1)
    }
    #expect(mine == 1_000)
  }

  @Test("rest is no credit: a flow that comes back after long gets its share from then on")
  func rest() throws {
    let test = try TestQueue([1, 1])
    for member in 1..<1_000 { test.queue.add(UInt32(member), flow: 1) }
    for _ in 0..<50_000 {
      if let member = test.queue.takeFirst() { test.queue.add(member, flow: 1) }
    }
    for member in 1_000..<1_100 { test.queue.add(UInt32(member), flow: 0) }
    var mine = 0
    for _ in 0..<100 where (test.queue.takeFirst() ?? 0) >= 1_000 { mine += 1 }
    #expect(mine == 50)
  }

  @Test("nobody starves among a hundred flows of very different weights")
  func starvation() throws {
    let flows = 100
    var weights = [Double](repeating: 1000, count: flows)
    weights[0] = 10
    let test = try TestQueue(weights)
    for flow in 0..<flows { test.queue.add(UInt32(flow), flow: FlowNumber(flow)) }
    var served = 0
    for _ in 0..<100_000 {
      guard let member = test.queue.takeFirst() else { break }
      if member == 0 { served += 1 }
      test.queue.add(member, flow: FlowNumber(member))
    }
    // One of 9,901 shares.
    #expect(served == 10 || served == 11)
  }

  @Test(
    "tags may go round: shares are the same wherever virtual time stands", arguments: [0, 1 << 39, 1 << 40, 1 << 63])
  func wrapping(distance: UInt64) throws {
    for start in [0 &- distance, (1 << 63) &- distance] {
      let test = try TestQueue([0.001, 0.002, 1], virtualTime: start)
      for member in 0..<6 { test.queue.add(UInt32(member), flow: FlowNumber(member / 2)) }
      var served = [0, 0, 0]
      for _ in 0..<10_030 {
        guard let member = test.queue.takeFirst() else { break }
        served[Int(member) / 2] += 1
        test.queue.add(member, flow: FlowNumber(member / 2))
      }
      #expect(abs(served[0] - 10) <= 1 && abs(served[1] - 20) <= 1 && abs(served[2] - 10_000) <= 2, "\(served)")
    }
  }

  @Test("a flow whose tag is from before the tags went round starts from now")
  func stale() throws {
    let test = try TestQueue([1000, 1000])
    // Flow 0 is left with a tag that seems to be ahead of anything flow 1 can reach soon.
    test.queue.add(0, flow: 0)
    _ = test.queue.takeFirst()
    for member in 1..<3 { test.queue.add(UInt32(member), flow: 1) }
    for _ in 0..<1_000 {
      if let member = test.queue.takeFirst() { test.queue.add(member, flow: 1) }
    }
    test.queue.add(0, flow: 0)
    let next = [test.queue.takeFirst(), test.queue.takeFirst()]
    #expect(next.contains(0))
  }

  @Test("who was taken and could not be served goes back to where it was, uncharged")
  func putBack() throws {
    let test = try TestQueue([1, 1])
    for member in 0..<4 { test.queue.add(UInt32(member), flow: 0) }
    for member in 4..<8 { test.queue.add(UInt32(member), flow: 1) }
    var order: [UInt32] = []
    while let member = test.queue.takeFirst() {
      for _ in 0..<3 {
        test.queue.putBack(member, flow: member < 4 ? 0 : 1)
        #expect(test.queue.takeFirst() == member)
      }
      order.append(member)
    }
    #expect(order.filter { $0 < 4 } == [0, 1, 2, 3] && order.filter { $0 >= 4 } == [4, 5, 6, 7])
    for count in 1...8 { #expect(abs(order.prefix(count).count { $0 < 4 } * 2 - count) <= 2, "\(order)") }
  }

  @Test("without room the newest of whoever is most over its share goes")
  func eviction() throws {
    let test = try TestQueue([1, 1, 10])
    #expect(test.queue.newestOverShare == FairQueue.none)
    #expect(test.queue.newestOverShare(adding: 0) == FairQueue.none)
    for member in 0..<10 { test.queue.add(UInt32(member), flow: 0) }
    for member in 10..<60 { test.queue.add(UInt32(member), flow: 2) }
    // 10 of weight 1 are more than 50 of weight 10.
    #expect(test.queue.newestOverShare == 9)
    #expect(test.queue.newestOverShare(adding: 1) == 9)
    #expect(test.queue.newestOverShare(adding: 2) == 9)
    // The new one would be the newest itself.
    #expect(test.queue.newestOverShare(adding: 0) == FairQueue.none)
    for member in 5..<10 { test.queue.remove(UInt32(member)) }
    #expect(test.queue.newestOverShare(adding: 2) == FairQueue.none)
    #expect(test.queue.newestOverShare(adding: 0) == FairQueue.none)
    #expect(test.queue.newestOverShare(adding: 1) == 59 || test.queue.newestOverShare(adding: 1) == 4)
  }

  @Test("weights outside what is allowed are moved there; a flow there is not is the first")
  func bounds() throws {
    let test = try TestQueue([.nan, -1, .infinity, 0])
    test.queue.add(1, flow: 700)
    #expect(test.queue.count(of: 0) == 1 && test.queue.count(of: 700) == 1)
    #expect(test.queue.takeFirst() == 1)
    let none = try TestQueue([])
    none.queue.add(1, flow: 0)
    #expect(none.queue.takeFirst() == 1)
  }

  @Test("against the queue written down simply: members come, are served, put back, evicted and leave anywhere")
  func model() throws {
    let seed = freshSeed("FairQueueTests.model")
    var random = RandomSource(seed: seed)
    for _ in 0..<40 {
      let weights = (0..<(1 + Int(random.next(below: 12)))).map { _ in Double(1 + random.next(below: 8)) / 2 }
      let test = try TestQueue(weights, capacity: 200)
      var model = Model(weights)
      var free = Array(UInt32(0)..<200)
      for _ in 0..<3_000 {
        switch random.next(below: 8) {
        case 0..<4 where !free.isEmpty:
          let member = free.remove(at: Int(random.next(below: UInt32(free.count))))
          let flow = Int(random.next(below: UInt32(weights.count)))
          test.queue.add(member, flow: FlowNumber(flow))
          model.add(member, flow)
        case 4, 5:
          // Equal tags are served in either order: the model follows, if the queue's choice is one of the lowest.
          let member = test.queue.takeFirst()
          let isRight = if let member { model.take(member) } else { model.isEmpty }
          #expect(isRight, "seed \(seed)")
          if let member, random.next(below: 4) == 0 {
            test.queue.putBack(member, flow: FlowNumber(model.lastFlow))
            model.putBack(member)
          } else if let member {
            free.append(member)
          }
        default:
          let waiting = model.members
          guard !waiting.isEmpty else { continue }
          let member = waiting[Int(random.next(below: UInt32(waiting.count)))]
          test.queue.remove(member)
          model.remove(member)
          free.append(member)
        }
        #expect(test.queue.count == model.members.count)
        #expect(test.queue.activeFlowCount == model.activeCount)
      }
      while let member = test.queue.takeFirst() {
        let isRight = model.take(member)
        #expect(isRight, "seed \(seed)")
      }
      #expect(model.isEmpty)
    }
  }
}

/// Start-time fair queueing with arrays and fractions.
private struct Model {
  private struct Flow {
    let weight: Double
    var members: [UInt32] = []
    var tag = 0.0
  }

  private var flows: [Flow]
  private var now = 0.0
  private(set) var lastFlow = 0

  init(_ weights: [Double]) { flows = weights.map { Flow(weight: $0) } }

  var members: [UInt32] { flows.flatMap(\.members) }
  var isEmpty: Bool { members.isEmpty }
  var activeCount: Int { flows.count { !$0.members.isEmpty } }

  mutating func add(_ member: UInt32, _ flow: Int) {
    if flows[flow].members.isEmpty { flows[flow].tag = max(flows[flow].tag, now) }
    flows[flow].members.append(member)
  }

  /// False when it is not this member's turn.
  mutating func take(_ member: UInt32) -> Bool {
    guard let flow = flows.firstIndex(where: { $0.members.first == member }) else { return false }
    let lowest = flows.filter { !$0.members.isEmpty }.map(\.tag).min() ?? 0
    guard flows[flow].tag <= lowest + 1e-6 else { return false }
    now = flows[flow].tag
    flows[flow].tag += 1 / flows[flow].weight
    flows[flow].members.removeFirst()
    lastFlow = flow
    return true
  }

  mutating func putBack(_ member: UInt32) {
    flows[lastFlow].tag -= 1 / flows[lastFlow].weight
    flows[lastFlow].members.insert(member, at: 0)
  }

  mutating func remove(_ member: UInt32) {
    for flow in flows.indices { flows[flow].members.removeAll { $0 == member } }
  }
}
