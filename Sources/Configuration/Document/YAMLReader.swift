// Reads YAML text into a tree through libyaml's event parser.
//
// A configuration needs little of YAML: mappings, lists and values. What makes documents surprising or explosive is
// refused with its place: anchors and aliases, tags, merge keys, several documents. Depth, size and the number of
// values are bounded, so that no file can exhaust memory or the stack.

import CYAML

/// The tree of one document, or nil when it holds none, and what was wrong on the way.
struct YAMLReader {
  private(set) var diagnostics: [Diagnostic] = []
  private let source: SourceText
  private var nodes = 0
  private var path: [PathStep] = []

  private enum PathStep { case key(String), index(Int) }

  private init(_ source: SourceText) { self.source = source }

  static func read(_ source: SourceText) -> (root: YAMLNode?, diagnostics: [Diagnostic]) {
    var reader = YAMLReader(source)
    let root = reader.read()
    return (root, reader.diagnostics)
  }

  private mutating func read() -> YAMLNode? {
    guard source.bytes.count <= Self.longestFile else {
      let size = "\(source.bytes.count) bytes; a configuration has at most \(Self.longestFile)"
      diagnostics.append(Diagnostic(file: source.name, "the file has \(size)"))
      return nil
    }
    if let finding = source.firstForbiddenCharacter() {
      diagnostics.append(finding)
      return nil
    }
    do throws(Diagnostic) {
      let events = try EventStream(source)
      return try document(events)
    } catch {
      diagnostics.append(error)
      return nil
    }
  }

  // MARK: Grammar

  private mutating func document(_ events: EventStream) throws(Diagnostic) -> YAMLNode? {
    var root: YAMLNode?
    var isFirst = true
    while true {
      let event = try events.next()
      switch event.kind {
      case .streamStart, .documentEnd:
        continue
      case .documentStart:
        guard isFirst else {
          throw Diagnostic(at: event.range, "a configuration is one document; this begins a second")
        }
        isFirst = false
        root = try node(events.next(), events)
      case .streamEnd:
        return root
      case .scalar, .sequenceStart, .mappingStart, .alias, .sequenceEnd, .mappingEnd:
        throw Diagnostic(at: event.range, "this stands outside of the document")
      }
    }
  }

  private mutating func node(_ event: Event, _ events: EventStream) throws(Diagnostic) -> YAMLNode {
    nodes += 1
    guard nodes <= Self.mostNodes else {
      throw Diagnostic(at: event.range, "the file has more than \(Self.mostNodes) values")
    }
    refuseDecoration(event)
    switch event.kind {
    case .scalar(let scalar):
      return YAMLNode(content: .scalar(scalar), range: event.range)
    case .sequenceStart:
      return try sequence(event, events)
    case .mappingStart:
      return try mapping(event, events)
    case .alias(let name):
      diagnostics.append(Diagnostic(at: event.range, "aliases are not supported; write the value of '*\(name)' out"))
      return YAMLNode(content: .scalar(YAMLScalar(text: "", style: .plain)), range: event.range)
    case .streamStart, .streamEnd, .documentStart, .documentEnd, .sequenceEnd, .mappingEnd:
      throw Diagnostic(at: event.range, "a value is missing here")
    }
  }

  private mutating func sequence(_ start: Event, _ events: EventStream) throws(Diagnostic) -> YAMLNode {
    var items: [YAMLNode] = []
    while true {
      let event = try events.next()
      if case .sequenceEnd = event.kind {
        let range = SourceRange(source, start.range.start, event.range.end)
        return YAMLNode(content: .sequence(items), range: range)
      }
      try push(.index(items.count), at: event.range)
      items.append(try node(event, events))
      path.removeLast()
    }
  }

  private mutating func mapping(_ start: Event, _ events: EventStream) throws(Diagnostic) -> YAMLNode {
    var mapping = YAMLMapping()
    while true {
      let event = try events.next()
      if case .mappingEnd = event.kind {
        let range = SourceRange(source, start.range.start, event.range.end)
        return YAMLNode(content: .mapping(mapping), range: range)
      }
      refuseDecoration(event)
      guard case .scalar(let scalar) = event.kind else {
        throw Diagnostic(at: event.range, "a key must be a word, not a list or a mapping")
      }
      nodes += 1
      try push(.key(scalar.text), at: event.range)
      let value = try node(events.next(), events)
      path.removeLast()
      if scalar.text == "<<", scalar.style == .plain {
        diagnostics.append(Diagnostic(at: event.range, "merge keys are not supported; write the keys out"))
      } else if !mapping.insert(.init(key: scalar.text, keyRange: event.range, value: value)) {
        let first = mapping[scalar.text].map { "; it is first written at \($0.keyRange.place)" } ?? ""
        diagnostics.append(Diagnostic(at: event.range, "duplicate key \(quoted(scalar.text))\(place)\(first)"))
      }
    }
  }

  private mutating func refuseDecoration(_ event: Event) {
    if let anchor = event.anchor {
      diagnostics.append(
        Diagnostic(at: event.range, "anchors are not supported; remove '&\(anchor)' and write the value out"))
    }
    if let tag = event.tag {
      diagnostics.append(Diagnostic(at: event.range, "tags are not supported; remove \(quoted(tag))"))
    }
  }

  private mutating func push(_ step: PathStep, at range: SourceRange) throws(Diagnostic) {
    path.append(step)
    guard path.count <= Self.deepest else {
      throw Diagnostic(at: range, "values are nested more than \(Self.deepest) deep")
    }
  }

  /// " in services[0]", or nothing at the top.
  private var place: String {
    var text = ""
    for step in path {
      switch step {
      case .key(let key): text += (text.isEmpty ? "" : ".") + unquoted(key)
      case .index(let index): text += "[\(index)]"
      }
    }
    return text.isEmpty ? "" : " in \(text)"
  }

  // MARK: Limits

  static let longestFile = 8 << 20
  private static let deepest = 64
  private static let mostNodes = 500_000
}

// MARK: Events

extension YAMLReader {
  fileprivate struct Event {
    enum Kind {
      case streamStart, streamEnd, documentStart, documentEnd
      case scalar(YAMLScalar), alias(String)
      case sequenceStart, sequenceEnd, mappingStart, mappingEnd
    }

    let kind: Kind
    let range: SourceRange
    var anchor: String?
    var tag: String?
  }

  /// libyaml's parser over one text. The parser keeps a pointer to the text: both live in memory of their own here.
  fileprivate final class EventStream {
    private let source: SourceText
    private let parser: UnsafeMutablePointer<yaml_parser_t>
    private let text: UnsafeMutableBufferPointer<UInt8>

    init(_ source: SourceText) throws(Diagnostic) {
      self.source = source
      parser = .allocate(capacity: 1)
      text = .allocate(capacity: source.bytes.count)
      _ = text.initialize(from: source.bytes)
      guard yaml_parser_initialize(parser) == 1 else {
        // The parser is given back zeroed: deleting it in deinit is harmless.
        throw Diagnostic(file: source.name, "there is no memory left to read the file")
      }
      yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
      yaml_parser_set_input_string(parser, text.baseAddress, text.count)
    }

    deinit {
      yaml_parser_delete(parser)
      parser.deallocate()
      text.deallocate()
    }

    func next() throws(Diagnostic) -> Event {
      var event = yaml_event_t()
      guard yaml_parser_parse(parser, &event) == 1 else { throw syntaxError() }
      defer { yaml_event_delete(&event) }
      return translate(event)
    }

    private func translate(_ event: yaml_event_t) -> Event {
      let range = SourceRange(source, position(event.start_mark), position(event.end_mark))
      switch event.type {
      case YAML_STREAM_START_EVENT: return Event(kind: .streamStart, range: range)
      case YAML_DOCUMENT_START_EVENT: return Event(kind: .documentStart, range: range)
      case YAML_DOCUMENT_END_EVENT: return Event(kind: .documentEnd, range: range)
      case YAML_SCALAR_EVENT:
        let scalar = event.data.scalar
        let bytes = UnsafeBufferPointer(start: scalar.value, count: scalar.value == nil ? 0 : scalar.length)
        let value = YAMLScalar(text: String(decoding: bytes, as: UTF8.self), style: style(scalar.style))
        return Event(kind: .scalar(value), range: range, anchor: string(scalar.anchor), tag: string(scalar.tag))
      case YAML_SEQUENCE_START_EVENT:
        let start = event.data.sequence_start
        return Event(kind: .sequenceStart, range: range, anchor: string(start.anchor), tag: string(start.tag))
      case YAML_SEQUENCE_END_EVENT: return Event(kind: .sequenceEnd, range: range)
      case YAML_MAPPING_START_EVENT:
        let start = event.data.mapping_start
        return Event(kind: .mappingStart, range: range, anchor: string(start.anchor), tag: string(start.tag))
      case YAML_MAPPING_END_EVENT: return Event(kind: .mappingEnd, range: range)
      case YAML_ALIAS_EVENT: return Event(kind: .alias(string(event.data.alias.anchor) ?? ""), range: range)
      // YAML_STREAM_END_EVENT, and YAML_NO_EVENT, which libyaml answers once the stream has ended.
      default: return Event(kind: .streamEnd, range: range)
      }
    }

    private func style(_ style: yaml_scalar_style_t) -> YAMLScalar.Style {
      switch style {
      case YAML_SINGLE_QUOTED_SCALAR_STYLE: .singleQuoted
      case YAML_DOUBLE_QUOTED_SCALAR_STYLE: .doubleQuoted
      case YAML_LITERAL_SCALAR_STYLE: .literal
      case YAML_FOLDED_SCALAR_STYLE: .folded
      default: .plain
      }
    }

    private func position(_ mark: yaml_mark_t) -> SourcePosition {
      SourcePosition(line: Int(clamping: mark.line) &+ 1, column: Int(clamping: mark.column) &+ 1)
    }

    private func string(_ text: UnsafePointer<yaml_char_t>?) -> String? {
      text.map { String(cString: $0) }
    }

    /// What libyaml says, with the thing it was in the middle of; the commonest mistakes in plainer words.
    private func syntaxError() -> Diagnostic {
      let problem = parser.pointee.problem.map { String(cString: $0) } ?? "the text is not YAML"
      let place = position(parser.pointee.problem_mark)
      let characters = source.line(place.line)
      let character = place.column <= characters.count ? characters[place.column - 1] : nil
      var message = "YAML syntax: \(problem)"
      let isTab = character == "\t" && (problem.contains("cannot start any token") || problem.contains("tab"))
      if isTab {
        message = "YAML syntax: a tab cannot indent; use spaces"
      } else if problem.contains("cannot start any token"), let character {
        message = "YAML syntax: a value that begins with '\(character)' must be put in quotes"
      } else if problem.contains("mapping values are not allowed") {
        message =
          "YAML syntax: a ':' is not expected here; put a value that holds ': ' in quotes, and check the indentation"
      }
      if !isTab, let context = parser.pointee.context.map({ String(cString: $0) }) {
        let start = position(parser.pointee.context_mark)
        if start < place { message += " (\(context) that begins at line \(start.line), column \(start.column))" }
      }
      return Diagnostic(at: SourceRange(source, at: place), message)
    }
  }
}

extension Configuration {
  /// The version of the YAML library in use, such as 0.2.5.
  public static var yamlLibraryVersion: String { String(cString: yaml_get_version_string()) }
}
