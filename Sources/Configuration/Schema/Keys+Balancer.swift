// The keys of `balancer`.

import Base
import Policy

extension Configuration.Balancer {
  static let keys: [ConfigurationKey] = [
    .init(
      "kind", .choice(of: BalancerKind.self),
      "p2c: the less loaded of two chosen at random; aperture: the same among a slice of the endpoints that is the node's own; ring-hash and maglev: by a key of the request",
      default: "p2c"),
    .init(
      "load", .choice(of: ServicePolicy.BalancerLoad.self), "latency weighted towards its peaks, or requests in flight",
      default: "ewma"),
    .init(
      "decay", .duration(.milliseconds(100) ... .seconds(3600)), "how long a latency is remembered", default: "10s"),
    .init(
      "hash", .oneKey(hash), "what the key is made of (default: source: true)", example: "{header: x-user}",
      excludedBy: [("kind", notByKey)]),
    .init(
      "tableSize", .integer(64...1_048_576), "places in the ring or the table (default: the kind's own)",
      excludedBy: [("kind", notByKey)]),
    .init(
      "slowStart", .duration(.zero ... .seconds(86400)), "how long a new endpoint takes to come up to its weight",
      default: "0s", excludedBy: [("kind", byKey)]),
    .init(
      "aperture", .mapping(aperture), "how long a node's slice is, and where it begins",
      excludedBy: [("kind", BalancerKind.allCases.filter { $0 != .aperture }.map(\.rawValue))]),
    .init(
      "locality", .mapping(locality), "which endpoints are taken first",
      excludedBy: [("kind", byKey + [BalancerKind.aperture.rawValue])]),
    .init(
      "panic", .integer(0...100),
      "percent of the endpoints that must be healthy for health to count at all; 0: it always does", default: "50"),
  ]

  private static let byKey = BalancerKind.allCases.filter(\.isByKey).map(\.rawValue)
  private static let notByKey = BalancerKind.allCases.filter { !$0.isByKey }.map(\.rawValue)

  private static let aperture: [ConfigurationKey] = [
    .init(
      "size", .integer(1...1_000_000), "endpoints that a node uses; some more where that makes the slices even",
      default: "12"),
    .init(
      "peers", .integer(1...1_000_000),
      "how many nodes share the endpoints (default: not known; the hash of the node's name says where its slice begins)"
    ),
    .init("position", .integer(0...999_999), "which of the peers this node is, from 0; below peers"),
  ]

  private static let hash: [ConfigurationKey] = [
    .init("header", .text(.token), "the value of this field"),
    .init("cookie", .text(.token), "the value of this cookie"),
    .init("source", .flag([true]), "the client's address"),
  ]

  private static let locality: [ConfigurationKey] = [
    .init("prefer", .choice(of: LocalityPreference.self), "what is on this host, or in this zone", default: "none"),
    .init(
      "spillOver", .integer(1...100), "percent of the near endpoints that must be healthy to keep all requests",
      default: "70"),
  ]
}
