// The daemon's JSON as values: what the tables are made of. Members the daemon does not send (an older one) get defaults
// where the tables can do without; members it sends on top (a newer one) are ignored.

import FoundationEssentials
import Telemetry

struct StatusAnswer: Decodable {
  struct Shard: Decodable {
    var index: Int
    var cpu: Int?
    var connections: Int
    var requests: UInt64
    var loopLagMilliseconds: Double
    var overload: String?
  }

  struct Listener: Decodable {
    var name: String
    var address: String
    var direction: String
    var `protocol`: String
    var connections: Int
  }

  struct Discovery: Decodable {
    var prefix: String
    var kind: String
    var services: Int
    var ageSeconds: Double
    var failure: String?
    var state: String?
    var origin: String?
    var endpoints: Int?
    var badLines: Int?
    var problems: [String]?
  }

  struct AccessLog: Decodable {
    var written: UInt64
    var dropped: UInt64
    var failed: UInt64
  }

  var node: String
  var version: String
  var commit: String
  var swift: String
  var libraries: [String: String]
  var pid: Int
  var state: String
  var reason: String?
  var uptimeSeconds: Double
  var configuration: String
  var snapshotGeneration: UInt64
  var logLevel: String
  var residentBytes: UInt64
  var downstreamConnections: Int
  var upstreamConnections: Int
  var inFlightRequests: Int
  var shards: [Shard]
  var listeners: [Listener]
  var discovery: [Discovery]
  var accessLog: AccessLog?
  var degraded: [String]
}

struct EndpointsAnswer: Decodable {
  struct Endpoint: Decodable {
    var service: String
    var address: String
    var state: String
    var checkFailure: String?
    var zone: String?
    var weight: Double
    var effectiveWeight: Double?
    var inFlight: Int
    var connections: Int
    var latencyMilliseconds: Double
    var requests: UInt64
    var failures: UInt64
    var source: String?
    var sourceState: String?
  }

  var endpoints: [Endpoint]
}

struct ConnectionsAnswer: Decodable {
  struct Connection: Decodable {
    var shard: Int
    var id: UInt64
    var direction: String
    var peer: String
    var local: String
    var listener: String?
    var service: String?
    var workload: String?
    var state: String
    var `protocol`: String
    var ageSeconds: Double
    var idleSeconds: Double
    var requests: UInt64
    var bytesIn: UInt64
    var bytesOut: UInt64
  }

  var total: Int
  var connections: [Connection]
}

struct RoutesAnswer: Decodable {
  struct Route: Decodable {
    var name: String
    var place: String
    var matches: String
    var does: String
    var requests: UInt64
    var rateLimited: UInt64?
  }

  var routes: [Route]
}

struct WorkloadsAnswer: Decodable {
  struct Workload: Decodable {
    struct Match: Decodable {
      var addresses: [String]
      var users: [String]
      var cgroups: [String]
    }

    var name: String
    var match: Match
    var weight: Double?
    var connections: Int
    var queued: Int?
    var rateLimited: UInt64?
    var shed: UInt64?
    var requests: UInt64
    var responses: [String: UInt64]
    var unanswered: UInt64
    var bytesIn: UInt64
    var bytesOut: UInt64
  }

  var workloads: [Workload]
}

struct NamesAnswer: Decodable {
  struct Step: Decodable {
    var depth: Int
    var kind: String
    var text: String
    var `operator`: String?
    var weight: Double?
    var file: String?
    var line: Int?
    var outcome: String
    var service: String?
    var endpoints: Int?
    var liveEndpoints: Int?
  }

  struct Destination: Decodable {
    var service: String
    var share: Double
  }

  var path: String
  var outcome: String
  var reason: String?
  var destinations: [Destination]
  var steps: [Step]
  var cut: Bool
}

struct ServicesAnswer: Decodable {
  struct Service: Decodable {
    struct Latency: Decodable {
      var sumNanoseconds: UInt64
      /// Pairs of upper bound and count.
      var buckets: [[UInt64]]

      var histogram: HistogramSnapshot {
        HistogramSnapshot(
          sumNanoseconds: sumNanoseconds,
          sparse: buckets.compactMap { $0.count == 2 ? (upperBoundNanoseconds: $0[0], count: $0[1]) : nil })
      }
    }

    var name: String
    var requests: UInt64
    var responses: [String: UInt64]
    var unanswered: UInt64
    var retries: UInt64
    var inFlight: Int
    var liveEndpoints: Int
    var endpoints: Int
    var latency: Latency
  }

  var monotonicNanoseconds: UInt64
  var services: [Service]
}

extension AdminConnection {
  /// Reads a path as a value.
  func decoded<T: Decodable>(_ type: T.Type, _ target: String) throws(AdminClientError) -> T {
    try decoded(type, try get(target), of: target)
  }

  /// An answer that came from a path, as a value.
  func decoded<T: Decodable>(
    _ type: T.Type, _ answer: AdminAnswer, of target: String
  ) throws(AdminClientError) -> T {
    do {
      return try JSONDecoder().decode(type, from: Data(answer.body))
    } catch {
      throw .badAnswer(
        socket: socket, reason: "\(target) is not the JSON expected; fairlead and fairleadd may differ in version")
    }
  }
}
