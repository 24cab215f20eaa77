// Rate limits, weights and the marks of overload: what is read, what is refused, and how a service's entries merge.

import Base
import Configuration
import Testing

@Suite("Limiting")
struct LimitingTests {
  @Test("a rate limit has a period of a second and a burst of one period's worth, unless it says otherwise")
  func defaults() throws {
    let configuration = try good(
      """
      services: [{name: /svc/web, rateLimit: {requests: 100}}, {name: /svc/api, rateLimit: {requests: 3, per: 1h, burst: 1}}]
      workloads:
        - {name: a, match: {users: [1]}, weight: 0.001, rateLimit: {requests: 5, burst: 20}}
        - {name: b, match: {users: [2]}, weight: 1000, connectionRate: {connections: 9, per: 250ms}}
        - {name: c, match: {users: [3]}}
      """)
    #expect(configuration.policy(forServiceName: "/svc/web").rateLimit == .init(count: 100))
    let api = configuration.policy(forServiceName: "/svc/api").rateLimit
    #expect(api?.count == 3 && api?.period == .seconds(3600) && api?.burst == 1)
    #expect(configuration.policy(forServiceName: "/svc/other").rateLimit == nil)
    #expect(configuration.workloads.map(\.weight) == [0.001, 1000, 1])
    #expect(configuration.workloads[0].rateLimit == .init(count: 5, period: .seconds(1), burst: 20))
    #expect(configuration.workloads[1].connectionRate == .init(count: 9, period: .milliseconds(250), burst: 9))
    #expect(configuration.workloads[2].rateLimit == nil && configuration.workloads[2].connectionRate == nil)
    #expect(configuration.limits.overload == .init(loopLag: .milliseconds(100), memory: .percent(90)))
  }

  @Test("a later entry of a service replaces the rate limit, or takes it back")
  func merging() throws {
    let configuration = try good(
      """
      services:
        - {name: /svc, rateLimit: {requests: 10}}
        - {name: /svc/web, rateLimit: {requests: 20}}
        - {name: /svc/api, rateLimit: none}
      """)
    #expect(configuration.policy(forServiceName: "/svc/x").rateLimit?.count == 10)
    #expect(configuration.policy(forServiceName: "/svc/web").rateLimit?.count == 20)
    #expect(configuration.policy(forServiceName: "/svc/api").rateLimit == nil)
    #expect(try Configuration.parse(configuration.render()).services == configuration.services)
  }

  @Test(
    "marks of overload",
    arguments: [
      ("{}", .init()), ("{loopLag: none}", .init(loopLag: nil)), ("{memory: none}", .init(memory: .none)),
      ("{memory: 80%}", .init(memory: .percent(80))), ("{memory: \"100%\"}", .init(memory: .percent(100))),
      ("{loopLag: 1ms, memory: 16MiB}", .init(loopLag: .milliseconds(1), memory: .size(.mebibytes(16)))),
    ] as [(String, Configuration.Overload)])
  func overload(text: String, expected: Configuration.Overload) throws {
    let configuration = try good("limits: {overload: \(text)}")
    #expect(configuration.limits.overload == expected)
    #expect(try Configuration.parse(configuration.render()).limits == configuration.limits)
  }

  @Test(
    "a wrong value is refused with what it may be",
    arguments: [
      (
        "services: [{name: /svc, rateLimit: 100}]",
        "2:36: 'services[0].rateLimit' must be a mapping such as { requests: 100, per: 1s, burst: 20 }"
      ),
      (
        "services: [{name: /svc, rateLimit: {per: 1s}}]",
        "2:36: 'requests' is missing in services[0].rateLimit; write requests: 100"
      ),
      (
        "services: [{name: /svc, rateLimit: {requests: 0}}]",
        "2:47: 'services[0].rateLimit.requests' must be between 1 and 1000000, not 0"
      ),
      (
        "services: [{name: /svc, rateLimit: {requests: 1, per: 2h}}]",
        "2:55: 'services[0].rateLimit.per' must be between 1ms and 1h, not 2h"
      ),
      (
        "services: [{name: /svc, rateLimit: {requests: 1, burst: 1.5}}]",
        "2:57: 'services[0].rateLimit.burst' must be a whole number between 1 and 1000000, not '1.5'"
      ),
      (
        "services: [{name: /svc, rateLimit: {connections: 1}}]",
        "2:37: unknown key 'connections' in services[0].rateLimit"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, connectionRate: {requests: 1}}]",
        "2:61: unknown key 'requests' in workloads[0].connectionRate"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, rateLimit: none}]",
        "2:55: 'workloads[0].rateLimit' must be a mapping such as { requests: 100, per: 1s, burst: 20 }"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, weight: 0.0009}]",
        "2:52: 'workloads[0].weight' must be between 0.001 and 1000, not 0.0009"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, weight: 1000.1}]",
        "2:52: 'workloads[0].weight' must be between 0.001 and 1000, not 1000.1"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, weight: 1e2}]",
        "2:52: 'workloads[0].weight' must be a number between 0.001 and 1000, not '1e2'"
      ),
      (
        "workloads: [{name: a, match: {users: [1]}, weight: heavy}]",
        "2:52: 'workloads[0].weight' must be a number between 0.001 and 1000, not 'heavy'"
      ),
      (
        "limits: {overload: {memory: 101%}}",
        "2:29: 'limits.overload.memory' must be between 1% and 100%, not 101%"
      ),
      (
        "limits: {overload: {memory: 1KiB}}",
        "2:29: 'limits.overload.memory' must be between 1MiB and 1024GiB, not 1KiB"
      ),
      (
        "limits: {overload: {memory: many}}",
        "2:29: 'many' is not a size: a size is a whole number of bytes, or one with KiB, MiB or GiB"
      ),
      (
        "limits: {overload: {lag: 1s}}", "2:21: unknown key 'lag' in limits.overload"
      ),
      (
        "limits: {overload: {loopLag: 2m}}", "2:30: 'limits.overload.loopLag' must be between 1ms and 1m, not 2m"
      ),
    ])
  func refused(fragment: String, expected: String) {
    let found = findings(in: fragment)
    #expect(found.contains(expected), "\(found)")
  }
}
