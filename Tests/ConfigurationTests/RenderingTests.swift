// How findings are printed, byte for byte: people and scripts read this.

import Configuration
import Testing

@Suite("Rendering of findings")
struct RenderingTests {
  @Test("a finding shows its place, the line and carets under the word; the number of findings ends the text")
  func wholeText() {
    let text = """
      listeners:
        - name: outbound
          address: 127.0.0.1:4140
      services:
        - name: /svc
          timeot:
            request: 2s
      nod: {}
      """
    let expected = """
      fairlead.yaml:6:5: unknown key 'timeot' in services[0]; did you mean 'timeouts'?
          6 |     timeot:
            |     ^~~~~~
      fairlead.yaml:8:1: unknown key 'nod'; did you mean 'node'?
          8 | nod: {}
            | ^~~
      2 errors

      """
    #expect(rendered(text) == expected)
  }

  @Test("line numbers of any width keep the excerpt in step")
  func lineNumbers() {
    let text = String(repeating: "#\n", count: 12_344) + "listeners: 1\n"
    let expected = """
      fairlead.yaml:12345:12: 'listeners' must be a list, not a single value
      12345 | listeners: 1
            |            ^
      1 error

      """
    #expect(rendered(text) == expected)
    let far = rendered(String(repeating: "#\n", count: 123_455) + "listeners: 1\n")
    #expect(far.contains("\n123456 | listeners: 1\n       |            ^\n"))
  }

  @Test("tabs are repeated under the line, so that the caret stands right whatever a tab is wide")
  func tabs() {
    let text = "listeners:\t[\t{name: a, address: \":0\",\tx: 1}]\n"
    let expected =
      "fairlead.yaml:1:39: unknown key 'x' in listeners[0]\n"
      + "    1 | listeners:\t[\t{name: a, address: \":0\",\tx: 1}]\n"
      + "      |           \t \t                        \t^\n1 error\n"
    #expect(rendered(text) == expected)
  }

  @Test("columns count characters, and the caret stands under wide and combining ones")
  func characters() {
    let text = "listeners: [{name: a, address: \":0\"}]\nnode: {\"日本e\u{301}ü🚀\": 1, x: 2}\n"
    let expected = """
      fairlead.yaml:2:8: unknown key '日本e\u{301}ü🚀' in node
          2 | node: {"日本e\u{301}ü🚀": 1, x: 2}
            |        ^~~~~~~~~~
      fairlead.yaml:2:21: unknown key 'x' in node
          2 | node: {"日本e\u{301}ü🚀": 1, x: 2}
            |                       ^
      2 errors

      """
    #expect(rendered(text) == expected)
  }

  @Test("a file with CRLF, CR or a byte-order mark has the same places and no stray characters")
  func lineEnds() {
    let lines = ["listeners:", "  - name: a", "    address: :0", "    x: 1", ""]
    let expected = """
      fairlead.yaml:4:5: unknown key 'x' in listeners[0]
          4 |     x: 1
            |     ^
      1 error

      """
    for lineEnd in ["\n", "\r\n", "\r"] {
      #expect(rendered(lines.joined(separator: lineEnd)) == expected)
      #expect(rendered("\u{FEFF}" + lines.joined(separator: lineEnd)) == expected)
    }
  }

  @Test("a long line is cut to a window around the place")
  func longLines() {
    let fill = String(repeating: "f", count: 150)
    let before = fill.prefix(48)
    let text =
      "listeners: [{name: a, address: \":0\"}]\nnode: {name: \(fill), xx: 1, via: true, drainTimeout: 1s} # \(fill)\n"
    let expected = """
      fairlead.yaml:2:166: unknown key 'xx' in node
          2 | …\(before), xx: 1, via: true, drainTimeout: 1s} # \(fill.prefix(12))…
            |  \(String(repeating: " ", count: 50))^~
      1 error

      """
    #expect(rendered(text) == expected)
    let atEnd = rendered("listeners: [{name: a, address: \":0\"}]\nnode: {name: \(fill), xx: 1}\n")
    let shown = String(repeating: "f", count: 92)
    #expect(atEnd.contains("\n    2 | …\(shown), xx: 1}\n      |  \(String(repeating: " ", count: 94))^~\n"))
    let atStart = rendered("listeners: [{name: a, address: \":0\"}]\nx: \(fill)\n")
    #expect(atStart.contains("\n    2 | x: \(String(repeating: "f", count: 97))…\n      | ^\n"))
  }

  @Test("a mark that is longer than the window ends with it")
  func longMarks() {
    let fill = String(repeating: "f", count: 150)
    let text = rendered("listeners: [{name: a, address: \":0\"}]\n\(fill): 1\n")
    let cut = String(repeating: "f", count: 60)
    let expected = """
      fairlead.yaml:2:1: unknown key '\(cut)…'
          2 | \(String(repeating: "f", count: 100))…
            | ^\(String(repeating: "~", count: 99))
      1 error

      """
    #expect(text == expected)
  }

  @Test("nothing a file holds reaches the terminal as a control sequence")
  func controlCharacters() {
    let escaped = rendered("listeners: [{name: a, address: \":0\"}]\n\"\\e[31m\\x9b\\n\\u202e\": 1\n")
    #expect(escaped.hasPrefix("fairlead.yaml:2:1: unknown key '\u{FFFD}[31m\u{FFFD}\u{FFFD}\u{FFFD}'\n"))
    let raw = rendered(bytes: Array("a: \u{1B}[2J\n".utf8))
    #expect(!raw.utf8.contains(0x1B))
    #expect(raw.contains("1:4: the character U+001B is not allowed in YAML"))
    let tag = rendered("a: !%1b[2J x\n")
    #expect(!tag.utf8.contains(0x1B))
  }

  @Test("a file full of mistakes is answered with the first hundred and the number of all")
  func limit() {
    let text = "listeners: [{name: a, address: \":0\"}]\n" + (0..<250).map { "k\($0)x: 1\n" }.joined()
    let lines = rendered(text).split(separator: "\n")
    #expect(lines.count == 302)
    #expect(lines.suffix(2) == ["… and 150 more", "250 errors"])
  }
}
