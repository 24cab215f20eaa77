// `/workloads`: who is calling, and what it did since the daemon started.

import Base

/// One workload's cumulative counts, and what makes a connection its own.
public struct WorkloadReport: JSONReport, Equatable {
  public var name: String
  public var addresses: [String]
  public var users: [String]
  public var cgroups: [String]
  public var weight: Double
  /// `bypass` or `refuse`, where it says so itself.
  public var onFailure: String?
  public var connections: Int
  /// Requests that wait for a place at their service.
  public var queued: Int
  /// Requests and connections refused by a rate limit.
  public var rateLimited: UInt64
  /// Requests refused because the node has too much to do.
  public var shed: UInt64
  /// Responses by class: 1xx, 2xx, 3xx, 4xx, 5xx.
  public var responses: [UInt64]
  /// Requests that ended without a response.
  public var unanswered: UInt64
  public var bytesIn: UInt64
  public var bytesOut: UInt64

  public init(
    name: String, addresses: [String] = [], users: [String] = [], cgroups: [String] = [], weight: Double = 1,
    onFailure: String? = nil, connections: Int = 0, queued: Int = 0, rateLimited: UInt64 = 0,
    shed: UInt64 = 0, responses: [UInt64] = [], unanswered: UInt64 = 0,
    bytesIn: UInt64 = 0, bytesOut: UInt64 = 0
  ) {
    self.name = name
    self.addresses = addresses
    self.users = users
    self.cgroups = cgroups
    self.weight = weight
    self.onFailure = onFailure
    self.connections = connections
    self.queued = queued
    self.rateLimited = rateLimited
    self.shed = shed
    self.responses = Array((responses + [UInt64](repeating: 0, count: 5)).prefix(5))
    self.unanswered = unanswered
    self.bytesIn = bytesIn
    self.bytesOut = bytesOut
  }

  /// All requests, answered or not.
  public var requests: UInt64 { responses.reduce(unanswered, &+) }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("name", name)
    json.object("match") { json in
      for (kind, values) in [("addresses", addresses), ("users", users), ("cgroups", cgroups)] {
        json.array(kind) { json in
          for value in values { json.string(value) }
        }
      }
    }
    json.member("weight", weight)
    if let onFailure { json.member("onFailure", onFailure) }
    json.member("connections", connections)
    json.member("queued", queued)
    json.member("rateLimited", rateLimited)
    json.member("shed", shed)
    json.member("requests", requests)
    json.object("responses") {
      for (index, count) in responses.enumerated() { $0.member("\(index + 1)xx", count) }
    }
    json.member("unanswered", unanswered)
    json.member("bytesIn", bytesIn)
    json.member("bytesOut", bytesOut)
  }
}
