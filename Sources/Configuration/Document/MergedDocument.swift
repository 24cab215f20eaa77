// One document out of several files: /etc/fairlead/fairlead.yaml and what stands in conf.d.
//
// Lists are appended, mappings joined, the text of `delegations` appended; a value that two files give is an error
// that names both places. Every node keeps the place it came from.

struct MergedDocument {
  private(set) var root: YAMLNode
  /// The `delegations` of each file that has some.
  private(set) var delegations: [YAMLNode] = []

  /// A document without keys; `source` is the file that findings about the whole are put on.
  init(_ source: SourceText) {
    let start = SourceRange(source, at: SourcePosition(line: 1, column: 1))
    root = YAMLNode(content: .mapping(YAMLMapping()), range: start)
  }

  /// Adds a file's document. One that is no mapping is left for the decoder to report.
  mutating func add(_ document: YAMLNode, _ decoder: Decoder) {
    guard !document.isNull else { return }
    guard case .mapping(let added) = document.content, case .mapping(var mapping) = root.content else {
      decoder.report(document.range, "a configuration must be a mapping (key: value), not \(document.kind)")
      return
    }
    if let member = added["delegations"], !member.value.isNull { delegations.append(member.value) }
    Self.join(&mapping, added, path: "", decoder)
    root.content = .mapping(mapping)
  }

  private static func join(_ mapping: inout YAMLMapping, _ added: YAMLMapping, path: String, _ decoder: Decoder) {
    for member in added.members {
      let path = (path.isEmpty ? "" : "\(path).") + unquoted(member.key)
      guard let present = mapping[member.key], !present.value.isNull else {
        if !mapping.insert(member) { mapping.replace(member.key, with: member.value) }
        continue
      }
      if member.value.isNull || path == "delegations" { continue }
      switch (present.value.content, member.value.content) {
      case (.sequence(let first), .sequence(let second)):
        mapping.replace(member.key, with: YAMLNode(content: .sequence(first + second), range: present.value.range))
      case (.mapping(var first), .mapping(let second)):
        join(&first, second, path: path, decoder)
        mapping.replace(member.key, with: YAMLNode(content: .mapping(first), range: present.value.range))
      case (.scalar, _), (.sequence, _), (.mapping, _):
        let place = present.keyRange.place
        decoder.report(member.keyRange, "'\(path)' is already given at \(place); one of the two must go")
      }
    }
  }
}
