// `/routes`: the rules, and how many requests each has had since it came.

import Base

/// One rule.
public struct RouteReport: JSONReport, Equatable {
  /// Its name, or its number with a `#`.
  public var name: String
  /// Where it is written, `file:line:column`.
  public var place: String
  /// What it matches, in one line.
  public var matches: String
  /// What it does, in one line.
  public var does: String
  public var requests: UInt64
  /// Of them, those that its own rate refused.
  public var rateLimited: UInt64

  public init(
    name: String, place: String, matches: String, does: String, requests: UInt64 = 0, rateLimited: UInt64 = 0
  ) {
    self.name = name
    self.place = place
    self.matches = matches
    self.does = does
    self.requests = requests
    self.rateLimited = rateLimited
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("name", name)
    json.member("place", place)
    json.member("matches", matches)
    json.member("does", does)
    json.member("requests", requests)
    json.member("rateLimited", rateLimited)
  }
}
