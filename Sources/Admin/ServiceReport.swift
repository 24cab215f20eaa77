// `/services`: what each service did since the daemon started. Counters only ever grow and the time is told with them, so a
// client that asks twice has rates and quantiles of exactly the time between, whoever else asks.

import Base
import Telemetry

/// One service's cumulative counts.
public struct ServiceReport: JSONReport, Equatable {
  public var name: String
  /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
  public var responses: [UInt64]
  /// Requests that ended without a response: the client left, or the connection broke.
  public var unanswered: UInt64
  public var retries: UInt64
  public var inFlight: Int
  public var liveEndpoints: Int
  public var endpoints: Int
  /// Durations of whole requests.
  public var latency: HistogramSnapshot

  public init(
    name: String, responses: [UInt64], unanswered: UInt64 = 0, retries: UInt64 = 0, inFlight: Int = 0,
    liveEndpoints: Int = 0, endpoints: Int = 0, latency: HistogramSnapshot = HistogramSnapshot()
  ) {
    self.name = name
    self.responses = Array((responses + [UInt64](repeating: 0, count: 5)).prefix(5))
    self.unanswered = unanswered
    self.retries = retries
    self.inFlight = inFlight
    self.liveEndpoints = liveEndpoints
    self.endpoints = endpoints
    self.latency = latency
  }

  /// All requests, answered or not.
  public var requests: UInt64 { responses.reduce(unanswered, &+) }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("name", name)
    json.member("requests", requests)
    json.object("responses") {
      for (index, count) in responses.enumerated() { $0.member("\(index + 1)xx", count) }
    }
    json.member("unanswered", unanswered)
    json.member("retries", retries)
    json.member("inFlight", inFlight)
    json.member("liveEndpoints", liveEndpoints)
    json.member("endpoints", endpoints)
    json.object("latency") {
      $0.member("count", latency.count)
      $0.member("sumNanoseconds", latency.sumNanoseconds)
      for (name, fraction) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)] {
        guard let quantile = latency.quantileNanoseconds(fraction) else { continue }
        $0.member("\(name)Milliseconds", milliseconds(quantile))
      }
      $0.array("buckets") {
        // Pairs of inclusive upper bound in nanoseconds and count; only those that hold anything.
        for (bound, count) in latency.sparse {
          $0.array {
            $0.integer(bound)
            $0.integer(count)
          }
        }
      }
    }
  }
}

/// All services at one moment.
public struct ServicesReport: JSONReport, Equatable {
  /// The host's monotonic clock: differences are what it is good for.
  public var monotonicNanoseconds: UInt64
  public var services: [ServiceReport]

  public init(at instant: MonotonicInstant, services: [ServiceReport]) {
    monotonicNanoseconds = instant.nanoseconds
    self.services = services
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("monotonicNanoseconds", monotonicNanoseconds)
    json.reports("services", services)
  }
}
