// A service's balancer with its loads and gates in unsafe memory, as a shard holds them, and the statistics of many picks.

import Base
import Policy
import Synchronization
import Testing

let millisecond: UInt64 = 1_000_000
let second: UInt64 = 1_000_000_000
let start = MonotonicInstant(nanoseconds: 1_000 * second)

func freshSeed(_ test: String) -> UInt64 {
  let seed = UInt64.random(in: 0 ... .max)
  print("\(test): seed \(seed)")
  return seed
}

/// Endpoints 10.0.0.0:80, 10.0.0.1:80, … unless members are given.
final class TestService {
  let loads: UnsafeMutableBufferPointer<EndpointLoad>
  private let words: UnsafeMutablePointer<Atomic<UInt64>>
  private let epochWord: UnsafeMutablePointer<Atomic<UInt32>>
  private var balancer: Balancer
  private var random: RandomSource
  let members: [BalancerMember]

  init(_ members: [BalancerMember], _ settings: BalancerSettings = BalancerSettings(), seed: UInt64 = 1) {
    self.members = members
    random = RandomSource(seed: seed)
    loads = .allocate(capacity: max(members.count, 1))
    words = .allocate(capacity: max(members.count, 1))
    epochWord = .allocate(capacity: 1)
    epochWord.initialize(to: Atomic(0))
    for index in members.indices {
      (words + index).initialize(to: Atomic(0))
      var load = EndpointLoad(now: start)
      load.gate = EndpointGate(words + index)
      loads.initializeElement(at: index, to: load)
    }
    balancer = Balancer(
      BalancerPlan(members, settings: settings), slots: members.indices.map { UInt32($0) },
      loads: TestService.base(loads), epoch: HealthEpoch(epochWord), random: &random)
  }

  convenience init(
    _ count: Int, weights: [Double] = [], _ settings: BalancerSettings = BalancerSettings(), seed: UInt64 = 1
  ) {
    self.init(
      (0..<count).map { BalancerMember(weight: weights.isEmpty ? 1 : weights[$0], identity: identity($0)) }, settings,
      seed: seed)
  }

  deinit {
    loads.deallocate()
    words.deallocate()
    epochWord.deallocate()
  }

  private static func base(_ loads: UnsafeMutableBufferPointer<EndpointLoad>) -> UnsafeMutablePointer<EndpointLoad> {
    guard let base = loads.baseAddress else { preconditionFailure("never empty") }
    return base
  }

  var isPanicking: Bool { balancer.isPanicking }

  func gate(_ index: Int) -> EndpointGate { EndpointGate(words + index) }

  /// Takes endpoints out, or with nil brings them back.
  func close(_ indices: some Sequence<Int>, until: MonotonicInstant? = MonotonicInstant(nanoseconds: .max)) {
    for index in indices {
      if let until { gate(index).close(until: until) } else { gate(index).open() }
    }
    HealthEpoch(epochWord).bump()
  }

  func pick(key: HashKey = .none, exclude: Int32 = -1, now: MonotonicInstant = start) -> Int {
    Int(balancer.pick(TestService.base(loads), key: key, exclude: exclude, random: &random, now: now))
  }

  func key(_ number: Int) -> HashKey { HashKey(high: 7, low: UInt64(number)) }

  /// The share of each endpoint in that many picks, with nothing in flight.
  func shares(_ picks: Int, keyed: Bool = false, exclude: Int32 = -1, now: MonotonicInstant = start) -> [Double] {
    var counts = [Int](repeating: 0, count: members.count)
    for number in 0..<picks {
      let index = pick(key: keyed ? key(number) : .none, exclude: exclude, now: now)
      if counts.indices.contains(index) { counts[index] += 1 }
    }
    return counts.map { Double($0) / Double(picks) }
  }
}

/// What hash tables know endpoint 10.0.<number>:80 by.
func identity(_ number: Int) -> UInt64 {
  let address = SocketAddress.v4(IPv4Address(value: 0x0A00_0000 + UInt32(number)), port: 80)
  return (try? Endpoint(address).identity) ?? 0
}

/// ln x for 0 < x <= 1, by halving to near one and a short series: good enough to draw times from.
func logarithm(_ x: Double) -> Double {
  let exponent = x.exponent
  let y = (x.significand - 1) / (x.significand + 1)
  return Double(exponent) * 0.693147180559945 + 2 * (y + y * y * y / 3 + y * y * y * y * y / 5)
}
