// The line a finding is about, with carets under the place.
//
// Tabs are repeated in the caret line, so that the carets stand right whatever a terminal makes of a tab; wide
// characters take two cells. A long line is cut to a window around the place. Nothing a file holds reaches the
// terminal as a control sequence.

/// One line of source and the place in it.
struct Excerpt: Hashable, Sendable {
  let text: String
  /// What stands under the text up to the place: spaces and tabs.
  let padding: String
  /// How many cells are marked, at least one.
  let width: Int

  /// - Parameters:
  ///   - line: the characters of the line, without its break.
  ///   - columns: the marked characters, from 0; cut to the line, and at least one character wide.
  init(line: [Unicode.Scalar], columns: Range<Int>) {
    let place = min(columns.lowerBound, line.count)
    var window = 0..<line.count
    if line.count > Self.longest {
      let first = max(0, min(place - Self.longest / 2, line.count - Self.longest))
      window = first..<(first + Self.longest)
    }
    let end = min(max(columns.upperBound, place), window.upperBound)
    let shown = line[window].map(Self.harmless)
    let before = shown[..<(place - window.lowerBound)]
    let marked = shown[(place - window.lowerBound)..<(end - window.lowerBound)]
    let cutBefore = window.lowerBound > 0
    let cutAfter = window.upperBound < line.count
    text = (cutBefore ? "…" : "") + Self.string(shown) + (cutAfter ? "…" : "")
    padding = (cutBefore ? " " : "") + Self.string(before.flatMap(Self.blank))
    width = max(1, marked.reduce(0) { $0 + Self.cells($1) })
  }

  func render(line: Int) -> String {
    let number = String(line)
    let gutter = String(repeating: " ", count: max(0, 5 - number.count)) + number
    let caret = "^" + String(repeating: "~", count: width - 1)
    let blank = String(repeating: " ", count: gutter.count)
    return text.isEmpty
      ? "\(gutter) |\n\(blank) | \(caret)" : "\(gutter) | \(text)\n\(blank) | \(padding)\(caret)"
  }

  private static func blank(_ scalar: Unicode.Scalar) -> [Unicode.Scalar] {
    scalar == "\t" ? ["\t"] : Array(repeating: " ", count: cells(scalar))
  }

  private static func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return String(text)
  }

  /// Control and invisible formatting characters become U+FFFD.
  static func harmless(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
    switch scalar.value {
    case 0x09: scalar
    case 0x00...0x1F, 0x7F...0x9F, 0x200B...0x200F, 0x2028...0x202E, 0x2060...0x2069, 0xFEFF: "\u{FFFD}"
    default: scalar
    }
  }

  /// The cells a terminal gives a character: none for a combining mark, two for the East Asian wide ones and emoji.
  private static func cells(_ scalar: Unicode.Scalar) -> Int {
    switch scalar.value {
    case 0x00..<0x300: return 1
    case 0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
      0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1F64F, 0x1F680...0x1F6FF, 0x1F900...0x1F9FF, 0x20000...0x3FFFD:
      return 2
    default:
      switch scalar.properties.generalCategory {
      case .nonspacingMark, .enclosingMark: return 0
      default: return 1
      }
    }
  }

  /// Characters of a line that are shown.
  private static let longest = 100
}
