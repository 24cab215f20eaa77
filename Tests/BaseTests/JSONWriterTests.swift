// The JSON writer: punctuation, escaping and numbers, each against the text expected byte for byte.

import Base
import Testing

@Suite("JSON writer")
struct JSONWriterTests {
  @Test("commas and colons stand where RFC 8259 wants them, also around empty containers")
  func punctuation() {
    var json = JSONWriter()
    json.object {
      $0.member("a", 1)
      $0.array("b") {
        $0.integer(-2)
        $0.array { _ in }
        $0.object { _ in }
        $0.object { $0.member("c", true) }
      }
      $0.object("d") { _ in }
      $0.member("e", String?.none)
    }
    #expect(json.text == #"{"a":1,"b":[-2,[],{},{"c":true}],"d":{},"e":null}"#)
  }

  @Test("the indented form puts one member on a line and keeps empty containers short")
  func indented() {
    var json = JSONWriter(indented: true)
    json.object {
      $0.member("a", "x")
      $0.array("b") {
        $0.integer(1)
        $0.object { $0.member("c", false) }
      }
      $0.array("d") { _ in }
    }
    let expected = """
      {
        "a": "x",
        "b": [
          1,
          {
            "c": false
          }
        ],
        "d": []
      }
      """
    #expect(json.text == expected)
  }

  @Test(
    "what RFC 8259 forbids in a string is escaped, the rest is passed through",
    arguments: [
      ("", #""""#),
      ("plain", #""plain""#),
      ("quote \" and back\\slash", #""quote \" and back\\slash""#),
      ("\u{8}\t\n\u{c}\r", #""\b\t\n\f\r""#),
      ("\u{0}\u{1}\u{1f}\u{7f}", #""\u0000\u0001\u001f\u007f""#),
      ("a/b", #""a/b""#),
      ("über 日本 🚀", #""über 日本 🚀""#),
      ("\u{85}\u{2028}\u{2029}", #""\u0085\u2028\u2029""#),
    ])
  func escaping(value: String, expected: String) {
    var json = JSONWriter()
    json.string(value)
    #expect(json.text == expected)
    var keyed = JSONWriter()
    keyed.object { $0.member(value, 0) }
    #expect(keyed.text == "{\(expected):0}")
  }

  @Test("bytes that are not UTF-8 become replacement characters, never invalid output")
  func invalidBytes() {
    var json = JSONWriter()
    json.string(decoding: [0x61, 0xFF, 0xC3, 0x62])
    #expect(json.text == "\"a\u{FFFD}\u{FFFD}b\"")
  }

  @Test(
    "numbers are the shortest text that reads back as the same value",
    arguments: [
      (0.0, "0"), (-0.5, "-0.5"), (2.0, "2"), (0.1, "0.1"), (1e300, "1e+300"), (.leastNonzeroMagnitude, "5e-324"),
      (9_007_199_254_740_991.0, "9007199254740991"), (.infinity, "null"), (.nan, "null"),
    ])
  func numbers(value: Double, expected: String) {
    var json = JSONWriter()
    json.number(value)
    #expect(json.text == expected)
  }

  @Test("integers of every width keep all their digits")
  func integers() {
    var json = JSONWriter()
    json.array {
      $0.integer(UInt64.max)
      $0.integer(Int64.min)
      $0.integer(UInt8(7))
    }
    #expect(json.text == "[18446744073709551615,-9223372036854775808,7]")
  }

  @Test("a writer that is reset starts a new document in the same memory")
  func reset() {
    var json = JSONWriter()
    json.object { $0.member("a", 1) }
    json.newline()
    json.reset()
    json.array {
      $0.raw(Array(#"{"b":2}"#.utf8)); $0.bool(true)
    }
    #expect(json.text == #"[{"b":2},true]"#)
  }
}
