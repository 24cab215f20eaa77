// What a node says about taking a new configuration: done with these changes, or refused, and nothing changed.

public import Base

/// One difference between the running configuration and another one.
public struct ConfigurationChangeReport: JSONReport, Equatable {
  /// Such as `services[/svc/web].timeouts.request`.
  public var path: String
  /// Nil for what is new.
  public var old: String?
  /// Nil for what is gone.
  public var new: String?
  /// Whether it takes effect only when the daemon starts again.
  public var needsRestart: Bool

  public init(path: String, old: String?, new: String?, needsRestart: Bool = false) {
    self.path = path
    self.old = old
    self.new = new
    self.needsRestart = needsRestart
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("path", path)
    json.member("old", old)
    json.member("new", new)
    json.member("needsRestart", needsRestart)
  }
}

/// `/config/diff`: what a reload would change.
public struct ConfigurationChangesReport: JSONReport, Equatable {
  /// The file that was read.
  public var source: String
  public var changes: [ConfigurationChangeReport]

  public init(source: String, changes: [ConfigurationChangeReport]) {
    self.source = source
    self.changes = changes
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("source", source)
    json.reports("changes", changes)
  }
}

/// `/reload`: what was changed. Without changes the same configuration was read again.
public struct ReloadReport: JSONReport, Equatable {
  public var source: String
  /// Of the snapshot that is in force now.
  public var generation: UInt64
  public var changes: [ConfigurationChangeReport]
  /// It is taken back after this time unless it is confirmed; nil when it stays at any rate.
  public var confirmWithinSeconds: Double?

  public init(
    source: String, generation: UInt64, changes: [ConfigurationChangeReport], confirmWithinSeconds: Double? = nil
  ) {
    self.source = source
    self.generation = generation
    self.changes = changes
    self.confirmWithinSeconds = confirmWithinSeconds
  }

  public func writeMembers(to json: inout JSONWriter) {
    json.member("source", source)
    json.member("generation", generation)
    json.reports("changes", changes)
    json.key("confirmWithinSeconds")
    if let confirmWithinSeconds { json.number(confirmWithinSeconds) } else { json.null() }
  }
}

/// Why a configuration was not taken. Nothing has changed then.
public enum ConfigurationRefusal: Error, Equatable, Sendable {
  /// Everything that is wrong with it, as `fairlead validate` prints it.
  case findings(String)
  /// Why there is nothing to read or no time for it, in one line.
  case notNow(String)
}
