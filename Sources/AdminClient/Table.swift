// Columns for people: aligned, plain, one row a line, so that `sort`, `awk` and eyes can work with them.

/// A table of text.
struct Table {
  enum Alignment { case left, right }

  private let columns: [(title: String, alignment: Alignment)]
  private var rows: [[String]] = []

  init(_ columns: [(title: String, alignment: Alignment)]) { self.columns = columns }

  /// Adds a row; missing cells stay empty, control characters are replaced.
  mutating func add(_ cells: [String]) {
    rows.append((cells + [String](repeating: "", count: columns.count)).prefix(columns.count).map(printable))
  }

  /// The table with its titles, every line ended.
  var text: String {
    let all = [columns.map(\.title)] + rows
    let widths = columns.indices.map { column in all.map { width($0[column]) }.max() ?? 0 }
    return all.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let padding = String(repeating: " ", count: widths[column] - width(cell))
        if column > 0 { line += "  " }
        line += columns[column].alignment == .right ? padding + cell : cell + padding
      }
      while line.hasSuffix(" ") { line.removeLast() }
      return line + "\n"
    }.joined()
  }

  private func width(_ cell: String) -> Int { cell.count }
}

/// Text without what a terminal would obey.
func printable(_ text: String) -> String {
  guard text.unicodeScalars.contains(where: isControl) else { return text }
  return String(String.UnicodeScalarView(text.unicodeScalars.map { isControl($0) ? "?" : $0 }))
}

private func isControl(_ scalar: Unicode.Scalar) -> Bool {
  scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
}

/// Numbers and times as people read them.
enum Display {
  /// `3.02ms`, `850us`, `1.50s`: three significant figures.
  static func duration(nanoseconds: UInt64?) -> String {
    guard let nanoseconds else { return "-" }
    let value = Double(nanoseconds)
    return switch value {
    case ..<1_000: "<1us"
    case ..<999_500: significant(value / 1e3) + "us"
    case ..<999_500_000: significant(value / 1e6) + "ms"
    default: significant(value / 1e9) + "s"
    }
  }

  /// `1d 2h`, `3h 4m`, `5m 6s`, `7s`.
  static func age(seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0 else { return "-" }
    let whole = Int(min(seconds, 1e12))
    return switch whole {
    case ..<60: "\(whole)s"
    case ..<3600: "\(whole / 60)m \(whole % 60)s"
    case ..<86_400: "\(whole / 3600)h \(whole / 60 % 60)m"
    default: "\(whole / 86_400)d \(whole / 3600 % 24)h"
    }
  }

  /// `512 B`, `1.5 KiB`, `20.1 MiB`.
  static func bytes(_ count: UInt64) -> String {
    var value = Double(count)
    for unit in ["B", "KiB", "MiB", "GiB"] {
      if value < 1024 { return unit == "B" ? "\(count) B" : "\(fixed(value, 1)) \(unit)" }
      value /= 1024
    }
    return "\(fixed(value, 1)) TiB"
  }

  /// `99.95%`: rounded down, so that only all is 100.00%.
  static func share(_ part: UInt64, of whole: UInt64) -> String {
    guard whole > 0 else { return "-" }
    let hundredths = (Double(part) / Double(whole) * 10_000).rounded(.down)
    return fixed(min(hundredths, 10_000) / 100, 2) + "%"
  }

  /// A number with so many decimals.
  static func fixed(_ value: Double, _ decimals: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "-" }
    var scale = 1.0
    for _ in 0..<decimals { scale *= 10 }
    let scaled = Int64((value * scale).rounded())
    guard decimals > 0 else { return String(scaled) }
    let digits = String(scaled.magnitude)
    let padded = String(repeating: "0", count: max(0, decimals + 1 - digits.count)) + digits
    return (scaled < 0 ? "-" : "") + padded.dropLast(decimals) + "." + padded.suffix(decimals)
  }

  /// `0.05`, `2`: up to six decimals, and no more than it takes.
  static func shortest(_ value: Double) -> String {
    var text = fixed(value, 6)
    guard text.contains(".") else { return text }
    while text.last == "0" { text.removeLast() }
    if text.last == "." { text.removeLast() }
    return text
  }

  private static func significant(_ value: Double) -> String {
    fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0)
  }
}
