// What is YAML and what is not, and which YAML is refused.

import Configuration
import Testing

@Suite("YAML documents")
struct DocumentTests {
  static let noListener =
    "no listener, so there is nothing to do; write: listeners: [{name: outbound, address: 127.0.0.1:4140}]"

  @Test(
    "a text that is no YAML is refused at its place",
    arguments: [
      (
        "a: [1, 2\nb: 3\n",
        "2:2: YAML syntax: did not find expected ',' or ']' "
          + "(while parsing a flow sequence that begins at line 1, column 4)"
      ),
      ("a:\n\tb: 1\n", "2:1: YAML syntax: a tab cannot indent; use spaces"),
      ("a: @x\n", "1:4: YAML syntax: a value that begins with '@' must be put in quotes"),
      ("a: `x`\n", "1:4: YAML syntax: a value that begins with '`' must be put in quotes"),
      (
        "a: b: c\n",
        "1:5: YAML syntax: a ':' is not expected here; put a value that holds ': ' in quotes, "
          + "and check the indentation"
      ),
      (
        "a: \"x\n",
        "2:1: YAML syntax: found unexpected end of stream "
          + "(while scanning a quoted scalar that begins at line 1, column 4)"
      ),
      (
        "a: 1\n b: 2\n",
        "2:3: YAML syntax: a ':' is not expected here; put a value that holds ': ' in quotes, "
          + "and check the indentation"
      ),
      ("%YAML 9.9\n---\na: 1\n", "1:1: YAML syntax: found incompatible YAML document"),
      (
        "}\n",
        "1:1: YAML syntax: did not find expected node content"
      ),
    ])
  func syntax(text: String, expected: String) {
    #expect(findings(text) == [expected])
  }

  @Test(
    "what makes documents surprising or explosive is refused, with its place",
    arguments: [
      ("a: &x 1\n", "1:4: anchors are not supported; remove '&x' and write the value out"),
      ("a: *x\n", "1:4: aliases are not supported; write the value of '*x' out"),
      ("a: !!str 1\n", "1:4: tags are not supported; remove 'tag:yaml.org,2002:str'"),
      ("<<: {a: 1}\n", "1:1: merge keys are not supported; write the keys out"),
      ("a: 1\n---\nb: 2\n", "2:1: a configuration is one document; this begins a second"),
      ("? [a, b]\n: 1\n", "1:3: a key must be a word, not a list or a mapping"),
      ("- a\n", "1:1: a configuration must be a mapping (key: value), not a list"),
      ("text\n", "1:1: a configuration must be a mapping (key: value), not a single value"),
      ("a: 1\nb: 2\na: 3\n", "3:1: duplicate key 'a'; it is first written at fairlead.yaml:1:1"),
      (
        "s:\n  - x\n  - {b: {c: 1, 'c': 2}}\n",
        "3:16: duplicate key 'c' in s[1].b; it is first written at fairlead.yaml:3:10"
      ),
    ])
  func refused(text: String, expected: String) {
    #expect(findings(text).contains(expected))
  }

  @Test("a thousand aliases of aliases cost nothing: they are refused, not followed")
  func billionLaughs() {
    var text = "a0: &a0 [x, x]\n"
    for level in 1...50 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
    #expect(findings(text).contains("2:5: anchors are not supported; remove '&a1' and write the value out"))
  }

  @Test(
    "bytes that are no text are refused at their place",
    arguments: [
      ([0x61, 0x3A, 0x20, 0xFF], "1:4: this is not UTF-8 text"),
      ([0x61, 0x0A, 0x62, 0xC3], "2:2: this is not UTF-8 text"),
      ([0xED, 0xA0, 0x80], "1:1: this is not UTF-8 text"),
      ([0x61, 0x0D, 0x0A, 0x00], "2:1: the character U+0000 is not allowed in YAML"),
      ([0x61, 0xEF, 0xBB, 0xBF], "1:2: the character U+FEFF is not allowed in YAML"),
      ([0xFF, 0xFE, 0x61, 0x00], "1:1: this is not UTF-8 text"),
    ] as [([UInt8], String)])
  func noText(bytes: [UInt8], expected: String) {
    #expect(findings(bytes: bytes) == [expected])
  }

  @Test(
    "a file without a value is told what to write",
    arguments: ["", "\n", "# nothing\n", "---\n", "null\n", "{}", "listeners:"])
  func empty(text: String) {
    #expect(findings(text) == [Self.noListener])
  }

  @Test("nesting, size and the number of values are bounded")
  func bounds() {
    let nested = String(repeating: "[", count: 10_000)
    #expect(findings("a: \(nested)") == ["1:68: values are nested more than 64 deep"])
    let braces = String(repeating: "{a: ", count: 10_000)
    #expect(findings(braces).first?.hasSuffix("values are nested more than 64 deep") == true)
    let large = [UInt8](repeating: 0x23, count: 8 << 20) + [0x0A]
    #expect(findings(bytes: large) == ["the file has 8388609 bytes; a configuration has at most 8388608"])
    let many = "a: [" + String(repeating: "1,", count: 500_000) + "]\n"
    #expect(findings(many) == ["1:999999: the file has more than 500000 values"])
  }

  @Test("JSON is read as it is")
  func json() throws {
    let configuration = try Configuration.parse(
      #"{"listeners":[{"name":"a","address":"127.0.0.1:0","proxyProtocol":false}],"node":{"shards":3,"via":false}}"#)
    #expect(configuration.node.shards == .count(3))
    #expect(!configuration.node.via)
  }
}
