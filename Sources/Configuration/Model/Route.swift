// The rules for requests, and where they are written. What a rule means is Policy's to say.

public import Policy

extension Configuration {
  /// One entry of `routes`. Of all entries the first that matches has a request.
  public struct Route: Hashable, Sendable {
    /// Unlike every other's; nil for one that nobody named.
    public let name: String?
    public let rule: Policy.Route
    /// Laid over what the service's policy says; never a budget, which is the service's.
    public let retries: Retries
    /// How many of its requests go on in a time; nil for all.
    public let rateLimit: RateLimit?
    /// Where it is written, for tables and explanations; line 0 when no file says it.
    public let file: String
    public let line: Int
    public let column: Int

    public init(
      _ rule: Policy.Route, name: String? = nil, retries: Retries = Retries(), rateLimit: RateLimit? = nil,
      file: String = "", line: Int = 0, column: Int = 0
    ) {
      self.name = name
      self.rule = rule
      self.retries = retries
      self.rateLimit = rateLimit
      self.file = file
      self.line = line
      self.column = column
    }

    /// What it is called in metrics and tables: its name, or its place in the order written, such as `#3` for the fourth.
    /// No name holds a `#`.
    public func label(number: Int) -> String { name ?? "#\(number)" }

    /// `fairlead.yaml:14:5`; empty when no file says it.
    public var place: String { line > 0 ? "\(file):\(line):\(column)" : "" }
  }
}
