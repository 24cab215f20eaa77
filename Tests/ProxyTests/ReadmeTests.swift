// What README.md says is shown by tests is: each suite that its table of protocols names exists.

import TestSupport
import Testing

@Suite("README.md")
struct ReadmeTests {
  /// The rows of the table between the two marks, cell by cell, without its head.
  private static let rows: [[Substring]] = {
    let parts = readFile("\(repositoryPath)/README.md").split(
      separator: "<!-- protocols:", omittingEmptySubsequences: false)
    guard parts.count == 3 else { return [] }
    return parts[1].split(separator: "\n").filter { $0.hasPrefix("|") }.dropFirst(2).map { row in
      row.split(separator: "|").dropFirst()
    }.map(Array.init)
  }()

  /// What stands between back quotes.
  private func names(_ cell: Substring) -> [Substring] {
    cell.split(separator: "`", omittingEmptySubsequences: false).enumerated().filter { $0.offset % 2 == 1 }.map(
      \.element)
  }

  @Test("its table of protocols has six rows of two cells, and says of each what shows it, or why it is none")
  func isWhole() {
    #expect(Self.rows.count == 6)
    for row in Self.rows {
      #expect(row.count == 2)
      for cell in row { #expect(!names(cell).isEmpty || cell.hasPrefix(" ("), "\(cell)") }
    }
  }

  @Test("each suite it names exists")
  func suites() {
    let names = Set(Self.rows.joined().flatMap(names))
    #expect(names.count >= 6)
    for name in names {
      if name.hasPrefix("cases_") {
        #expect(readFile("\(repositoryPath)/Tests/Conformance/\(name).py").contains("case("), "\(name)")
      } else {
        let text = readFile("\(repositoryPath)/Tests/IntegrationTests/\(name).swift")
        #expect(text.contains("@Suite(") && text.contains("struct \(name)"), "\(name)")
      }
    }
  }
}
