// What a configuration becomes for the shards.

import Base
import Configuration
import Policy
import Testing

@testable import Proxy

@Suite("Snapshot")
struct SnapshotTests {
  @Test("the via line carries the node's name, and is not there where via is off")
  func via() throws {
    let on = Snapshot(try configuration(services: [], delegations: []), generation: 1)
    #expect(on.sendsVia)
    let lines = ViaLines(on.viaPseudonym)
    defer { lines.deallocate() }
    #expect(String(decoding: lines.http11, as: UTF8.self) == "via: 1.1 node-a\r\n")
    #expect(String(decoding: lines.http10, as: UTF8.self) == "via: 1.0 node-a\r\n")
    #expect(String(decoding: lines.http2, as: UTF8.self) == "via: 2 node-a\r\n")
    #expect(on.viaPseudonym == Array("node-a".utf8))
    let off = Snapshot(try configuration(services: [], delegations: [], via: false), generation: 1)
    #expect(!off.sendsVia)
    let none = ViaLines(nil)
    defer { none.deallocate() }
    #expect(none.http11.isEmpty && none.longest == 0)
  }
}

@Suite("ShardPolicy")
struct ShardPolicyTests {
  @Test("a policy's durations are nanoseconds and its limits plain numbers")
  func units() {
    var policy = ServicePolicy()
    policy.timeouts.connect = .milliseconds(250)
    policy.timeouts.request = .seconds(2)
    policy.timeouts.idle = .seconds(60)
    policy.timeouts.tunnel = .seconds(7)
    policy.timeouts.stream = .seconds(8)
    policy.limits.connections = 3
    policy.limits.pending = 4
    policy.limits.requests = 5
    let shard = ShardPolicy(policy)
    #expect(shard.connectTimeoutNanoseconds == 250_000_000)
    #expect(shard.requestTimeoutNanoseconds == 2_000_000_000)
    #expect(shard.idleTimeoutNanoseconds == 60_000_000_000)
    #expect(shard.silenceNanoseconds([.streaming]) == 60_000_000_000)
    #expect(shard.silenceNanoseconds([.streaming, .tunnel]) == 7_000_000_000)
    #expect(shard.silenceNanoseconds([.streaming, .tunnel, .stream]) == 8_000_000_000)
    #expect(shard.connectionLimit == 3)
    #expect(shard.pendingLimit == 4)
    #expect(shard.requestLimit == 5)
  }

  @Test(
    "an attempt has a time of its own only where it is written", arguments: [nil, 1, 1999, 5000] as [UInt64?])
  func attempt(milliseconds: UInt64?) {
    var policy = ServicePolicy()
    policy.timeouts.request = .seconds(2)
    policy.timeouts.attempt = milliseconds.map { .milliseconds($0) }
    #expect(ShardPolicy(policy).requestTimeoutNanoseconds == 2_000_000_000)
    #expect(ShardPolicy(policy).attemptTimeoutNanoseconds == milliseconds.map { $0 * 1_000_000 })
  }

  @Test(
    "breakers take out no more endpoints than the balancer can do without", arguments: [(0, 100), (50, 50), (100, 0)])
  func mostOut(panic: Int, expected: Int) {
    var policy = ServicePolicy()
    policy.balancer.panic = panic
    #expect(ShardPolicy(policy).mostOutPercent == expected)
  }
}
