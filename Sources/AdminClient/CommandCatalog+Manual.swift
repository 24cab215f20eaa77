// The list of commands in fairlead(1), in the language of man(7).

extension CommandCatalog {
  /// An entry for each command with its options. Every line is ended.
  static func manual() -> String {
    all.filter(\.isAvailable).map { command in
      let operands = command.operands.isEmpty ? "" : " \\fI\(roff(command.operands))\\fR"
      var text = ".TP\n\\fB\(roff(command.name))\\fR\(operands)\n\(roff(command.summary))\n"
      if !command.details.isEmpty { text += ".br\n\(roff(command.details))\n" }
      if !command.options.isEmpty { text += ".RS\n" + command.options.map(entry).joined() + ".RE\n" }
      return text
    }.joined()
  }

  private static func entry(_ option: CommandSpecification.Option) -> String {
    let value = option.value.map { " \\fI\(roff($0))\\fR" } ?? ""
    return ".TP\n\\fB\(roff(option.name))\\fR\(value)\n\(roff(option.help))\n"
  }

  /// Text that stands for itself; no line of it begins like a macro.
  private static func roff(_ text: String) -> String {
    let escaped = text.reduce(into: "") { $0 += $1 == "\\" ? "\\e" : $1 == "-" ? "\\-" : String($1) }
    return (escaped.first == "'" || escaped.first == "." ? "\\&" : "") + escaped
  }
}
