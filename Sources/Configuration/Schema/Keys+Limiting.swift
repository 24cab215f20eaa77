// The keys of what limits rates and sheds load: `rateLimit`, `connectionRate` and `limits.overload`.

import Base

extension Configuration.RateLimit {
  /// - Parameter noun: what is counted: `requests` or `connections`.
  static func keys(_ noun: String) -> [ConfigurationKey] {
    [
      .init(noun, .integer(Configuration.RateLimit.counts), "so many", required: true),
      .init("per", .duration(Configuration.RateLimit.periods), "in such a time", default: "1s"),
      .init("burst", .integer(Configuration.RateLimit.counts), "so many at once (default: as many as in that time)"),
    ]
  }
}

extension Configuration.Overload {
  static let keys: [ConfigurationKey] = [
    .init(
      "loopLag", .duration(.milliseconds(1) ... .seconds(60), word: "none"), "how late an event loop may be",
      default: "100ms"),
    .init("memory", .text(mark), "a part of what the process may use, or a size", default: "90%"),
  ]

  private static let mark = TextForm(
    "percentage, size or none", pattern: "^(none|[0-9]{1,3}%|[0-9]+(B|KiB|MiB|GiB)?)$", example: "80%", wrong: "some",
    isNumberToo: true)
}
