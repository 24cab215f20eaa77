// The list of keys in fairlead.yaml(5), in the language of man(7).

import Base

extension Configuration {
  /// A subsection for each section of a configuration, with an entry for each key. Every line is ended.
  public static func manual() -> String {
    schema.map { section in
      var text = ".SS \(section.name)\n\(Roff.sentence(section.summary + count(section.kind)))"
      for placed in ConfigurationKey.all(of: inner(section.kind)) {
        // Keys of mappings follow with their full names; the mapping itself has nothing more to say than its summary.
        text +=
          ".TP\n\(Roff.bold(placed.path))\(words(placed.key))\n\(Roff.sentence(placed.key.summary + note(placed.key)))"
      }
      return text
    }.joined()
  }

  private static func inner(_ kind: ConfigurationValue) -> [ConfigurationKey] {
    switch kind {
    case .mapping(let keys), .oneKey(let keys): keys
    case .list(let item, _): inner(item)
    case .either(let ways): ways.flatMap { inner($0) }
    case .text, .flag, .integer, .number, .duration, .size, .choice, .table: []
    }
  }

  private static func count(_ kind: ConfigurationValue) -> String {
    if case .list(_, let most) = kind { "; a list of up to \(most)" } else { "" }
  }

  /// What may be written, and what applies when nothing is.
  private static func words(_ key: ConfigurationKey) -> String {
    var text = Roff.text(key.kind.words)
    if !text.isEmpty { text = ": " + text }
    if key.isRequired { text += " (required)" }
    if let defaultText = key.defaultText, defaultText != "[]" { text += " [\(Roff.text(defaultText))]" }
    return text
  }

  private static func note(_ key: ConfigurationKey) -> String {
    func words(_ keys: [(key: String, values: [String])], _ and: String) -> String {
      keys.map { "\($0.key): \($0.values.joined(separator: " or "))" }.joined(separator: and)
    }
    return (key.needs.isEmpty ? "" : "; only with " + words(key.needs, " and "))
      + (key.excludedBy.isEmpty ? "" : "; not with " + words(key.excludedBy, ", nor "))
  }
}

extension ConfigurationValue {
  /// For people: "10ms to 1h, or none". Empty for a mapping, whose keys say it.
  var words: String {
    switch self {
    case .text(let form): form.noun
    case .flag(let values): values.map { "\($0)" }.reversed().joined(separator: " or ")
    case .integer(let range, let word): "\(range.lowerBound) to \(range.upperBound)" + Self.or(word)
    case .number(let range): "\(Self.short(range.lowerBound)) to \(Self.short(range.upperBound))"
    case .duration(let range, let word):
      "\(range.lowerBound.shortText) to \(range.upperBound.shortText)" + Self.or(word)
    case .size(let range): "\(range.lowerBound) to \(range.upperBound)"
    case .choice(let choices): choices.joined(separator: " or ")
    case .list(let item, _): "list" + (item.words.isEmpty ? "" : " of \(item.words)")
    case .mapping: ""
    case .oneKey: "one of these"
    case .table(let form, let value): "mapping of \(form.noun) to \(value.words)"
    case .either(let ways): ways.map(\.words).filter { !$0.isEmpty }.joined(separator: "; or ")
    }
  }

  private static func or(_ word: String?) -> String { word.map { ", or \($0)" } ?? "" }

  private static func short(_ value: Double) -> String {
    Int(exactly: value).map(String.init) ?? "\(value)"
  }
}

/// Words as man(7) wants them.
enum Roff {
  /// Text that stands for itself anywhere in a line.
  static func text(_ text: String) -> String {
    text.reduce(into: "") { $0 += $1 == "\\" ? "\\e" : $1 == "-" ? "\\-" : String($1) }
  }

  static func bold(_ text: String) -> String { "\\fB\(Self.text(text))\\fR" }

  /// A line of its own that no macro can be mistaken for; empty for no text.
  static func sentence(_ text: String) -> String {
    text.isEmpty ? "" : (text.first == "." || text.first == "'" ? "\\&" : "") + Self.text(text) + "\n"
  }
}
