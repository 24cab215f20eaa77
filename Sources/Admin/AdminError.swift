// What keeps the steering side from starting.

/// Why the steering side cannot start: one line that says what, and what to do.
public struct AdminError: Error, CustomStringConvertible, Equatable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
