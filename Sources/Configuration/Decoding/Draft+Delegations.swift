// Reads `delegations`: Policy knows the language, this knows where each of its characters stands in the file.

import Policy

extension Draft {
  /// Adds the entries of one file's table.
  mutating func addDelegations(_ decoder: Decoder, _ value: YAMLValue) {
    guard case .scalar(let scalar) = value.node.content else {
      let message = "'delegations' must be text (`delegations: |` and lines such as `/svc => /#/static ;`)"
      decoder.report(value.node.range, "\(message), not \(value.node.kind)")
      delegationsAreWhole = false
      return
    }
    let text = ScalarPositions(scalar, range: value.node.range)
    let parser = DelegationParser(
      text.scalars, maximumEntryCount: Self.mostDelegations, room: Self.mostDelegations - delegations.count)
    for flaw in parser.flaws {
      // The message may repeat what is written, and a terminal must not obey it.
      decoder.report(text.range(flaw.range), Self.harmless(flaw.message))
    }
    delegationsAreWhole = delegationsAreWhole && parser.flaws.isEmpty
    for entry in parser.entries {
      let range = text.range(entry.prefixRange)
      delegations.append(
        Delegation(
          value: Configuration.Delegation(
            entry.value, file: range.source.name, line: range.start.line, column: range.start.column),
          prefixRange: range,
          names: zip(entry.value.destination.names, entry.nameRanges.map(text.range)).map { ($0, $1) }))
    }
  }

  private static func harmless(_ message: String) -> String {
    String(String.UnicodeScalarView(message.unicodeScalars.map(Excerpt.harmless)))
  }

  private static let mostDelegations = 1_000
}
