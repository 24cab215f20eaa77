// "did you mean": the known word nearest to one that is not known. How it is shown is left to who asks.

/// Finds what was meant by a word of a file or a command line.
public enum Suggestion {
  /// The nearest of `known` to `word`, when it is near enough that it was probably meant: at most a third of its bytes
  /// differ, or one. Case, `-` and `_` do not count. Takes time with the product of both lengths for each known word;
  /// words over 64 bytes are passed over.
  public static func nearest(to word: String, among known: some Sequence<String>) -> String? {
    guard word.utf8.count <= longestWord else { return nil }
    let plain = normalized(word)
    var best: (word: String, distance: Int)?
    for candidate in known where candidate.utf8.count <= longestWord && candidate != word {
      let letters = normalized(candidate)
      let distance = distance(plain, letters)
      // One letter is not near another: something must be the same.
      let isNear = distance <= max(1, min(plain.count, letters.count) / 3) && distance < max(plain.count, letters.count)
      guard isNear || plain == letters else { continue }
      // Of two equally near ones the shorter: a letter too many is the more common slip.
      if let best, (best.distance, best.word.utf8.count) <= (distance, candidate.utf8.count) { continue }
      best = (candidate, distance)
    }
    return best?.word
  }

  /// `access_log`, `access-log` and `AccessLog` are all meant as `accessLog`.
  private static func normalized(_ word: String) -> [UInt8] {
    word.utf8.filter { $0 != 0x2D && $0 != 0x5F }.map { $0 >= 0x41 && $0 <= 0x5A ? $0 | 0x20 : $0 }
  }

  /// Insertions, deletions, replacements and swaps of neighbours that make one word of the other.
  private static func distance(_ a: [UInt8], _ b: [UInt8]) -> Int {
    if a.isEmpty || b.isEmpty { return max(a.count, b.count) }
    var beforeLast: [Int] = []
    var last = Array(0...b.count)
    for i in 1...a.count {
      var row = [i]
      for j in 1...b.count {
        let replaced = last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)
        var cost = min(last[j] + 1, row[j - 1] + 1, replaced)
        if i > 1, j > 1, a[i - 1] == b[j - 2], a[i - 2] == b[j - 1] { cost = min(cost, beforeLast[j - 2] + 1) }
        row.append(cost)
      }
      beforeLast = last
      last = row
    }
    return last[b.count]
  }

  private static let longestWord = 64
}
