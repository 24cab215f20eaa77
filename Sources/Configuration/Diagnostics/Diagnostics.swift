// What is wrong with a configuration: every finding with its place, and the text both programs print.

/// One finding. Lines and columns count from 1; columns count characters (Unicode scalars).
public struct Diagnostic: Error, Hashable, Sendable {
  public let file: String
  /// 0 when the finding concerns the whole file.
  public let line: Int
  public let column: Int
  public let message: String
  let excerpt: Excerpt?

  init(at range: SourceRange, _ message: String) {
    file = range.source.name
    line = range.start.line
    column = range.start.column
    self.message = message
    excerpt = range.source.excerpt(of: range)
  }

  /// A finding about a whole file, or one that could not be read.
  public init(file: String, _ message: String) {
    self.file = file
    line = 0
    column = 0
    self.message = message
    excerpt = nil
  }

  /// `file:line:column: message`, then the line with the place marked.
  public func render() -> String {
    let place = line > 0 ? "\(file):\(line):\(column)" : file
    let header = file.isEmpty ? message : "\(place): \(message)"
    guard let excerpt else { return header }
    return header + "\n" + excerpt.render(line: line)
  }
}

/// All findings about a configuration, in the order of the text; never empty when thrown.
public struct Diagnostics: Error, Sendable, CustomStringConvertible {
  public private(set) var items: [Diagnostic] = []
  /// How many there were; only the first `limit` are kept.
  public private(set) var count = 0

  /// A file of eight megabytes could hold two hundred thousand mistakes, and nobody reads them.
  public static let limit = 100

  public init() {}

  public init(_ items: [Diagnostic]) {
    for item in items { append(item) }
  }

  public var isEmpty: Bool { count == 0 }

  public mutating func append(_ item: Diagnostic) {
    count += 1
    if items.count < Self.limit { items.append(item) }
  }

  /// All findings and a last line with their number; ends with a newline.
  public func render() -> String {
    var lines = items.map { $0.render() }
    if count > items.count { lines.append("… and \(count - items.count) more") }
    lines.append(count == 1 ? "1 error" : "\(count) errors")
    return lines.joined(separator: "\n") + "\n"
  }

  public var description: String { render() }

  /// Puts the findings of each file in the order of its lines; the files stay in the order given.
  mutating func sort(files: [String]) {
    let ranks = Dictionary(files.enumerated().map { ($1, $0) }, uniquingKeysWith: min)
    func key(_ item: Diagnostic) -> (Int, Int, Int) { (ranks[item.file] ?? files.count, item.line, item.column) }
    let ordered = items.enumerated().sorted { a, b in
      key(a.element) != key(b.element) ? key(a.element) < key(b.element) : a.offset < b.offset
    }
    items = ordered.map(\.element)
  }
}
