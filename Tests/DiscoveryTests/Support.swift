import Policy
import Testing

/// A bound name as it is written.
func bound(_ text: String) throws -> BoundName { try #require(BoundName(try Path(parsing: text))) }
