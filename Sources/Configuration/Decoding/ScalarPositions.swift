// Where each character of a multi-line value stands in its file.
//
// libyaml hands over the value of a block with indentation removed and lines folded, and only the place of its `|`.
// What it never changes is the order of the characters that are not blank: the n-th of the value is the n-th of the
// source. So the two are walked side by side, which is right for literal, folded and plain values alike. In a quoted
// value with escapes it is not, and there every character gets the place of the value.

struct ScalarPositions {
  /// The value, scalar by scalar.
  let scalars: [Unicode.Scalar]
  /// Of each scalar that is not blank; a blank one has the place of the one before it.
  private let positions: [SourcePosition]
  private let source: SourceText
  private let start: SourcePosition

  init(_ scalar: YAMLScalar, range: SourceRange) {
    scalars = Array(scalar.text.unicodeScalars)
    source = range.source
    start = range.start
    var walk = SourceWalk(source: range.source, position: range.start)
    var isExact = true
    switch scalar.style {
    case .literal, .folded: walk.nextLine()
    case .singleQuoted:
      walk.skip(1)
      isExact = !scalar.text.unicodeScalars.contains("'")
    case .doubleQuoted:
      walk.skip(1)
      isExact = !walk.holdsBackslash(until: range.end)
    case .plain: break
    }
    var positions: [SourcePosition] = []
    positions.reserveCapacity(scalars.count)
    for scalar in scalars {
      guard isExact, !Self.isBlank(scalar) else {
        positions.append(positions.last ?? range.start)
        continue
      }
      let found = walk.next()
      isExact = found?.scalar == scalar
      positions.append(isExact ? found?.position ?? range.start : range.start)
    }
    self.positions = positions
  }

  /// The place of scalars `indices`, which must not be blank at their ends; past the end, the place after the last one.
  func range(_ indices: Range<Int>) -> SourceRange {
    guard indices.lowerBound < positions.count else {
      guard let last = positions.last else { return SourceRange(source, at: start) }
      return SourceRange(source, at: SourcePosition(line: last.line, column: last.column + 1))
    }
    let first = positions[indices.lowerBound]
    let last = positions[min(max(indices.upperBound - 1, indices.lowerBound), positions.count - 1)]
    return SourceRange(source, first, SourcePosition(line: last.line, column: last.column + 1))
  }

  static func isBlank(_ scalar: Unicode.Scalar) -> Bool {
    scalar == " " || scalar == "\t" || SourceText.isBreak(scalar)
  }
}

/// Goes through a file's characters that are not blank.
private struct SourceWalk {
  let source: SourceText
  var position: SourcePosition
  private var characters: [Unicode.Scalar]

  init(source: SourceText, position: SourcePosition) {
    self.source = source
    self.position = position
    characters = source.line(position.line)
  }

  mutating func nextLine() {
    position = SourcePosition(line: position.line + 1, column: 1)
    characters = source.line(position.line)
  }

  mutating func skip(_ count: Int) { position.column += count }

  mutating func next() -> (scalar: Unicode.Scalar, position: SourcePosition)? {
    while position.line <= source.lineCount {
      while position.column <= characters.count {
        let found = (characters[position.column - 1], position)
        position.column += 1
        if !ScalarPositions.isBlank(found.0) { return found }
      }
      nextLine()
    }
    return nil
  }

  /// Is a character between here and `end` a backslash?
  func holdsBackslash(until end: SourcePosition) -> Bool {
    var walk = self
    while let found = walk.next(), found.position < end {
      if found.scalar == "\\" { return true }
    }
    return false
  }
}
