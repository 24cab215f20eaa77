// Clients, one shard's balancer and endpoints in virtual time.

import Base
import Policy

/// Clients that each wait for their answer and ask again, over endpoints whose answers take an exponentially distributed
/// multiple of half their service time on top of the other half.
struct Simulation {
  struct Result {
    /// The part of all requests that each endpoint got.
    var shares: [Double]
    /// In nanoseconds, ascending, without those of the first virtual second.
    var latencies: [UInt64]

    func percentile(_ share: Double) -> UInt64 {
      latencies.isEmpty ? 0 : latencies[min(Int(Double(latencies.count) * share), latencies.count - 1)]
    }
  }

  let seed: UInt64
  let concurrency: Int
  /// Milliseconds, one for each endpoint.
  let serviceTimes: [Double]
  var failing: Int?
  var kind = BalancerKind.p2c
  var virtualSeconds: UInt64 = 8

  func run() -> Result {
    let average = PeakEWMA()
    var random = RandomSource(seed: ~seed)
    let service = TestService(
      serviceTimes.count, BalancerSettings(kind: kind, metric: .ewma(average)), seed: seed)
    var served = [Int](repeating: 0, count: serviceTimes.count)
    var latencies: [UInt64] = []
    var waiting: [(until: UInt64, since: UInt64, endpoint: Int)] = []
    var now: UInt64 = 0
    while now < virtualSeconds * second {
      while waiting.count < concurrency {
        let endpoint = service.pick(now: start.advanced(byNanoseconds: now))
        service.loads[endpoint].attemptStarted()
        served[endpoint] += 1
        let half = serviceTimes[endpoint] * Double(millisecond) / 2
        let chance = Double.random(in: 0.0001..<1, using: &random)
        waiting.append((now + UInt64(half + half * -logarithm(chance)), now, endpoint))
      }
      guard let next = waiting.indices.min(by: { waiting[$0].until < waiting[$1].until }) else { break }
      let done = waiting.remove(at: next)
      now = done.until
      let instant = start.advanced(byNanoseconds: now)
      service.loads[done.endpoint].attemptEnded()
      let sample = now - done.since
      if done.endpoint == failing {
        average.observeFailure(&service.loads[done.endpoint], sampleNanoseconds: sample, now: instant)
      } else {
        average.observe(&service.loads[done.endpoint], sampleNanoseconds: sample, now: instant)
      }
      if now > second { latencies.append(sample) }
    }
    let total = served.reduce(0, +)
    return Result(shares: served.map { Double($0) / Double(total) }, latencies: latencies.sorted())
  }
}
