// A YAML document as a tree: what was written and where, no meaning yet.

/// A value in a document.
struct YAMLNode: Sendable {
  enum Content: Sendable {
    case scalar(YAMLScalar)
    case sequence([YAMLNode])
    case mapping(YAMLMapping)
  }

  var content: Content
  let range: SourceRange

  /// Nothing, `~` or `null`: treated as if the key were not there.
  var isNull: Bool {
    guard case .scalar(let scalar) = content, scalar.style == .plain else { return false }
    return scalar.text.isEmpty || scalar.text == "~" || scalar.text == "null"
  }

  /// The kind of value in words.
  var kind: String {
    switch content {
    case .scalar: isNull ? "nothing" : "a single value"
    case .sequence: "a list"
    case .mapping: "a mapping"
    }
  }
}

struct YAMLScalar: Sendable {
  enum Style: Sendable { case plain, singleQuoted, doubleQuoted, literal, folded }

  let text: String
  let style: Style
}

/// Keys and values in the order written; a key stands there once.
struct YAMLMapping: Sendable {
  struct Member: Sendable {
    let key: String
    let keyRange: SourceRange
    var value: YAMLNode
  }

  private(set) var members: [Member] = []
  private var indices: [String: Int] = [:]

  subscript(key: String) -> Member? { indices[key].map { members[$0] } }

  /// False, and nothing changed, when the key is there already.
  mutating func insert(_ member: Member) -> Bool {
    guard indices[member.key] == nil else { return false }
    indices[member.key] = members.count
    members.append(member)
    return true
  }

  /// Puts `value` in the place of the value of a key that is there.
  mutating func replace(_ key: String, with value: YAMLNode) {
    if let index = indices[key] { members[index].value = value }
  }

  mutating func remove(_ key: String) {
    let kept = members.filter { $0.key != key }
    members = kept
    indices = Dictionary(uniqueKeysWithValues: kept.enumerated().map { ($1.key, $0) })
  }
}
