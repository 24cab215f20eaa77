// Collects what is wrong while values are read from the tree, so that one run reports everything.
//
// A reader of a value answers nil both when it is absent and when it is wrong; wrong is reported at once, and the
// default that takes its place never leaves this module, because a configuration with findings is not handed out.

import Base

/// The findings of one run. Shared by everything that decodes; used by one thread.
final class Decoder {
  private(set) var diagnostics = Diagnostics()
  /// Told of every mapping that is read, and which keys are known in it: how the schema is held against what is decoded.
  var onMapping: ((_ path: String, _ known: [String]) -> Void)?

  func report(_ range: SourceRange, _ message: String) {
    diagnostics.append(Diagnostic(at: range, message))
  }

  func report(_ diagnostic: Diagnostic) { diagnostics.append(diagnostic) }

  /// The known word that was probably meant. Not looked for once findings are no longer kept: a file full of mistakes
  /// would keep the control thread busy with it.
  func nearest(to word: String, among known: @autoclosure () -> [String]) -> String? {
    guard diagnostics.count < Diagnostics.limit else { return nil }
    return Suggestion.nearest(to: word, among: known().prefix(1_000))
  }

  /// The end of a message: "; did you mean 'x'?", or nothing.
  func suggestion(for word: String, among known: @autoclosure () -> [String]) -> String {
    nearest(to: word, among: known()).map { "; did you mean \(quoted($0))?" } ?? ""
  }

  func sort(files: [String]) { diagnostics.sort(files: files) }

  /// The items of a list; reports anything else. Nothing written is an empty list.
  func items(of value: YAMLValue) -> [YAMLValue] {
    if value.node.isNull { return [] }
    guard case .sequence(let nodes) = value.node.content else {
      report(value.node.range, "'\(value.path)' must be a list, not \(value.node.kind)")
      return []
    }
    // Each file counts its own items: that is how its author finds them.
    var counts: [ObjectIdentifier: Int] = [:]
    return nodes.map { node in
      let index = counts[ObjectIdentifier(node.range.source), default: 0]
      counts[ObjectIdentifier(node.range.source)] = index + 1
      return YAMLValue(node: node, path: "\(value.path)[\(index)]")
    }
  }

  /// The one text a value is; reports lists, mappings and nothing.
  func scalar(of value: YAMLValue, _ expectation: String) -> YAMLScalar? {
    guard case .scalar(let scalar) = value.node.content, !value.node.isNull else {
      report(value.node.range, "'\(value.path)' must be \(expectation), not \(value.node.kind)")
      return nil
    }
    return scalar
  }
}

/// A value and how messages call it, such as `services[0].timeouts.connect`.
struct YAMLValue {
  let node: YAMLNode
  let path: String

  var isEmptyList: Bool {
    guard case .sequence(let items) = node.content else { return false }
    return items.isEmpty
  }
}

extension String {
  /// " in services[0]", or nothing for the document itself.
  var asPlace: String { isEmpty ? "" : " in \(self)" }
}
