// The lines of the delegation table, and where they are written. What they mean is Policy's to say.

public import Policy

extension Configuration {
  /// One entry of `delegations`, `prefix => destination`. A bound name names a service by its discovery's prefix and one
  /// segment; segments after it are dropped, so that `/svc => /#/static/web` sends every name to `web`.
  public struct Delegation: Hashable, Sendable {
    public let entry: DelegationEntry
    /// Where it is written, for tables and explanations; line 0 when no file says it.
    public let file: String
    public let line: Int
    public let column: Int

    public init(_ entry: DelegationEntry, file: String = "", line: Int = 0, column: Int = 0) {
      self.entry = entry
      self.file = file
      self.line = line
      self.column = column
    }
  }
}
