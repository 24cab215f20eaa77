// What was meant by a word that is not known.

import Base
import Testing

@Suite("Suggestions")
struct SuggestionTests {
  @Test(
    "the nearest word is suggested, and none that is far",
    arguments: [
      ("timeot", ["timeout", "timeouts", "time"], "timeout"), ("adress", ["name", "address"], "address"),
      ("svc", ["scv"], "scv"), ("stats", ["status", "stat"], "stat"), ("access_log", ["accessLog"], "accessLog"),
      ("circuit-breaker", ["circuitBreaker"], "circuitBreaker"), ("Web", ["web"], "web"), ("web", ["web"], nil),
      ("--sockt", ["--output", "--socket"], "--socket"), ("frobnicate", ["status", "validate"], nil),
      ("--x", ["-o"], nil), ("ab", ["abc"], "abc"), ("", ["a"], nil), ("a", [""], nil), ("", [""], nil),
      ("zebra", [], nil), ("kitten", ["sitting"], nil), ("smitten", ["kitten"], "kitten"),
    ] as [(String, [String], String?)])
  func nearest(word: String, known: [String], expected: String?) {
    #expect(Suggestion.nearest(to: word, among: known) == expected)
  }

  @Test("words over 64 bytes are neither looked for nor suggested")
  func longWords() {
    let longest = String(repeating: "a", count: 64)
    #expect(Suggestion.nearest(to: longest, among: [String(longest.dropLast())]) == String(longest.dropLast()))
    #expect(Suggestion.nearest(to: longest + "a", among: [longest]) == nil)
    #expect(Suggestion.nearest(to: longest, among: [longest + "a"]) == nil)
  }
}
