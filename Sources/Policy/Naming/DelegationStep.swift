// One step of a binding, for showing it: a tree written down line by line, in the order it was searched.

/// A line of the explanation of a name; those that follow it one deeper belong to it.
public struct DelegationStep: Equatable, Sendable {
  public enum Kind: Equatable, Sendable {
    /// A name that is looked up.
    case name(Path)
    /// The entry of this index, which matches the name above.
    case entry(Int)
    case alternatives
    case union
    /// `!`, `~` and `$`.
    case failure
    case negative
    case empty
  }

  /// How it stands to the steps beside it.
  public enum Role: Equatable, Sendable {
    case plain
    /// In a union, with this weight.
    case branch(DelegationWeight)
    /// After `|`: only where what stands before does not exist.
    case otherwise
    /// After `|!`: also where what stands before is empty.
    case otherwiseWhenEmpty
  }

  public enum Outcome: Equatable, Sendable {
    /// Something below it is bound.
    case delegated
    /// A discovery source knows it, as this service.
    case bound(BoundName)
    /// No entry matches, or no source knows it.
    case negative
    /// It was negative before and is not tried again.
    case negativeBefore
    /// It exists and has no endpoints, because an entry says so.
    case empty
    /// An entry says that it fails.
    case refused
    /// The table is at fault.
    case failed(BindingFailure.Kind)
    /// A discovery source does not know yet.
    case pending
    /// What stands before it has answered.
    case notTried
  }

  /// How many steps this one belongs to.
  public let depth: Int
  public let kind: Kind
  public let role: Role
  public internal(set) var outcome: Outcome

  public init(depth: Int, kind: Kind, role: Role = .plain, outcome: Outcome) {
    self.depth = depth
    self.kind = kind
    self.role = role
    self.outcome = outcome
  }
}
