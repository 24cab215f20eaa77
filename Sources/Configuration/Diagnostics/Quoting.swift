// Words of a file in a message: cut when they are long, and without anything a terminal would obey.

/// In single quotes.
func quoted(_ word: String) -> String { "'\(unquoted(word))'" }

/// As a part of a path such as `services[0].name`.
func unquoted(_ word: String) -> String {
  let limit = 60
  var text = String.UnicodeScalarView()
  text.append(contentsOf: word.unicodeScalars.prefix(limit).map { $0 == "\t" ? " " : Excerpt.harmless($0) })
  if word.unicodeScalars.count > limit { text.append("…") }
  return String(text)
}
