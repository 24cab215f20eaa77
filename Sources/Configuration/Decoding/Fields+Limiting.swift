// Reads what limits and shares: rates, weights, the marks of overload.

import Base

extension Fields {
  /// `{ requests: 100, per: 1s, burst: 20 }`; nil when absent or wrong, which is reported.
  /// - Parameter noun: what is counted: `requests` or `connections`.
  func rateLimit(_ key: String, counting noun: String = "requests") -> Configuration.RateLimit? {
    guard let value = self[key] else { return nil }
    if case .scalar = value.node.content {
      decoder.report(
        value.node.range, "'\(value.path)' must be a mapping such as { \(noun): 100, per: 1s, burst: 20 }")
      return nil
    }
    guard let fields = Fields(decoder, value, known: [noun, "per", "burst"]) else { return nil }
    fields.require(noun, "\(noun): 100")
    let count = fields.integer(noun, in: Configuration.RateLimit.counts)
    let period = fields.duration("per", in: Configuration.RateLimit.periods)
    let burst = fields.integer("burst", in: Configuration.RateLimit.counts)
    guard let count, period != nil || !fields.has("per"), burst != nil || !fields.has("burst") else { return nil }
    return Configuration.RateLimit(count: count, period: period ?? .seconds(1), burst: burst)
  }

  /// The same, or `none`: nil when absent or wrong, `.some(nil)` for `none`.
  func optionalRateLimit(_ key: String, counting noun: String = "requests") -> Configuration.RateLimit?? {
    if let value = self[key], case .scalar(let scalar) = value.node.content, scalar.text == "none" { return .some(nil) }
    return rateLimit(key, counting: noun).map { .some($0) }
  }

  /// A number such as 2 or 0.5.
  func decimal(_ key: String, in allowed: ClosedRange<Double>) -> Double? {
    let bounds = "\(Self.short(allowed.lowerBound)) and \(Self.short(allowed.upperBound))"
    let expectation = "a number between \(bounds)"
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    let text = scalar.text
    let digits = text.utf8.drop { $0 == 0x2D }
    let isDecimal =
      digits.allSatisfy { ($0 >= 0x30 && $0 <= 0x39) || $0 == 0x2E } && text.utf8.count <= 20
      && text.utf8.count - digits.count <= 1 && digits.first != 0x2E && digits.last != 0x2E
    guard scalar.style == .plain, isDecimal, let number = Double(text) else {
      decoder.report(value.node.range, "'\(value.path)' must be \(expectation), not \(quoted(text))")
      return nil
    }
    guard allowed.contains(number) else {
      decoder.report(value.node.range, "'\(value.path)' must be between \(bounds), not \(unquoted(text))")
      return nil
    }
    return number
  }

  private static func short(_ number: Double) -> String { Int(exactly: number).map { "\($0)" } ?? "\(number)" }

  /// `limits.overload`.
  func overload(_ key: String) -> Configuration.Overload? {
    guard let fields = fields(key, known: ["loopLag", "memory"]) else { return nil }
    let defaults = Configuration.Overload()
    let lag = fields.optionalDuration("loopLag", in: .milliseconds(1) ... .seconds(60))
    return Configuration.Overload(
      loopLag: lag ?? defaults.loopLag, memory: fields.memoryMark("memory") ?? defaults.memory)
  }

  private func memoryMark(_ key: String) -> Configuration.MemoryMark? {
    let expectation = "a part such as 80%, a size such as 512MiB, or 'none'"
    guard let value = self[key], let scalar = decoder.scalar(of: value, expectation) else { return nil }
    if scalar.text == "none" { return .some(.none) }
    guard scalar.text.hasSuffix("%") else {
      return size(key, in: .mebibytes(1) ... .mebibytes(1 << 20)).map { .size($0) }
    }
    let percents = Configuration.MemoryMark.percents
    guard let percent = Int(scalar.text.dropLast()), percents.contains(percent), scalar.text.first != "+" else {
      decoder.report(
        value.node.range,
        "'\(value.path)' must be between \(percents.lowerBound)% and \(percents.upperBound)%, not \(unquoted(scalar.text))"
      )
      return nil
    }
    return .percent(percent)
  }
}
