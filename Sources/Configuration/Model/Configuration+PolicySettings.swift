// The policy of one service, key by key, with the line that decides each: for people who ask why.

import Base
public import Policy

/// One key of the policy in force for a service.
public struct PolicySetting: Hashable, Sendable {
  /// Such as `timeouts.request`.
  public let name: String
  /// As it would be written.
  public let value: String
  /// `file:line`; nil for a default.
  public let place: String?
}

extension Configuration {
  /// Where the values of an entry are written. No part of what the entry says: entries that say the same are equal
  /// wherever they stand.
  public struct WrittenPlaces: Hashable, Sendable {
    /// `file:line` by the value's path in the entry, such as `timeouts.request`.
    public var lines: [String: String] = [:]

    public static func == (_: WrittenPlaces, _: WrittenPlaces) -> Bool { true }
    public func hash(into _: inout Hasher) {}
  }

  /// Does an equal configuration stand in its files line by line where this one stands?
  public func isWritten(as other: Configuration) -> Bool {
    zip(services, other.services).allSatisfy { $0.places.lines == $1.places.lines }
  }

  /// What `policy(for:)` merges, before it is merged: the defaults, over them what every matching entry says, and over that
  /// what the rule says that has the request.
  public func policySettings(for name: Path, route: Route? = nil) -> [PolicySetting] {
    var settings: [String: PolicySetting] = [:]
    var order: [String] = []
    func set(_ setting: PolicySetting) {
      if settings.updateValue(setting, forKey: setting.name) == nil { order.append(setting.name) }
    }
    for placed in ConfigurationKey.all(of: ServiceEntry.keys) {
      guard let text = placed.key.defaultText else { continue }
      set(PolicySetting(name: placed.path, value: text, place: nil))
    }
    let name = HostIdentifier().normalized(name)
    for entry in services where name.hasPrefix(entry.name) {
      for (path, value) in PrintedValue(of: entry)?.leaves ?? [] where path != "name" {
        set(PolicySetting(name: path, value: value.shown, place: entry.places.lines[path]))
      }
    }
    if let route {
      let place = route.line > 0 ? route.place : nil
      if let timeout = route.rule.action.timeout {
        set(PolicySetting(name: "timeouts.request", value: timeout.shortText, place: place))
      }
      for (path, value) in PrintedValue(of: route.retries)?.leaves ?? [] {
        set(PolicySetting(name: "retries.\(path)", value: value.shown, place: place))
      }
    }
    return order.compactMap { settings[$0] }
  }
}
