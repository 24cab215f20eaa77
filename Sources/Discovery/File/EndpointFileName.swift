// Which names in a directory of endpoint files are services, and which are somebody's scratch paper.

import Policy

/// Rules for file names.
enum EndpointFileName {
  /// Whether a file of this name is a service's.
  static func isCandidate(_ name: String) -> Bool { !isIgnored(name) && Path.isSegment(name) }

  /// Hidden files, and what editors, installers and copying programs leave for a moment: nobody misses them.
  static func isIgnored(_ name: String) -> Bool {
    if name.isEmpty || name.hasPrefix(".") || name.hasSuffix("~") { return true }
    if name.hasPrefix("#") && name.hasSuffix("#") { return true }
    return temporarySuffixes.contains { name.hasSuffix($0) }
  }

  private static let temporarySuffixes = [
    ".tmp", ".temp", ".swp", ".swx", ".bak", ".part", ".dpkg-new", ".dpkg-old", ".dpkg-dist", ".rpmnew", ".rpmsave",
  ]
}

/// What stands in the directory and is not used, each name once.
struct SkippedNames {
  private var reasons: [String: String] = [:]
  private var overflow = 0

  var count: Int { reasons.count + overflow }

  mutating func add(_ name: String, _ reason: String) {
    if reasons.count < Self.limit || reasons[name] != nil {
      reasons[name] = reason
    } else {
      overflow += 1
    }
  }

  /// The first few, for people. File names can hold anything: what is no plain letter is shown as '?'.
  var lines: [String] {
    reasons.sorted { $0.key < $1.key }.prefix(8).map { name, reason in
      let shown = String(
        name.unicodeScalars.prefix(80).map { $0.value > 0x20 && $0.value < 0x7F ? Character($0) : "?" })
      return "'\(shown)' \(reason)"
    }
  }

  private static let limit = 1_000
}
