// A program to run, as a value: `plan` prints it, `apply` runs it, and both show the same.

/// A program's arguments, and what it reads from standard input.
public struct Command: Hashable, Sendable {
  public let arguments: [String]
  public let input: String?

  init(_ arguments: String..., input: String? = nil) { self.init(arguments: arguments, input: input) }

  init(arguments: [String], input: String? = nil) {
    self.arguments = arguments
    self.input = input
  }

  /// The program's name.
  public var tool: String { arguments.first ?? "" }

  /// As a shell would take it.
  public var text: String {
    let line = arguments.joined(separator: " ")
    guard let input else { return line + "\n" }
    return "\(line) <<'END'\n\(input)END\n"
  }
}

/// What a program printed and how it ended.
public struct CommandResult: Sendable {
  /// The exit code; 128 and the signal's number when a signal ended it.
  public let status: Int32
  public let output: String
  public let errors: String

  public var isSuccess: Bool { status == 0 }
}
